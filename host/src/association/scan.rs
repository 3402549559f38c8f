//! Finds the active namespaces: the list, then each namespace and its names (Identify CNS 02h, 00h, 03h).
//!
//! Runs once while connecting and again after a namespace event. What a controller lists is bounded by the option and
//! by having to ascend, so that no controller can keep us here.

use std::sync::Arc;

use nvmf_transport::Data;
use nvmf_wire::identify::{Cns, IDENTIFY_LENGTH, Identify, IdentifyNamespace, NamespaceList};

use super::{Answer, Association, Cx, Internal, Namespace, Notice, Phase, dispatch::Waiting, internal};
use crate::{ConnectError, ConnectErrorKind as Kind, IoError, Stage};

#[derive(Debug)]
pub(super) struct Scan {
    /// NN: the largest identifier there may be.
    limit: u32,
    /// Identifiers found and not looked at, in descending order.
    left: Vec<u32>,
    found: Vec<Namespace>,
    last: u32,
}

impl Association {
    pub(super) fn start_scan(&mut self, cx: &mut Cx<'_>, limit: u32) {
        self.rescan = false;
        self.scan = Some(Scan { limit, left: Vec::new(), found: Vec::new(), last: 0 });
        self.list_namespaces(cx, 0);
    }

    fn list_namespaces(&mut self, cx: &mut Cx<'_>, after: u32) {
        self.identify(cx, Internal::ListNamespaces, Identify::new(Cns::ACTIVE_NAMESPACES, after));
    }

    fn identify(&mut self, cx: &mut Cx<'_>, what: Internal, command: Identify) {
        let timeout = match self.phase {
            Phase::Connecting(_) => self.options.connect_timeout,
            _ => self.options.admin_timeout,
        };
        self.internal_read(cx, what, command.to_sqe(), IDENTIFY_LENGTH, timeout);
    }

    pub(super) fn on_scan(&mut self, cx: &mut Cx<'_>, what: Internal, answer: Answer, data: Data) {
        if self.scan.is_none() {
            return;
        }
        let status = answer.cqe.status();
        let buffer = match &data {
            Data::FromController(buffer)
                if status.is_success() && answer.transferred as usize >= IDENTIFY_LENGTH =>
            {
                Some(&buffer[..])
            }
            _ => None,
        };
        match (what, buffer) {
            (Internal::ListNamespaces, Some(bytes)) => self.on_list(cx, bytes),
            (Internal::IdentifyNamespace(nsid), Some(bytes)) => {
                if let (Some(scan), Some(identify)) = (&mut self.scan, IdentifyNamespace::view(bytes)) {
                    scan.found.push(Namespace::examine(nsid, identify));
                }
                self.identify(
                    cx,
                    Internal::Descriptors(nsid),
                    Identify::new(Cns::NAMESPACE_DESCRIPTORS, nsid),
                );
            }
            // Detached between the list and now: not there.
            (Internal::IdentifyNamespace(nsid), None) if !status.is_success() => {
                tracing::info!(nsid, %status, "a listed namespace cannot be identified; left out");
                self.next_namespace(cx);
            }
            (Internal::Descriptors(_), bytes) => {
                // Optional before NVMe 1.3.
                if let (Some(bytes), Some(namespace)) =
                    (bytes, self.scan.as_mut().and_then(|scan| scan.found.last_mut()))
                {
                    namespace.describe(bytes);
                }
                self.next_namespace(cx);
            }
            _ => {
                let what = internal::name(what);
                let error = if status.is_success() {
                    let detail = format!("{what} returned {} of {IDENTIFY_LENGTH} bytes", answer.transferred);
                    ConnectError::new(Stage::Identify, Kind::BadIdentify, detail)
                } else {
                    let detail = format!("the controller answered {what} with {status}");
                    ConnectError::new(Stage::Identify, Kind::IdentifyFailed, detail).because(status, None)
                };
                self.scan_failed(cx, error);
            }
        }
    }

    fn on_list(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        let max = self.options.max_namespaces;
        let (Some(scan), Some(list)) = (&mut self.scan, NamespaceList::view(bytes)) else {
            return;
        };
        let before = scan.left.len();
        for nsid in list.iter() {
            if nsid <= scan.last {
                let detail = format!("the list of namespaces does not ascend: {nsid} after {}", scan.last);
                return self.scan_failed(cx, ConnectError::new(Stage::Identify, Kind::BadIdentify, detail));
            }
            if nsid > scan.limit {
                // Linux's target says NN is 1024 whatever numbers its namespaces were given, and serves them all.
                tracing::info!(nsid, nn = scan.limit, "a namespace beyond NN is listed; used all the same");
            }
            scan.last = nsid;
            scan.left.push(nsid);
        }
        let full = scan.left.len() - before == NamespaceList::CAPACITY;
        if full && scan.left.len() < max {
            let after = scan.last;
            return self.list_namespaces(cx, after);
        }
        if scan.left.len() > max {
            tracing::warn!(listed = scan.left.len(), max, "more namespaces than this host looks at");
            scan.left.truncate(max);
        }
        scan.left.reverse();
        self.next_namespace(cx);
    }

    fn next_namespace(&mut self, cx: &mut Cx<'_>) {
        let Some(scan) = &mut self.scan else { return };
        match scan.left.pop() {
            Some(nsid) => {
                self.identify(cx, Internal::IdentifyNamespace(nsid), Identify::new(Cns::NAMESPACE, nsid))
            }
            None => self.scan_done(cx),
        }
    }

    fn scan_failed(&mut self, cx: &mut Cx<'_>, error: ConnectError) {
        self.scan = None;
        if matches!(self.phase, Phase::Connecting(_)) {
            self.lose(cx, error);
        } else {
            // The old list stays; the controller refuses what is no longer there.
            tracing::warn!(%error, "cannot look at the namespaces again");
        }
    }

    fn scan_done(&mut self, cx: &mut Cx<'_>) {
        let Some(scan) = self.scan.take() else { return };
        let connecting = matches!(self.phase, Phase::Connecting(_));
        let again = self.outage.is_some() || !connecting;
        let old = std::mem::replace(&mut self.namespaces, Arc::from(scan.found));
        if again {
            self.fail_changed(&old);
        }
        if connecting {
            self.go_live(cx);
        } else {
            self.notice(Notice::NamespacesChanged);
            if self.rescan {
                self.start_scan(cx, scan.limit);
            }
        }
    }

    /// Held requests of a namespace that is another one now must not reach it.
    fn fail_changed(&mut self, old: &[Namespace]) {
        let changed: Vec<u32> = old
            .iter()
            .filter(|before| self.namespace(before.nsid).is_none_or(|now| !now.is_same(before)))
            .map(|before| before.nsid)
            .collect();
        if changed.is_empty() {
            return;
        }
        tracing::warn!(?changed, "namespaces are gone or are others than before");
        for waiting in self.backlog.take_all() {
            let nsid = match waiting {
                Waiting::Slot(index) => {
                    self.slots.get(index).filter(|slot| !slot.admin).map(|slot| slot.sqe.nsid())
                }
                Waiting::Split(index) => self.splits.get(index).map(|split| split.nsid()),
            };
            if nsid.is_some_and(|nsid| changed.contains(&nsid)) {
                self.fail_waiting(waiting, IoError::NamespaceChanged);
            } else {
                self.wait(waiting);
            }
        }
    }
}
