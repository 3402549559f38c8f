//! The status of a completion: code type, code and the bits that say what a retry is worth (NVMe Base 2.0 §3.3.3.2.1).
//!
//! The names are those of the specifications. Command specific codes 80h to BFh mean one thing to the NVM command set and
//! another to Fabrics commands; [`Status::fabrics_name`] is for the latter, [`Status::name`] takes the former.

use core::fmt;

/// The 15 bits of the Status field: SC in 7:0, SCT in 10:8, CRD in 12:11, M in 13, DNR in 14.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[must_use]
pub struct Status(u16);

open_enum! {
    /// Status Code Type (SCT), which says what a status code means.
    pub StatusCodeType: u8 {
        GENERIC = 0x0, "generic command status";
        COMMAND_SPECIFIC = 0x1, "command specific status";
        MEDIA = 0x2, "media and data integrity error";
        PATH = 0x3, "path related status";
        VENDOR_SPECIFIC = 0x7, "vendor specific status";
    }
}

const CODE: u16 = 0x07FF;
const MORE: u16 = 1 << 13;
const DNR: u16 = 1 << 14;

macro_rules! statuses {
    (@key $sct:literal $sc:literal) => { (($sct as u16) << 8) | $sc as u16 };
    ($table:ident, $text:ident: $( $CONST:ident = $sct:literal $sc:literal, $name:literal, $description:literal; )*) => {
        impl Status {
            $(
                #[doc = concat!($name, " (SCT `", stringify!($sct), "`, SC `", stringify!($sc), "`): ", $description, ".")]
                pub const $CONST: Self = Self(statuses!(@key $sct $sc));
            )*
        }
        const fn $text(code: u16) -> Option<(&'static str, &'static str)> {
            match Status(code) {
                $(Status::$CONST => Some(($name, $description)),)*
                _ => None,
            }
        }
        #[cfg(test)]
        pub(crate) const $table: &[(Status, u8, u8, &str)] = &[$((Status::$CONST, $sct, $sc, $name)),*];
    };
}

