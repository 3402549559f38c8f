//! The bit of every flag.

use crate::feature::*;
use crate::identify::*;
use crate::log::discovery::*;
use crate::log::health::*;

#[test]
fn async_event_configuration() {
    golden_flags! {
        AsyncEventConfiguration {
            NAMESPACE_ATTRIBUTE: 8;
            FIRMWARE_ACTIVATION: 9;
            TELEMETRY_LOG: 10;
            ANA_CHANGE: 11;
            PREDICTABLE_LATENCY_AGGREGATE: 12;
            LBA_STATUS: 13;
            ENDURANCE_GROUP_AGGREGATE: 14;
            NORMAL_SUBSYSTEM_SHUTDOWN: 15;
            TEMPERATURE_HYSTERESIS: 16;
            REACHABILITY_GROUPS: 17;
            REACHABILITY_ASSOCIATIONS: 18;
            ALLOCATED_NAMESPACE_ATTRIBUTE: 19;
            ZONE_DESCRIPTOR: 27;
            PULL_MODEL_DDC_REQUEST: 28;
            AVE_DISCOVERY: 29;
            HOST_DISCOVERY: 30;
            DISCOVERY_LOG_CHANGE: 31;
        }
    }
}

#[test]
fn optional_async_events() {
    golden_flags! {
        OptionalAsyncEvents {
            NAMESPACE_ATTRIBUTE: 8;
            FIRMWARE_ACTIVATION: 9;
            ANA_CHANGE: 11;
            PREDICTABLE_LATENCY_AGGREGATE: 12;
            LBA_STATUS: 13;
            ENDURANCE_GROUP_AGGREGATE: 14;
            NORMAL_SUBSYSTEM_SHUTDOWN: 15;
            TEMPERATURE_HYSTERESIS: 16;
            REACHABILITY_GROUPS: 17;
            ALLOCATED_NAMESPACE_ATTRIBUTE: 19;
            ZONE_DESCRIPTOR: 27;
            DISCOVERY_LOG_CHANGE: 31;
        }
    }
}

#[test]
fn controller_attributes() {
    golden_flags! {
        ControllerAttributes {
            HOST_ID_128: 0;
            NON_OPERATIONAL_PERMISSIVE: 1;
            NVM_SETS: 2;
            READ_RECOVERY_LEVELS: 3;
            ENDURANCE_GROUPS: 4;
            PREDICTABLE_LATENCY: 5;
            TRAFFIC_BASED_KEEP_ALIVE: 6;
            NAMESPACE_GRANULARITY: 7;
            SQ_ASSOCIATIONS: 8;
            UUID_LIST: 9;
            MULTI_DOMAIN: 10;
            FIXED_CAPACITY: 11;
            VARIABLE_CAPACITY: 12;
            DELETE_ENDURANCE_GROUP: 13;
            DELETE_NVM_SET: 14;
            EXTENDED_LBA_FORMATS: 15;
            MDTS_EXCLUDES_METADATA: 16;
            HMB_RESTRICT: 17;
            RESERVATIONS_HOST_ID: 18;
            FLEXIBLE_DATA_PLACEMENT: 19;
        }
    }
}

#[test]
fn optional_admin_commands() {
    golden_flags! {
        OptionalAdminCommands {
            SECURITY: 0;
            FORMAT_NVM: 1;
            FIRMWARE: 2;
            NAMESPACE_MANAGEMENT: 3;
            DEVICE_SELF_TEST: 4;
            DIRECTIVES: 5;
            NVME_MI: 6;
            VIRTUALIZATION_MANAGEMENT: 7;
            DOORBELL_BUFFER_CONFIG: 8;
            GET_LBA_STATUS: 9;
            LOCKDOWN: 10;
            LIVE_MIGRATION: 11;
        }
    }
}

#[test]
fn log_page_attributes() {
    golden_flags! {
        LogPageAttributes {
            SMART_PER_NAMESPACE: 0;
            COMMAND_EFFECTS: 1;
            EXTENDED_DATA: 2;
            TELEMETRY: 3;
            PERSISTENT_EVENT: 4;
            SUPPORTED_LOG_PAGES: 5;
            TELEMETRY_AREA_4: 6;
        }
    }
}

#[test]
fn optional_nvm_commands() {
    golden_flags! {
        OptionalNvmCommands {
            COMPARE: 0;
            WRITE_UNCORRECTABLE: 1;
            DATASET_MANAGEMENT: 2;
            WRITE_ZEROES: 3;
            SAVE_SELECT: 4;
            RESERVATIONS: 5;
            TIMESTAMP: 6;
            VERIFY: 7;
            COPY: 8;
            COPY_SINGLE_ATOMICITY: 9;
            ALL_FAST_COPY: 10;
            WRITE_ZEROES_DEALLOCATE: 11;
            NAMESPACE_ZEROES: 12;
        }
    }
}

#[test]
fn fused_operations() {
    golden_flags! {
        FusedOperations {
            COMPARE_AND_WRITE: 0;
        }
    }
}

#[test]
fn command_set_combination() {
    golden_flags! {
        CommandSetCombination {
            NVM: 0;
            KEY_VALUE: 1;
            ZONED: 2;
            SUBSYSTEM_LOCAL_MEMORY: 3;
            COMPUTATIONAL_PROGRAMS: 4;
        }
    }
}

#[test]
fn entry_flags() {
    golden_flags! {
        EntryFlags {
            DUPRETINFO: 0;
            EPCSD: 1;
            NCC: 2;
        }
    }
}

#[test]
fn discovery_lsp() {
    golden_flags! {
        DiscoveryLsp {
            EXTDLPE: 0;
            PLEOS: 1;
            ALLSUBE: 2;
        }
    }
}

#[test]
fn critical_warning() {
    golden_flags! {
        CriticalWarning {
            SPARE: 0;
            TEMPERATURE: 1;
            RELIABILITY: 2;
            READ_ONLY: 3;
            VOLATILE_MEMORY_BACKUP: 4;
            PERSISTENT_MEMORY_REGION: 5;
        }
    }
}
