//! Outstanding commands by wire CID: slot number below, generation above, so that a stale completion is seen as such.

use nvmf_wire::Cid;

/// A fixed number of command slots. Inserting gives the CID to put on the wire; taking it twice, or taking one that was never
/// given, answers `None`.
///
/// CID FFFFh is never given: it means "no command" in the Error Information log page (NVMe Base 2.0 §5.16.1.2).
#[derive(Debug)]
pub struct CommandSlots<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u16>,
    /// Bits of the CID that number the slot.
    bits: u32,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u16,
    value: Option<T>,
}

impl<T> CommandSlots<T> {
    /// `depth` slots, all free.
    pub fn new(depth: u16) -> Self {
        let entries = (0..depth).map(|_| Entry { generation: 0, value: None }).collect();
        let bits = u32::BITS - u32::from(depth.saturating_sub(1)).leading_zeros();
        Self { entries, free: (0..depth).rev().collect(), bits }
    }

    /// Takes a slot for `value`, or gives it back when none is free.
    #[inline]
    pub fn insert(&mut self, value: T) -> Result<Cid, T> {
        let Some(slot) = self.free.pop() else {
            return Err(value);
        };
        let bits = self.bits;
        let entry = &mut self.entries[usize::from(slot)];
        entry.generation = entry.generation.wrapping_add(1);
        if Self::cid(bits, slot, entry.generation) == 0xffff {
            entry.generation = entry.generation.wrapping_add(1);
        }
        entry.value = Some(value);
        Ok(Cid(Self::cid(bits, slot, entry.generation)))
    }

    #[inline]
    fn cid(bits: u32, slot: u16, generation: u16) -> u16 {
        // With 65,536 slots no bit is left for the generation; the shift must not wrap.
        slot | generation.checked_shl(bits).unwrap_or(0)
    }

    #[inline]
    fn entry(&self, cid: Cid) -> Option<usize> {
        let mask = 1u16.checked_shl(self.bits).map_or(u16::MAX, |limit| limit.wrapping_sub(1));
        let slot = cid.0 & mask;
        let entry = self.entries.get(usize::from(slot))?;
        (entry.value.is_some() && Self::cid(self.bits, slot, entry.generation) == cid.0)
            .then_some(usize::from(slot))
    }

    /// The outstanding command with this CID.
    #[inline]
    pub fn get(&self, cid: Cid) -> Option<&T> {
        self.entries[self.entry(cid)?].value.as_ref()
    }

    /// The outstanding command with this CID.
    #[inline]
    pub fn get_mut(&mut self, cid: Cid) -> Option<&mut T> {
        let slot = self.entry(cid)?;
        self.entries[slot].value.as_mut()
    }

    /// Ends the outstanding command with this CID.
    #[inline]
    pub fn remove(&mut self, cid: Cid) -> Option<T> {
        let slot = self.entry(cid)?;
        let value = self.entries[slot].value.take();
        self.free.push(slot as u16);
        value
    }

    /// Ends all commands, in slot order.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        let Self { entries, free, .. } = self;
        entries.iter_mut().enumerate().filter_map(|(slot, entry)| {
            let value = entry.value.take()?;
            free.push(slot as u16);
            Some(value)
        })
    }

    /// How many commands are outstanding.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether no command is outstanding.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no slot is free.
    pub fn is_full(&self) -> bool {
        self.free.is_empty()
    }
}
