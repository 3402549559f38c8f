//! Connection parameters: what each side puts into ICReq and ICResp, what it makes of the other's, and the result.
//!
//! Pure functions; who sends when, and how long one waits, is the connection's.

use std::num::NonZeroU32;

use zerocopy::little_endian::{U16, U32};

use super::{
    DATA_MAX, MAXH2CDATA_MIN,
    headers::{CommonHeader, IcReq, IcResp},
    layout::{Alignment, Digests, Layout},
    receive::{Phase, Receiver},
    send::Sender,
    types::{Flags, Kind, Role},
    violation::Violation,
};

/// What one side thinks of one digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestPolicy {
    /// A host does not offer it, a controller does not enable it.
    #[default]
    Off,
    /// A host offers it, a controller enables it when offered.
    On,
    /// As `On`, and the connection fails where the peer does not take part.
    Required,
}

impl DigestPolicy {
    const fn wanted(self) -> bool {
        !matches!(self, DigestPolicy::Off)
    }

    const fn required(self) -> bool {
        matches!(self, DigestPolicy::Required)
    }
}

/// What a host asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostTerms {
    /// Alignment of the data it receives (HPDA).
    pub alignment: Alignment,
    /// Header digest.
    pub header_digest: DigestPolicy,
    /// Data digest.
    pub data_digest: DigestPolicy,
    /// R2Ts it takes for one command at a time.
    pub max_r2t: NonZeroU32,
}

impl Default for HostTerms {
    fn default() -> Self {
        HostTerms {
            alignment: Alignment::DWORD,
            header_digest: DigestPolicy::Off,
            data_digest: DigestPolicy::Off,
            max_r2t: NonZeroU32::MIN,
        }
    }
}

/// What a controller grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerTerms {
    /// Alignment of the data it receives (CPDA).
    pub alignment: Alignment,
    /// Header digest.
    pub header_digest: DigestPolicy,
    /// Data digest.
    pub data_digest: DigestPolicy,
    /// Most data it takes in one H2CData PDU; brought to a legal value when it is none.
    pub max_h2c_data: u32,
}

impl Default for ControllerTerms {
    fn default() -> Self {
        ControllerTerms {
            alignment: Alignment::DWORD,
            header_digest: DigestPolicy::On,
            data_digest: DigestPolicy::On,
            max_h2c_data: 128 * 1024,
        }
    }
}

// spec: TCP-IC-23
/// What both sides of a connection agreed upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Digests in use, both directions.
    pub digests: Digests,
    /// HPDA: alignment of data sent to the host.
    pub host_alignment: Alignment,
    /// CPDA: alignment of data sent to the controller.
    pub controller_alignment: Alignment,
    /// R2Ts the host takes for one command at a time.
    pub max_r2t: NonZeroU32,
    /// MAXH2CDATA: a multiple of 4, at least 4096, at most [`DATA_MAX`].
    pub max_h2c_data: u32,
}

impl Negotiated {
    /// What `role` sends with.
    pub const fn sender(&self, role: Role) -> Sender {
        let alignment = match role {
            Role::Host => self.controller_alignment,
            Role::Controller => self.host_alignment,
        };
        Sender { digests: self.digests, alignment }
    }

    /// What a controller holds its host to, on a queue that takes `max_in_capsule` bytes of in-capsule data.
    pub const fn controller_receiver(&self, max_in_capsule: u32) -> Receiver {
        Receiver {
            role: Role::Controller,
            phase: Phase::Ready,
            digests: self.digests,
            alignment: self.controller_alignment,
            max_in_capsule,
            max_data: self.max_h2c_data,
        }
    }

    /// What a host holds its controller to, on a queue whose commands ask for at most `max_transfer` bytes.
    pub const fn host_receiver(&self, max_transfer: u32) -> Receiver {
        Receiver {
            role: Role::Host,
            phase: Phase::Ready,
            digests: self.digests,
            alignment: self.host_alignment,
            max_in_capsule: 0,
            max_data: max_transfer,
        }
    }
}

