//! Memory that crosses the interface: exclusive [`Buffer`]s, shared read-only [`View`]s, and the [`Region`] under both.
//!
//! A region is one allocation, possibly registered with a device. A `Buffer` is the only handle to its range and may write;
//! a `View` is one of many and may only read. `Buffer::freeze` and `View::try_into_buffer` go between the two. Buffers are
//! *moved* into an engine and come back in an event, so memory that hardware may still write is never reachable.
//!
//! This is the one place of the interface with `unsafe`: everything above it works on slices.
#![allow(unsafe_code, reason = "owns raw allocations and hands out disjoint slices of them")]

use std::{
    alloc::{self, Layout},
    any::Any,
    fmt,
    mem::ManuallyDrop,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    sync::Arc,
};

use crate::{Error, ErrorKind, Stage, pool::Home, slab::Piece};

/// The alignment of every region: what direct I/O and page-wise placement by hardware ask for.
const ALIGN: usize = 4096;

/// What a transport keeps with a region it registered (keys, a guard that deregisters on drop).
pub trait Registration: Any + Send + Sync {}

/// One page-aligned allocation. Freed, and before that deregistered, when the last buffer or view of it is gone.
pub struct Region {
    start: NonNull<u8>,
    len: usize,
    registration: Option<Box<dyn Registration>>,
    pub(crate) home: Option<Home>,
    /// The piece of a mapping that it is, and not an allocation.
    piece: Option<Piece>,
}

// SAFETY: the region is plain memory; access goes through `Buffer` (exclusive) and `View` (read-only) alone.
unsafe impl Send for Region {}
// SAFETY: as above; `&Region` gives no access to the bytes.
unsafe impl Sync for Region {}

impl Region {
    /// Allocates `len` zeroed bytes. Fails, and does not abort, when memory is short.
    pub fn allocate(len: usize) -> Result<Self, Error> {
        let short =
            || Error::new(Stage::Memory, ErrorKind::Resources, format!("cannot allocate {len} bytes"));
        let layout = Self::layout(len).ok_or_else(short)?;
        // SAFETY: `layout` has a size of at least one.
        let start = NonNull::new(unsafe { alloc::alloc_zeroed(layout) }).ok_or_else(short)?;
        Ok(Self { start, len, registration: None, home: None, piece: None })
    }

    /// The first `len` bytes of a piece, which is zeroed and at least as long.
    pub(crate) fn of_piece(piece: Piece, len: usize) -> Self {
        Self { start: piece.start, len, registration: None, home: None, piece: Some(piece) }
    }

    fn layout(len: usize) -> Option<Layout> {
        Layout::from_size_align(len.max(1), ALIGN).ok()
    }

    /// Attaches what a transport needs to use the region, built from its address and length.
    #[must_use]
    pub fn registered(mut self, register: impl FnOnce(NonNull<u8>, usize) -> Box<dyn Registration>) -> Self {
        self.registration = Some(register(self.start, self.len));
        self
    }

    /// The registration, for the transport that made it to downcast.
    pub fn registration(&self) -> Option<&dyn Registration> {
        self.registration.as_deref()
    }

    /// Whether the region belongs to a [`Pool`](crate::Pool), to which it goes back when its last handle is gone.
    pub fn is_pooled(&self) -> bool {
        self.home.is_some()
    }

    /// The whole region as one exclusive buffer.
    pub fn into_buffer(self) -> Buffer {
        Buffer::whole(Arc::new(self))
    }

    /// The size in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the region has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // A device must lose its rights before the allocator gets the memory back.
        self.registration = None;
        if let Some(home) = self.home.take() {
            home.lost();
        }
        if let Some(piece) = &self.piece {
            piece.give_back();
        } else if let Some(layout) = Self::layout(self.len) {
            // SAFETY: `start` came from `alloc_zeroed` with this very layout, and no handle to it is left.
            unsafe { alloc::dealloc(self.start.as_ptr(), layout) }
        }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("len", &self.len)
            .field("registered", &self.registration.is_some())
            .finish()
    }
}

/// Gives a region back to its pool when this was its last handle.
#[inline]
fn release(mut region: Arc<Region>) {
    // Two handles dropped at once on two threads may both see the other; then the region is freed instead of reused, and
    // `Region::drop` tells the pool so.
    if region.home.is_some()
        && let Some(last) = Arc::get_mut(&mut region)
        && let Some(home) = last.home.take()
    {
        home.give_back(region);
    }
}

