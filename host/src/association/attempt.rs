//! One attempt to associate, from the transport's connection to a controller that is ready for I/O.
//!
//! The order: admin queue, Connect, CAP and VS, CC.EN, CSTS.RDY, Identify Controller, features, I/O queues, namespaces
//! (NVMe-oF 1.1 §3.3 and §4; NVMe Base 2.0 §3.5.1). Each step is started by the end of the one before. An attempt knows
//! nothing of reconnecting: a failure goes to `recovery`, which decides.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nvmf_transport::{Data, QueueInfo, QueueKind};
use nvmf_wire::{
    Status,
    fabrics::{PropertyGet, PropertySet},
    feature::{AsyncEventConfiguration, Fid, HostBehavior, NumberOfQueues, SetFeatures},
    identify::{Cns, IDENTIFY_LENGTH, Identify, IdentifyController},
    property::{Cap, Cc, CommandSetSelected, Csts, PropertyOffset, Version},
    zerocopy::IntoBytes,
};

use super::{
    Answer, Association, ControllerInfo, Cx, Internal, Phase, QueueDetails,
    facts::{self, Facts},
    internal,
    slots::Lane,
};
use crate::{ConnectError, ConnectErrorKind as Kind, Stage};

/// CSTS.RDY is looked at this long after CC.EN was set, then at doubling distances.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const SLOWEST_LOOK: Duration = Duration::from_millis(250);

/// What the transport's own time limit may be late by before we stop waiting for its word.
pub(super) const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// Until when the transport must have said whether queues are connected.
    pub(super) guard: Option<Instant>,
    /// When CSTS is to be read next, and until when it may say that the controller is not ready.
    look: Option<Instant>,
    look_again_after: Duration,
    ready_by: Option<Instant>,
    cap: Cap,
    /// What was written to CC.
    pub(super) cc: Cc,
    version: Version,
    pub(super) cntlid: u16,
    pub(super) facts: Option<Facts>,
    identify: Option<Arc<IdentifyController>>,
    pub(super) queues_left: u16,
}

impl Attempt {
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        [self.guard, self.look].into_iter().flatten().min()
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_timeout().is_some_and(|at| at <= now)
    }
}

impl Association {
    pub(super) fn attempt(&mut self) -> Option<&mut Attempt> {
        match &mut self.phase {
            Phase::Connecting(attempt) => Some(attempt),
            _ => None,
        }
    }

    pub(super) fn start_attempt(&mut self, cx: &mut Cx<'_>) {
        self.aborts = 0;
        self.scan = None;
        self.phase = Phase::Connecting(Box::default());
        self.connect_queue(cx, QueueKind::Admin, self.options.admin_depth, 0);
    }

    pub(super) fn attempt_due(&mut self, cx: &mut Cx<'_>) {
        let Some(attempt) = self.attempt() else { return };
        if attempt.guard.is_some_and(|at| at <= cx.now) {
            let detail = "the transport reported neither success nor failure in time";
            return self.lose(cx, ConnectError::new(Stage::TransportConnect, Kind::ConnectTimedOut, detail));
        }
        if attempt.look.is_some_and(|at| at <= cx.now) {
            attempt.look = None;
            self.property_get(cx, Internal::ReadyStatus, PropertyOffset::CSTS);
        }
    }

    /// Sends a command of the connect sequence with data.
    pub(super) fn internal_write(
        &mut self,
        cx: &mut Cx<'_>,
        lane: Lane,
        what: Internal,
        sqe: nvmf_wire::Sqe,
        bytes: &[u8],
    ) {
        match cx.engine.memory().allocate(bytes.len()) {
            Ok(mut buffer) => {
                buffer.copy_from_slice(bytes);
                let timeout = Some(self.options.connect_timeout);
                self.internal(cx, lane, what, sqe, Data::ToController(buffer), timeout);
            }
            Err(error) => self.lose(cx, ConnectError::from_transport(Stage::Setup, error)),
        }
    }

