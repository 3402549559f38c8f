//! A controller's outstanding commands, and where the data of a command is.
//!
//! Slots are a table of the queue's size, made when the queue is; nothing that arrives makes it grow. Names carry a
//! generation, and one bit for every CID tells whether it is in use.

use nvmf_transport::{QueueId, RequestId};
use nvmf_wire::{
    Cid, DataDirection, Sgl, SglDescriptor, SglError, Sqe, Status, sgl::in_capsule_range, sqe::Psdt,
};
use smallvec::SmallVec;
use std::ops::Range;
use zerocopy::FromBytes as _;

/// The commands that are outstanding.
#[derive(Debug)]
pub(super) struct Slots {
    entries: Vec<Slot>,
    free: Vec<u16>,
    /// One bit for every CID: whether a command with it is outstanding.
    cids: Box<[u64; 1024]>,
    /// Answers that are not posted. The host cannot know of them, so their commands still count.
    pub(super) unposted: u32,
    depth: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    generation: u32,
    live: bool,
    /// Whether the bit of its CID is not its own: another command had it already, or it was given up.
    pub(super) conflict: bool,
    pub(super) cid: Cid,
    /// The host's memory for the command's data.
    pub(super) remote: RemoteData,
    /// Where the next fetch must start.
    pub(super) fetched: u32,
    pub(super) fetches: u16,
}

/// A piece of the host's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) address: u64,
    pub(super) len: u32,
    pub(super) key: u32,
    pub(super) invalidate: bool,
}

/// All of the host's memory for one command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RemoteData {
    pub(super) segments: SmallVec<[Segment; 1]>,
    pub(super) len: u32,
    pub(super) direction: Direction,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Direction {
    #[default]
    None,
    ToController,
    ToHost,
}

impl RemoteData {
    /// The key to invalidate with the completion: a message carries one, so the first that may be.
    // spec: RDMA-KEY-06, RDMA-KEY-07
    pub(super) fn invalidate(&self) -> Option<u32> {
        self.segments.iter().find(|segment| segment.invalidate).map(|segment| segment.key)
    }

    /// The piece of one segment that holds the data from `offset` on, and is not longer than `len`.
    pub(super) fn piece(&self, offset: u32, len: u32) -> Option<Segment> {
        let mut start = 0u32;
        for segment in &self.segments {
            let end = start.checked_add(segment.len)?;
            if offset < end {
                let skip = offset.checked_sub(start)?;
                let address = segment.address.wrapping_add(skip.into());
                return Some(Segment { address, len: len.min(segment.len - skip), ..*segment });
            }
            start = end;
        }
        None
    }
}

impl Slots {
    pub(super) fn new(depth: u16) -> Self {
        Self {
            entries: vec![Slot::default(); depth.into()],
            free: (0..depth).rev().collect(),
            cids: Box::new([0; 1024]),
            unposted: 0,
            depth: depth.into(),
        }
    }

