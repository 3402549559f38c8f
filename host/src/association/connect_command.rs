//! Connecting one queue: the transport's connection, the Connect command, and what a refusal of it says
//! (NVMe-oF 1.1 §3.3).

use nvmf_transport::{ConnectOptions, QueueId, QueueInfo, QueueKind, QueueSettings};
use nvmf_wire::{
    Status,
    fabrics::{
        CNTLID_MAX, Connect, ConnectAccepted, ConnectAttributes, ConnectData, Field, InvalidParameter,
    },
    property::PropertyOffset,
    zerocopy::IntoBytes,
};

use super::{Answer, Association, Cx, attempt::GRACE, internal::Internal, queues::Queue, slots::Lane};
use crate::{ConnectError, ConnectErrorKind as Kind, Stage};

impl Association {
    pub(super) fn connect_queue(
        &mut self,
        cx: &mut Cx<'_>,
        kind: QueueKind,
        depth: u16,
        max_in_capsule: u32,
    ) -> bool {
        let options = ConnectOptions {
            kind,
            depth,
            max_in_capsule,
            timeout: self.options.connect_timeout,
            source: self.options.source,
        };
        self.asked = true;
        match cx.engine.connect(&self.target, &options) {
            Ok(id) => {
                self.queues.add(Queue::new(id, kind, depth));
                let guard = cx.now + self.options.connect_timeout + GRACE;
                if let Some(attempt) = self.attempt() {
                    attempt.guard = Some(guard);
                }
                true
            }
            Err(error) => {
                self.lose(cx, ConnectError::from_transport(Stage::TransportConnect, error).on(kind));
                false
            }
        }
    }

    pub(super) fn on_connected(&mut self, cx: &mut Cx<'_>, id: QueueId, info: Box<QueueInfo>) {
        let Some(lane) = self.queues.lane(id) else { return };
        let Some(queue) = self.queues.get_mut(lane) else {
            return;
        };
        let (kind, depth) = (queue.kind, queue.depth);
        queue.max_transfer = info.limits.max_transfer;
        queue.info = Some(info);
        let waiting = self.queues.admin.iter().chain(&self.queues.io).any(|queue| queue.info.is_none());
        let options = &self.options;
        let kato = options.kato.map_or(0, |kato| u32::try_from(kato.as_millis()).unwrap_or(u32::MAX));
        let command = Connect {
            recfmt: Connect::RECFMT,
            qid: kind.qid(),
            sqsize: depth.saturating_sub(1),
            cattr: ConnectAttributes::default().with_disable_sq_flow_control(!options.sq_flow_control),
            kato: if kind == QueueKind::Admin { kato } else { 0 },
        };
        let mut data = ConnectData::zeroed();
        data.hostid = options.host.id;
        data.subnqn = options.subnqn.into();
        data.hostnqn = options.host.nqn.into();
        data.cntlid = match kind {
            QueueKind::Admin => options.cntlid.to_wire(),
            QueueKind::Io(_) => self.attempt().map_or(0, |attempt| attempt.cntlid),
        }
        .into();
        if let Some(attempt) = self.attempt()
            && !waiting
        {
            attempt.guard = None;
        }
        self.internal_write(cx, lane, Internal::Connect(lane), command.to_sqe(), data.as_bytes());
    }

