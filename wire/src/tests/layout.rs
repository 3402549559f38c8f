//! Offset, size and byte order of every field of the structures that are not of Identify.

use crate::fabrics::ConnectData;
use crate::feature::{HostBehavior, Timestamp};
use crate::io::DatasetRange;
use crate::log::discovery::*;
use crate::log::effects::*;
use crate::log::health::*;

#[test]
fn connect_data() {
    golden! {
        ConnectData {
            hostid: 0, 16;
            cntlid: 16, 2 le;
            reserved_18: 18, 238;
            subnqn: 256, 256;
            hostnqn: 512, 256;
            reserved_768: 768, 256;
        }
    }
}

#[test]
fn dataset_range() {
    golden! {
        DatasetRange {
            attributes: 0, 4 le;
            length: 4, 4 le;
            slba: 8, 8 le;
        }
    }
}

#[test]
fn timestamp() {
    golden! {
        Timestamp {
            milliseconds: 0, 6;
            attributes: 6, 1;
            reserved_7: 7, 1;
        }
    }
}

#[test]
fn host_behavior() {
    golden! {
        HostBehavior {
            acre: 0, 1;
            etdas: 1, 1;
            lbafee: 2, 1;
            hdisns: 3, 1;
            cdfe: 4, 2 le;
            reserved_6: 6, 506;
        }
    }
}

#[test]
fn discovery_header() {
    golden! {
        DiscoveryHeader {
            genctr: 0, 8 le;
            numrec: 8, 8 le;
            recfmt: 16, 2 le;
            reserved_18: 18, 1006;
        }
    }
}

#[test]
fn discovery_entry() {
    golden! {
        DiscoveryEntry {
            trtype: 0, 1;
            adrfam: 1, 1;
            subtype: 2, 1;
            treq: 3, 1;
            portid: 4, 2 le;
            cntlid: 6, 2 le;
            asqsz: 8, 2 le;
            eflags: 10, 2 le;
            reserved_12: 12, 20;
            trsvcid: 32, 32;
            reserved_64: 64, 192;
            subnqn: 256, 256;
            traddr: 512, 256;
            tsas: 768, 256;
        }
    }
}

#[test]
fn tcp_subtype() {
    golden! {
        TcpSubtype {
            sectype: 0, 1;
            reserved_1: 1, 255;
        }
    }
}

#[test]
fn rdma_subtype() {
    golden! {
        RdmaSubtype {
            qptype: 0, 1;
            prtype: 1, 1;
            cms: 2, 1;
            reserved_3: 3, 5;
            pkey: 8, 2 le;
            reserved_10: 10, 246;
        }
    }
}

#[test]
fn supported_log_pages() {
    golden! {
        SupportedLogPages {
            pages: 0, 1024;
        }
    }
}

#[test]
fn command_effects_log() {
    golden! {
        CommandEffectsLog {
            admin: 0, 1024;
            io: 1024, 1024;
            reserved_2048: 2048, 2048;
        }
    }
}

#[test]
fn error_information() {
    golden! {
        ErrorInformation {
            error_count: 0, 8 le;
            sqid: 8, 2 le;
            cid: 10, 2 le;
            status: 12, 2 le;
            parameter_error_location: 14, 2 le;
            lba: 16, 8 le;
            nsid: 24, 4 le;
            vendor_information: 28, 1;
            trtype: 29, 1;
            csi: 30, 1;
            opcode: 31, 1;
            command_specific: 32, 8 le;
            transport_specific: 40, 2 le;
            reserved_42: 42, 21;
            log_page_version: 63, 1;
        }
    }
}

#[test]
fn smart_health() {
    golden! {
        SmartHealth {
            critical_warning: 0, 1;
            composite_temperature: 1, 2 le;
            available_spare: 3, 1;
            available_spare_threshold: 4, 1;
            percentage_used: 5, 1;
            endurance_group_warning: 6, 1;
            reserved_7: 7, 25;
            data_units_read: 32, 16 le;
            data_units_written: 48, 16 le;
            host_read_commands: 64, 16 le;
            host_write_commands: 80, 16 le;
            controller_busy_time: 96, 16 le;
            power_cycles: 112, 16 le;
            power_on_hours: 128, 16 le;
            unsafe_shutdowns: 144, 16 le;
            media_errors: 160, 16 le;
            error_log_entries: 176, 16 le;
            warning_temperature_time: 192, 4 le;
            critical_temperature_time: 196, 4 le;
            temperature_sensors: 200, 16;
            thermal_1_transitions: 216, 4 le;
            thermal_2_transitions: 220, 4 le;
            thermal_1_time: 224, 4 le;
            thermal_2_time: 228, 4 le;
            reserved_232: 232, 280;
        }
    }
}

#[test]
fn firmware_slots() {
    golden! {
        FirmwareSlots {
            afi: 0, 1;
            reserved_1: 1, 7;
            revisions: 8, 56;
            reserved_64: 64, 448;
        }
    }
}

#[test]
fn changed_namespaces() {
    golden! {
        ChangedNamespaces {
            nsids: 0, 4096;
        }
    }
}
