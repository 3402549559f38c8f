//! Which bits each field of every bit field has: all ones into one field set exactly these, and only these are read back.

use crate::event::AsyncEvent;
use crate::fabrics::*;
use crate::feature::*;
use crate::identify::*;
use crate::io::*;
use crate::log::discovery::*;
use crate::log::effects::*;
use crate::log::health::*;
use crate::property::*;

#[test]
fn event() {
    golden_bits! {
        AsyncEvent(u32) {
            kind, with_kind: 0x0000_0007;
            info, with_info: 0x0000_FF00;
            log_page, with_log_page: 0x00FF_0000;
        }
    }
}

#[test]
fn fabrics() {
    golden_bits! {
        ConnectAttributes(u8) {
            priority, with_priority: 0x03;
            disable_sq_flow_control, with_disable_sq_flow_control: 0x04;
            individual_queue_deletion, with_individual_queue_deletion: 0x08;
        }
        ConnectAccepted(u32) {
            cntlid, with_cntlid: 0x0000_FFFF;
            authentication_required, with_authentication_required: 0x0002_0000;
            secure_channel_required, with_secure_channel_required: 0x0004_0000;
        }
    }
}

#[test]
fn feature() {
    golden_bits! {
        FeatureCapabilities(u32) {
            saveable, with_saveable: 0x0000_0001;
            namespace_specific, with_namespace_specific: 0x0000_0002;
            changeable, with_changeable: 0x0000_0004;
        }
        ArbitrationFeature(u32) {
            burst, with_burst: 0x0000_0007;
            low_weight, with_low_weight: 0x0000_FF00;
            medium_weight, with_medium_weight: 0x00FF_0000;
            high_weight, with_high_weight: 0xFF00_0000;
        }
        PowerManagement(u32) {
            power_state, with_power_state: 0x0000_001F;
            workload_hint, with_workload_hint: 0x0000_00E0;
        }
        TemperatureThreshold(u32) {
            threshold, with_threshold: 0x0000_FFFF;
            select, with_select: 0x000F_0000;
            kind, with_kind: 0x0030_0000;
            hysteresis, with_hysteresis: 0x01C0_0000;
        }
        ErrorRecovery(u32) {
            time_limit, with_time_limit: 0x0000_FFFF;
            dulbe, with_dulbe: 0x0001_0000;
        }
        VolatileWriteCache(u32) {
            enabled, with_enabled: 0x0000_0001;
        }
        NumberOfQueues(u32) {
            submission, with_submission: 0x0000_FFFF;
            completion, with_completion: 0xFFFF_0000;
        }
        InterruptCoalescing(u32) {
            threshold, with_threshold: 0x0000_00FF;
            time, with_time: 0x0000_FF00;
        }
        InterruptVector(u32) {
            vector, with_vector: 0x0000_FFFF;
            coalescing_disabled, with_coalescing_disabled: 0x0001_0000;
        }
        WriteAtomicity(u32) {
            disable_normal, with_disable_normal: 0x0000_0001;
        }
        AutonomousPowerState(u32) {
            enabled, with_enabled: 0x0000_0001;
        }
        TimestampAttributes(u8) {
            stopped, with_stopped: 0x01;
            origin, with_origin: 0x0E;
        }
        IoCommandSetProfile(u32) {
            index, with_index: 0x0000_01FF;
        }
        HostIdentifier(u32) {
            extended, with_extended: 0x0000_0001;
        }
    }
}

#[test]
fn identify() {
    golden_bits! {
        QueueEntrySizes(u8) {
            required, with_required: 0x0F;
            maximum, with_maximum: 0xF0;
        }
        VolatileWriteCacheSupport(u8) {
            present, with_present: 0x01;
            flush_all, with_flush_all: 0x06;
        }
        ExtendedLbaFormat(u32) {
            storage_tag_size, with_storage_tag_size: 0x0000_007F;
            protection_format, with_protection_format: 0x0000_0180;
            qualified_format, with_qualified_format: 0x0000_1E00;
        }
        NamespaceStatus(u8) {
            ready, with_ready: 0x01;
            io_impact, with_io_impact: 0x06;
        }
        IndependentFeatures(u8) {
            identifiers_not_reused, with_identifiers_not_reused: 0x08;
            rotational, with_rotational: 0x10;
            volatile_write_cache_absent, with_volatile_write_cache_absent: 0x20;
        }
        SglSupport(u32) {
            supported, with_supported: 0x0000_0003;
            keyed, with_keyed: 0x0000_0004;
            descriptor_threshold, with_descriptor_threshold: 0x0000_FF00;
            bit_bucket, with_bit_bucket: 0x0001_0000;
            metadata_byte_aligned, with_metadata_byte_aligned: 0x0002_0000;
            oversized, with_oversized: 0x0004_0000;
            metadata_sgl, with_metadata_sgl: 0x0008_0000;
            offset, with_offset: 0x0010_0000;
            transport, with_transport: 0x0020_0000;
        }
        FabricsAttributes(u8) {
            static_model, with_static_model: 0x01;
        }
        FormattedLbaSize(u8) {
            index_low, with_index_low: 0x0F;
            extended, with_extended: 0x10;
            index_high, with_index_high: 0x60;
        }
        NamespaceFeatures(u8) {
            thin_provisioning, with_thin_provisioning: 0x01;
            atomic_units, with_atomic_units: 0x02;
            deallocated_error, with_deallocated_error: 0x04;
            identifiers_not_reused, with_identifiers_not_reused: 0x08;
            optimal_performance, with_optimal_performance: 0x30;
            multiple_atomicity, with_multiple_atomicity: 0x40;
            optional_read_performance, with_optional_read_performance: 0x80;
        }
        DeallocateFeatures(u8) {
            value, with_value: 0x07;
            write_zeroes_deallocate, with_write_zeroes_deallocate: 0x08;
            guard_is_crc, with_guard_is_crc: 0x10;
        }
        PowerStateFlags(u8) {
            max_power_scale, with_max_power_scale: 0x01;
            non_operational, with_non_operational: 0x02;
        }
    }
}

