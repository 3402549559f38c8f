//! Every command the association knows of, from acceptance to its end, in a slab that allocates only while it grows.
//!
//! The engine's cookie is slot number and generation, so that an answer to a command that has ended finds nothing.

use std::time::Instant;

use nvmf_transport::Data;
use nvmf_wire::{Cid, Sqe};

use super::Internal;

/// Which queue a command is for or on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Admin,
    /// By its place among the live I/O queues.
    Io(u16),
}

/// Who hears how a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The caller, by its own number.
    User(u64),
    /// A split request, and which part of it this is.
    Part { split: u32, part: u32 },
    /// The association itself.
    Internal(Internal),
}

/// How a command can be cut into smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Not at all.
    Whole,
    /// Between blocks of `1 << shift` bytes; with or without data.
    Blocks { shift: u8 },
}

/// Where a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a backlog.
    Waiting,
    /// Waiting for the time of its retry.
    Delayed,
    /// With the engine.
    Flying { lane: Lane, cid: Cid },
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) owner: Owner,
    pub(super) sqe: Sqe,
    /// The data, while it is not with the engine.
    pub(super) data: Data,
    pub(super) place: Place,
    pub(super) shape: Shape,
    /// Order of acceptance, kept through losses.
    pub(super) sequence: u64,
    /// When it is overdue, while flying.
    pub(super) deadline: Option<Instant>,
    /// Whether it may be sent again after it may have been executed.
    pub(super) replay: bool,
    /// Whether an Abort for it has been sent.
    pub(super) aborting: bool,
    pub(super) attempts: u8,
    /// The queue the caller prefers.
    pub(super) hint: Option<u16>,
    /// Whether it is for the admin queue.
    pub(super) admin: bool,
}

#[derive(Debug)]
enum Entry {
    Free { next: Option<u32> },
    Taken(Slot),
}

#[derive(Debug, Default)]
pub(super) struct Slots {
    entries: Vec<(u32, Entry)>,
    free: Option<u32>,
}

impl Slots {
    pub(super) fn insert(&mut self, slot: Slot) -> u32 {
        if let Some(index) = self.free
            && let Some((generation, entry)) = self.entries.get_mut(index as usize)
        {
            if let Entry::Free { next } = *entry {
                self.free = next;
            }
            *generation = generation.wrapping_add(1);
            *entry = Entry::Taken(slot);
            return index;
        }
        // The number of commands is bounded far below 2^32 by admission.
        let index = self.entries.len() as u32;
        self.entries.push((0, Entry::Taken(slot)));
        index
    }

    /// The engine's name for a slot.
    pub(super) fn cookie(&self, index: u32) -> u64 {
        let generation = self.entries.get(index as usize).map_or(0, |(generation, _)| *generation);
        u64::from(generation) << 32 | u64::from(index)
    }

    /// The slot of a cookie, if it has not ended.
    pub(super) fn index(&self, cookie: u64) -> Option<u32> {
        let index = cookie as u32;
        match self.entries.get(index as usize) {
            Some((generation, Entry::Taken(_))) if u64::from(*generation) == cookie >> 32 => Some(index),
            _ => None,
        }
    }

    pub(super) fn get(&self, index: u32) -> Option<&Slot> {
        match self.entries.get(index as usize) {
            Some((_, Entry::Taken(slot))) => Some(slot),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Slot> {
        match self.entries.get_mut(index as usize) {
            Some((_, Entry::Taken(slot))) => Some(slot),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<Slot> {
        let (_, entry) = self.entries.get_mut(index as usize)?;
        if matches!(entry, Entry::Free { .. }) {
            return None;
        }
        match std::mem::replace(entry, Entry::Free { next: self.free }) {
            Entry::Taken(slot) => {
                self.free = Some(index);
                Some(slot)
            }
            Entry::Free { .. } => None,
        }
    }

    /// Ends a command of which nothing but its owner is still wanted.
    pub(super) fn end(&mut self, index: u32) -> Option<Owner> {
        let (_, entry) = self.entries.get_mut(index as usize)?;
        let Entry::Taken(Slot { owner, .. }) = *entry else { return None };
        *entry = Entry::Free { next: self.free };
        self.free = Some(index);
        Some(owner)
    }

    /// All commands, with their slot numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.entries.iter().enumerate().filter_map(|(index, (_, entry))| match entry {
            Entry::Taken(slot) => Some((index as u32, slot)),
            Entry::Free { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvmf_wire::IoOpcode;

    fn slot(user: u64) -> Slot {
        Slot {
            owner: Owner::User(user),
            sqe: Sqe::io(IoOpcode::FLUSH, 1),
            data: Data::None,
            place: Place::Waiting,
            shape: Shape::Whole,
            sequence: 0,
            deadline: None,
            replay: true,
            aborting: false,
            attempts: 0,
            hint: None,
            admin: false,
        }
    }

    #[test]
    fn a_cookie_dies_with_its_command() {
        let mut slots = Slots::default();
        let first = slots.insert(slot(1));
        let cookie = slots.cookie(first);
        assert_eq!(slots.index(cookie), Some(first));
        assert!(slots.remove(first).is_some());
        assert_eq!(slots.index(cookie), None);
        assert!(slots.remove(first).is_none());
        let second = slots.insert(slot(2));
        assert_eq!(second, first);
        assert_eq!(slots.index(cookie), None);
        assert_eq!(slots.iter().count(), 1);
    }
}
