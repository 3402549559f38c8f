//! Asynchronous events: requests that stay with the controller until it has something to say (NVMe Base 2.0 §5.2).
//!
//! A request that is answered is replaced at once, whatever becomes of reading the log page, so events never run dry.

use std::time::{Duration, Instant};

use nvmf_transport::Data;
use nvmf_wire::{
    Cqe, Status, admin,
    event::{AsyncEvent, EventType, NoticeEvent},
    log::{GetLogPage, Lid},
};

use super::{Association, Cx, Internal, Notice, Phase, slots::Lane};

/// Requests outstanding at most; few events come at once.
const REQUESTS: u16 = 4;

/// How long to wait after the controller refused a request.
const REARM_DELAY: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Events {
    outstanding: u16,
    limit: u16,
    rearm: Option<Instant>,
}

impl Events {
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.rearm
    }

    /// The queue is gone, and the requests with it.
    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }
}

impl Association {
    pub(super) fn start_events(&mut self, cx: &mut Cx<'_>, controller_limit: u16) {
        if !self.options.async_events {
            return;
        }
        self.events = Events { outstanding: 0, limit: controller_limit.min(REQUESTS), rearm: None };
        self.arm_events(cx);
    }

    fn arm_events(&mut self, cx: &mut Cx<'_>) {
        while self.events.outstanding < self.events.limit && matches!(self.phase, Phase::Live) {
            self.events.outstanding += 1;
            self.internal(
                cx,
                Lane::Admin,
                Internal::AsyncEvent,
                admin::async_event_request(),
                Data::None,
                None,
            );
        }
    }

    pub(super) fn check_events(&mut self, cx: &mut Cx<'_>) {
        if self.events.rearm.is_some_and(|at| at <= cx.now) {
            self.events.rearm = None;
            self.arm_events(cx);
        }
    }

    pub(super) fn on_async_event(&mut self, cx: &mut Cx<'_>, cqe: Cqe) {
        self.events.outstanding = self.events.outstanding.saturating_sub(1);
        if !matches!(self.phase, Phase::Live) {
            return;
        }
        let event = match cqe.ok() {
            Ok(cqe) => AsyncEvent::parse(&cqe),
            Err(status) => {
                if status.is(Status::ASYNC_EVENT_LIMIT_EXCEEDED) && self.events.outstanding > 0 {
                    self.events.limit = self.events.outstanding;
                } else {
                    tracing::info!(%status, "the controller refuses an Asynchronous Event Request; asking again later");
                    self.events.rearm = Some(cx.now + REARM_DELAY);
                }
                return;
            }
        };
        tracing::debug!(%event, "asynchronous event");
        self.arm_events(cx);
        self.read_event_log(cx, event.log_page());
        match (event.kind(), NoticeEvent(event.info())) {
            (EventType::NOTICE, NoticeEvent::NAMESPACE_ATTRIBUTE_CHANGED) => self.namespaces_changed(cx),
            (EventType::NOTICE, NoticeEvent::DISCOVERY_LOG_CHANGE) => self.notice(Notice::DiscoveryChanged),
            _ => self.notice(Notice::Event(event)),
        }
    }

    /// Reads the page that belongs to an event, which acknowledges it; the contents are read by whoever wants them.
    fn read_event_log(&mut self, cx: &mut Cx<'_>, page: Lid) {
        let len = match page {
            Lid::ERROR_INFORMATION => 64,
            Lid::CHANGED_NAMESPACE_LIST => 4096,
            Lid::DISCOVERY | Lid::HOST_DISCOVERY | Lid::AVE_DISCOVERY => 1024,
            _ => 512,
        };
        let sqe = GetLogPage::new(page, len).with_nsid(nvmf_wire::sqe::NSID_BROADCAST).to_sqe();
        self.internal_read(cx, Internal::EventLog, sqe, len as usize, self.options.admin_timeout);
    }

    pub(super) fn on_event_log(&mut self, status: Status) {
        if !status.is_success() {
            tracing::debug!(%status, "cannot read the log page of an event");
        }
    }

    fn namespaces_changed(&mut self, cx: &mut Cx<'_>) {
        if self.scan.is_some() {
            self.rescan = true;
        } else if let Some(limit) =
            self.info.as_ref().filter(|info| !info.discovery).map(|info| info.identify.nn.get())
        {
            self.start_scan(cx, limit);
        }
    }
}
