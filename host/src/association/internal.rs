//! Commands of the association itself: connect, scan, keep-alive, events, aborts, farewell.
//!
//! They share slots and queues with requests and differ in who hears of them; what each answer leads to is in the module it
//! belongs to.

use std::time::Duration;

use nvmf_transport::{Data, Misuse};
use nvmf_wire::Sqe;

use super::{
    Answer, Association, Cx, Phase,
    slots::{Lane, Owner, Place, Shape, Slot},
};
use crate::{ConnectError, ConnectErrorKind, Stage};

/// Commands of the association itself, by what their completion is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Internal {
    Connect(Lane),
    Capabilities,
    Version,
    Enable,
    ReadyStatus,
    IdentifyController,
    HostBehavior,
    QueueCount,
    EventConfiguration,
    ListNamespaces,
    IdentifyNamespace(u32),
    Descriptors(u32),
    KeepAlive,
    AsyncEvent,
    EventLog,
    /// The cookie of the command to abort.
    Abort(u64),
    Disconnect,
    ShutdownNotification,
    ShutdownStatus,
}

/// A command of the association itself, for people.
pub(super) fn name(what: Internal) -> &'static str {
    match what {
        Internal::Connect(_) => "Connect",
        Internal::Capabilities => "Property Get (CAP)",
        Internal::Version => "Property Get (VS)",
        Internal::Enable => "Property Set (CC.EN)",
        Internal::ReadyStatus | Internal::ShutdownStatus => "Property Get (CSTS)",
        Internal::IdentifyController => "Identify Controller",
        Internal::HostBehavior => "Set Features (Host Behavior Support)",
        Internal::QueueCount => "Set Features (Number of Queues)",
        Internal::EventConfiguration => "Set Features (Asynchronous Event Configuration)",
        Internal::ListNamespaces => "Identify (active namespaces)",
        Internal::IdentifyNamespace(_) => "Identify Namespace",
        Internal::Descriptors(_) => "Identify (namespace descriptors)",
        Internal::KeepAlive => "Keep Alive",
        Internal::AsyncEvent => "Asynchronous Event Request",
        Internal::EventLog => "Get Log Page",
        Internal::Abort(_) => "Abort",
        Internal::Disconnect => "Disconnect",
        Internal::ShutdownNotification => "Property Set (CC.SHN)",
    }
}

impl Association {
    /// Sends a command of the association itself.
    pub(super) fn internal(
        &mut self,
        cx: &mut Cx<'_>,
        lane: Lane,
        what: Internal,
        sqe: Sqe,
        data: Data,
        timeout: Option<Duration>,
    ) {
        let sequence = self.sequence;
        let slot = Slot {
            owner: Owner::Internal(what),
            sqe,
            data: Data::None,
            place: Place::Waiting,
            shape: Shape::Whole,
            sequence,
            deadline: None,
            replay: false,
            aborting: false,
            attempts: 0,
            hint: None,
            admin: lane == Lane::Admin,
        };
        let index = self.slots.insert(slot);
        if let Err((why, _)) = self.launch(cx, lane, index, data, timeout) {
            self.slots.end(index);
            // A queue that has gone says so itself, in its own event.
            if !matches!(why, Misuse::Closing | Misuse::UnknownQueue | Misuse::NotConnected) {
                let stage = self.stage_of(what);
                let error = ConnectError::new(
                    stage,
                    ConnectErrorKind::Resources,
                    format!("the transport refused a command: {why}"),
                );
                self.lose(cx, error);
            }
        }
    }

    /// As [`Self::internal`], with room for `len` bytes from the controller.
    pub(super) fn internal_read(
        &mut self,
        cx: &mut Cx<'_>,
        what: Internal,
        sqe: Sqe,
        len: usize,
        timeout: Duration,
    ) {
        match cx.engine.memory().allocate(len) {
            Ok(buffer) => {
                self.internal(cx, Lane::Admin, what, sqe, Data::FromController(buffer), Some(timeout))
            }
            Err(error) => {
                let error = ConnectError::from_transport(self.stage_of(what), error);
                self.lose(cx, error);
            }
        }
    }

    pub(super) fn stage_of(&self, what: Internal) -> Stage {
        if !matches!(self.phase, Phase::Connecting(_)) {
            return Stage::Ready;
        }
        match what {
            Internal::Connect(_) => Stage::Connect,
            Internal::Capabilities | Internal::Version => Stage::Property,
            Internal::Enable | Internal::ReadyStatus => Stage::Enable,
            Internal::IdentifyController
            | Internal::ListNamespaces
            | Internal::IdentifyNamespace(_)
            | Internal::Descriptors(_) => Stage::Identify,
            Internal::HostBehavior | Internal::QueueCount | Internal::EventConfiguration => Stage::Features,
            _ => Stage::Ready,
        }
    }

    pub(super) fn on_internal(&mut self, cx: &mut Cx<'_>, what: Internal, answer: Answer, data: Data) {
        match what {
            Internal::ListNamespaces | Internal::IdentifyNamespace(_) | Internal::Descriptors(_) => {
                self.on_scan(cx, what, answer, data);
            }
            Internal::KeepAlive => self.on_keep_alive(cx, answer.cqe.status()),
            Internal::AsyncEvent => self.on_async_event(cx, answer.cqe),
            Internal::EventLog => self.on_event_log(answer.cqe.status()),
            Internal::Abort(cookie) => self.on_abort_answered(cookie, answer.cqe),
            Internal::Disconnect | Internal::ShutdownNotification | Internal::ShutdownStatus => {
                self.on_shutdown(cx, what, answer.cqe);
            }
            _ => self.on_attempt(cx, what, answer, data),
        }
    }
}
