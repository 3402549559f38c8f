//! Names of queues, requests and listeners, and the table that makes a stale name harmless.

use std::fmt;

/// A queue of one engine. Never reused: a name outlives its queue without ever meaning another one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId {
    slot: u32,
    generation: u32,
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "queue {}.{}", self.slot, self.generation)
    }
}

impl QueueId {
    /// A dense small number, for indexing a side table. Shared by queues that do not live at the same time.
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

/// A command that a controller has received and not yet answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// The queue it arrived on.
    pub queue: QueueId,
    /// The transport's slot for it.
    pub slot: u16,
    /// Tells this use of the slot from the ones before.
    pub generation: u32,
}

/// A listening address of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u32);

/// Values by [`QueueId`]: a slab whose names carry a generation.
#[derive(Debug)]
pub struct Queues<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Queues<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Queues<T> {
    /// Stores the value that `make` builds, knowing its name.
    pub fn insert_with(&mut self, make: impl FnOnce(QueueId) -> T) -> QueueId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry { generation: 0, value: None });
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        let id = QueueId { slot, generation: entry.generation };
        entry.value = Some(make(id));
        id
    }

    /// Stores a value.
    pub fn insert(&mut self, value: T) -> QueueId {
        self.insert_with(|_| value)
    }

    /// The value of a live queue.
    pub fn get(&self, id: QueueId) -> Option<&T> {
        self.entries.get(id.slot()).filter(|e| e.generation == id.generation)?.value.as_ref()
    }

    /// The value of a live queue.
    pub fn get_mut(&mut self, id: QueueId) -> Option<&mut T> {
        self.entries.get_mut(id.slot()).filter(|e| e.generation == id.generation)?.value.as_mut()
    }

    /// Ends a queue.
    pub fn remove(&mut self, id: QueueId) -> Option<T> {
        let value =
            self.entries.get_mut(id.slot()).filter(|e| e.generation == id.generation)?.value.take()?;
        self.free.push(id.slot);
        Some(value)
    }

    /// The live queue in a slot (the inverse of [`QueueId::slot`]).
    pub fn at_slot(&self, slot: usize) -> Option<QueueId> {
        let entry = self.entries.get(slot).filter(|e| e.value.is_some())?;
        Some(QueueId { slot: slot as u32, generation: entry.generation })
    }

    /// All live queues.
    pub fn iter(&self) -> impl Iterator<Item = (QueueId, &T)> {
        self.entries.iter().enumerate().filter_map(|(slot, e)| {
            Some((QueueId { slot: slot as u32, generation: e.generation }, e.value.as_ref()?))
        })
    }

    /// All live queues.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (QueueId, &mut T)> {
        self.entries.iter_mut().enumerate().filter_map(|(slot, e)| {
            Some((QueueId { slot: slot as u32, generation: e.generation }, e.value.as_mut()?))
        })
    }

    /// How many queues live.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
