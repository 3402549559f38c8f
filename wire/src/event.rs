//! Asynchronous events: dword 0 of the completion of an Asynchronous Event Request (NVMe Base 2.0 §5.2.1).

use crate::log::Lid;
use crate::{Cid, Cqe};
use core::fmt;

open_enum! {
    /// Asynchronous Event Type.
    pub EventType: u8 {
        ERROR = 0x0, "error status";
        SMART = 0x1, "SMART / health status";
        NOTICE = 0x2, "notice";
        IMMEDIATE = 0x3, "immediate";
        IO_COMMAND_SPECIFIC = 0x6, "I/O command specific status";
        VENDOR_SPECIFIC = 0x7, "vendor specific";
    }
}

open_enum! {
    /// Asynchronous Event Information of [`EventType::ERROR`].
    pub ErrorEvent: u8 {
        INVALID_DOORBELL_REGISTER = 0x00, "write to an invalid doorbell register";
        INVALID_DOORBELL_VALUE = 0x01, "invalid doorbell write value";
        DIAGNOSTIC_FAILURE = 0x02, "diagnostic failure";
        PERSISTENT_INTERNAL_ERROR = 0x03, "persistent internal error";
        TRANSIENT_INTERNAL_ERROR = 0x04, "transient internal error";
        FIRMWARE_IMAGE_LOAD_ERROR = 0x05, "firmware image load error";
    }
}

open_enum! {
    /// Asynchronous Event Information of [`EventType::SMART`].
    pub SmartEvent: u8 {
        RELIABILITY = 0x00, "the subsystem's reliability is degraded";
        TEMPERATURE_THRESHOLD = 0x01, "temperature beyond a threshold";
        SPARE_BELOW_THRESHOLD = 0x02, "available spare below its threshold";
    }
}

open_enum! {
    /// Asynchronous Event Information of [`EventType::NOTICE`].
    pub NoticeEvent: u8 {
        NAMESPACE_ATTRIBUTE_CHANGED = 0x00, "attached namespace attribute changed";
        FIRMWARE_ACTIVATION_STARTING = 0x01, "firmware activation starting";
        TELEMETRY_LOG_CHANGED = 0x02, "telemetry log changed";
        ANA_CHANGE = 0x03, "asymmetric namespace access change";
        PREDICTABLE_LATENCY_AGGREGATE_CHANGED = 0x04, "predictable latency event aggregate log changed";
        LBA_STATUS_ALERT = 0x05, "LBA status information alert";
        ENDURANCE_GROUP_AGGREGATE_CHANGED = 0x06, "endurance group event aggregate log changed";
        REACHABILITY_GROUP_CHANGE = 0x07, "reachability group change";
        REACHABILITY_ASSOCIATION_CHANGE = 0x08, "reachability association change";
        ALLOCATED_NAMESPACE_ATTRIBUTE_CHANGED = 0x09, "allocated namespace attribute changed";
        ZONE_DESCRIPTOR_CHANGED = 0xEF, "zone descriptor changed";
        DISCOVERY_LOG_CHANGE = 0xF0, "discovery log page change";
        HOST_DISCOVERY_LOG_CHANGE = 0xF1, "host discovery log page change";
        AVE_DISCOVERY_LOG_CHANGE = 0xF2, "AVE discovery log page change";
        PULL_MODEL_DDC_REQUEST = 0xF3, "pull model DDC request log page change";
    }
}

open_enum! {
    /// Asynchronous Event Information of [`EventType::IMMEDIATE`].
    pub ImmediateEvent: u8 {
        NORMAL_SUBSYSTEM_SHUTDOWN = 0x00, "normal NVM subsystem shutdown";
        TEMPERATURE_HYSTERESIS_RECOVERY = 0x01, "temperature back below its threshold";
    }
}

open_enum! {
    /// Asynchronous Event Information of [`EventType::IO_COMMAND_SPECIFIC`], NVM command set.
    pub IoEvent: u8 {
        RESERVATION_LOG_AVAILABLE = 0x00, "reservation log page available";
        SANITIZE_COMPLETED = 0x01, "sanitize operation completed";
        SANITIZE_COMPLETED_UNEXPECTED_DEALLOCATION = 0x02, "sanitize operation completed with unexpected deallocation";
        SANITIZE_MEDIA_VERIFICATION = 0x03, "sanitize operation entered media verification";
    }
}

