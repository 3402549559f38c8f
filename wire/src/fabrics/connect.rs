//! The Connect command: command, data and the two forms of its response (NVMe-oF 1.1 §3.3).

use crate::{Cid, Cqe, FabricsType, NqnField, SglDescriptor, Sqe, Status};
use core::fmt;
use zerocopy::little_endian::{U16, U32};

open_enum! {
    /// CATTR bits 1:0: the priority class of an I/O queue under weighted round robin.
    pub PriorityClass: u8 {
        URGENT = 0b00, "urgent";
        HIGH = 0b01, "high";
        MEDIUM = 0b10, "medium";
        LOW = 0b11, "low";
    }
}

bitfield! {
    /// Connect Attributes (CATTR).
    pub struct ConnectAttributes(u8) {
        /// Priority class of the I/O submission queue.
        priority, with_priority: [PriorityClass u8] = 0..2;
        /// The host asks for SQ flow control to be disabled.
        disable_sq_flow_control, with_disable_sq_flow_control: bool = 2..3;
        /// The host supports deleting single I/O queues (Disconnect).
        individual_queue_deletion, with_individual_queue_deletion: bool = 3..4;
    }
}

/// The fields of a Connect command.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Connect {
    /// Record Format; [`Connect::RECFMT`] is the only one.
    pub recfmt: u16,
    /// Queue identifier: 0 is the Admin queue.
    pub qid: u16,
    /// Entries of the submission queue, 0's based.
    pub sqsize: u16,
    /// Attributes.
    pub cattr: ConnectAttributes,
    /// Keep Alive Timeout in milliseconds, on the Admin queue; 0 for none.
    pub kato: u32,
}

impl Connect {
    /// The record format of NVMe-oF 1.0 and later.
    pub const RECFMT: u16 = 0;
    /// Length of the data that go with the command.
    pub const DATA_LENGTH: usize = ConnectData::SIZE;

    /// The fields of the command.
    #[must_use]
    pub const fn parse(sqe: &Sqe) -> Self {
        let (cdw10, cdw11) = (sqe.cdw10.get(), sqe.cdw11.get());
        Self {
            recfmt: cdw10 as u16,
            qid: (cdw10 >> 16) as u16,
            sqsize: cdw11 as u16,
            cattr: ConnectAttributes((cdw11 >> 16) as u8),
            kato: sqe.cdw12.get(),
        }
    }

    /// The command, with the data in the capsule (as most transports want it; replace the SGL otherwise).
    #[must_use]
    pub const fn to_sqe(self) -> Sqe {
        let mut sqe = Sqe::fabrics(FabricsType::CONNECT);
        sqe.sgl = SglDescriptor::in_capsule(0, Self::DATA_LENGTH as u32);
        sqe.cdw10 = U32::new(self.recfmt as u32 | (self.qid as u32) << 16);
        sqe.cdw11 = U32::new(self.sqsize as u32 | (self.cattr.0 as u32) << 16);
        sqe.cdw12 = U32::new(self.kato);
        sqe
    }

    /// Entries of the submission queue, 1's based.
    #[must_use]
    pub const fn entries(&self) -> u32 {
        self.sqsize as u32 + 1
    }
}

wire_struct! {
    /// The data of a Connect command.
    pub struct ConnectData[1024] {
        /// Host Identifier (HOSTID).
        pub hostid: [u8; 16],
        /// Controller Identifier (CNTLID): see [`super::CNTLID_DYNAMIC`] and [`super::CNTLID_STATIC_ANY`].
        pub cntlid: U16,
        pub(crate) reserved_18: [u8; 238],
        /// NVM Subsystem NVMe Qualified Name.
        pub subnqn: NqnField,
        /// Host NVMe Qualified Name.
        pub hostnqn: NqnField,
        pub(crate) reserved_768: [u8; 256],
    }
}

bitfield! {
    /// Dword 0 of the completion of a Connect that succeeded.
    pub struct ConnectAccepted(u32) {
        /// The controller the queue belongs to.
        cntlid, with_cntlid: u16 = 0..16;
        /// AUTHREQ.ATR: an authentication transaction is required.
        authentication_required, with_authentication_required: bool = 17..18;
        /// AUTHREQ.ASCR: authentication and a secure channel are required.
        secure_channel_required, with_secure_channel_required: bool = 18..19;
    }
}

impl ConnectAccepted {
    /// From a completion; the status says why not, if the command failed.
    pub const fn parse(cqe: &Cqe) -> Result<Self, Status> {
        let status = cqe.status();
        if status.is_success() { Ok(Self(cqe.dw0())) } else { Err(status) }
    }