    pub(super) fn on_connect_answered(&mut self, cx: &mut Cx<'_>, lane: Lane, answer: Answer) {
        let Some(queue) = self.queues.get_mut(lane) else {
            return;
        };
        let (kind, depth, id) = (queue.kind, queue.depth, queue.id);
        let accepted = match ConnectAccepted::parse(&answer.cqe) {
            Ok(accepted) => accepted,
            Err(status) => {
                let error = self.connect_refused(kind, status, InvalidParameter::parse(&answer.cqe));
                return self.lose(cx, error);
            }
        };
        if accepted.authentication_required() || accepted.secure_channel_required() {
            let detail = "the controller asks for authentication (AUTHREQ)";
            let error = ConnectError::new(Stage::Connect, Kind::AuthenticationRequired, detail).on(kind);
            return self.lose(cx, error);
        }
        // NVMe-oF 1.1 §3.3: SQHD FFFFh says that flow control is off as asked. Anything else leaves it on.
        let off = !self.options.sq_flow_control && answer.sqhd_valid && answer.cqe.sqhd() == 0xffff;
        let settings = QueueSettings { kind, depth, sq_flow_control: !off };
        if let Err(why) = cx.engine.configure(id, settings) {
            let detail = format!("the transport refused the queue's settings: {why}");
            return self.lose(cx, ConnectError::new(Stage::Connect, Kind::Resources, detail).on(kind));
        }
        let limits = cx.engine.limits(id).map(|limits| limits.max_transfer);
        if let Some(queue) = self.queues.get_mut(lane) {
            queue.connected = true;
            queue.sq_flow_control = !off;
            queue.max_transfer = limits.unwrap_or(queue.max_transfer);
        }
        let Some(attempt) = self.attempt() else { return };
        match lane {
            Lane::Admin => {
                let cntlid = accepted.cntlid();
                if cntlid > CNTLID_MAX {
                    let detail =
                        format!("the controller calls itself {cntlid:04X}h, which no controller may");
                    return self.lose(cx, ConnectError::new(Stage::Connect, Kind::ConnectFailed, detail));
                }
                attempt.cntlid = cntlid;
                self.property_get(cx, Internal::Capabilities, PropertyOffset::CAP);
            }
            Lane::Io(_) => {
                attempt.queues_left = attempt.queues_left.saturating_sub(1);
                if attempt.queues_left == 0 {
                    self.find_namespaces(cx);
                }
            }
        }
    }

    fn connect_refused(
        &self,
        queue: QueueKind,
        status: Status,
        blamed: Option<InvalidParameter>,
    ) -> ConnectError {
        let field = blamed.and_then(InvalidParameter::field);
        let kind = match (status.code(), field) {
            (Status::CONNECT_INVALID_PARAMETERS, Some(Field::SUBNQN)) => Kind::UnknownSubsystem,
            (Status::CONNECT_INVALID_PARAMETERS, Some(Field::HOSTNQN)) => Kind::InvalidHostNqn,
            (Status::CONNECT_INVALID_PARAMETERS, Some(Field::HOSTID)) => Kind::InvalidHostId,
            (Status::CONNECT_INVALID_PARAMETERS, Some(Field::CNTLID)) => Kind::InvalidControllerId,
            (Status::CONNECT_INVALID_PARAMETERS, _) => Kind::InvalidParameter,
            (Status::CONNECT_INVALID_HOST, _) => Kind::InvalidHost,
            (Status::CONNECT_CONTROLLER_BUSY, _) => Kind::ControllerBusy,
            (Status::CONNECT_RESTART_DISCOVERY, _) => Kind::RestartDiscovery,
            (Status::CONNECT_INCOMPATIBLE_FORMAT, _) => Kind::IncompatibleFormat,
            (Status::AUTHENTICATION_REQUIRED, _) => Kind::AuthenticationRequired,
            _ => Kind::ConnectFailed,
        };
        let options = &self.options;
        let ours = match (kind, field) {
            (Kind::UnknownSubsystem | Kind::RestartDiscovery, _) => {
                format!("; we asked for {}", options.subnqn)
            }
            (Kind::InvalidHost | Kind::InvalidHostNqn, _) => format!("; we are {}", options.host.nqn),
            (Kind::InvalidHostId, _) => format!("; ours is {}", uuid::Uuid::from_bytes(options.host.id)),
            (_, Some(Field::SQSIZE)) => "; lower the queue depth".to_owned(),
            _ => String::new(),
        };
        let blame = blamed.map(|blamed| format!(", blaming {blamed}")).unwrap_or_default();
        let detail = format!("the controller answered {}{blame}{ours}", status.as_fabrics());
        ConnectError::new(Stage::Connect, kind, detail).on(queue).because(status, field.and_then(Field::name))
    }
}
