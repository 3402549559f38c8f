//! The commands of a controller's queue that have not been answered, by name.

use nvmf_transport::{QueueId, RequestId};
use nvmf_wire::{Cid, DataDirection};

/// A command that has not been answered.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) cid: Cid,
    pub(crate) direction: DataDirection,
    /// Bytes that may be fetched or sent.
    pub(crate) remote: u32,
    /// How far it has been fetched.
    pub(crate) fetched: u32,
    pub(crate) fetches: u16,
}

/// Requests by slot. A slot's generation tells its uses apart.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    slots: Vec<(u32, Option<Request>)>,
    free: Vec<u16>,
}

impl Requests {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, queue: QueueId, request: Request) -> Option<RequestId> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u16::try_from(self.slots.len()).ok()?;
                self.slots.push((0, None));
                slot
            }
        };
        let (generation, place) = self.slots.get_mut(usize::from(slot))?;
        *generation = generation.wrapping_add(1);
        *place = Some(request);
        Some(RequestId { queue, slot, generation: *generation })
    }

    pub(crate) fn get_mut(&mut self, id: RequestId) -> Option<&mut Request> {
        let (generation, request) = self.slots.get_mut(usize::from(id.slot))?;
        if *generation == id.generation { request.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, id: RequestId) -> Option<Request> {
        self.get_mut(id)?;
        self.free.push(id.slot);
        self.slots.get_mut(usize::from(id.slot))?.1.take()
    }

    pub(crate) fn has_cid(&self, cid: Cid) -> bool {
        self.slots.iter().any(|(_, request)| request.as_ref().is_some_and(|request| request.cid == cid))
    }
}
