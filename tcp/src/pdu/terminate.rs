//! Termination requests: what is said to a peer that broke the protocol, and what it says to us.

use zerocopy::{IntoBytes, little_endian::U32};

use super::{
    TERM_REQ_DATA_MAX, TERM_REQ_HEADER_LEN, TERM_REQ_MAX,
    headers::{CommonHeader, TermReqHeader},
    types::{Flags, Kind, Role},
    violation::{FatalErrorStatus, Violation},
};

/// The content of an H2CTermReq or C2HTermReq (NVMe/TCP Transport 1.0 §3.6.2.4, §3.6.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermReq<'a> {
    /// What is wrong.
    pub fes: FatalErrorStatus,
    /// Where it is wrong, depending on the status.
    pub fei: u32,
    /// The header of the PDU that is complained about, at most 128 bytes of it.
    pub header: &'a [u8],
}

impl<'a> TermReq<'a> {
    /// The answer to a violation found in the PDU that starts with `header`: as much of its header (with header
    /// digest) as has arrived. `None` if the violation may not be answered.
    pub fn new(violation: &Violation, header: &'a [u8]) -> Option<Self> {
        // spec: TCP-TRM-03, TCP-TRM-04
        let report = violation.report()?;
        let header = header.get(..TERM_REQ_DATA_MAX).unwrap_or(header);
        Some(TermReq { fes: report.fes, fei: report.fei, header })
    }

    /// The whole PDU as `sender` sends it, and its length.
    pub fn encode(&self, sender: Role) -> ([u8; TERM_REQ_MAX], usize) {
        // spec: TCP-TRM-01, TCP-TRM-02, TCP-TRM-04, TCP-TRM-06
        let kind = match sender {
            Role::Host => Kind::H2cTermReq,
            Role::Controller => Kind::C2hTermReq,
        };
        let mut out = [0; TERM_REQ_MAX];
        let (head, data) = out.split_at_mut(TERM_REQ_HEADER_LEN);
        let carried = self.header.len().min(data.len());
        for (to, from) in data.iter_mut().zip(self.header) {
            *to = *from;
        }
        let len = TERM_REQ_HEADER_LEN + carried;
        let header = TermReqHeader {
            ch: CommonHeader {
                pdu_type: kind.pdu_type(),
                flags: Flags(0),
                hlen: kind.header_len(),
                pdo: 0,
                plen: U32::new(len as u32),
            },
            fes: self.fes,
            fei: U32::new(self.fei),
            reserved: [0; 10],
        };
        head.copy_from_slice(header.as_bytes());
        (out, len)
    }

    /// One line for a log or an error message; `sender` is the role that sent it.
    pub fn describe(&self, sender: Role) -> String {
        format!("{} ({}): {}", self.fes.name(sender), self.fes.value(), self.fes.explain(self.fei))
    }
}
