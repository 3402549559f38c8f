//! ICReq and ICResp on a connection: who sends what when, and what an answer means that is none.

use nvmf_transport::{CloseReason, Error, ErrorKind, Stage};

use super::{link::Link, receive::Fault};
use crate::pdu::{ControllerTerms, HostTerms, IcReq, IcResp, Negotiated, PduType, Violation};
use zerocopy::IntoBytes;

impl<D> Link<D> {
    /// Host: sends ICReq, before everything else.
    pub(crate) fn request(&mut self, terms: &HostTerms) {
        // spec: TCP-IC-01
        self.send.copy(terms.request().as_bytes());
    }

    /// Controller: answers ICReq. What was agreed takes effect when the answer has left, see [`Answer`].
    pub(crate) fn answer(
        &mut self,
        terms: &ControllerTerms,
        request: &IcReq,
    ) -> Result<Negotiated, Violation> {
        // spec: TCP-IC-10, TCP-IC-17, TCP-IC-18
        let (response, negotiated) = terms.answer(request)?;
        self.send.copy(response.as_bytes());
        Ok(negotiated)
    }

    /// Host: whether the peer's first bytes show that it does not speak NVMe/TCP at all, and then why.
    pub(crate) fn stranger(&self, fault: &Fault) -> Option<CloseReason> {
        matches!(fault.violation, Violation::UnknownType(_)).then(|| not_nvme(fault.header()))
    }

    /// As [`stranger`](Self::stranger), for a peer that closed before its header was complete.
    pub(crate) fn stranger_closed(&self, partial: &[u8]) -> Option<CloseReason> {
        let first = *partial.first()?;
        (![PduType::IC_RESP.0, PduType::C2H_TERM_REQ.0].contains(&first)).then(|| not_nvme(partial))
    }
}

/// A controller's side of negotiation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// ICReq has not come.
    Awaited,
    /// ICResp is on its way; whatever the host sends before it is out comes too early.
    Leaving(Negotiated),
    /// ICResp is out.
    Sent,
}

/// Host: takes ICResp.
pub(crate) fn take_response(terms: &HostTerms, response: &IcResp) -> Result<Negotiated, Violation> {
    // spec: TCP-IC-12, TCP-IC-19
    terms.accept(response)
}

fn not_nvme(bytes: &[u8]) -> CloseReason {
    let shown = &bytes[..bytes.len().min(24)];
    let text: String =
        shown.iter().map(|&b| if b.is_ascii_graphic() || b == b' ' { char::from(b) } else { '.' }).collect();
    let hex: Vec<String> = shown.iter().map(|b| format!("{b:02x}")).collect();
    CloseReason::Failed(Error::new(
        Stage::Negotiate,
        ErrorKind::NotNvme,
        format!("the peer does not speak NVMe/TCP: instead of ICResp it sent \"{text}\" ({})", hex.join(" ")),
    ))
}

/// Negotiated values by the specification's names, for people.
pub fn describe(negotiated: &Negotiated) -> Vec<(&'static str, String)> {
    let on = |on: bool| if on { "on" } else { "off" }.to_string();
    vec![
        ("header digest", on(negotiated.digests.header)),
        ("data digest", on(negotiated.digests.data)),
        ("HPDA", negotiated.host_alignment.value().to_string()),
        ("CPDA", negotiated.controller_alignment.value().to_string()),
        ("MAXR2T", negotiated.max_r2t.to_string()),
        ("MAXH2CDATA", negotiated.max_h2c_data.to_string()),
    ]
}