/// An exclusive range of a region: the only handle to its bytes.
pub struct Buffer {
    start: NonNull<u8>,
    len: usize,
    region: ManuallyDrop<Arc<Region>>,
}

// SAFETY: a buffer owns its range exclusively, like a `Box<[u8]>`.
unsafe impl Send for Buffer {}
// SAFETY: `&Buffer` only reads.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// The whole of a region that has no other handle.
    pub(crate) fn whole(region: Arc<Region>) -> Self {
        debug_assert_eq!(Arc::strong_count(&region), 1);
        Self { start: region.start, len: region.len, region: ManuallyDrop::new(region) }
    }

    /// Changes the region under a buffer that is its only handle; `None`, and the buffer is gone, if it is not.
    pub(crate) fn with_region(mut self, change: impl FnOnce(&mut Region)) -> Option<Self> {
        change(Arc::get_mut(&mut self.region)?);
        Some(self)
    }

    /// The region under the buffer.
    #[inline]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Splits the buffer in two: keeps `..at`, returns `at..`. Panics if `at` is beyond the end.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        assert!(at <= self.len, "split at {at} of a buffer of {} bytes", self.len);
        // SAFETY: `at` is within the range.
        let start = unsafe { self.start.add(at) };
        let tail = Self { start, len: self.len - at, region: self.region.clone() };
        self.len = at;
        tail
    }

    /// Joins two neighbours that [`Buffer::split_off`] made; gives both back if they are not neighbours.
    pub fn unsplit(mut self, tail: Self) -> Result<Self, (Self, Self)> {
        // SAFETY: one past the end of the range is allowed as a pointer value.
        let end = unsafe { self.start.add(self.len) };
        if !Arc::ptr_eq(&self.region, &tail.region) || end != tail.start {
            return Err((self, tail));
        }
        self.len += tail.len;
        Ok(self)
    }

    /// Cuts the buffer to its first `len` bytes; the rest is unreachable until the region is freed.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Gives up the right to write, for the right to share.
    #[must_use]
    #[inline]
    pub fn freeze(self) -> View {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so the reference moves and is not duplicated.
        let region = unsafe { std::ptr::read(&this.region) };
        View { start: this.start, len: this.len, region }
    }
}

impl Deref for Buffer {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the range lies within the live region, is initialised (allocated zeroed), and only this handle writes it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; `&mut self` is the only access to an exclusive range.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken once, here.
        release(unsafe { ManuallyDrop::take(&mut self.region) });
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

/// A shared, read-only range of a region. Cloning it copies no bytes.
pub struct View {
    start: NonNull<u8>,
    len: usize,
    region: ManuallyDrop<Arc<Region>>,
}

// SAFETY: a view only reads, and no buffer covers its range while it exists.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

impl View {
    /// The region under the view.
    #[inline]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// A part of the view. Panics if the range is not within it.
    #[must_use]
    #[inline]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} of a view of {} bytes",
            self.len
        );
        // SAFETY: the start of the range is within the view.
        let start = unsafe { self.start.add(range.start) };
        Self { start, len: range.end - range.start, region: self.region.clone() }
    }

    /// Takes the right to write back, if no other handle to the region exists.
    pub fn try_into_buffer(mut self) -> Result<Buffer, Self> {
        if Arc::get_mut(&mut self.region).is_none() {
            return Err(self);
        }
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so the reference moves; it is the only one, so the range is exclusive.
        let region = unsafe { std::ptr::read(&this.region) };
        Ok(Buffer { start: this.start, len: this.len, region })
    }
}

impl Clone for View {
    #[inline]
    fn clone(&self) -> Self {
        Self { start: self.start, len: self.len, region: self.region.clone() }
    }
}

impl Deref for View {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the range lies within the live region, is initialised, and nothing writes it while views of it exist.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for View {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken once, here.
        release(unsafe { ManuallyDrop::take(&mut self.region) });
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({} bytes)", self.len)
    }
}

/// Where an engine's buffers come from: plain pages, or memory registered with a device.
pub trait Memory: Send + Sync {
    /// Allocates a zeroed, page-aligned buffer of exactly `len` bytes.
    fn allocate(&self, len: usize) -> Result<Buffer, Error>;
}

/// Plain page-aligned memory, for transports that need no registration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pages;

impl Memory for Pages {
    fn allocate(&self, len: usize) -> Result<Buffer, Error> {
        Region::allocate(len).map(Region::into_buffer)
    }
}
