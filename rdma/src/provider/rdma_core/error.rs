//! What the libraries and the kernel report, as this project's errors, with what to do about them.

use std::{ffi::c_int, io};

use nvmf_transport::{Error, ErrorKind, Stage};
use rustix::process::{Resource, getrlimit};

use crate::{
    ffi,
    verbs::{Kind, WcStatus},
};

const ENOMEM: i32 = 12;
const ENODEV: i32 = 19;
const EAGAIN: i32 = 11;
const EINTR: i32 = 4;

/// The error of a call that answered with `code`: -1 with `errno`, or an error number, positive or (some drivers) negative.
pub(super) fn of_code(code: c_int) -> io::Error {
    match code {
        -1 => io::Error::last_os_error(),
        code => io::Error::from_raw_os_error(code.saturating_abs()),
    }
}

/// Whether a non-blocking call had nothing to give.
pub(super) fn is_nothing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EAGAIN | EINTR))
}

/// An error of a call to the libraries.
pub(super) fn os(stage: Stage, detail: impl Into<String>, source: io::Error) -> Error {
    let detail = detail.into();
    match source.raw_os_error() {
        Some(ENOMEM) if stage != Stage::Memory => {
            let text =
                format!("{detail}: the device or locked memory has run out ({})", memlock_advice(memlock()));
            Error::new(stage, ErrorKind::Resources, text).with_source(source)
        }
        Some(ENODEV) => {
            Error::new(stage, ErrorKind::Unsupported, format!("{detail}: no such RDMA device (any more)"))
                .with_source(source)
        }
        _ => Error::from_io(stage, detail, source),
    }
}

/// An error of registering memory. The kernel says "out of memory" for a limit that can be raised.
pub(super) fn registration(device: &str, len: usize, source: io::Error) -> Error {
    let detail = match source.raw_os_error() {
        Some(ENOMEM) => format!("cannot register {len} bytes with {device}: {}", memlock_advice(memlock())),
        _ => format!("cannot register {len} bytes with {device}"),
    };
    let kind = match source.raw_os_error() {
        Some(ENOMEM) => ErrorKind::Resources,
        _ => Error::from_io(Stage::Memory, "", io::Error::from(source.kind())).kind(),
    };
    Error::new(Stage::Memory, kind, detail).with_source(source)
}

/// How much memory this process may lock, in bytes; `None` if there is no limit.
pub(super) fn memlock() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}

/// What to do when registered memory does not fit.
pub(super) fn memlock_advice(limit: Option<u64>) -> String {
    match limit {
        Some(limit) => format!(
            "this process may lock {} KiB of memory; raise it with `ulimit -l unlimited`, or LimitMEMLOCK=infinity in its systemd unit",
            limit / 1024
        ),
        None => "locked memory is not limited, so the machine or the device has no more".into(),
    }
}

/// An error of a connection that never was, from the status of the connection manager's event.
///
/// Kernel errors are negative; of InfiniBand and RoCE, a positive status of a rejection is the CM's reason (IBTA 1.4 §12.6.7.2).
pub(super) fn refused(kind: Kind, what: &str, status: c_int) -> Error {
    if status > 0 && kind != Kind::Iwarp {
        let (kind, reason) = match status {
            8 => (ErrorKind::Refused, "nobody listens there".into()),
            1..=3 => (ErrorKind::Resources, "the peer has no resources left".into()),
            4 => (ErrorKind::TimedOut, "the peer gave up waiting".into()),
            24 | 25 => (ErrorKind::Unreachable, "the peer is behind another port".into()),
            28 => (ErrorKind::Refused, "the peer does not want it".into()),
            other => (ErrorKind::Refused, format!("the peer's connection manager says no, reason {other}")),
        };
        return Error::new(Stage::Connect, kind, format!("{what}: {reason}"));
    }
    let source = io::Error::from_raw_os_error(status.saturating_abs());
    Error::from_io(Stage::Connect, format!("{what}: {source}"), source)
}

