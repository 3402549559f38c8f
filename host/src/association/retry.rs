//! Which statuses are worth another try, and when (NVMe Base 2.0 §3.3.3.2.1: DNR, CRD; §5.17.2.1: CRDT1 to 3).

use std::time::Duration;

use nvmf_wire::{Status, status::StatusCodeType};

use crate::Options;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Report,
    Retry { after: Duration },
}

/// What becomes of a request that ended with `status` after `attempts` retries. `delays` are the controller's CRDT1 to 3.
///
/// A request that must not be replayed is never retried: even its error may have come after it was executed.
pub(super) fn verdict(
    status: Status,
    attempts: u8,
    replay: bool,
    options: &Options,
    delays: [Duration; 3],
) -> Verdict {
    if status.dnr() || !replay || attempts >= options.retries {
        return Verdict::Report;
    }
    let asked = match status.crd() {
        0 => None,
        crd => delays.get(usize::from(crd) - 1).copied(),
    };
    let after = match (asked, patience(status)) {
        (Some(asked), _) => asked,
        (None, Some(first)) => first.saturating_mul(1 << u32::from(attempts).min(10)),
        (None, None) => return Verdict::Report,
    };
    Verdict::Retry { after: after.min(options.retry_delay_limit) }
}

/// How long to wait before the first retry when the controller does not say; `None` for a status that is final.
fn patience(status: Status) -> Option<Duration> {
    const AT_ONCE: Duration = Duration::ZERO;
    const A_MOMENT: Duration = Duration::from_millis(100);
    let code = status.code();
    // Transport hiccups: nothing to wait for. States of the controller: give it time to change.
    match code {
        Status::TRANSIENT_TRANSPORT_ERROR
        | Status::DATA_TRANSFER_ERROR
        | Status::ABORT_REQUESTED
        | Status::ABORTED_SQ_DELETION
        | Status::INTERNAL_PATH_ERROR
        | Status::ABORTED_BY_HOST => Some(AT_ONCE),
        Status::ANA_PERSISTENT_LOSS => None,
        Status::COMMAND_INTERRUPTED | Status::NAMESPACE_NOT_READY => Some(A_MOMENT),
        _ if code.sct() == StatusCodeType::PATH => Some(A_MOMENT),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvmf_wire::Nqn;

    fn ask(status: Status, attempts: u8) -> Verdict {
        let mut options = Options::new(Nqn::DISCOVERY);
        options.retry_delay_limit = Duration::from_secs(3);
        verdict(status, attempts, true, &options, [1, 2, 60].map(Duration::from_secs))
    }

    fn after(ms: u64) -> Verdict {
        Verdict::Retry { after: Duration::from_millis(ms) }
    }

    #[test]
    fn rules() {
        assert_eq!(ask(Status::TRANSIENT_TRANSPORT_ERROR, 0), after(0));
        assert_eq!(ask(Status::TRANSIENT_TRANSPORT_ERROR.with_dnr(), 0), Verdict::Report);
        assert_eq!(ask(Status::TRANSIENT_TRANSPORT_ERROR, 5), Verdict::Report);
        assert_eq!(ask(Status::ANA_TRANSITION, 2), after(400));
        assert_eq!(ask(Status::ANA_PERSISTENT_LOSS, 0), Verdict::Report);
        assert_eq!(ask(Status::LBA_OUT_OF_RANGE, 0), Verdict::Report);
    }

    #[test]
    fn the_controllers_delay_is_honoured_within_bounds() {
        assert_eq!(ask(Status::INTERNAL_ERROR.with_crd(1), 0), after(1000));
        assert_eq!(ask(Status::INTERNAL_ERROR.with_crd(3), 0), after(3000));
    }

    #[test]
    fn what_must_not_be_replayed_is_not_retried() {
        let options = Options::new(Nqn::DISCOVERY);
        let verdict = verdict(Status::TRANSIENT_TRANSPORT_ERROR, 0, false, &options, [Duration::ZERO; 3]);
        assert_eq!(verdict, Verdict::Report);
    }
}
