//! The protection domain: which memory peers and work requests may touch.
//!
//! A slot of the table is a region or a window onto one. Its STag is the slot and a generation, hidden by a keyed permutation,
//! and an 8-bit key. `check` is the one place that decides about access: it answers with a span, which is good
//! until the domain is next changed. Zero-length accesses are not checked at all, as RFC 5041 §5.2 has it; callers see to that.

mod raw;
mod scramble;

use std::{ops::Range, ptr::NonNull};

use raw::{AddressSpan, Memory};
use scramble::Scramble;

use crate::verbs::{Access, Addressing, MemoryError, Qp, Region, RegionOptions, STag};

/// Bits of an STag's index.
const INDEX_BITS: u32 = 24;

/// The most slots: four bits of generation are left beside them.
const SLOTS_MAX: u32 = 1 << 20;

/// Why memory may not be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessError {
    /// The STag names nothing, or what it names has no rights any more.
    Invalid,
    /// The region is for another stream.
    Stream,
    /// The tagged offsets wrap around.
    Wrap,
    /// The range is not within the region.
    Bounds,
    /// The region may not be used so.
    Rights,
}

/// A range that was found accessible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    /// Bytes of the memory in a slot.
    Slot(usize, Range<usize>),
    /// Memory that a request of this side named by its address.
    Address(AddressSpan),
}

/// A protection domain.
#[derive(Debug)]
pub struct Domain {
    slots: Vec<Slot>,
    free: Vec<u32>,
    slot_bits: u32,
    max: u32,
    scramble: Scramble,
    pub(crate) strict_read_sink: bool,
    /// Whether requests of this side may name memory by address.
    trusting: bool,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    entry: Option<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: u8,
    /// Whether it may be accessed: false for a window without rights and after an invalidation.
    live: bool,
    access: Access,
    base: u64,
    len: u64,
    stream: Option<Qp>,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Region {
        memory: Memory,
        /// Windows that show parts of it.
        windows: u32,
    },
    Window(Option<Pane>),
}

/// What a window shows.
#[derive(Clone, Copy, Debug)]
struct Pane {
    parent: usize,
    offset: usize,
}