bitfield! {
    /// Dword 0 of the completion of an Asynchronous Event Request.
    pub struct AsyncEvent(u32) {
        /// What kind of event.
        kind, with_kind: [EventType u8] = 0..3;
        /// Which event of that kind: [`ErrorEvent`], [`SmartEvent`], [`NoticeEvent`] and so on.
        info, with_info: u8 = 8..16;
        /// The log page whose reading acknowledges the event.
        log_page, with_log_page: [Lid u8] = 16..24;
    }
}

impl AsyncEvent {
    /// From a completion that succeeded.
    #[must_use]
    pub const fn parse(cqe: &Cqe) -> Self {
        Self(cqe.dw0())
    }

    /// The completion.
    #[must_use]
    pub const fn to_cqe(self, cid: Cid) -> Cqe {
        Cqe::success(cid).with_dw0(self.0)
    }

    /// An error event; the Error Information log page tells more.
    #[must_use]
    pub const fn error(info: ErrorEvent) -> Self {
        Self(0).with_kind(EventType::ERROR).with_info(info.0).with_log_page(Lid::ERROR_INFORMATION)
    }

    /// A health event; the SMART / Health Information log page tells more.
    #[must_use]
    pub const fn smart(info: SmartEvent) -> Self {
        Self(0).with_kind(EventType::SMART).with_info(info.0).with_log_page(Lid::SMART_HEALTH)
    }

    /// A notice, with the log page that belongs to it.
    #[must_use]
    pub const fn notice(info: NoticeEvent) -> Self {
        let page = match info {
            NoticeEvent::NAMESPACE_ATTRIBUTE_CHANGED => Lid::CHANGED_NAMESPACE_LIST,
            NoticeEvent::FIRMWARE_ACTIVATION_STARTING => Lid::FIRMWARE_SLOT,
            NoticeEvent::TELEMETRY_LOG_CHANGED => Lid::TELEMETRY_CONTROLLER,
            NoticeEvent::ANA_CHANGE => Lid::ASYMMETRIC_NAMESPACE_ACCESS,
            NoticeEvent::PREDICTABLE_LATENCY_AGGREGATE_CHANGED => Lid::PREDICTABLE_LATENCY_AGGREGATE,
            NoticeEvent::LBA_STATUS_ALERT => Lid::LBA_STATUS,
            NoticeEvent::ENDURANCE_GROUP_AGGREGATE_CHANGED => Lid::ENDURANCE_GROUP_AGGREGATE,
            NoticeEvent::REACHABILITY_GROUP_CHANGE => Lid::REACHABILITY_GROUPS,
            NoticeEvent::REACHABILITY_ASSOCIATION_CHANGE => Lid::REACHABILITY_ASSOCIATIONS,
            NoticeEvent::ALLOCATED_NAMESPACE_ATTRIBUTE_CHANGED => Lid::CHANGED_ALLOCATED_NAMESPACE_LIST,
            NoticeEvent::ZONE_DESCRIPTOR_CHANGED => Lid::CHANGED_ZONE_LIST,
            NoticeEvent::DISCOVERY_LOG_CHANGE => Lid::DISCOVERY,
            NoticeEvent::HOST_DISCOVERY_LOG_CHANGE => Lid::HOST_DISCOVERY,
            NoticeEvent::AVE_DISCOVERY_LOG_CHANGE => Lid::AVE_DISCOVERY,
            NoticeEvent::PULL_MODEL_DDC_REQUEST => Lid::PULL_MODEL_DDC_REQUEST,
            _ => Lid(0),
        };
        Self(0).with_kind(EventType::NOTICE).with_info(info.0).with_log_page(page)
    }
}

impl fmt::Display for AsyncEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kind())?;
        let info = self.info();
        match self.kind() {
            EventType::ERROR => write!(f, "{}", ErrorEvent(info)),
            EventType::SMART => write!(f, "{}", SmartEvent(info)),
            EventType::NOTICE => write!(f, "{}", NoticeEvent(info)),
            EventType::IMMEDIATE => write!(f, "{}", ImmediateEvent(info)),
            EventType::IO_COMMAND_SPECIFIC => write!(f, "{}", IoEvent(info)),
            _ => write!(f, "{info:02X}h"),
        }
    }
}