    fn step(&mut self, cx: &mut Cx<'_>, what: Internal, sqe: nvmf_wire::Sqe) {
        let timeout = Some(self.options.connect_timeout);
        self.internal(cx, Lane::Admin, what, sqe, Data::None, timeout);
    }

    pub(super) fn property_get(&mut self, cx: &mut Cx<'_>, what: Internal, offset: PropertyOffset) {
        self.step(cx, what, PropertyGet::new(offset).to_sqe());
    }

    /// A command of the connect sequence was answered.
    pub(super) fn on_attempt(&mut self, cx: &mut Cx<'_>, what: Internal, answer: Answer, data: Data) {
        if self.attempt().is_none() {
            return;
        }
        let status = answer.cqe.status();
        match what {
            Internal::Connect(lane) => return self.on_connect_answered(cx, lane, answer),
            // Optional: what they ask for is a convenience, and some controllers know them not.
            Internal::HostBehavior | Internal::EventConfiguration if !status.is_success() => {
                tracing::debug!(%status, command = internal::name(what), "refused; going on without");
            }
            _ if !status.is_success() => return self.refused(cx, what, status),
            _ => {}
        }
        match what {
            Internal::Capabilities => self.on_capabilities(cx, Cap(answer.cqe.u64())),
            Internal::Version => self.on_version(cx, Version(answer.cqe.dw0())),
            Internal::Enable => self.property_get(cx, Internal::ReadyStatus, PropertyOffset::CSTS),
            Internal::ReadyStatus => self.on_ready_status(cx, Csts(answer.cqe.dw0())),
            Internal::IdentifyController => self.on_identify(cx, answer, &data),
            Internal::HostBehavior => self.request_queues(cx),
            Internal::QueueCount => self.on_queue_count(cx, NumberOfQueues(answer.cqe.dw0())),
            Internal::EventConfiguration => self.connect_io_queues(cx),
            _ => {}
        }
    }

    fn refused(&mut self, cx: &mut Cx<'_>, what: Internal, status: Status) {
        let stage = self.stage_of(what);
        let kind = match stage {
            Stage::Property | Stage::Enable => Kind::PropertyFailed,
            Stage::Identify => Kind::IdentifyFailed,
            _ => Kind::FeaturesFailed,
        };
        let detail = format!("the controller answered {} with {}", internal::name(what), status.as_fabrics());
        self.lose(cx, ConnectError::new(stage, kind, detail).because(status, None));
    }

    fn on_capabilities(&mut self, cx: &mut Cx<'_>, cap: Cap) {
        if let Err(detail) = facts::check_capabilities(cap, &self.options) {
            return self.lose(cx, ConnectError::new(Stage::Property, Kind::BadCapabilities, detail));
        }
        if let Some(attempt) = self.attempt() {
            attempt.cap = cap;
        }
        self.property_get(cx, Internal::Version, PropertyOffset::VS);
    }

    fn on_version(&mut self, cx: &mut Cx<'_>, version: Version) {
        let Some(attempt) = self.attempt() else { return };
        attempt.version = version;
        let cap = attempt.cap;
        let css =
            if cap.css() & Cap::CSS_NVM != 0 || cap.css() & (Cap::CSS_IO_SETS | Cap::CSS_ADMIN_ONLY) == 0 {
                CommandSetSelected::NVM
            } else if cap.css() & Cap::CSS_IO_SETS != 0 {
                CommandSetSelected::ALL_SUPPORTED
            } else {
                CommandSetSelected::ADMIN_ONLY
            };
        let cc = Cc::ENABLE_NVM.with_css(css).with_mps(cap.mpsmin());
        // NVMe Base 2.0 §3.1.3.1, CAP.TO; a controller that claims to need no time gets one unit.
        attempt.ready_by = Some(cx.now + Duration::from_millis(u64::from(cap.timeout_ms().max(500))));
        attempt.look_again_after = FIRST_LOOK;
        attempt.cc = cc;
        self.step(cx, Internal::Enable, PropertySet::new(PropertyOffset::CC, u64::from(cc.bits())).to_sqe());
    }