impl Domain {
    /// An empty domain of at most `max_regions` slots, whose STags follow from `seed`.
    pub fn new(max_regions: u32, seed: u64) -> Self {
        let max = max_regions.clamp(1, SLOTS_MAX);
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            slot_bits: max.next_power_of_two().trailing_zeros(),
            max,
            scramble: Scramble::new(seed),
            strict_read_sink: true,
            trusting: false,
        }
    }

    /// From here on requests of this side may name any memory of the process by [`STag::LOCAL`] and its address.
    ///
    /// # Safety
    ///
    /// Every piece of memory that a request names so is valid, and treated by everybody else, as
    /// [`register_raw`](Self::register_raw) asks for, from the call that posts the request until it has completed or its queue
    /// pair was destroyed.
    #[allow(unsafe_code, reason = "the promise is the caller's, and is kept in `trusting`")]
    pub unsafe fn trust_addresses(&mut self) {
        self.trusting = true;
    }

    /// Registers memory and takes it; [`deregister`](Self::deregister) gives it back.
    pub fn register(&mut self, memory: Box<[u8]>, options: RegionOptions) -> Result<Region, MemoryError> {
        self.insert(Memory::owned(memory), options)
    }

    /// Registers memory that stays somebody else's.
    ///
    /// # Safety
    ///
    /// Until it is deregistered, or the domain dropped, `len` initialised bytes from `start` stay valid (`len` is at most
    /// `isize::MAX`). Whenever a method of the domain, or of an endpoint that has it, runs, on whatever thread, nobody writes
    /// them and no reference to them is used, then or later, that was made before; a shared reference may be if `access` has
    /// neither `LOCAL_WRITE` nor `REMOTE_WRITE` and no window or other registration of the same bytes has.
    #[allow(unsafe_code, reason = "the promise is the caller's, and is passed on")]
    pub unsafe fn register_raw(
        &mut self,
        start: NonNull<u8>,
        len: usize,
        options: RegionOptions,
    ) -> Result<Region, MemoryError> {
        // SAFETY: promised by the caller in the same words.
        self.insert(unsafe { Memory::borrowed(start, len) }, options)
    }

    fn insert(&mut self, memory: Memory, options: RegionOptions) -> Result<Region, MemoryError> {
        let len = memory.len() as u64;
        let base = base(options.addressing, memory.address(), len)?;
        let stag = self.occupy(Entry {
            key: 0,
            live: true,
            access: options.access,
            base,
            len,
            stream: options.stream,
            store: Store::Region { memory, windows: 0 },
        })?;
        Ok(Region { stag, base, len })
    }

    /// Takes a window that shows nothing yet.
    pub fn allocate_window(&mut self) -> Result<STag, MemoryError> {
        self.occupy(Entry {
            key: 0,
            live: false,
            access: Access::empty(),
            base: 0,
            len: 0,
            stream: None,
            store: Store::Window(None),
        })
    }

    // spec: IW-MEM-01
    fn occupy(&mut self, mut entry: Entry) -> Result<STag, MemoryError> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < self.max as usize => {
                self.slots.push(Slot { generation: self.scramble.random() as u32, entry: None });
                self.slots.len() as u32 - 1
            }
            None => return Err(MemoryError::TooMany),
        };
        entry.key = self.scramble.random() as u8;
        let place = &mut self.slots[slot as usize];
        // A name that was given back is not the same when it is given out again.
        place.generation = place.generation.wrapping_add(1);
        let hidden = |generation: u32| (generation << self.slot_bits | slot) & ((1 << INDEX_BITS) - 1);
        let mut index = self.scramble.hide(hidden(place.generation));
        if index == STag::LOCAL.index() {
            // Never the name of a region.
            place.generation = place.generation.wrapping_add(1);
            index = self.scramble.hide(hidden(place.generation));
        }
        let stag = STag::from_parts(index, entry.key);
        place.entry = Some(entry);
        Ok(stag)
    }

    /// The slot of an index, whatever the key.
    fn slot(&self, stag: STag) -> Option<(usize, &Entry)> {
        let hidden = self.scramble.reveal(stag.index());
        let number = (hidden & ((1 << self.slot_bits) - 1)) as usize;
        let slot = self.slots.get(number)?;
        let generation = slot.generation & ((1 << (INDEX_BITS - self.slot_bits)) - 1);
        if hidden >> self.slot_bits != generation {
            return None;
        }
        Some((number, slot.entry.as_ref()?))
    }

    fn slot_mut(&mut self, stag: STag) -> Option<(usize, &mut Entry)> {
        let (number, _) = self.slot(stag)?;
        Some((number, self.slots.get_mut(number)?.entry.as_mut()?))
    }

    /// Whether `qp` may use `len` bytes from `to` of the region `stag` with the rights `need`.
    // spec: IW-MEM-02, IW-MEM-03, IW-MEM-04, IW-MEM-05, IW-MEM-06
    #[inline]
    pub(crate) fn check(
        &self,
        stag: STag,
        to: u64,
        len: u32,
        need: Access,
        qp: Qp,
    ) -> Result<Span, AccessError> {
        if stag == STag::LOCAL {
            return self.check_address(to, len, need);
        }
        let (number, entry) = self.slot(stag).ok_or(AccessError::Invalid)?;
        if entry.key != stag.key() || !entry.live {
            return Err(AccessError::Invalid);
        }
        if entry.stream.is_some_and(|only| only != qp) {
            return Err(AccessError::Stream);
        }
        let end = to.checked_add(len.into()).ok_or(AccessError::Wrap)?;
        // The end of the region does not wrap: it was refused otherwise.
        if to < entry.base || end > entry.base + entry.len {
            return Err(AccessError::Bounds);
        }
        if !entry.access.contains(need) {
            return Err(AccessError::Rights);
        }
        let (slot, offset) = match entry.store {
            Store::Region { .. } => (number, 0),
            Store::Window(Some(Pane { parent, offset })) => (parent, offset),
            Store::Window(None) => return Err(AccessError::Invalid),
        };
        // Both ends are within the region, whose length is a usize.
        let start = offset + (to - entry.base) as usize;
        Ok(Span::Slot(slot, start..start + len as usize))
    }

    /// Whether a request of this side may use `len` bytes from the address `to`. Peers never may: whatever they ask for needs
    /// a remote right, and what answers a READ is compared with the sink that this side named.
    // spec: IW-MEM-09
    #[inline]
    fn check_address(&self, to: u64, len: u32, need: Access) -> Result<Span, AccessError> {
        if !self.trusting || need.intersects(Access::REMOTE_READ | Access::REMOTE_WRITE) {
            return Err(AccessError::Invalid);
        }
        AddressSpan::new(to, len).map(Span::Address).ok_or(AccessError::Wrap)
    }

    /// The bytes of a span.
    #[inline]
    pub(crate) fn read(&self, span: &Span) -> &[u8] {
        let (slot, range) = match span {
            Span::Slot(slot, range) => (*slot, range.clone()),
            // SAFETY: only `check_address` makes one, and only when `trust_addresses` had the promise.
            #[allow(unsafe_code, reason = "see `trust_addresses`")]
            Span::Address(span) => return unsafe { span.bytes() },
        };
        match self.slots.get(slot).and_then(|slot| slot.entry.as_ref()) {
            Some(Entry { store: Store::Region { memory, .. }, .. }) => {
                memory.bytes().get(range).unwrap_or_default()
            }
            _ => &[],
        }
    }

    /// The bytes of a span that was checked for writing.
    #[inline]
    pub(crate) fn write(&mut self, span: &Span) -> &mut [u8] {
        let (slot, range) = match span {
            Span::Slot(slot, range) => (*slot, range.clone()),
            // SAFETY: as in `read`; the span was checked for writing, and `&mut self` excludes all slices made here.
            #[allow(unsafe_code, reason = "see `trust_addresses`")]
            Span::Address(span) => return unsafe { span.bytes_mut() },
        };
        match self.slots.get_mut(slot).and_then(|slot| slot.entry.as_mut()) {
            Some(Entry { store: Store::Region { memory, .. }, .. }) => {
                memory.bytes_mut().get_mut(range).unwrap_or_default()
            }
            _ => &mut [],
        }
    }

    /// The bytes of a region that was registered with its memory; whatever rights are left.
    pub fn bytes(&self, stag: STag) -> Option<&[u8]> {
        match &self.slot(stag)?.1.store {
            Store::Region { memory, .. } if memory.is_owned() => Some(memory.bytes()),
            _ => None,
        }
    }

    /// The same, to be written.
    pub fn bytes_mut(&mut self, stag: STag) -> Option<&mut [u8]> {
        match &mut self.slot_mut(stag)?.1.store {
            Store::Region { memory, .. } if memory.is_owned() => Some(memory.bytes_mut()),
            _ => None,
        }
    }

    /// Takes all rights away. The slot stays.
    pub fn invalidate(&mut self, stag: STag) -> Result<(), MemoryError> {
        let (_, entry) = self.slot_mut(stag).ok_or(MemoryError::Unknown)?;
        if entry.key != stag.key() {
            return Err(MemoryError::Unknown);
        }
        entry.live = false;
        self.close_window(stag);
        Ok(())
    }

    /// The same on behalf of a peer.
    // spec: IW-INV-02, IW-INV-03
    pub(crate) fn invalidate_remotely(&mut self, stag: STag, qp: Qp) -> Result<(), AccessError> {
        let (_, entry) = self.slot_mut(stag).ok_or(AccessError::Invalid)?;
        if entry.key != stag.key() || !entry.live {
            return Err(AccessError::Invalid);
        }
        if entry.stream.is_some_and(|only| only != qp) {
            return Err(AccessError::Stream);
        }
        if !entry.access.contains(Access::REMOTE_INVALIDATE) {
            return Err(AccessError::Rights);
        }
        entry.live = false;
        self.close_window(stag);
        Ok(())
    }

    /// Forgets what a window shows.
    fn close_window(&mut self, stag: STag) {
        if let Some((_, Entry { store: Store::Window(pane), .. })) = self.slot_mut(stag)
            && let Some(Pane { parent, .. }) = pane.take()
            && let Some(Entry { store: Store::Region { windows, .. }, .. }) =
                self.slots.get_mut(parent).and_then(|slot| slot.entry.as_mut())
        {
            *windows -= 1;
        }
    }

    /// Gives a window that shows nothing a range of `parent` and rights.
    // spec: IW-MEM-08
    pub fn bind(
        &mut self,
        window: STag,
        parent: STag,
        range: Range<u64>,
        options: RegionOptions,
    ) -> Result<Region, MemoryError> {
        let (parent_slot, entry) = self.slot(parent).ok_or(MemoryError::Unknown)?;
        let Store::Region { memory, .. } = &entry.store else { return Err(MemoryError::Unknown) };
        if entry.key != parent.key() || !entry.live {
            return Err(MemoryError::Unknown);
        }
        if range.start > range.end || range.end > entry.len {
            return Err(MemoryError::OutOfRange);
        }
        // A parent without the right to be written here stays unwritten; the right to invalidate is the window's own.
        let lent = Access::LOCAL_WRITE | Access::REMOTE_WRITE;
        let writable = entry.access.intersects(lent);
        if options.access.intersects(lent) && !writable
            || entry.stream.is_some_and(|only| options.stream != Some(only))
        {
            return Err(MemoryError::Access);
        }
        let (len, offset) = (range.end - range.start, range.start as usize);
        let base = base(options.addressing, memory.address().wrapping_add(range.start), len)?;
        let (_, entry) = self.slot_mut(window).ok_or(MemoryError::Unknown)?;
        match &mut entry.store {
            Store::Window(pane) if !entry.live => *pane = Some(Pane { parent: parent_slot, offset }),
            Store::Window(_) => return Err(MemoryError::Bound),
            Store::Region { .. } => return Err(MemoryError::Unknown),
        }
        entry.key = window.key();
        entry.live = true;
        entry.access = options.access;
        (entry.base, entry.len, entry.stream) = (base, len, options.stream);
        if let Some(Entry { store: Store::Region { windows, .. }, .. }) = &mut self.slots[parent_slot].entry {
            *windows += 1;
        }
        Ok(Region { stag: window, base, len })
    }

    /// Gives a slot back, with the memory if the domain has it. The key does not matter.
    pub fn deregister(&mut self, stag: STag) -> Result<Option<Box<[u8]>>, MemoryError> {
        let (number, entry) = self.slot(stag).ok_or(MemoryError::Unknown)?;
        if let Store::Region { windows: 1.., .. } = entry.store {
            return Err(MemoryError::InUse);
        }
        self.close_window(stag);
        let entry = self.slots[number].entry.take();
        self.free.push(number as u32);
        Ok(match entry {
            Some(Entry { store: Store::Region { memory, .. }, .. }) => memory.into_owned(),
            _ => None,
        })
    }

    /// How many regions and windows there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The tagged offset of the first byte, if all of the region has one.
fn base(addressing: Addressing, address: u64, len: u64) -> Result<u64, MemoryError> {
    let base = match addressing {
        Addressing::Zero => 0,
        Addressing::Virtual => address,
        Addressing::At(base) => base,
    };
    base.checked_add(len).map(|_| base).ok_or(MemoryError::OutOfRange)
}

#[cfg(test)]
mod tests;
