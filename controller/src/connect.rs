//! The Connect command: every field, in the order of the wire, and what an accepted one makes (NVMe-oF 1.1 §3.3, §4.2).
//!
//! The host's right to the subsystem is asked on every Connect, of the admin queue and of I/O queues alike. Reserved bits of
//! CATTR, its priority class included, are not looked at: nothing arbitrates between queues here. Nor is KATO on an I/O queue:
//! the timer belongs to the admin queue, and hosts of SPDK fill the field in on every queue.

use std::sync::Arc;

use nvmf_transport::{QueueInfo, QueueKind, QueueSettings, Wire};
use nvmf_wire::{
    Sqe, Status,
    fabrics::{CNTLID_DYNAMIC, Connect, ConnectData, InvalidParameter},
};

use crate::{
    association::{Address, Association, Facts, Host, JoinError, Parts, Place, registers::Registers},
    buffers::DataBuffers,
    counters::QueueCounters,
    server::Shared,
    subsystem::{PAGE, Subsystem},
};

/// Why a Connect failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// With this status.
    Status(Status),
    /// With Connect Invalid Parameters, for this field.
    Parameter(InvalidParameter),
    /// The queue identifier is in use. It may be that of a queue whose end has not been noticed yet, so this is asked again
    /// for a moment before it is answered (with Command Sequence Error).
    Duplicate,
}

impl From<InvalidParameter> for Rejection {
    fn from(parameter: InvalidParameter) -> Self {
        Self::Parameter(parameter)
    }
}

impl From<Status> for Rejection {
    fn from(status: Status) -> Self {
        Self::Status(status.with_dnr())
    }
}

/// What a Connect arrived on.
pub(crate) struct Arrival<'a> {
    pub(crate) address: Address,
    pub(crate) transport: &'static str,
    pub(crate) wire: Wire,
    pub(crate) info: &'a QueueInfo,
}

/// What an accepted Connect made.
#[derive(Debug)]
pub(crate) enum Accepted {
    Admin { association: Arc<Association>, settings: QueueSettings },
    Io { association: Arc<Association>, settings: QueueSettings, grant: IoGrant },
}

/// What belongs to an I/O queue for its life.
#[derive(Debug)]
pub(crate) struct IoGrant {
    pub(crate) subsystem: Arc<Subsystem>,
    pub(crate) counters: Arc<QueueCounters>,
    /// Bytes of data buffers.
    pub(crate) memory: Place,
    /// Bytes one command may move.
    pub(crate) max_transfer: u32,
}

impl Shared {
    /// Judges a Connect and makes what it asks for.
    pub(crate) fn connect(
        &self,
        arrival: Arrival<'_>,
        sqe: &Sqe,
        data: &ConnectData,
    ) -> Result<Accepted, Rejection> {
        let command = Connect::parse(sqe);
        if command.recfmt != Connect::RECFMT {
            return Err(Status::CONNECT_INCOMPATIBLE_FORMAT.into());
        }
        // 65536 entries, SQSIZE FFFFh, are more than CAP.MQES allows anywhere.
        let depth = match command.sqsize.checked_add(1) {
            Some(depth) if command.sqsize != 0 && depth <= arrival.info.limits.max_depth => depth,
            _ => return Err(InvalidParameter::SQSIZE.into()),
        };
        if command.qid == 0 && depth > self.options.max_admin_entries {
            return Err(InvalidParameter::SQSIZE.into());
        }
        if data.hostid == [0; 16] {
            return Err(InvalidParameter::HOSTID.into());
        }
        let subnqn = data.subnqn.nqn().map_err(|_| InvalidParameter::SUBNQN)?;
        let nqn = data.hostnqn.nqn().map_err(|_| InvalidParameter::HOSTNQN)?;
        let subsystem = match subnqn.is_discovery() {
            true => None,
            false => Some(self.subsystem(&subnqn).ok_or(InvalidParameter::SUBNQN)?),
        };
        if subsystem.as_ref().is_some_and(|subsystem| !subsystem.allows(&nqn)) {
            return Err(Status::CONNECT_INVALID_HOST.into());
        }
        let host = Host { nqn, id: data.hostid };
        let settings = QueueSettings {
            kind: QueueKind::from_qid(command.qid),
            depth,
            sq_flow_control: !command.cattr.disable_sq_flow_control(),
        };
        match (settings.kind, subsystem) {
            (QueueKind::Admin, subsystem) => {
                self.connect_admin(arrival, &command, data, subsystem, host, settings)
            }
            (QueueKind::Io(_), None) => Err(InvalidParameter::QID.into()),
            (QueueKind::Io(qid), Some(subsystem)) => {
                self.connect_io(arrival, qid, data.cntlid.get(), subsystem, host, settings)
            }
        }
    }

