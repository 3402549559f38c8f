//! Requests on their way in: checked against what is known of the namespace, made a command, and sent or put in the backlog.

use std::time::Instant;

use nvmf_transport::{Data, HostEngine};
use nvmf_wire::{
    Sqe,
    io::{self, DatasetManagement, DatasetRange, Rw},
    sqe::NSID_BROADCAST,
    zerocopy::IntoBytes,
};

use super::{
    Association, Cx, Namespace, Phase,
    dispatch::Waiting,
    slots::{Lane, Owner, Place, Shape, Slot},
};
use crate::{Admin, Io, IoError, Op, Rejected, Why};

/// A request in the form of a command.
struct Prepared {
    sqe: Sqe,
    data: Data,
    shape: Shape,
    /// How many blocks, of a request that may be cut.
    blocks: u64,
    replay: bool,
}

impl Association {
    /// An active namespace.
    pub fn namespace(&self, nsid: u32) -> Option<&Namespace> {
        let at = self.namespaces.binary_search_by_key(&nsid, |namespace| namespace.nsid).ok()?;
        self.namespaces.get(at)
    }

    /// Takes a request for an I/O queue. It ends in exactly one [`Done`](crate::Done).
    pub fn submit(&mut self, engine: &mut dyn HostEngine, io: Io, now: Instant) -> Result<(), Rejected<Io>> {
        let checked = self.admit().and_then(|()| Ok(self.check(&io)?)).and_then(|shift| {
            if let Op::Deallocate { ranges } = &io.op {
                Ok((shift, Some(self.ranges(engine, ranges)?)))
            } else {
                Ok((shift, None))
            }
        });
        let (shift, ranges) = match checked {
            Ok(checked) => checked,
            Err(why) => return Err(Rejected::new(io, why)),
        };
        let (user, hint) = (io.user, io.queue);
        let prepared = Self::prepare(io, shift, ranges);
        self.outstanding += 1;
        self.sequence += 1;
        let max = self.info.as_ref().map_or(4096, |info| u64::from(info.max_transfer));
        let waiting = if matches!(prepared.shape, Shape::Blocks { .. })
            && (prepared.blocks > max >> shift || prepared.blocks > u64::from(Rw::MAX_BLOCKS))
        {
            Waiting::Split(self.splits.insert(
                Owner::User(user),
                (prepared.sqe, prepared.data),
                (shift, prepared.blocks),
                (self.sequence, prepared.replay, hint),
            ))
        } else {
            Waiting::Slot(self.slots.insert(Slot {
                owner: Owner::User(user),
                sqe: prepared.sqe,
                data: prepared.data,
                place: Place::Waiting,
                shape: prepared.shape,
                sequence: self.sequence,
                deadline: None,
                replay: prepared.replay,
                aborting: false,
                attempts: 0,
                hint,
                admin: false,
            }))
        };
        // Nobody waits and a queue has room: straight to the engine.
        if let Waiting::Slot(index) = waiting
            && self.backlog.io.is_empty()
            && matches!(self.phase, Phase::Live)
            && let Some(queue) = self.queues.choose(hint)
        {
            self.launch_waiting(&mut Cx { engine, now }, Lane::Io(queue), index);
        } else {
            self.wait(waiting);
        }
        Ok(())
    }

    /// Takes a command for the admin queue. It ends in exactly one [`Done`](crate::Done).
    pub fn submit_admin(
        &mut self,
        engine: &mut dyn HostEngine,
        admin: Admin,
        now: Instant,
    ) -> Result<(), Rejected<Admin>> {
        if let Err(why) = self.admit() {
            return Err(Rejected::new(admin, why));
        }
        self.outstanding += 1;
        self.sequence += 1;
        let index = self.slots.insert(Slot {
            owner: Owner::User(admin.user),
            sqe: admin.sqe,
            data: admin.data,
            place: Place::Waiting,
            shape: Shape::Whole,
            sequence: self.sequence,
            deadline: None,
            replay: admin.replay,
            aborting: false,
            attempts: 0,
            hint: None,
            admin: true,
        });
        self.backlog.admin.push_back(index);
        self.pump(&mut Cx { engine, now });
        Ok(())
    }

    /// Whether a request can be taken at all.
    fn admit(&self) -> Result<(), Why> {
        if let Some(error) = self.held_requests_fail() {
            return Err(error.into());
        }
        if matches!(self.phase, Phase::Closing(_)) {
            return Err(IoError::Closed.into());
        }
        if self.room() == 0 { Err(Why::Full) } else { Ok(()) }
    }