/// The status of a completion.
pub(super) fn wc_status(status: ffi::ibv_wc_status) -> WcStatus {
    match status {
        ffi::IBV_WC_SUCCESS => WcStatus::Success,
        ffi::IBV_WC_WR_FLUSH_ERR => WcStatus::Flushed,
        ffi::IBV_WC_LOC_LEN_ERR => WcStatus::LocalLength,
        ffi::IBV_WC_LOC_PROT_ERR | ffi::IBV_WC_LOC_ACCESS_ERR | ffi::IBV_WC_LOC_QP_OP_ERR => {
            WcStatus::LocalProtection
        }
        ffi::IBV_WC_REM_ACCESS_ERR => WcStatus::RemoteAccess,
        // A receive that was missing is the peer's failure to carry the request out.
        ffi::IBV_WC_REM_OP_ERR | ffi::IBV_WC_REM_INV_REQ_ERR | ffi::IBV_WC_RNR_RETRY_EXC_ERR => {
            WcStatus::RemoteOperation
        }
        ffi::IBV_WC_RETRY_EXC_ERR | ffi::IBV_WC_RESP_TIMEOUT_ERR => WcStatus::TransportRetry,
        other => WcStatus::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_cannot_be_locked_says_what_to_raise() {
        let error = registration("siw0", 1 << 20, io::Error::from_raw_os_error(ENOMEM));
        assert_eq!((error.stage(), error.kind()), (Stage::Memory, ErrorKind::Resources));
        assert!(error.detail().contains("1048576 bytes with siw0"), "{error}");
        assert!(memlock_advice(Some(8192)).contains("8 KiB"));
        assert!(memlock_advice(Some(8192)).contains("ulimit -l unlimited"));
        assert!(memlock_advice(Some(8192)).contains("LimitMEMLOCK=infinity"));
        assert!(!memlock_advice(None).contains("ulimit"));
    }

    #[test]
    fn statuses_of_failed_connections_keep_their_kind() {
        for (status, kind) in [
            (-111, ErrorKind::Refused),
            (-110, ErrorKind::TimedOut),
            (-113, ErrorKind::Unreachable),
            (-104, ErrorKind::Reset),
        ] {
            assert_eq!(refused(Kind::Iwarp, "cannot connect", status).kind(), kind, "{status}");
            assert_eq!(refused(Kind::RoCe, "cannot connect", status).kind(), kind, "{status}");
        }
        let nobody = refused(Kind::RoCe, "cannot connect", 8);
        assert_eq!(nobody.kind(), ErrorKind::Refused);
        assert!(nobody.detail().contains("nobody listens"), "{nobody}");
        assert_eq!(refused(Kind::InfiniBand, "cannot connect", 99).kind(), ErrorKind::Refused);
        assert_eq!(refused(Kind::RoCe, "cannot connect", c_int::MIN).stage(), Stage::Connect);
    }

    #[test]
    fn answers_of_calls_are_error_numbers_of_either_sign() {
        assert_eq!(of_code(22).raw_os_error(), Some(22));
        assert_eq!(of_code(-22).raw_os_error(), Some(22));
        assert_eq!(of_code(c_int::MIN).raw_os_error(), Some(c_int::MAX));
    }

    #[test]
    fn completions_keep_what_matters() {
        for (number, status) in [
            (ffi::IBV_WC_SUCCESS, WcStatus::Success),
            (ffi::IBV_WC_WR_FLUSH_ERR, WcStatus::Flushed),
            (ffi::IBV_WC_REM_ACCESS_ERR, WcStatus::RemoteAccess),
            (ffi::IBV_WC_RNR_RETRY_EXC_ERR, WcStatus::RemoteOperation),
            (ffi::IBV_WC_RETRY_EXC_ERR, WcStatus::TransportRetry),
            (ffi::IBV_WC_GENERAL_ERR, WcStatus::Other(ffi::IBV_WC_GENERAL_ERR)),
            (12345, WcStatus::Other(12345)),
        ] {
            assert_eq!(wc_status(number), status);
        }
    }
}
