//! A controller's outstanding commands, and where the data of a command is.
//!
//! Slots are a table of the queue's size, made when the queue is; nothing that arrives makes it grow. Names carry a
//! generation, and one bit for every CID tells whether it is in use.

use nvmf_transport::{QueueId, RequestId};
use nvmf_wire::{Cid, DataDirection, Sgl, SglError, Sqe, Status, sqe::Psdt};

use crate::pdu::{ADMIN_IN_CAPSULE, Violation};

/// The commands that are outstanding.
#[derive(Debug)]
pub(super) struct Slots {
    entries: Vec<Slot>,
    free: Vec<u16>,
    /// One bit for every CID: whether a command with it is outstanding.
    cids: Box<[u64; 1024]>,
    /// Answers that are not wholly sent. The host cannot know of them, so their commands still count.
    pub(super) unsent: u32,
    depth: u32,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    generation: u32,
    live: bool,
    /// Whether the bit of its CID is not its own: another command had it already, or it was given up.
    pub(super) conflict: bool,
    pub(super) cid: Cid,
    /// Bytes that can be fetched, or answered with.
    pub(super) remote: u32,
    pub(super) direction: Direction,
    /// Where the next fetch must start.
    pub(super) fetched: u32,
    pub(super) fetches: u16,
    pub(super) r2ts: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Direction {
    #[default]
    None,
    ToController,
    ToHost,
}

impl Slots {
    pub(super) fn new(depth: u16) -> Self {
        let mut slots =
            Self { entries: Vec::new(), free: Vec::new(), cids: Box::new([0; 1024]), unsent: 0, depth: 0 };
        slots.resize(depth);
        slots
    }

    /// Sets the size of the queue. Commands that are outstanding keep their slots.
    pub(super) fn resize(&mut self, depth: u16) {
        self.depth = u32::from(depth);
        let known = self.entries.len();
        if usize::from(depth) > known {
            self.entries.resize(depth.into(), Slot::default());
            self.free.reserve(depth.into());
            self.free.extend((known as u16..depth).rev());
        }
    }

    pub(super) fn live(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, request: RequestId) -> Option<&mut Slot> {
        self.entries
            .get_mut(usize::from(request.slot))
            .filter(|slot| slot.live && slot.generation == request.generation)
    }

    /// A slot for a command that has arrived.
    #[inline]
    pub(super) fn take(&mut self, queue: QueueId, cid: Cid) -> Result<RequestId, Violation> {
        // spec: TCP-QUE-09
        let overrun = Violation::QueueOverrun { depth: self.depth };
        if self.live() as u64 + u64::from(self.unsent) >= u64::from(self.depth) {
            return Err(overrun);
        }
        let index = self.free.pop().ok_or(overrun)?;
        let slot = &mut self.entries[usize::from(index)];
        let (word, bit) = (&mut self.cids[usize::from(cid.0 >> 6)], 1u64 << (cid.0 & 63));
        let conflict = *word & bit != 0;
        *word |= bit;
        let generation = slot.generation.wrapping_add(1);
        *slot = Slot { generation, live: true, conflict, cid, ..Slot::default() };
        Ok(RequestId { queue, slot: index, generation })
    }

    /// Lets another command have the CID of one that may be outstanding for ever.
    pub(super) fn give_up_cid(&mut self, request: RequestId) {
        let Some(slot) = self.get_mut(request) else { return };
        let (others, cid) = (std::mem::replace(&mut slot.conflict, true), slot.cid);
        if !others {
            self.cids[usize::from(cid.0 >> 6)] &= !(1u64 << (cid.0 & 63));
        }
    }

    /// Ends a command.
    #[inline]
    pub(super) fn release(&mut self, request: RequestId) {
        let Some(slot) = self.get_mut(request) else { return };
        slot.live = false;
        let (conflict, cid) = (slot.conflict, slot.cid);
        if !conflict {
            self.cids[usize::from(cid.0 >> 6)] &= !(1u64 << (cid.0 & 63));
        }
        self.free.push(request.slot);
    }
}

impl super::fetch::Requests for Slots {
    fn slot(&mut self, request: RequestId) -> Option<&mut Slot> {
        self.get_mut(request)
    }
}

/// Where a command's data is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    None,
    InCapsule,
    Remote { len: u32, direction: Direction },
}

/// Holds a command's descriptor against its capsule, which carries `data_len` bytes.
#[inline]
pub(super) fn place(sqe: &Sqe, data_len: u32, in_capsule: u32) -> Result<Place, Status> {
    // spec: TCP-CMD-13
    if !matches!(sqe.psdt(), Psdt::SGL_METADATA_BUFFER | Psdt::SGL_METADATA_SGL) {
        return Err(Status::INVALID_FIELD);
    }
    match sqe.sgl.parse()? {
        Sgl::Transport { length } => {
            // spec: TCP-CMD-12
            if data_len != 0 {
                return Err(Status::DATA_SGL_LENGTH_INVALID);
            }
            let direction = match sqe.data_direction() {
                DataDirection::ControllerToHost => Direction::ToHost,
                DataDirection::HostToController => Direction::ToController,
                DataDirection::None | DataDirection::Bidirectional => Direction::None,
            };
            Ok(if length == 0 { Place::None } else { Place::Remote { len: length, direction } })
        }
        Sgl::InCapsule { offset, length } => {
            // spec: TCP-CMD-07, TCP-CMD-09
            if offset != 0 {
                return Err(Status::SGL_OFFSET_INVALID);
            }
            // spec: TCP-CMD-12
            let limit = if sqe.is_fabrics() { ADMIN_IN_CAPSULE } else { in_capsule };
            if length != data_len || length > limit.max(in_capsule) {
                return Err(Status::DATA_SGL_LENGTH_INVALID);
            }
            if length > 0 && sqe.data_direction() == DataDirection::ControllerToHost {
                return Err(Status::INVALID_FIELD);
            }
            Ok(if length == 0 { Place::None } else { Place::InCapsule })
        }
        // Commands without data come with a descriptor of any kind, as long as it describes nothing.
        Sgl::DataBlock { length: 0, .. } if data_len == 0 => Ok(Place::None),
        // spec: TCP-CMD-11
        Sgl::Segment { .. } | Sgl::DataBlock { .. } | Sgl::BitBucket { .. } | Sgl::Keyed { .. } => {
            Err(SglError::Type { kind: sqe.sgl.kind().0, subtype: sqe.sgl.subtype().0 }.status())
        }
    }
}