    /// Checks a request against its namespace; answers the block size as a power of two.
    fn check(&self, io: &Io) -> Result<u8, IoError> {
        if self.options.queues == 0 || self.info.as_ref().is_some_and(|info| info.discovery) {
            return Err(IoError::NoQueues);
        }
        if matches!(io.op, Op::Raw { .. }) || (matches!(io.op, Op::Flush) && io.nsid == NSID_BROADCAST) {
            return Ok(0);
        }
        let namespace = self.namespace(io.nsid).ok_or(IoError::UnknownNamespace(io.nsid))?;
        if namespace.unusable.is_some() {
            return Err(IoError::UnusableNamespace(io.nsid));
        }
        let shift = namespace.shift();
        let within = |start: u64, blocks: u64| match start.checked_add(blocks) {
            Some(end) if end <= namespace.blocks => Ok(()),
            _ => Err(IoError::OutOfRange),
        };
        match &io.op {
            Op::Read { start, data } | Op::Write { start, data, .. } | Op::Compare { start, data } => {
                let blocks = (data.len() >> shift) as u64;
                if blocks == 0 || data.len() & ((1 << shift) - 1) != 0 {
                    return Err(IoError::Unaligned);
                }
                within(*start, blocks)?;
            }
            Op::WriteZeroes { start, blocks, .. } => {
                if *blocks == 0 {
                    return Err(IoError::Unaligned);
                }
                within(*start, *blocks)?;
            }
            Op::Deallocate { ranges } => {
                if ranges.is_empty() || ranges.len() > DatasetManagement::MAX_RANGES {
                    return Err(IoError::Parameter);
                }
                for range in ranges {
                    within(range.start, u64::from(range.blocks))?;
                }
            }
            Op::Flush | Op::Raw { .. } => {}
        }
        Ok(shift)
    }

    /// The data of Dataset Management.
    fn ranges(
        &self,
        engine: &dyn HostEngine,
        ranges: &[crate::BlockRange],
    ) -> Result<(DatasetManagement, Data), IoError> {
        let command = DatasetManagement::deallocate(ranges.len()).ok_or(IoError::Parameter)?;
        let mut buffer = engine.memory().allocate(command.data_length()).map_err(|_| IoError::Memory)?;
        for (place, range) in buffer.chunks_exact_mut(DatasetRange::SIZE).zip(ranges) {
            place.copy_from_slice(DatasetRange::new(range.start, range.blocks).as_bytes());
        }
        Ok((command, Data::ToController(buffer)))
    }

    fn prepare(io: Io, shift: u8, ranges: Option<(DatasetManagement, Data)>) -> Prepared {
        let nsid = io.nsid;
        let blocks = |len: usize| (len >> shift) as u64;
        // A request of more blocks than one command names is cut before its length field is used.
        let rw = |start: u64, blocks: u64| Rw::new(start, u32::try_from(blocks).unwrap_or(Rw::MAX_BLOCKS));
        let cut = Shape::Blocks { shift };
        match (io.op, ranges) {
            (Op::Read { start, data }, _) => {
                let n = blocks(data.len());
                let sqe = rw(start, n).read(nsid);
                Prepared { sqe, data: Data::FromController(data), shape: cut, blocks: n, replay: true }
            }
            (Op::Write { start, data, fua }, _) => {
                let n = blocks(data.len());
                let sqe = rw(start, n).with_fua(fua).write(nsid);
                Prepared { sqe, data: Data::ToController(data), shape: cut, blocks: n, replay: true }
            }
            (Op::Compare { start, data }, _) => {
                let n = blocks(data.len());
                let sqe = rw(start, n).compare(nsid);
                Prepared { sqe, data: Data::ToController(data), shape: cut, blocks: n, replay: true }
            }
            (Op::WriteZeroes { start, blocks, deallocate, fua }, _) => {
                let sqe = rw(start, blocks).with_deallocate(deallocate).with_fua(fua).write_zeroes(nsid);
                Prepared { sqe, data: Data::None, shape: cut, blocks, replay: true }
            }
            (Op::Deallocate { .. }, Some((command, data))) => {
                Prepared { sqe: command.to_sqe(nsid), data, shape: Shape::Whole, blocks: 0, replay: true }
            }
            (Op::Raw { sqe, data, replay }, _) => {
                Prepared { sqe, data, shape: Shape::Whole, blocks: 0, replay }
            }
            (Op::Flush | Op::Deallocate { .. }, _) => Prepared {
                sqe: io::flush(nsid),
                data: Data::None,
                shape: Shape::Whole,
                blocks: 0,
                replay: true,
            },
        }
    }
}