    /// Lowers the number of commands that may be outstanding; the table keeps its size.
    pub(super) fn limit(&mut self, depth: u16) {
        self.depth = u32::from(depth).min(self.entries.len() as u32);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
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

    /// A slot for a command that has arrived; `None` if there are more than the queue has entries.
    // spec: RDMA-QUE-06
    #[inline]
    pub(super) fn take(&mut self, queue: QueueId, cid: Cid) -> Option<RequestId> {
        if self.live() as u64 + u64::from(self.unposted) >= u64::from(self.depth) {
            return None;
        }
        let index = self.free.pop()?;
        let slot = self.entries.get_mut(usize::from(index))?;
        let (word, bit) = (&mut self.cids[usize::from(cid.0 >> 6)], 1u64 << (cid.0 & 63));
        let conflict = *word & bit != 0;
        *word |= bit;
        let generation = slot.generation.wrapping_add(1);
        *slot = Slot { generation, live: true, conflict, cid, ..Slot::default() };
        Some(RequestId { queue, slot: index, generation })
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

/// Where a command's data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    None,
    /// Within the in-capsule data.
    InCapsule(Range<usize>),
    Remote(RemoteData),
}

/// What a queue takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// The most data of one command.
    pub(super) max_transfer: u32,
    /// Descriptors of one command.
    pub(super) max_descriptors: u16,
}

/// Holds a command's descriptor against its capsule, whose in-capsule data `data` is.
#[inline]
pub(super) fn place(sqe: &Sqe, data: &[u8], rules: Rules) -> Result<Place, Status> {
    // spec: RDMA-CAP-05
    if !matches!(sqe.psdt(), Psdt::SGL_METADATA_BUFFER | Psdt::SGL_METADATA_SGL) {
        return Err(Status::INVALID_FIELD);
    }
    match sqe.sgl.parse()? {
        Sgl::Keyed { .. } => remote(sqe, std::slice::from_ref(&sqe.sgl), rules),
        Sgl::InCapsule { offset, length } => {
            // spec: RDMA-SGL-06, RDMA-SGL-07
            let range = in_capsule_range(offset, length, data.len())?;
            if length > 0 && sqe.data_direction() == DataDirection::ControllerToHost {
                return Err(Status::INVALID_FIELD);
            }
            Ok(if range.is_empty() { Place::None } else { Place::InCapsule(range) })
        }
        // Commands without data come with a descriptor of any kind, as long as it describes nothing.
        Sgl::DataBlock { length: 0, .. } if data.is_empty() => Ok(Place::None),
        // spec: RDMA-SGL-08, RDMA-SGL-09
        Sgl::Segment { at, length, in_capsule: true, last: true } => {
            let range = in_capsule_range(at, length, data.len())?;
            let count = range.len() / size_of::<SglDescriptor>();
            if count > usize::from(rules.max_descriptors) {
                return Err(Status::INVALID_NUMBER_OF_SGL_DESCRIPTORS);
            }
            match <[SglDescriptor]>::ref_from_bytes(data.get(range).unwrap_or_default()) {
                Ok(descriptors) => remote(sqe, descriptors, rules),
                Err(_) => Err(Status::INVALID_SGL_SEGMENT_DESCRIPTOR),
            }
        }
        // spec: RDMA-SGL-10
        Sgl::Segment { .. } | Sgl::DataBlock { .. } | Sgl::BitBucket { .. } | Sgl::Transport { .. } => {
            Err(SglError::Type { kind: sqe.sgl.kind().0, subtype: sqe.sgl.subtype().0 }.status())
        }
    }
}

/// Keyed descriptors, all of them.
// spec: RDMA-SGL-03, RDMA-SGL-05
fn remote(sqe: &Sqe, descriptors: &[SglDescriptor], rules: Rules) -> Result<Place, Status> {
    let mut data = RemoteData::default();
    for descriptor in descriptors {
        let Sgl::Keyed { address, length, key, invalidate } = descriptor.parse()? else {
            return Err(Status::SGL_DESCRIPTOR_TYPE_INVALID);
        };
        if length > 0 {
            // spec: RDMA-SGL-11
            address.checked_add(u64::from(length) - 1).ok_or(Status::DATA_SGL_LENGTH_INVALID)?;
            data.len = data.len.checked_add(length).ok_or(Status::DATA_SGL_LENGTH_INVALID)?;
            data.segments.push(Segment { address, len: length, key, invalidate });
        }
    }
    // spec: RDMA-SGL-12
    if data.len > rules.max_transfer {
        return Err(Status::DATA_SGL_LENGTH_INVALID);
    }
    if data.len == 0 {
        return Ok(Place::None);
    }
    data.direction = match sqe.data_direction() {
        DataDirection::ControllerToHost => Direction::ToHost,
        DataDirection::HostToController => Direction::ToController,
        DataDirection::None | DataDirection::Bidirectional => Direction::None,
    };
    Ok(Place::Remote(data))
}
