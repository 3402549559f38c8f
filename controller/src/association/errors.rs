//! The entries of the Error Information log page (NVMe Base 2.0 §5.16.1.2).

use std::collections::VecDeque;

use nvmf_wire::{Cid, Status, log::health::ErrorInformation};
use zerocopy::little_endian::{U16, U32, U64};

/// How many entries are kept: ELPE + 1.
pub(crate) const ENTRIES: usize = 64;

/// A command that failed, or a failure without a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) qid: u16,
    pub(crate) cid: Cid,
    pub(crate) status: Status,
    pub(crate) nsid: u32,
    pub(crate) lba: u64,
}

/// The newest failures of one controller, the newest first.
#[derive(Debug, Default)]
pub(crate) struct ErrorLog(VecDeque<ErrorInformation>);

impl ErrorLog {
    /// Adds an entry; `number` counts all errors of the subsystem.
    pub(crate) fn add(&mut self, number: u64, trtype: u8, failure: Failure) {
        let mut entry = ErrorInformation::zeroed();
        entry.error_count = U64::new(number);
        entry.sqid = U16::new(failure.qid);
        entry.cid = U16::new(failure.cid.0);
        entry.set_status(failure.status);
        entry.parameter_error_location = U16::new(ErrorInformation::NONE);
        entry.lba = U64::new(failure.lba);
        entry.nsid = U32::new(failure.nsid);
        entry.trtype.0 = trtype;
        self.0.truncate(ENTRIES - 1);
        self.0.push_front(entry);
    }

    /// The entries, the newest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ErrorInformation> {
        self.0.iter()
    }
}
