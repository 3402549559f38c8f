//! Requests larger than one command: cut into parts that fly as queues have room, and joined again when all have ended.
//!
//! Parts are cut off one at a time, so a request of any size takes no more slots than there are commands in flight.

use nvmf_transport::{Buffer, Data};
use nvmf_wire::{Sqe, io::Rw};

use super::slots::{Owner, Shape, Slot};
use crate::{IoError, Outcome};

#[derive(Debug)]
pub(super) struct Split {
    owner: Owner,
    /// The whole request as one command, whatever its length field can hold.
    template: Sqe,
    shift: u8,
    /// Blocks not cut off yet.
    next: u64,
    left: u64,
    rest: Data,
    pub(super) sequence: u64,
    pub(super) replay: bool,
    pub(super) hint: Option<u16>,
    /// Buffers of parts that have ended, by number.
    parts: Vec<Option<Buffer>>,
    /// Parts cut off and not ended.
    out: u32,
    error: Option<IoError>,
    transferred: u64,
}

impl Split {
    pub(super) fn nsid(&self) -> u32 {
        self.template.nsid()
    }
}

/// A part, ready to become a command.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) part: u32,
    pub(super) sqe: Sqe,
    pub(super) data: Data,
    pub(super) shape: Shape,
}

/// A request whose parts have all ended.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) owner: Owner,
    pub(super) result: Result<Outcome, IoError>,
    pub(super) data: Data,
}

#[derive(Debug, Default)]
pub(super) struct Splits {
    entries: Vec<Option<Split>>,
    free: Vec<u32>,
    /// Emptied lists of parts, kept so that splitting allocates only until it has seen the largest request.
    lists: Vec<Vec<Option<Buffer>>>,
}

impl Splits {
    /// A request of `blocks` blocks from the one `template` names.
    pub(super) fn insert(
        &mut self,
        owner: Owner,
        (template, data): (Sqe, Data),
        (shift, blocks): (u8, u64),
        (sequence, replay, hint): (u64, bool, Option<u16>),
    ) -> u32 {
        let split = Split {
            owner,
            next: Rw::parse(&template).slba,
            template,
            shift,
            left: blocks,
            rest: data,
            sequence,
            replay,
            hint,
            parts: self.lists.pop().unwrap_or_default(),
            out: 0,
            error: None,
            transferred: 0,
        };
        if let Some(index) = self.free.pop()
            && let Some(entry) = self.entries.get_mut(index as usize)
        {
            *entry = Some(split);
            return index;
        }
        self.entries.push(Some(split));
        (self.entries.len() - 1) as u32
    }

    /// Makes a split of a command that has become too large for the queues there are now.
    pub(super) fn insert_command(&mut self, slot: Slot, shift: u8) -> u32 {
        let blocks = u64::from(Rw::parse(&slot.sqe).blocks);
        self.insert(
            slot.owner,
            (slot.sqe, slot.data),
            (shift, blocks),
            (slot.sequence, slot.replay, slot.hint),
        )
    }

