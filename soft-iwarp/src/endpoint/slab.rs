//! A table whose entries have names that are not used twice.

/// Entries by slot; a name is a slot and a generation.
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Adds what `make` makes of its slot and generation, and returns the two.
    pub(super) fn insert_with(&mut self, make: impl FnOnce(u32, u32) -> T) -> (u32, u32) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        let (generation, entry) = &mut self.slots[slot as usize];
        *generation = generation.wrapping_add(1);
        *entry = Some(make(slot, *generation));
        (slot, *generation)
    }

    /// The entry of that name.
    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32, generation: u32) -> Option<&mut T> {
        let (current, entry) = self.slots.get_mut(slot as usize)?;
        if *current == generation { entry.as_mut() } else { None }
    }

    /// Whatever is in the slot.
    #[inline]
    pub(super) fn at(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot as usize)?.1.as_mut()
    }

    /// The name of whatever is in the slot.
    pub(super) fn name(&self, slot: u32) -> Option<(u32, u32)> {
        let (generation, entry) = self.slots.get(slot as usize)?;
        entry.as_ref().map(|_| (slot, *generation))
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        let entry = self.slots.get_mut(slot as usize)?.1.take()?;
        self.free.push(slot);
        Some(entry)
    }

    /// Slots that are or were in use.
    pub(super) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|(_, entry)| entry.as_ref())
    }
}

/// A name as one number.
pub(super) const fn pack((slot, generation): (u32, u32)) -> u64 {
    (generation as u64) << 32 | slot as u64
}

/// The two parts of such a number.
pub(super) const fn unpack(name: u64) -> (u32, u32) {
    (name as u32, (name >> 32) as u32)
}