#[test]
fn io() {
    golden_bits! {
        RwControl(u32) {
            nlb, with_nlb: 0x0000_FFFF;
            dtype, with_dtype: 0x00F0_0000;
            stc, with_stc: 0x0100_0000;
            deac, with_deac: 0x0200_0000;
            prinfo, with_prinfo: 0x3C00_0000;
            fua, with_fua: 0x4000_0000;
            lr, with_lr: 0x8000_0000;
        }
        DatasetAttributes(u32) {
            integral_for_read, with_integral_for_read: 0x0000_0001;
            integral_for_write, with_integral_for_write: 0x0000_0002;
            deallocate, with_deallocate: 0x0000_0004;
        }
        ContextAttributes(u32) {
            access_frequency, with_access_frequency: 0x0000_000F;
            access_latency, with_access_latency: 0x0000_0030;
            sequential_read, with_sequential_read: 0x0000_0100;
            sequential_write, with_sequential_write: 0x0000_0200;
            write_prepare, with_write_prepare: 0x0000_0400;
            access_size, with_access_size: 0xFF00_0000;
        }
    }
}

#[test]
fn log() {
    golden_bits! {
        TransportRequirements(u8) {
            secure_channel, with_secure_channel: 0x03;
            sq_flow_control_disable_supported, with_sq_flow_control_disable_supported: 0x04;
        }
        LogPageSupport(u32) {
            supported, with_supported: 0x0000_0001;
            index_offset, with_index_offset: 0x0000_0002;
            specific, with_specific: 0xFFFF_0000;
        }
        CommandEffects(u32) {
            supported, with_supported: 0x0000_0001;
            content_change, with_content_change: 0x0000_0002;
            namespace_capability_change, with_namespace_capability_change: 0x0000_0004;
            namespace_inventory_change, with_namespace_inventory_change: 0x0000_0008;
            controller_capability_change, with_controller_capability_change: 0x0000_0010;
            relaxations, with_relaxations: 0x0000_C000;
            execution, with_execution: 0x0007_0000;
            uuid_selection, with_uuid_selection: 0x0008_0000;
            scope, with_scope: 0xFFF0_0000;
        }
        ActiveFirmware(u8) {
            current, with_current: 0x07;
            next, with_next: 0x70;
        }
    }
}

#[test]
fn property() {
    golden_bits! {
        Cap(u64) {
            mqes, with_mqes: 0x0000_0000_0000_FFFF;
            cqr, with_cqr: 0x0000_0000_0001_0000;
            ams, with_ams: 0x0000_0000_0006_0000;
            timeout, with_timeout: 0x0000_0000_FF00_0000;
            dstrd, with_dstrd: 0x0000_000F_0000_0000;
            nssrs, with_nssrs: 0x0000_0010_0000_0000;
            css, with_css: 0x0000_1FE0_0000_0000;
            bps, with_bps: 0x0000_2000_0000_0000;
            cps, with_cps: 0x0000_C000_0000_0000;
            mpsmin, with_mpsmin: 0x000F_0000_0000_0000;
            mpsmax, with_mpsmax: 0x00F0_0000_0000_0000;
            pmrs, with_pmrs: 0x0100_0000_0000_0000;
            cmbs, with_cmbs: 0x0200_0000_0000_0000;
            nsss, with_nsss: 0x0400_0000_0000_0000;
            crwms, with_crwms: 0x0800_0000_0000_0000;
            crims, with_crims: 0x1000_0000_0000_0000;
            nsses, with_nsses: 0x2000_0000_0000_0000;
        }
        Version(u32) {
            tertiary, with_tertiary: 0x0000_00FF;
            minor, with_minor: 0x0000_FF00;
            major, with_major: 0xFFFF_0000;
        }
        Cc(u32) {
            en, with_en: 0x0000_0001;
            css, with_css: 0x0000_0070;
            mps, with_mps: 0x0000_0780;
            ams, with_ams: 0x0000_3800;
            shn, with_shn: 0x0000_C000;
            iosqes, with_iosqes: 0x000F_0000;
            iocqes, with_iocqes: 0x00F0_0000;
            crime, with_crime: 0x0100_0000;
        }
        Csts(u32) {
            rdy, with_rdy: 0x0000_0001;
            cfs, with_cfs: 0x0000_0002;
            shst, with_shst: 0x0000_000C;
            nssro, with_nssro: 0x0000_0010;
            pp, with_pp: 0x0000_0020;
            st, with_st: 0x0000_0040;
        }
        Crto(u32) {
            crwmt, with_crwmt: 0x0000_FFFF;
            crimt, with_crimt: 0xFFFF_0000;
        }
    }
}