impl HostTerms {
    /// The ICReq that asks for these terms.
    pub fn request(&self) -> IcReq {
        // spec: TCP-IC-05, TCP-IC-06, TCP-IC-07, TCP-IC-08, TCP-IC-09
        let layout = Layout::without_data(Kind::IcReq, false);
        IcReq {
            ch: CommonHeader::new(Kind::IcReq, Flags(0), &layout),
            pfv: U16::ZERO,
            hpda: self.alignment.value(),
            dgst: self.offered().bits(),
            maxr2t: U32::new(self.max_r2t.get() - 1),
            reserved: [0; 112],
        }
    }

    /// What the controller's answer to [`request`](Self::request) makes of the connection.
    pub fn accept(&self, response: &IcResp) -> Result<Negotiated, Violation> {
        // spec: TCP-IC-12, TCP-IC-13
        if response.pfv.get() != 0 {
            return Err(Violation::FormatVersion(response.pfv.get()));
        }
        // spec: TCP-IC-14
        let controller_alignment =
            Alignment::new(response.cpda).ok_or(Violation::DataAlignment(response.cpda))?;
        // spec: TCP-IC-15, TCP-DG-01
        let offered = self.offered().bits();
        if response.dgst & !offered != 0 {
            return Err(Violation::DigestNotOffered { granted: response.dgst, offered });
        }
        let digests = Digests::from_bits(response.dgst);
        check_required(self.header_digest, self.data_digest, digests)?;
        // spec: TCP-IC-16
        let max_h2c_data = response.maxh2cdata.get();
        if max_h2c_data < MAXH2CDATA_MIN || !max_h2c_data.is_multiple_of(4) {
            return Err(Violation::MaxH2cData(max_h2c_data));
        }
        Ok(Negotiated {
            digests,
            host_alignment: self.alignment,
            controller_alignment,
            max_r2t: self.max_r2t,
            max_h2c_data: max_h2c_data.min(DATA_MAX & !3),
        })
    }

    const fn offered(&self) -> Digests {
        Digests { header: self.header_digest.wanted(), data: self.data_digest.wanted() }
    }
}

impl ControllerTerms {
    /// The answer to a host's ICReq, and what it makes of the connection.
    pub fn answer(&self, request: &IcReq) -> Result<(IcResp, Negotiated), Violation> {
        // spec: TCP-IC-06
        if request.pfv.get() != 0 {
            return Err(Violation::FormatVersion(request.pfv.get()));
        }
        // spec: TCP-IC-07
        let host_alignment = Alignment::new(request.hpda).ok_or(Violation::DataAlignment(request.hpda))?;
        // spec: TCP-IC-08, TCP-IC-15, TCP-DG-01
        let offered = Digests::from_bits(request.dgst);
        let digests = Digests {
            header: offered.header && self.header_digest.wanted(),
            data: offered.data && self.data_digest.wanted(),
        };
        check_required(self.header_digest, self.data_digest, digests)?;
        let negotiated = Negotiated {
            digests,
            host_alignment,
            controller_alignment: self.alignment,
            // spec: TCP-IC-09
            max_r2t: NonZeroU32::MIN.saturating_add(request.maxr2t.get()),
            // spec: TCP-IC-16, TCP-IC-25
            max_h2c_data: (self.max_h2c_data & !3).clamp(MAXH2CDATA_MIN, DATA_MAX & !3),
        };
        // spec: TCP-IC-10, TCP-IC-11, TCP-IC-13, TCP-IC-14
        let layout = Layout::without_data(Kind::IcResp, false);
        let response = IcResp {
            ch: CommonHeader::new(Kind::IcResp, Flags(0), &layout),
            pfv: U16::ZERO,
            cpda: self.alignment.value(),
            dgst: digests.bits(),
            maxh2cdata: U32::new(negotiated.max_h2c_data),
            reserved: [0; 112],
        };
        Ok((response, negotiated))
    }
}

// spec: TCP-IC-18, TCP-IC-20
fn check_required(header: DigestPolicy, data: DigestPolicy, found: Digests) -> Result<(), Violation> {
    let required = Digests { header: header.required(), data: data.required() };
    if (required.header && !found.header) || (required.data && !found.data) {
        return Err(Violation::DigestRequired { required: required.bits(), found: found.bits() });
    }
    Ok(())
}
