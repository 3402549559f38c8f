//! Connections of an engine, by slot and generation.

use std::time::Instant;

use super::context::Context;
use crate::{
    ffi,
    verbs::{ConnId, Depths},
};
use std::sync::Arc;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Finding device and route; the connection manager gives up at that time.
    Resolving { until: Instant },
    /// Known, and neither asked for nor accepted yet.
    Ready,
    /// The peer is asked, or has been told yes.
    Pending,
    /// Up.
    Up,
    /// Reported as ended, failed or removed; nothing more is reported.
    Over,
}

/// The queue pair of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueuePair {
    pub(super) qp: *mut ffi::ibv_qp,
    pub(super) number: u32,
    /// Which of the engine's devices.
    pub(super) device: usize,
    /// Which pair of completion queues there.
    pub(super) pair: usize,
    pub(super) send_wr: u32,
    pub(super) recv_wr: u32,
}

/// A connection.
pub(super) struct Conn {
    pub(super) id: *mut ffi::rdma_cm_id,
    pub(super) phase: Phase,
    /// Whether this side asked for it.
    pub(super) active: bool,
    /// What this side said; what holds is not more.
    pub(super) depths: Depths,
    pub(super) context: Option<Arc<Context>>,
    pub(super) port: u8,
    pub(super) qp: Option<QueuePair>,
    /// A thread is in `rdma_connect`: the identifier must not be destroyed before it returns.
    pub(super) connecting: bool,
    /// Destroyed by its owner while `connecting`.
    pub(super) forsaken: bool,
}

/// A place for a connection.
#[derive(Default)]
pub(super) struct Slot {
    generation: u32,
    pub(super) conn: Option<Conn>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Conns {
    pub(super) slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Conns {
    /// Connections there are, forsaken ones included.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, conn: Conn) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let place = &mut self.slots[slot as usize];
        place.conn = Some(conn);
        ConnId { slot, generation: place.generation }
    }

    /// A connection that its owner still has.
    pub(super) fn live(&mut self, conn: ConnId) -> Option<&mut Conn> {
        let place = self.slots.get_mut(conn.slot as usize)?;
        if place.generation != conn.generation {
            return None;
        }
        place.conn.as_mut().filter(|conn| !conn.forsaken)
    }

    pub(super) fn look(&self, conn: ConnId) -> Option<&Conn> {
        let place = self.slots.get(conn.slot as usize)?;
        if place.generation != conn.generation {
            return None;
        }
        place.conn.as_ref().filter(|conn| !conn.forsaken)
    }

    /// The name of the connection in a slot, if its owner still has it.
    pub(super) fn name(&self, slot: u32) -> Option<ConnId> {
        let place = self.slots.get(slot as usize)?;
        place.conn.as_ref().filter(|conn| !conn.forsaken)?;
        Some(ConnId { slot, generation: place.generation })
    }

    /// The slot of an identifier, which carries its number plus one.
    pub(super) fn slot_of(&self, id: *mut ffi::rdma_cm_id, carried: usize) -> Option<u32> {
        let slot = carried.checked_sub(1)?;
        let conn = self.slots.get(slot)?.conn.as_ref()?;
        (conn.id == id).then_some(slot as u32)
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Conn> {
        let place = self.slots.get_mut(slot as usize)?;
        let conn = place.conn.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot);
        Some(conn)
    }
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    fn conn(id: usize) -> Conn {
        Conn {
            id: ptr::without_provenance_mut(id),
            phase: Phase::Ready,
            active: true,
            depths: Depths::default(),
            context: None,
            port: 1,
            qp: None,
            connecting: false,
            forsaken: false,
        }
    }

    #[test]
    fn a_slot_used_again_has_another_name() {
        let mut conns = Conns::default();
        let first = conns.insert(conn(8));
        assert_eq!(conns.len(), 1);
        assert!(conns.remove(first.slot).is_some());
        let second = conns.insert(conn(16));
        assert_eq!(first.slot, second.slot);
        assert!(conns.live(first).is_none() && conns.look(first).is_none());
        assert!(conns.live(second).is_some());
        assert!(conns.remove(7).is_none());
    }

    #[test]
    fn a_forsaken_connection_has_no_name_and_keeps_its_slot() {
        let mut conns = Conns::default();
        let name = conns.insert(conn(8));
        conns.live(name).unwrap().forsaken = true;
        assert!(conns.live(name).is_none() && conns.name(name.slot).is_none());
        assert_ne!(conns.insert(conn(16)).slot, name.slot);
        assert_eq!(conns.slot_of(ptr::without_provenance_mut(8), name.slot as usize + 1), Some(name.slot));
        assert_eq!(conns.slot_of(ptr::without_provenance_mut(24), name.slot as usize + 1), None);
        assert_eq!(conns.slot_of(ptr::without_provenance_mut(8), 0), None);
    }
}