    fn on_ready_status(&mut self, cx: &mut Cx<'_>, csts: Csts) {
        let Some(attempt) = self.attempt() else { return };
        if csts.cfs() {
            let detail = format!("CSTS is {:08X}h: the controller reports a fatal error", csts.bits());
            return self.lose(cx, ConnectError::new(Stage::Enable, Kind::ControllerFatal, detail));
        }
        if csts.rdy() {
            attempt.ready_by = None;
            let sqe = Identify::new(Cns::CONTROLLER, 0).to_sqe();
            let timeout = self.options.connect_timeout;
            return self.internal_read(cx, Internal::IdentifyController, sqe, IDENTIFY_LENGTH, timeout);
        }
        if attempt.ready_by.is_none_or(|by| by <= cx.now) {
            let detail =
                format!("CSTS.RDY is still 0 after the {} ms of CAP.TO", attempt.cap.timeout_ms().max(500));
            return self.lose(cx, ConnectError::new(Stage::Enable, Kind::NeverReady, detail));
        }
        attempt.look = Some(cx.now + attempt.look_again_after);
        attempt.look_again_after = (attempt.look_again_after * 2).min(SLOWEST_LOOK);
    }

    fn on_identify(&mut self, cx: &mut Cx<'_>, answer: Answer, data: &Data) {
        let bad = |detail: String| ConnectError::new(Stage::Identify, Kind::BadIdentify, detail);
        let identify = match data {
            Data::FromController(buffer) if answer.transferred as usize >= IDENTIFY_LENGTH => {
                IdentifyController::view(buffer)
            }
            _ => None,
        };
        let Some(identify) = identify else {
            let detail =
                format!("Identify Controller returned {} of {IDENTIFY_LENGTH} bytes", answer.transferred);
            return self.lose(cx, bad(detail));
        };
        let Some(cap) = self.attempt().map(|attempt| attempt.cap) else {
            return;
        };
        let facts = match facts::examine(cap, identify, &self.options) {
            Ok(facts) => facts,
            Err(detail) => return self.lose(cx, bad(detail)),
        };
        // From here on the controller expects to hear from us; the rest of the sequence may take longer than KATO.
        if let Some(kato) = self.options.kato {
            self.keep_alive.start(kato, facts.traffic_keeps_alive, cx.now);
        }
        let retries = facts.retry_delays.iter().any(|delay| !delay.is_zero());
        let identify = Arc::new(*identify);
        if let Some(attempt) = self.attempt() {
            attempt.facts = Some(facts);
            attempt.identify = Some(identify);
        }
        if retries {
            // NVMe Base 2.0 §5.27.1.18: only a host that says so is given retry delays.
            let mut behavior = HostBehavior::zeroed();
            behavior.acre = 1;
            let sqe = SetFeatures::new(Fid::HOST_BEHAVIOR_SUPPORT, 0).to_sqe();
            self.internal_write(cx, Lane::Admin, Internal::HostBehavior, sqe, behavior.as_bytes());
        } else {
            self.request_queues(cx);
        }
    }

    fn wants_io(&mut self) -> bool {
        let discovery =
            self.attempt().and_then(|attempt| attempt.facts.as_ref()).is_none_or(|facts| facts.discovery);
        self.options.queues > 0 && !discovery
    }

    fn request_queues(&mut self, cx: &mut Cx<'_>) {
        if !self.wants_io() {
            return self.configure_events(cx);
        }
        let wanted = NumberOfQueues::pairs(u32::from(self.options.queues));
        self.step(cx, Internal::QueueCount, SetFeatures::new(Fid::NUMBER_OF_QUEUES, wanted.bits()).to_sqe());
    }

