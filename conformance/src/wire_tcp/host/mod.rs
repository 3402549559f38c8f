//! The tester as a controller: what a host must make of right and wrong bytes.
//!
//! The host connects, writes [`SIZE`] bytes and reads as many ([`HostUnderTest`]); the tester answers as the case wants. Deliberately
//! absent: NVMe above the transport, so the first commands may be these two at once.

mod own;
mod peer;

mod answers;
mod initialise;
mod requests;

use std::{fmt, net::SocketAddr};

use crate::{Outcome, Stop, Verdict};

pub use own::OwnHost;
pub use peer::{Commands, Peer};

/// Bytes of the write and of the read: more than fits a capsule of the admin queue.
pub const SIZE: usize = 65_536;

/// Byte `n` of what the host writes.
#[must_use]
pub fn written(n: usize) -> u8 {
    (n % 251) as u8
}

/// Byte `n` of what the tester sends for the read.
#[must_use]
pub fn sent(n: usize) -> u8 {
    (n % 241) as u8
}

/// What a host asks for in ICReq.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Both digests.
    pub digests: bool,
    /// R2Ts for one command at a time, 0's based.
    pub maxr2t: u32,
    /// SQ flow control off, so that success may be folded.
    pub no_flow_control: bool,
}

/// What a host made of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Whether it took the connection for initialised.
    pub connected: bool,
    /// The status the write ended with, if it was completed.
    pub write: Option<u16>,
    /// The status the read ended with, how many bytes the host thinks it has, and its buffer.
    pub read: Option<(u16, usize, Vec<u8>)>,
    /// How often a command ended more than once.
    pub repeated: usize,
    /// Why the connection ended, in the host's words.
    pub end: String,
}

/// A host that can be told to connect.
pub trait HostUnderTest: Sync {
    /// Connects to `address`, writes and reads at once, and reports when the connection is over or both are done.
    /// Called on a thread of its own; bounded in time.
    fn run(&self, address: SocketAddr, wanted: Wanted) -> Result<Report, Stop>;
}

/// A case against a host.
#[derive(Clone, Copy)]
pub struct Case {
    /// A short name, stable across versions.
    pub id: &'static str,
    /// What must hold, as a sentence.
    pub title: &'static str,
    /// Sections of NVMe/TCP Transport 1.0, unless another document is named.
    pub reference: &'static str,
    /// Runs it.
    pub run: fn(&dyn HostUnderTest) -> Verdict,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({}: {})", self.id, self.title)
    }
}

/// Runs a case, and says what became of it.
#[must_use]
pub fn run(case: &Case, host: &dyn HostUnderTest) -> Outcome {
    match (case.run)(host) {
        Ok(()) => Outcome::Passed,
        Err(Stop::Skipped { reason }) => Outcome::Skipped(reason),
        Err(failure) => Outcome::Failed(failure.to_string()),
    }
}

macro_rules! table {
    ($( $run:path, $id:literal, $title:literal, $reference:literal; )*) => {
        /// Every case against a host.
        pub const CASES: &[Case] =
            &[$(Case { id: $id, title: $title, reference: $reference, run: $run }),*];
    };
}

table! {
    initialise::valid, "HH-00", "a host's own bytes are right, and right answers are taken", "§3.6";
    initialise::silence, "HH-01", "a controller that does not answer ICReq is a timeout that says so", "§3.1";
    initialise::wrong, "HH-02", "an ICResp with a wrong field is refused, naming the field", "§3.6.2.3";
    initialise::wrong_pdu, "HH-03", "anything but ICResp first is refused", "§3.1";
    initialise::not_nvme, "HH-04", "a server of another protocol is told from a controller", "house rule";
    initialise::ends, "HH-12", "a connection that ends at any moment ends everything once", "house rule";

    answers::header_fields, "HH-05", "wrong common headers end the connection, naming the field", "§3.6.2.1";
    answers::header_digest, "HD-H1", "a wrong header digest ends the connection", "§3.3.1.1";
    answers::data_digest, "HD-H2", "data with a wrong digest is not delivered as good", "§3.3.1.1";
    answers::completions, "HH-06", "completions for nothing, and twice, end the connection", "NVMe Base 2.0 §3.3.3.2";
    answers::data, "HH-07", "data at the wrong place, for the wrong command or too much ends the connection", "§3.3.2.2";
    answers::success, "HH-08", "a folded success is one only where it may be", "§3.3.2.2, §3.6.2.9";
    answers::short, "HH-14", "a read that ends early does not pass for whole", "§3.3.2.2";
    answers::pieces, "HH-15", "answers in any pieces mean the same", "TCP";
    answers::termination, "HH-11", "a controller's termination request ends the connection without a reply", "§3.5.1";

    requests::slices, "HH-09", "data is sent as R2Ts ask for it, slice by slice", "§3.3.2.1";
    requests::limits, "HH-10", "H2CData obeys MAXH2CDATA, CPDA, digests and LAST_PDU", "§3.6.2.8";
    requests::several, "HH-16", "as many R2Ts as were offered are answered at a time", "§3.6.2.2";
    requests::wrong, "HH-17", "R2Ts for nothing, beyond the data, out of order or too many end the connection", "§3.6.2.10";
}