statuses! { KNOWN, common_text:
    SUCCESS = 0 0x00, "Successful Completion", "the command completed without error";
    INVALID_OPCODE = 0 0x01, "Invalid Command Opcode", "the controller does not support the opcode";
    INVALID_FIELD = 0 0x02, "Invalid Field in Command", "a reserved value or an unsupported one in a field of the command";
    COMMAND_ID_CONFLICT = 0 0x03, "Command ID Conflict", "the command identifier is already in use on this queue";
    DATA_TRANSFER_ERROR = 0 0x04, "Data Transfer Error", "moving the data or metadata failed";
    ABORTED_POWER_LOSS = 0 0x05, "Commands Aborted due to Power Loss Notification", "power is about to fail";
    INTERNAL_ERROR = 0 0x06, "Internal Error", "the controller failed in a way no other status describes";
    ABORT_REQUESTED = 0 0x07, "Command Abort Requested", "an Abort command named this one";
    ABORTED_SQ_DELETION = 0 0x08, "Command Aborted due to SQ Deletion", "the submission queue was deleted or disconnected";
    ABORTED_FAILED_FUSED = 0 0x09, "Command Aborted due to Failed Fused Command", "the other command of the fused pair failed";
    ABORTED_MISSING_FUSED = 0 0x0A, "Command Aborted due to Missing Fused Command", "the other command of the fused pair did not come";
    INVALID_NAMESPACE_OR_FORMAT = 0 0x0B, "Invalid Namespace or Format", "no such active namespace, or its format does not fit the command";
    COMMAND_SEQUENCE_ERROR = 0 0x0C, "Command Sequence Error", "the command came before one it depends on";
    INVALID_SGL_SEGMENT_DESCRIPTOR = 0 0x0D, "Invalid SGL Segment Descriptor", "a segment descriptor is in the wrong place or has a wrong length";
    INVALID_NUMBER_OF_SGL_DESCRIPTORS = 0 0x0E, "Invalid Number of SGL Descriptors", "more or fewer descriptors than allowed";
    DATA_SGL_LENGTH_INVALID = 0 0x0F, "Data SGL Length Invalid", "the descriptors are too short or too long for the data";
    METADATA_SGL_LENGTH_INVALID = 0 0x10, "Metadata SGL Length Invalid", "the descriptors are too short or too long for the metadata";
    SGL_DESCRIPTOR_TYPE_INVALID = 0 0x11, "SGL Descriptor Type Invalid", "the type or sub type of a descriptor is not supported";
    INVALID_USE_OF_CMB = 0 0x12, "Invalid Use of Controller Memory Buffer", "the controller memory buffer is not usable that way";
    PRP_OFFSET_INVALID = 0 0x13, "PRP Offset Invalid", "the offset field of a PRP entry is wrong";
    ATOMIC_WRITE_UNIT_EXCEEDED = 0 0x14, "Atomic Write Unit Exceeded", "the write is longer than the atomic unit";
    OPERATION_DENIED = 0 0x15, "Operation Denied", "access rights do not suffice";
    SGL_OFFSET_INVALID = 0 0x16, "SGL Offset Invalid", "the offset of a descriptor lies outside of the capsule";
    HOST_ID_INCONSISTENT_FORMAT = 0 0x18, "Host Identifier Inconsistent Format", "hosts use 64-bit and 128-bit identifiers at once";
    KEEP_ALIVE_TIMER_EXPIRED = 0 0x19, "Keep Alive Timer Expired", "the controller heard nothing from the host in time";
    KEEP_ALIVE_TIMEOUT_INVALID = 0 0x1A, "Keep Alive Timeout Invalid", "the controller does not accept the timeout";
    ABORTED_PREEMPT = 0 0x1B, "Command Aborted due to Preempt and Abort", "a reservation was preempted";
    SANITIZE_FAILED = 0 0x1C, "Sanitize Failed", "the last sanitize operation failed and none succeeded since";
    SANITIZE_IN_PROGRESS = 0 0x1D, "Sanitize In Progress", "the command is not allowed while a sanitize operation runs";
    SGL_DATA_BLOCK_GRANULARITY_INVALID = 0 0x1E, "SGL Data Block Granularity Invalid", "an address or length is not a multiple of a dword";
    NOT_SUPPORTED_FOR_QUEUE_IN_CMB = 0 0x1F, "Command Not Supported for Queue in CMB", "the queue lies in the controller memory buffer";
    NAMESPACE_WRITE_PROTECTED = 0 0x20, "Namespace is Write Protected", "the host or the controller forbids writing to the namespace";
    COMMAND_INTERRUPTED = 0 0x21, "Command Interrupted", "the controller could not go on; a retry may succeed";
    TRANSIENT_TRANSPORT_ERROR = 0 0x22, "Transient Transport Error", "the transport failed for a moment; a retry may succeed";
    PROHIBITED_BY_LOCKDOWN = 0 0x23, "Command Prohibited by Command and Feature Lockdown", "a lockdown forbids the command";
    ADMIN_MEDIA_NOT_READY = 0 0x24, "Admin Command Media Not Ready", "the command needs media that are not ready";
    INVALID_KEY_TAG = 0 0x25, "Invalid Key Tag", "the key tag names no key";
    DISPERSED_NAMESPACE_NOT_ENABLED = 0 0x26, "Host Dispersed Namespace Support Not Enabled", "the host did not enable dispersed namespaces";
    HOST_ID_NOT_INITIALIZED = 0 0x27, "Host Identifier Not Initialized", "the command needs a host identifier";
    INCORRECT_KEY = 0 0x28, "Incorrect Key", "the key tag names another key than the one in use";
    FDP_DISABLED = 0 0x29, "FDP Disabled", "flexible data placement is off";
    INVALID_PLACEMENT_HANDLE_LIST = 0 0x2A, "Invalid Placement Handle List", "the placement handles are wrong";
    LBA_OUT_OF_RANGE = 0 0x80, "LBA Out of Range", "the command reaches beyond the end of the namespace";
    CAPACITY_EXCEEDED = 0 0x81, "Capacity Exceeded", "the namespace has no capacity left";
    NAMESPACE_NOT_READY = 0 0x82, "Namespace Not Ready", "the namespace is not ready for this command";
    RESERVATION_CONFLICT = 0 0x83, "Reservation Conflict", "another host's reservation forbids the command";
    FORMAT_IN_PROGRESS = 0 0x84, "Format In Progress", "the namespace is being formatted";
    INVALID_VALUE_SIZE = 0 0x85, "Invalid Value Size", "the size of a key value command's value is wrong";
    INVALID_KEY_SIZE = 0 0x86, "Invalid Key Size", "the size of a key value command's key is wrong";
    KV_KEY_DOES_NOT_EXIST = 0 0x87, "KV Key Does Not Exist", "there is no such key";
    KV_UNRECOVERED_ERROR = 0 0x88, "Unrecovered Error", "the key's value could not be read";
    KV_KEY_EXISTS = 0 0x89, "Key Exists", "the key is there already";

    COMPLETION_QUEUE_INVALID = 1 0x00, "Completion Queue Invalid", "there is no such completion queue";
    INVALID_QUEUE_IDENTIFIER = 1 0x01, "Invalid Queue Identifier", "the queue identifier is in use, out of range or unknown";
    INVALID_QUEUE_SIZE = 1 0x02, "Invalid Queue Size", "the queue is too large or too small";
    ABORT_LIMIT_EXCEEDED = 1 0x03, "Abort Command Limit Exceeded", "more Abort commands are outstanding than allowed";
    ASYNC_EVENT_LIMIT_EXCEEDED = 1 0x05, "Asynchronous Event Request Limit Exceeded", "more Asynchronous Event Requests are outstanding than allowed";
    INVALID_FIRMWARE_SLOT = 1 0x06, "Invalid Firmware Slot", "the firmware slot does not exist or is read only";
    INVALID_FIRMWARE_IMAGE = 1 0x07, "Invalid Firmware Image", "the controller does not accept the firmware image";
    INVALID_INTERRUPT_VECTOR = 1 0x08, "Invalid Interrupt Vector", "there is no such interrupt vector";
    INVALID_LOG_PAGE = 1 0x09, "Invalid Log Page", "the controller does not support the log page";
    INVALID_FORMAT = 1 0x0A, "Invalid Format", "the namespace cannot be formatted that way";
    FIRMWARE_NEEDS_CONVENTIONAL_RESET = 1 0x0B, "Firmware Activation Requires Conventional Reset", "the image is committed and waits for a conventional reset";
    INVALID_QUEUE_DELETION = 1 0x0C, "Invalid Queue Deletion", "the completion queue still has submission queues";
    FEATURE_NOT_SAVEABLE = 1 0x0D, "Feature Identifier Not Saveable", "the feature has no saved value";
    FEATURE_NOT_CHANGEABLE = 1 0x0E, "Feature Not Changeable", "the feature's value is fixed";
    FEATURE_NOT_NAMESPACE_SPECIFIC = 1 0x0F, "Feature Not Namespace Specific", "the feature belongs to the controller, not to a namespace";
    FIRMWARE_NEEDS_SUBSYSTEM_RESET = 1 0x10, "Firmware Activation Requires NVM Subsystem Reset", "the image is committed and waits for a subsystem reset";
    FIRMWARE_NEEDS_CONTROLLER_RESET = 1 0x11, "Firmware Activation Requires Controller Level Reset", "the image is committed and waits for a controller reset";
    FIRMWARE_TIME_VIOLATION = 1 0x12, "Firmware Activation Requires Maximum Time Violation", "activation would take longer than the controller reports";
    FIRMWARE_ACTIVATION_PROHIBITED = 1 0x13, "Firmware Activation Prohibited", "the image may not be activated";
    OVERLAPPING_RANGE = 1 0x14, "Overlapping Range", "ranges of the command overlap";
    NAMESPACE_INSUFFICIENT_CAPACITY = 1 0x15, "Namespace Insufficient Capacity", "not enough capacity is left for the namespace";
    NAMESPACE_IDENTIFIER_UNAVAILABLE = 1 0x16, "Namespace Identifier Unavailable", "no namespace identifier is left";
    NAMESPACE_ALREADY_ATTACHED = 1 0x18, "Namespace Already Attached", "the namespace is attached to the controller already";
    NAMESPACE_IS_PRIVATE = 1 0x19, "Namespace Is Private", "the namespace is attached to another controller and not shared";
    NAMESPACE_NOT_ATTACHED = 1 0x1A, "Namespace Not Attached", "the namespace is not attached to the controller";
    THIN_PROVISIONING_NOT_SUPPORTED = 1 0x1B, "Thin Provisioning Not Supported", "the namespace cannot be larger than its capacity";
    CONTROLLER_LIST_INVALID = 1 0x1C, "Controller List Invalid", "the list of controllers is wrong";
    SELF_TEST_IN_PROGRESS = 1 0x1D, "Device Self-test In Progress", "a self-test runs already";
    BOOT_PARTITION_WRITE_PROHIBITED = 1 0x1E, "Boot Partition Write Prohibited", "the boot partition is locked";
    INVALID_CONTROLLER_IDENTIFIER = 1 0x1F, "Invalid Controller Identifier", "there is no such controller";
    INVALID_SECONDARY_CONTROLLER_STATE = 1 0x20, "Invalid Secondary Controller State", "the secondary controller is in another state";
    INVALID_NUMBER_OF_CONTROLLER_RESOURCES = 1 0x21, "Invalid Number of Controller Resources", "more resources than there are";
    INVALID_RESOURCE_IDENTIFIER = 1 0x22, "Invalid Resource Identifier", "there is no such resource";
    SANITIZE_PROHIBITED_PMR = 1 0x23, "Sanitize Prohibited While Persistent Memory Region is Enabled", "the persistent memory region is on";
    ANA_GROUP_IDENTIFIER_INVALID = 1 0x24, "ANA Group Identifier Invalid", "there is no such ANA group";
    ANA_ATTACH_FAILED = 1 0x25, "ANA Attach Failed", "the ANA state does not let the namespace be attached";
    INSUFFICIENT_CAPACITY = 1 0x26, "Insufficient Capacity", "not enough capacity is left";
    NAMESPACE_ATTACHMENT_LIMIT_EXCEEDED = 1 0x27, "Namespace Attachment Limit Exceeded", "more namespaces than may be attached";
    PROHIBITION_NOT_SUPPORTED = 1 0x28, "Prohibition of Command Execution Not Supported", "the command cannot be locked down";
    IO_COMMAND_SET_NOT_SUPPORTED = 1 0x29, "I/O Command Set Not Supported", "the controller lacks the I/O command set";
    IO_COMMAND_SET_NOT_ENABLED = 1 0x2A, "I/O Command Set Not Enabled", "the I/O command set is not enabled";
    IO_COMMAND_SET_COMBINATION_REJECTED = 1 0x2B, "I/O Command Set Combination Rejected", "attached namespaces forbid the combination";
    INVALID_IO_COMMAND_SET = 1 0x2C, "Invalid I/O Command Set", "the command and the namespace belong to different I/O command sets";
    IDENTIFIER_UNAVAILABLE = 1 0x2D, "Identifier Unavailable", "no identifier is left";
    NAMESPACE_IS_DISPERSED = 1 0x2E, "Namespace Is Dispersed", "the namespace is dispersed over subsystems";
    INVALID_DISCOVERY_INFORMATION = 1 0x2F, "Invalid Discovery Information", "the discovery information entry is wrong";
    ZONING_DATA_STRUCTURE_LOCKED = 1 0x30, "Zoning Data Structure Locked", "another command uses the zoning data";
    ZONING_DATA_STRUCTURE_NOT_FOUND = 1 0x31, "Zoning Data Structure Not Found", "there is no such zoning data";
    INSUFFICIENT_DISCOVERY_RESOURCES = 1 0x32, "Insufficient Discovery Resources", "the discovery controller has no room left";
    REQUESTED_FUNCTION_DISABLED = 1 0x33, "Requested Function Disabled", "the function is switched off";
    ZONEGROUP_ORIGINATOR_INVALID = 1 0x34, "ZoneGroup Originator Invalid", "another originator owns the zone group";
    INVALID_HOST = 1 0x35, "Invalid Host", "there is no such host";
    INVALID_NVM_SUBSYSTEM = 1 0x36, "Invalid NVM Subsystem", "there is no such NVM subsystem";
    INVALID_CONTROLLER_DATA_QUEUE = 1 0x37, "Invalid Controller Data Queue", "there is no such controller data queue";
    NOT_ENOUGH_RESOURCES = 1 0x38, "Not Enough Resources", "the controller has not enough resources";
    CONTROLLER_SUSPENDED = 1 0x39, "Controller Suspended", "the controller is suspended";
    CONTROLLER_NOT_SUSPENDED = 1 0x3A, "Controller Not Suspended", "the controller is not suspended";
    CONTROLLER_DATA_QUEUE_FULL = 1 0x3B, "Controller Data Queue Full", "an entry of the controller data queue was lost";
    CONFLICTING_ATTRIBUTES = 1 0x80, "Conflicting Attributes", "attributes of the command contradict each other";
    INVALID_PROTECTION_INFORMATION = 1 0x81, "Invalid Protection Information", "the protection information settings do not fit the namespace";
    WRITE_TO_READ_ONLY_RANGE = 1 0x82, "Attempted Write to Read Only Range", "the range may not be written";
    COMMAND_SIZE_LIMIT_EXCEEDED = 1 0x83, "Command Size Limit Exceeded", "more data or ranges than the command allows";
    INCOMPATIBLE_NAMESPACE_OR_FORMAT = 1 0x85, "Incompatible Namespace or Format", "source and destination formats differ";
    FAST_COPY_NOT_POSSIBLE = 1 0x86, "Fast Copy Not Possible", "the copy cannot be done fast";
    OVERLAPPING_IO_RANGE = 1 0x87, "Overlapping I/O Range", "source and destination overlap";
    INSUFFICIENT_RESOURCES = 1 0x89, "Insufficient Resources", "the controller has not enough resources for the copy";
    INVALID_ZONE_OPERATION_REQUEST = 1 0xB6, "Invalid Zone Operation Request", "the zone does not allow the operation";
    ZRWA_RESOURCES_UNAVAILABLE = 1 0xB7, "ZRWA Resources Unavailable", "no zone random write area is left";
    ZONED_BOUNDARY_ERROR = 1 0xB8, "Zoned Boundary Error", "the command crosses the end of a zone";
    ZONE_IS_FULL = 1 0xB9, "Zone Is Full", "the zone is full";
    ZONE_IS_READ_ONLY = 1 0xBA, "Zone Is Read Only", "the zone is read only";
    ZONE_IS_OFFLINE = 1 0xBB, "Zone Is Offline", "the zone is offline";
    ZONE_INVALID_WRITE = 1 0xBC, "Zone Invalid Write", "the write does not start at the write pointer";
    TOO_MANY_ACTIVE_ZONES = 1 0xBD, "Too Many Active Zones", "no further zone may become active";
    TOO_MANY_OPEN_ZONES = 1 0xBE, "Too Many Open Zones", "no further zone may be opened";
    INVALID_ZONE_STATE_TRANSITION = 1 0xBF, "Invalid Zone State Transition", "the zone cannot go to that state";

    WRITE_FAULT = 2 0x80, "Write Fault", "the data could not be stored";
    UNRECOVERED_READ_ERROR = 2 0x81, "Unrecovered Read Error", "the data could not be read back";
    GUARD_CHECK_ERROR = 2 0x82, "End-to-end Guard Check Error", "the guard (CRC) does not match the data";
    APPLICATION_TAG_CHECK_ERROR = 2 0x83, "End-to-end Application Tag Check Error", "the application tag does not match";
    REFERENCE_TAG_CHECK_ERROR = 2 0x84, "End-to-end Reference Tag Check Error", "the reference tag does not match";
    COMPARE_FAILURE = 2 0x85, "Compare Failure", "the data differ from what is stored";
    ACCESS_DENIED = 2 0x86, "Access Denied", "access rights do not suffice for these logical blocks";
    DEALLOCATED_OR_UNWRITTEN = 2 0x87, "Deallocated or Unwritten Logical Block", "the blocks hold no data";
    STORAGE_TAG_CHECK_ERROR = 2 0x88, "End-to-End Storage Tag Check Error", "the storage tag does not match";

    INTERNAL_PATH_ERROR = 3 0x00, "Internal Path Error", "the controller found an error on this path";
    ANA_PERSISTENT_LOSS = 3 0x01, "Asymmetric Access Persistent Loss", "this controller never reaches the namespace again";
    ANA_INACCESSIBLE = 3 0x02, "Asymmetric Access Inaccessible", "this controller does not reach the namespace now";
    ANA_TRANSITION = 3 0x03, "Asymmetric Access Transition", "this controller's access to the namespace is changing";
    CONTROLLER_PATHING_ERROR = 3 0x60, "Controller Pathing Error", "the controller found a pathing error";
    HOST_PATHING_ERROR = 3 0x70, "Host Pathing Error", "the host found a pathing error";
    ABORTED_BY_HOST = 3 0x71, "Command Aborted By Host", "the host gave the command up";
}