    /// The completion.
    #[must_use]
    pub const fn to_cqe(self, cid: Cid) -> Cqe {
        Cqe::success(cid).with_dw0(self.0)
    }
}

/// Which field a Connect failed for: what comes with status Connect Invalid Parameters, and with no other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InvalidParameter {
    /// IATTR bit 0: the offset is into the data if set, into the SQE if not.
    pub in_data: bool,
    /// IPO: the offset of the field's first byte.
    pub offset: u16,
}

open_enum! {
    /// A field of Connect by its place: the offset, and 8000h if it is in the data.
    pub Field: u16 {
        FCTYPE = 4, "FCTYPE (command type)";
        SGL1 = 24, "SGL1 (data pointer)";
        RECFMT = 40, "RECFMT (record format)";
        QID = 42, "QID (queue identifier)";
        SQSIZE = 44, "SQSIZE (queue size)";
        CATTR = 46, "CATTR (attributes)";
        KATO = 48, "KATO (keep alive timeout)";
        HOSTID = 0x8000, "HOSTID (host identifier)";
        CNTLID = 0x8010, "CNTLID (controller identifier)";
        SUBNQN = 0x8100, "SUBNQN (subsystem name)";
        HOSTNQN = 0x8200, "HOSTNQN (host name)";
    }
}

impl InvalidParameter {
    /// SQE byte 40, the record format.
    pub const RECFMT: Self = Self::of(Field::RECFMT);
    /// SQE byte 42, the queue identifier.
    pub const QID: Self = Self::of(Field::QID);
    /// SQE byte 44, the queue size.
    pub const SQSIZE: Self = Self::of(Field::SQSIZE);
    /// SQE byte 46, the attributes.
    pub const CATTR: Self = Self::of(Field::CATTR);
    /// SQE byte 48, the keep alive timeout.
    pub const KATO: Self = Self::of(Field::KATO);
    /// Data byte 0, the host identifier.
    pub const HOSTID: Self = Self::of(Field::HOSTID);
    /// Data byte 16, the controller identifier.
    pub const CNTLID: Self = Self::of(Field::CNTLID);
    /// Data byte 256, the subsystem's name.
    pub const SUBNQN: Self = Self::of(Field::SUBNQN);
    /// Data byte 512, the host's name.
    pub const HOSTNQN: Self = Self::of(Field::HOSTNQN);

    const DATA: u16 = 0x8000;

    const fn of(field: Field) -> Self {
        Self { in_data: field.0 & Self::DATA != 0, offset: field.0 & !Self::DATA }
    }

    /// From a completion, if its status is Connect Invalid Parameters.
    #[must_use]
    pub const fn parse(cqe: &Cqe) -> Option<Self> {
        if !cqe.status().is(Status::CONNECT_INVALID_PARAMETERS) {
            return None;
        }
        let dw0 = cqe.dw0();
        Some(Self { in_data: dw0 & (1 << 16) != 0, offset: dw0 as u16 })
    }

    /// Dword 0 of the completion.
    #[must_use]
    pub const fn dw0(self) -> u32 {
        self.offset as u32 | (self.in_data as u32) << 16
    }

    /// The completion: Connect Invalid Parameters, not to be retried.
    #[must_use]
    pub const fn to_cqe(self, cid: Cid) -> Cqe {
        Cqe::error(cid, Status::CONNECT_INVALID_PARAMETERS.with_dnr()).with_dw0(self.dw0())
    }

    /// The field that holds the byte, if any does.
    #[must_use]
    pub const fn field(self) -> Option<Field> {
        Some(match (self.in_data, self.offset) {
            (false, 4) => Field::FCTYPE,
            (false, 24..40) => Field::SGL1,
            (false, 40..42) => Field::RECFMT,
            (false, 42..44) => Field::QID,
            (false, 44..46) => Field::SQSIZE,
            (false, 46) => Field::CATTR,
            (false, 48..52) => Field::KATO,
            (true, 0..16) => Field::HOSTID,
            (true, 16..18) => Field::CNTLID,
            (true, 256..512) => Field::SUBNQN,
            (true, 512..768) => Field::HOSTNQN,
            _ => return None,
        })
    }

    /// The specification's abbreviation of that field.
    #[must_use]
    pub const fn field_name(self) -> Option<&'static str> {
        match self.field() {
            Some(field) => field.name(),
            None => None,
        }
    }
}

impl fmt::Display for InvalidParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.in_data { "data" } else { "command" };
        match self.field() {
            Some(field) => write!(f, "{field}, byte {} of the {place}", self.offset),
            None => write!(f, "byte {} of the {place}", self.offset),
        }
    }
}