    pub(super) fn get(&self, index: u32) -> Option<&Split> {
        self.entries.get(index as usize)?.as_ref()
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut Split> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    /// Cuts off the next part, of at most `max_bytes`. `None` when nothing is left.
    ///
    /// That holds for zeroes too. They have no data, so not MDTS but WZSL bounds them (NVM Command Set 1.0 §4.1.5.2); it is not
    /// asked for, since controllers that have it take as much as MDTS.
    pub(super) fn carve(&mut self, index: u32, max_bytes: u32) -> Option<Part> {
        let split = self.get_mut(index)?;
        if split.left == 0 {
            return None;
        }
        let shift = u32::from(split.shift);
        let limit = (max_bytes >> shift).clamp(1, Rw::MAX_BLOCKS);
        let blocks = split.left.min(u64::from(limit)) as u32;
        split.left -= u64::from(blocks);
        let bytes = (blocks as usize) << shift;
        let data = match std::mem::take(&mut split.rest) {
            Data::None => Data::None,
            Data::ToController(mut head) => {
                if split.left > 0 {
                    split.rest = Data::ToController(head.split_off(bytes.min(head.len())));
                }
                Data::ToController(head)
            }
            Data::FromController(mut head) => {
                if split.left > 0 {
                    split.rest = Data::FromController(head.split_off(bytes.min(head.len())));
                }
                Data::FromController(head)
            }
        };
        let mut rw = Rw::parse(&split.template);
        (rw.slba, rw.blocks) = (split.next, blocks);
        split.next = split.next.wrapping_add(u64::from(blocks));
        let sqe = rw.to_sqe(split.template.io_opcode(), split.template.nsid());
        let part = split.parts.len() as u32;
        split.parts.push(None);
        split.out += 1;
        Some(Part { part, sqe, data, shape: Shape::Blocks { shift: split.shift } })
    }

    /// Whether nothing is left to cut off.
    pub(super) fn is_carved(&self, index: u32) -> bool {
        self.get(index).is_none_or(|split| split.left == 0)
    }

    /// Notes the end of a part; gives the request back if it was the last.
    pub(super) fn part_ended(
        &mut self,
        index: u32,
        part: u32,
        result: Result<Outcome, IoError>,
        data: Data,
    ) -> Option<Joined> {
        let split = self.get_mut(index)?;
        split.out = split.out.saturating_sub(1);
        if let Some(place) = split.parts.get_mut(part as usize) {
            *place = data.into_buffer();
        }
        match result {
            Ok(outcome) => split.transferred += outcome.transferred,
            // The first error is the request's; nothing further is sent.
            Err(error) => {
                split.error.get_or_insert(error);
                split.left = 0;
            }
        }
        self.join_if_complete(index)
    }

    /// Gives up what is not cut off yet; gives the request back if no part is out.
    pub(super) fn fail(&mut self, index: u32, error: IoError) -> Option<Joined> {
        let split = self.get_mut(index)?;
        split.error.get_or_insert(error);
        split.left = 0;
        self.join_if_complete(index)
    }

    fn join_if_complete(&mut self, index: u32) -> Option<Joined> {
        let split = self.get(index)?;
        if split.out > 0 || split.left > 0 {
            return None;
        }
        let mut split = self.entries.get_mut(index as usize)?.take()?;
        self.free.push(index);
        let reads = matches!(split.template.io_opcode(), nvmf_wire::IoOpcode::READ);
        let mut whole: Option<Buffer> = None;
        for piece in split.parts.drain(..).flatten().chain(split.rest.into_buffer()) {
            whole = match whole {
                None => Some(piece),
                // Neighbours always join: they were split off each other.
                Some(head) => Some(head.unsplit(piece).unwrap_or_else(|(head, _)| head)),
            };
        }
        self.lists.push(split.parts);
        let data = match whole {
            None => Data::None,
            Some(buffer) if reads => Data::FromController(buffer),
            Some(buffer) => Data::ToController(buffer),
        };
        let result = match split.error {
            Some(error) => Err(error),
            None => Ok(Outcome { result: 0, transferred: split.transferred }),
        };
        Some(Joined { owner: split.owner, result, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvmf_transport::{Memory, Pages};

    fn read(splits: &mut Splits, blocks: usize) -> u32 {
        let buffer = Pages.allocate(blocks * 512).unwrap();
        let sqe = Rw::new(100, 1).read(1);
        splits.insert(
            Owner::User(7),
            (sqe, Data::FromController(buffer)),
            (9, blocks as u64),
            (0, true, None),
        )
    }

    #[test]
    fn parts_cover_the_request_once_and_join_in_order() {
        let mut splits = Splits::default();
        let index = read(&mut splits, 10);
        let mut parts = Vec::new();
        while let Some(mut part) = splits.carve(index, 2048) {
            let rw = Rw::parse(&part.sqe);
            if let Data::FromController(buffer) = &mut part.data {
                assert_eq!(buffer.len(), rw.blocks as usize * 512);
                buffer.fill(rw.slba as u8);
            }
            parts.push((rw.slba, rw.blocks, part));
        }
        assert_eq!(parts.iter().map(|p| (p.0, p.1)).collect::<Vec<_>>(), [(100, 4), (104, 4), (108, 2)]);
        // Any order of ending.
        parts.rotate_left(1);
        let mut joined = None;
        for (_, _, part) in parts {
            assert!(joined.is_none());
            let outcome = Outcome { result: 0, transferred: part.data.len() as u64 };
            joined = splits.part_ended(index, part.part, Ok(outcome), part.data);
        }
        let joined = joined.unwrap();
        assert_eq!(joined.result, Ok(Outcome { result: 0, transferred: 5120 }));
        let Data::FromController(buffer) = joined.data else { panic!("direction") };
        assert_eq!(buffer.len(), 5120);
        assert!(buffer[..2048].iter().all(|&b| b == 100) && buffer[4096..].iter().all(|&b| b == 108));
        assert!(splits.get(index).is_none());
    }

    #[test]
    fn an_error_stops_cutting_and_returns_the_whole_buffer() {
        let mut splits = Splits::default();
        let index = read(&mut splits, 10);
        let part = splits.carve(index, 1024).unwrap();
        let joined = splits.part_ended(index, part.part, Err(IoError::Timeout), part.data).unwrap();
        assert_eq!(joined.result, Err(IoError::Timeout));
        assert_eq!(joined.data.len(), 5120);
    }

    #[test]
    fn zeroes_need_no_data() {
        let mut splits = Splits::default();
        let sqe = Rw::new(0, 1).write_zeroes(1);
        let index = splits.insert(Owner::User(1), (sqe, Data::None), (12, 70_000), (0, true, None));
        let first = Rw::parse(&splits.carve(index, 1 << 30).unwrap().sqe);
        let second = Rw::parse(&splits.carve(index, 1 << 30).unwrap().sqe);
        assert_eq!((first.slba, first.blocks, second.slba, second.blocks), (0, 65_536, 65_536, 4464));
        assert!(splits.carve(index, 1 << 30).is_none());
    }

    #[test]
    fn zeroes_are_cut_as_data_are() {
        let mut splits = Splits::default();
        let sqe = Rw::new(0, 1).write_zeroes(1);
        let index = splits.insert(Owner::User(1), (sqe, Data::None), (12, 300), (0, true, None));
        let parts = [(); 2].map(|()| Rw::parse(&splits.carve(index, 1 << 20).unwrap().sqe));
        assert_eq!(parts.map(|part| (part.slba, part.blocks)), [(0, 256), (256, 44)]);
        assert!(splits.carve(index, 1 << 20).is_none());
    }
}