statuses! { KNOWN_FABRICS, fabrics_text:
    CONNECT_INCOMPATIBLE_FORMAT = 1 0x80, "Connect Incompatible Format", "the controller does not support the record format";
    CONNECT_CONTROLLER_BUSY = 1 0x81, "Connect Controller Busy", "the controller is associated with a host or cannot accept another now";
    CONNECT_INVALID_PARAMETERS = 1 0x82, "Connect Invalid Parameters", "a parameter of the Connect command is wrong";
    CONNECT_RESTART_DISCOVERY = 1 0x83, "Connect Restart Discovery", "the subsystem is not here any more; discover again";
    CONNECT_INVALID_HOST = 1 0x84, "Connect Invalid Host", "the host may not connect to the subsystem";
    DISCONNECT_INVALID_QUEUE_TYPE = 1 0x85, "Invalid Queue Type", "only an I/O queue can be disconnected";
    DISCOVER_RESTART = 1 0x90, "Discover Restart", "the discovery log changed while it was read";
    AUTHENTICATION_REQUIRED = 1 0x91, "Authentication Required", "the queue must be authenticated first";
}

impl Status {
    /// From the 15 bits of the field; a bit 15 is dropped.
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw & 0x7FFF)
    }

    /// From a code type and a code, with CRD, M and DNR clear.
    pub const fn new(sct: StatusCodeType, sc: u8) -> Self {
        Self(((sct.0 & 0x7) as u16) << 8 | sc as u16)
    }

    /// The 15 bits of the field.
    #[must_use]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// Status Code (SC).
    #[must_use]
    pub const fn sc(self) -> u8 {
        self.0 as u8
    }

    /// Status Code Type (SCT).
    #[must_use]
    pub const fn sct(self) -> StatusCodeType {
        StatusCodeType((self.0 >> 8) as u8 & 0x7)
    }

    /// Command Retry Delay (CRD): 0 for none, or which of the controller's CRDT values to wait.
    #[must_use]
    pub const fn crd(self) -> u8 {
        (self.0 >> 11) as u8 & 0x3
    }

    /// More (M): the error log page has more about it.
    #[must_use]
    pub const fn more(self) -> bool {
        self.0 & MORE != 0
    }

    /// Do Not Retry (DNR): the same command would fail again.
    #[must_use]
    pub const fn dnr(self) -> bool {
        self.0 & DNR != 0
    }

    /// The same status with DNR set.
    pub const fn with_dnr(self) -> Self {
        Self(self.0 | DNR)
    }

    /// The same status with M set.
    pub const fn with_more(self) -> Self {
        Self(self.0 | MORE)
    }

    /// The same status with CRD set.
    pub const fn with_crd(self, crd: u8) -> Self {
        Self((self.0 & !(0x3 << 11)) | ((crd & 0x3) as u16) << 11)
    }

    /// The code type and the code only: what to compare with the constants.
    pub const fn code(self) -> Self {
        Self(self.0 & CODE)
    }

    /// Whether code type and code are those of `other`, whatever CRD, M and DNR say.
    #[must_use]
    pub const fn is(self, other: Self) -> bool {
        self.0 & CODE == other.0 & CODE
    }

    /// Whether the command succeeded.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.0 & CODE == 0
    }

    /// The name in the specification. Of a code that Fabrics and the NVM command set use differently, the latter's.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match (common_text(self.0 & CODE), fabrics_text(self.0 & CODE)) {
            (Some((name, _)), _) | (None, Some((name, _))) => Some(name),
            (None, None) => None,
        }
    }

    /// What it means, in a few words. Of a code that Fabrics and the NVM command set use differently, the latter's.
    #[must_use]
    pub const fn description(self) -> Option<&'static str> {
        match (common_text(self.0 & CODE), fabrics_text(self.0 & CODE)) {
            (Some((_, text)), _) | (None, Some((_, text))) => Some(text),
            (None, None) => None,
        }
    }

    /// The name as the answer to a Fabrics command.
    #[must_use]
    pub const fn fabrics_name(self) -> Option<&'static str> {
        match fabrics_text(self.0 & CODE) {
            Some((name, _)) => Some(name),
            None => self.name(),
        }
    }

    /// What it means as the answer to a Fabrics command, in a few words.
    #[must_use]
    pub const fn fabrics_description(self) -> Option<&'static str> {
        match fabrics_text(self.0 & CODE) {
            Some((_, text)) => Some(text),
            None => self.description(),
        }
    }

    /// `Display` as the answer to a Fabrics command.
    pub const fn as_fabrics(self) -> impl fmt::Display {
        FabricsStatus(self)
    }

    fn write(self, f: &mut fmt::Formatter<'_>, name: Option<&str>) -> fmt::Result {
        match name {
            Some(name) => f.write_str(name)?,
            None if self.sct() == StatusCodeType::VENDOR_SPECIFIC || self.sc() >= 0xC0 => {
                f.write_str("Vendor Specific")?;
            }
            None => f.write_str("Unknown Status")?,
        }
        write!(f, " ({:02X}h/{:02X}h", self.sct().0, self.sc())?;
        if self.crd() != 0 {
            write!(f, ", CRD {}", self.crd())?;
        }
        if self.more() {
            f.write_str(", more")?;
        }
        if self.dnr() {
            f.write_str(", do not retry")?;
        }
        f.write_str(")")
    }
}

struct FabricsStatus(Status);

impl fmt::Display for FabricsStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, self.0.fabrics_name())
    }
}

/// `Invalid Field in Command (00h/02h)`: the name, the code type and the code, and the retry bits that are set.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, self.name())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({self})")
    }
}

impl core::error::Error for Status {}