    fn connect_admin(
        &self,
        arrival: Arrival<'_>,
        command: &Connect,
        data: &ConnectData,
        subsystem: Option<Arc<Subsystem>>,
        host: Host,
        settings: QueueSettings,
    ) -> Result<Accepted, Rejection> {
        // The dynamic controller model: the controller is chosen here (NVMe-oF 1.1 §4.1).
        if data.cntlid.get() != CNTLID_DYNAMIC {
            return Err(InvalidParameter::CNTLID.into());
        }
        let busy = Rejection::Status(Status::CONNECT_CONTROLLER_BUSY);
        let place = Place::take(&self.associations, 1, self.options.max_associations).ok_or(busy)?;
        let limits = &arrival.info.limits;
        let registry = subsystem.as_ref().map_or(&self.discovery, |subsystem| &subsystem.controllers);
        let (entries, max_transfer, max_io_queues) = match &subsystem {
            Some(of) => (of.max_queue_entries.min(limits.max_depth), of.max_transfer, of.max_io_queues),
            None => (settings.depth, DISCOVERY_TRANSFER, 0),
        };
        let facts = Facts {
            transport: arrival.transport,
            wire: arrival.wire,
            limits: limits.clone(),
            local: arrival.info.local,
            peer: arrival.info.peer,
            max_transfer: power_of_two(max_transfer.min(limits.max_transfer)),
            max_io_queues,
        };
        let parts = Parts {
            registers: Registers::new(entries, subsystem.is_none()),
            registry: Arc::clone(registry),
            admin: arrival.address,
            // spec: TCP-KA-02
            kato: command.kato,
            subsystem,
            host,
            facts,
            place,
        };
        let registry = Arc::clone(&parts.registry);
        let association = registry.insert(|cntlid| Association::new(cntlid, parts)).ok_or(busy)?;
        // A right or a subsystem that went while this was judged ends the association as it would have ended an older one.
        if let Some(subsystem) = &association.subsystem {
            let gone = self.subsystem(subsystem.nqn()).is_none_or(|now| !Arc::ptr_eq(&now, subsystem));
            if gone || !subsystem.allows(&host.nqn) {
                association.end("the configuration changed while the host connected");
            }
        }
        Ok(Accepted::Admin { association, settings })
    }

    fn connect_io(
        &self,
        arrival: Arrival<'_>,
        qid: u16,
        cntlid: u16,
        subsystem: Arc<Subsystem>,
        host: Host,
        settings: QueueSettings,
    ) -> Result<Accepted, Rejection> {
        let association = subsystem.controllers.find(cntlid).ok_or(InvalidParameter::CNTLID)?;
        if association.host.nqn != host.nqn {
            return Err(InvalidParameter::HOSTNQN.into());
        }
        if association.host.id != host.id {
            return Err(InvalidParameter::HOSTID.into());
        }
        if u32::from(settings.depth) > association.lock().registers.cap().max_queue_entries() {
            return Err(InvalidParameter::SQSIZE.into());
        }
        let max_transfer = association.facts.max_transfer.min(arrival.info.limits.max_transfer);
        let memory =
            self.data_memory(max_transfer).ok_or(Rejection::Status(Status::CONNECT_CONTROLLER_BUSY))?;
        association.join(qid, arrival.address).map_err(|error| match error {
            JoinError::NotReady => Rejection::from(Status::COMMAND_SEQUENCE_ERROR),
            JoinError::QueueId => InvalidParameter::QID.into(),
            JoinError::Duplicate => Rejection::Duplicate,
        })?;
        let counters = subsystem.account.open();
        Ok(Accepted::Io {
            association,
            settings,
            grant: IoGrant { subsystem, counters, memory, max_transfer },
        })
    }

    /// Data buffers for one queue: its full share, or half of it as memory runs short, down to what one command needs.
    fn data_memory(&self, max_transfer: u32) -> Option<Place> {
        let least = DataBuffers::least(max_transfer);
        let mut share = self.options.queue_memory.max(least);
        loop {
            if let Some(place) = Place::take(&self.memory, share, self.options.memory) {
                return Some(place);
            }
            if share == least {
                return None;
            }
            share = (share / 2).max(least);
        }
    }
}

/// Bytes one command of a discovery controller may move.
const DISCOVERY_TRANSFER: u32 = 1 << 16;

/// The largest power of two of pages within `bytes`; at least one page.
fn power_of_two(bytes: u32) -> u32 {
    match bytes / PAGE {
        0 => PAGE,
        pages => PAGE << pages.ilog2(),
    }
}