    fn on_queue_count(&mut self, cx: &mut Cx<'_>, granted: NumberOfQueues) {
        // Fewer than asked for is no failure; more (or FFFFh, which is invalid) changes nothing.
        let count = granted.queue_pairs().min(u32::from(self.options.queues)) as u16;
        if count < self.options.queues {
            tracing::info!(
                asked = self.options.queues,
                granted = count,
                "the controller grants fewer I/O queues"
            );
        }
        if let Some(attempt) = self.attempt() {
            attempt.queues_left = count;
        }
        self.configure_events(cx);
    }

    fn configure_events(&mut self, cx: &mut Cx<'_>) {
        let supported =
            self.attempt().and_then(|a| a.identify.as_ref()).map_or(0, |identify| identify.oaes.get());
        let wanted =
            AsyncEventConfiguration::NAMESPACE_ATTRIBUTE | AsyncEventConfiguration::DISCOVERY_LOG_CHANGE;
        let events = wanted & AsyncEventConfiguration::from_bits_retain(supported);
        if !self.options.async_events || events.is_empty() {
            return self.connect_io_queues(cx);
        }
        let sqe = SetFeatures::new(Fid::ASYNC_EVENT_CONFIGURATION, events.bits()).to_sqe();
        self.step(cx, Internal::EventConfiguration, sqe);
    }

    fn connect_io_queues(&mut self, cx: &mut Cx<'_>) {
        if !self.wants_io() {
            return self.go_live(cx);
        }
        let transport = self
            .queues
            .admin
            .as_ref()
            .and_then(|queue| queue.info.as_ref())
            .map(|info| info.limits.max_depth);
        let Some(attempt) = self.attempt() else { return };
        let Some(facts) = &attempt.facts else { return };
        let (count, in_capsule, max_entries) = (attempt.queues_left, facts.in_capsule, facts.max_entries);
        let entries = u32::from(self.options.queue_depth)
            .min(max_entries)
            .min(u32::from(transport.unwrap_or(u16::MAX)));
        let depth = u16::try_from(entries.max(2)).unwrap_or(u16::MAX);
        for qid in 1..=count {
            if !self.connect_queue(cx, QueueKind::Io(qid), depth, in_capsule) {
                return;
            }
        }
    }

    pub(super) fn find_namespaces(&mut self, cx: &mut Cx<'_>) {
        let Some(limit) = self.attempt().and_then(|a| a.facts.as_ref()).map(|facts| facts.namespaces) else {
            return;
        };
        self.start_scan(cx, limit);
    }

    /// Everything about the controller and its queues, once they are up.
    pub(super) fn describe(&mut self, cx: &Cx<'_>) -> Option<ControllerInfo> {
        let (max, target, options) = (self.options.max_transfer, self.target, self.options.clone());
        let attempt = self.attempt()?;
        let facts = attempt.facts.clone()?;
        let (identify, cap, version, cntlid) =
            (attempt.identify.clone()?, attempt.cap, attempt.version, attempt.cntlid);
        for queue in self.queues.io.iter_mut().chain(&mut self.queues.admin) {
            queue.max_transfer = queue.max_transfer.min(facts.max_transfer).min(max);
        }
        let queues = self.queues.admin.iter().chain(&self.queues.io).filter_map(|queue| {
            let info = QueueInfo::clone(queue.info.as_ref()?);
            Some(QueueDetails {
                kind: queue.kind,
                depth: queue.depth,
                sq_flow_control: queue.sq_flow_control,
                info,
            })
        });
        Some(ControllerInfo {
            transport: cx.engine.transport(),
            address: target.address,
            subnqn: options.subnqn,
            hostnqn: options.host.nqn,
            cntlid,
            discovery: facts.discovery,
            capabilities: cap,
            version,
            identify,
            max_transfer: self.queues.max_transfer(),
            admin_max_transfer: self.queues.admin.as_ref().map_or(4096, |queue| queue.max_transfer),
            kato: options.kato,
            queues_requested: options.queues,
            queues: queues.collect(),
            retry_delays: facts.retry_delays,
            abort_limit: facts.abort_limit,
        })
    }
}
