//! What an association must do whatever carries it: commands by hand against a whole target.
//!
//! Each file is a part of the specifications. [`Who`] is what most cases vary.

pub mod abort;
pub mod admin;
pub mod connect;
pub mod discovery;
pub mod events;
pub mod features;
pub mod host;
pub mod identify;
pub mod io;
pub mod keep_alive;
pub mod log_pages;
pub mod property;
pub mod queues;

use nvmf_transport::{Close, Data, QueueId, QueueKind, QueueSettings};
use nvmf_wire::{
    Nqn, NqnField, Sqe, Status,
    fabrics::{
        CNTLID_DYNAMIC, Connect, ConnectAccepted, ConnectAttributes, ConnectData, PropertyGet, PropertySet,
    },
    property::{Cap, Cc, Csts, PropertyOffset},
    zerocopy::IntoBytes as _,
};

use crate::{
    Stop, Verdict, check,
    site::{Answer, FRIEND, OPEN, Site, nqn},
};

/// A host and the subsystem it wants.
#[derive(Clone, Debug)]
pub struct Who {
    /// Its name.
    pub host: Nqn,
    /// Its identifier.
    pub id: [u8; 16],
    /// The subsystem.
    pub subsystem: Nqn,
}

impl Default for Who {
    fn default() -> Self {
        Self { host: nqn(FRIEND), id: [0x11; 16], subsystem: nqn(OPEN) }
    }
}

impl Who {
    /// The usual host, at another subsystem.
    #[must_use]
    pub fn at(subsystem: Nqn) -> Self {
        Self { subsystem, ..Self::default() }
    }

    /// The data of its Connect.
    #[must_use]
    pub fn data(&self, cntlid: u16) -> ConnectData {
        let mut data = ConnectData::zeroed();
        data.hostid = self.id;
        data.cntlid.set(cntlid);
        data.subnqn = NqnField::from(&self.subsystem);
        data.hostnqn = NqnField::from(&self.host);
        data
    }
}

/// An association, as a case holds it.
#[derive(Clone, Debug)]
pub struct Associated {
    /// The host.
    pub who: Who,
    /// Its controller.
    pub cntlid: u16,
    /// The admin queue.
    pub admin: QueueId,
}

/// Entries of the admin queues of the suite.
pub const ADMIN_DEPTH: u16 = 32;

impl Site {
    /// Sends a Connect as it is.
    pub fn connect_raw(
        &mut self,
        queue: QueueId,
        command: Connect,
        data: &ConnectData,
    ) -> Result<Answer, Stop> {
        let data = self.out(data.as_bytes())?;
        self.call(queue, command.to_sqe(), data)
    }

    /// The Connect of an admin queue, with nothing special.
    #[must_use]
    pub fn admin_connect() -> Connect {
        Connect { sqsize: ADMIN_DEPTH - 1, ..Connect::default() }
    }

    /// Associates, with a keep-alive timeout in milliseconds. The controller is not enabled.
    pub fn associate_disabled(&mut self, who: &Who, kato: u32) -> Result<Associated, Stop> {
        let admin = self.open(QueueKind::Admin, ADMIN_DEPTH)?;
        let command = Connect { kato, ..Self::admin_connect() };
        let answer = self.connect_raw(admin, command, &who.data(CNTLID_DYNAMIC))?;
        let accepted = match ConnectAccepted::parse(&answer.cqe) {
            Ok(accepted) => accepted,
            Err(status) => {
                return Err(Stop::failed(format!("connect: {}, {:?}", status.as_fabrics(), answer.cqe)));
            }
        };
        let settings = QueueSettings { kind: QueueKind::Admin, depth: ADMIN_DEPTH, sq_flow_control: true };
        self.host().configure(admin, settings).map_err(|why| Stop::failed(format!("configure: {why}")))?;
        Ok(Associated { who: who.clone(), cntlid: accepted.cntlid(), admin })
    }

    /// Associates and enables the controller.
    pub fn associate(&mut self, who: &Who) -> Result<Associated, Stop> {
        let associated = self.associate_disabled(who, 0)?;
        self.enable(associated.admin)?;
        Ok(associated)
    }

    /// The usual host, associated and enabled.
    pub fn usual(&mut self) -> Result<Associated, Stop> {
        self.associate(&Who::default())
    }

    /// Reads a property.
    pub fn property(&mut self, admin: QueueId, offset: PropertyOffset) -> Result<u64, Stop> {
        let answer = self.call(admin, PropertyGet::new(offset).to_sqe(), Data::None)?;
        check!(answer.status().is_success(), "reading {offset:?}: {}", answer.status());
        Ok(answer.cqe.u64())
    }

    /// Writes CC.
    pub fn write_cc(&mut self, admin: QueueId, cc: Cc) -> Result<Answer, Stop> {
        let set = PropertySet::new(PropertyOffset::CC, cc.bits().into());
        self.call(admin, set.to_sqe(), Data::None)
    }

    /// CSTS.
    pub fn csts(&mut self, admin: QueueId) -> Result<Csts, Stop> {
        Ok(Csts(self.property(admin, PropertyOffset::CSTS)? as u32))
    }

    /// CAP.
    pub fn cap(&mut self, admin: QueueId) -> Result<Cap, Stop> {
        self.property(admin, PropertyOffset::CAP).map(Cap)
    }

    /// Enables the controller and waits until it is ready.
    pub fn enable(&mut self, admin: QueueId) -> Verdict {
        let answer = self.write_cc(admin, Cc::ENABLE_NVM)?;
        check!(answer.status().is_success(), "enabling: {}", answer.status());
        self.csts_until(admin, "CSTS.RDY", Csts::rdy).map(drop)
    }

    /// Reads CSTS until it is as wanted, within CAP.TO.
    pub fn csts_until(
        &mut self,
        admin: QueueId,
        what: &str,
        wanted: impl Fn(Csts) -> bool,
    ) -> Result<Csts, Stop> {
        let until = self.now() + crate::world::LIMIT;
        loop {
            let csts = self.csts(admin)?;
            if wanted(csts) {
                return Ok(csts);
            }
            check!(self.now() < until, "no {what}: {csts:?}");
            self.pass(std::time::Duration::from_millis(5))?;
        }
    }

    /// The Connect of an I/O queue.
    #[must_use]
    pub fn io_connect(qid: u16, depth: u16, sq_flow_control: bool) -> Connect {
        let cattr = ConnectAttributes(0).with_disable_sq_flow_control(!sq_flow_control);
        Connect { qid, sqsize: depth - 1, cattr, ..Connect::default() }
    }

    /// An I/O queue of an association, by one of the target's engines.
    pub fn io_queue_at(
        &mut self,
        engine: usize,
        of: &Associated,
        qid: u16,
        depth: u16,
        sq_flow_control: bool,
    ) -> Result<QueueId, Stop> {
        let kind = QueueKind::Io(qid);
        let queue = self.open_at(engine, kind, depth)?;
        let command = Self::io_connect(qid, depth, sq_flow_control);
        let answer = self.connect_raw(queue, command, &of.who.data(of.cntlid))?;
        check!(
            answer.status().is_success(),
            "I/O queue {qid}: {}, {:?}",
            answer.status().as_fabrics(),
            answer.cqe
        );
        let settings = QueueSettings { kind, depth, sq_flow_control };
        self.host().configure(queue, settings).map_err(|why| Stop::failed(format!("configure: {why}")))?;
        Ok(queue)
    }

    /// An I/O queue of an association, with flow control.
    pub fn io_queue(&mut self, of: &Associated, qid: u16, depth: u16) -> Result<QueueId, Stop> {
        self.io_queue_at(0, of, qid, depth, true)
    }

    /// An association with one I/O queue of 32 entries.
    pub fn usual_io(&mut self) -> Result<(Associated, QueueId), Stop> {
        let associated = self.usual()?;
        let queue = self.io_queue(&associated, 1, 32)?;
        Ok((associated, queue))
    }

    /// The status a command without data ends with.
    pub fn status(&mut self, queue: QueueId, sqe: Sqe) -> Result<Status, Stop> {
        Ok(self.call(queue, sqe, Data::None)?.status())
    }

    /// The status a command that returns `len` bytes ends with, and the bytes.
    pub fn fetch(&mut self, queue: QueueId, sqe: Sqe, len: usize) -> Result<Result<Vec<u8>, Status>, Stop> {
        let room = self.room(len)?;
        let answer = self.call(queue, sqe, room)?;
        if !answer.status().is_success() {
            check!(answer.transferred == 0, "{} with {} bytes of data", answer.status(), answer.transferred);
            return Ok(Err(answer.status()));
        }
        check!(answer.transferred as usize == len, "success with {} of {len} bytes", answer.transferred);
        Ok(Ok(answer.bytes().to_vec()))
    }

    /// The bytes a command returns; fails if it does not.
    #[track_caller]
    pub fn get(&mut self, queue: QueueId, sqe: Sqe, len: usize) -> Result<Vec<u8>, Stop> {
        match self.fetch(queue, sqe, len)? {
            Ok(bytes) => Ok(bytes),
            Err(status) => Err(Stop::failed(format!("opcode {:02x}: {status}", sqe.opcode))),
        }
    }

    /// The status a command that sends data ends with.
    pub fn put(&mut self, queue: QueueId, sqe: Sqe, bytes: &[u8]) -> Result<Status, Stop> {
        let data = self.out(bytes)?;
        Ok(self.call(queue, sqe, data)?.status())
    }

    /// Ends an association by its admin queue and waits until the target has noticed.
    pub fn leave(&mut self, associated: &Associated) -> Verdict {
        self.host().close(associated.admin, Close::Now);
        self.closed(associated.admin)?;
        let cntlid = associated.cntlid;
        self.until("the end of the association", |site| {
            !site.server.associations().iter().any(|association| association.cntlid == cntlid)
        })
    }
}

/// Fails unless a status is the one expected, whatever its retry bits say.
macro_rules! check_status {
    ($seen:expr, $expected:expr $(, $($words:tt)+)?) => {
        match ($seen, $expected) {
            (seen, expected) => {
                let context: String = String::new() $( + &format!($($words)+) + ": " )?;
                if !seen.is(expected) {
                    return Err($crate::Stop::failed(format!("{context}{seen}, expected {expected}")));
                }
            }
        }
    };
}
pub(crate) use check_status;
