//! Get Log Page (NVMe Base 2.0 §5.16; the discovery log page NVMe-oF 1.1 §5.3).
//!
//! Every page can be read in pieces at any offset that is a multiple of 4. What is asked for behind the end of a page is
//! zeroes; an offset behind the end is an error.

use std::sync::Arc;

use nvmf_transport::RequestData;
use nvmf_wire::{
    AdminOpcode, IoOpcode, Sqe, Status,
    feature::Fid,
    log::{
        GetLogPage, Lid,
        effects::{CommandEffects, CommandEffectsLog, LogPageSupport, SupportedLogPages},
        health::{ActiveFirmware, CriticalWarning, ErrorInformation, FirmwareSlots, SmartHealth},
    },
    sqe::NSID_BROADCAST,
};
use zerocopy::{
    IntoBytes,
    little_endian::{U16, U32, U128},
};

use super::{Context, Done, Failure, identify, room};
use crate::{
    association::{
        errors,
        events::Event,
        features::{self, TEMPERATURE},
    },
    subsystem::Subsystem,
};

/// The pages of an I/O controller.
const IO_PAGES: [Lid; 7] = [
    Lid::SUPPORTED_LOG_PAGES,
    Lid::ERROR_INFORMATION,
    Lid::SMART_HEALTH,
    Lid::FIRMWARE_SLOT,
    Lid::CHANGED_NAMESPACE_LIST,
    Lid::COMMAND_EFFECTS,
    Lid::FEATURE_EFFECTS,
];
/// The pages of a discovery controller.
const DISCOVERY_PAGES: [Lid; 2] = [Lid::SUPPORTED_LOG_PAGES, Lid::DISCOVERY];

pub(super) fn run(context: &mut Context<'_>, sqe: &Sqe, data: &RequestData) -> Result<Done, Failure> {
    let command = GetLogPage::parse(sqe);
    let association = context.association;
    let pages: &[Lid] = if association.is_discovery() { &DISCOVERY_PAGES } else { &IO_PAGES };
    if !pages.contains(&command.lid) {
        return Err(Status::INVALID_LOG_PAGE.into());
    }
    if command.index_offset || !command.offset.is_multiple_of(4) {
        return Err(Status::INVALID_FIELD.into());
    }
    // NUMD is up to 16 GiB; what is left after this fits.
    let length =
        u32::try_from(command.length()).ok().filter(|&length| length <= association.facts.max_transfer);
    let length = length.ok_or(Status::INVALID_FIELD)?;
    room(data, length)?;
    let Some(subsystem) = &association.subsystem else {
        return match command.lid {
            Lid::DISCOVERY => discovery(context, &command, length),
            _ => fixed(context, &command, length, supported(&DISCOVERY_PAGES).as_bytes()),
        };
    };
    match command.lid {
        Lid::SUPPORTED_LOG_PAGES => fixed(context, &command, length, supported(&IO_PAGES).as_bytes()),
        Lid::ERROR_INFORMATION => error_information(context, &command, length),
        Lid::SMART_HEALTH => smart(context, &command, length, subsystem),
        Lid::FIRMWARE_SLOT => {
            let mut slots = FirmwareSlots::zeroed();
            slots.set_afi(ActiveFirmware(0).with_current(1));
            slots.revisions[0] = subsystem.firmware;
            fixed(context, &command, length, slots.as_bytes())
        }
        Lid::CHANGED_NAMESPACE_LIST => changed_namespaces(context, &command, length),
        Lid::COMMAND_EFFECTS => fixed(context, &command, length, effects().as_bytes()),
        _ => {
            let volatile = identify::has_volatile_cache(subsystem);
            let mut effects = [U32::ZERO; 256];
            for fid in 0..=u8::MAX {
                if let Some(traits) = features::io_feature(Fid(fid), volatile) {
                    // FID Supported and Effects has the bits that are used here where Commands Supported and Effects has them.
                    let scope = if traits.namespace_specific { 1 } else { 1 << 1 };
                    effects[usize::from(fid)] =
                        U32::new(CommandEffects(0).with_supported(true).with_scope(scope).bits());
                }
            }
            fixed(context, &command, length, effects.as_bytes())
        }
    }
}

fn check_offset(command: &GetLogPage, total: u64) -> Result<(), Status> {
    if command.offset <= total { Ok(()) } else { Err(Status::INVALID_FIELD) }
}

/// A page that lies there whole.
fn fixed(context: &Context<'_>, command: &GetLogPage, length: u32, bytes: &[u8]) -> Result<Done, Failure> {
    check_offset(command, bytes.len() as u64)?;
    Ok(context.pages.copy(bytes, command.offset, length)?.into())
}

fn supported(pages: &[Lid]) -> SupportedLogPages {
    let mut log = SupportedLogPages::zeroed();
    for &lid in pages {
        log.set_page(lid, LogPageSupport(0).with_supported(true));
    }
    log
}

fn effects() -> CommandEffectsLog {
    let mut log = CommandEffectsLog::zeroed();
    let plain = CommandEffects(0).with_supported(true);
    for opcode in [
        AdminOpcode::GET_LOG_PAGE,
        AdminOpcode::IDENTIFY,
        AdminOpcode::ABORT,
        AdminOpcode::SET_FEATURES,
        AdminOpcode::GET_FEATURES,
        AdminOpcode::ASYNC_EVENT_REQUEST,
        AdminOpcode::KEEP_ALIVE,
    ] {
        log.set_admin_command(opcode, plain);
    }
    for opcode in [IoOpcode::FLUSH, IoOpcode::READ, IoOpcode::COMPARE, IoOpcode::VERIFY] {
        log.set_io_command(opcode, plain);
    }
    for opcode in [IoOpcode::WRITE, IoOpcode::WRITE_ZEROES, IoOpcode::DATASET_MANAGEMENT] {
        log.set_io_command(opcode, plain.with_content_change(true));
    }
    log
}

fn error_information(context: &Context<'_>, command: &GetLogPage, length: u32) -> Result<Done, Failure> {
    let mut bytes = [0u8; errors::ENTRIES * ErrorInformation::SIZE];
    {
        let state = context.association.lock();
        let slots = bytes.chunks_exact_mut(ErrorInformation::SIZE);
        slots.zip(state.errors.iter()).for_each(|(to, entry)| to.copy_from_slice(entry.as_bytes()));
    }
    fixed(context, command, length, &bytes)
}

fn smart(
    context: &Context<'_>,
    command: &GetLogPage,
    length: u32,
    subsystem: &Subsystem,
) -> Result<Done, Failure> {
    // LPA bit 0 is 0: there is no such page of a single namespace.
    if command.nsid != 0 && command.nsid != NSID_BROADCAST {
        return Err(Status::INVALID_FIELD.into());
    }
    let counters = subsystem.counters();
    let thousands = |bytes: u64| U128::new(u128::from(bytes).div_ceil(512 * 1000));
    let mut log = SmartHealth::zeroed();
    {
        let mut state = context.association.lock();
        if state.features.temperature_warning() {
            log.set_critical_warning(CriticalWarning::TEMPERATURE);
        }
        if !command.rae {
            state.events.acknowledge(Event::Temperature);
        }
    }
    log.composite_temperature = U16::new(TEMPERATURE);
    log.available_spare = 100;
    log.available_spare_threshold = 10;
    log.data_units_read = thousands(counters.read_bytes);
    log.data_units_written = thousands(counters.written_bytes);
    log.host_read_commands = U128::new(counters.reads.into());
    log.host_write_commands = U128::new(counters.writes.into());
    log.power_cycles = U128::new(1);
    log.power_on_hours = U128::new((context.uptime.as_secs() / 3600).into());
    log.media_errors = U128::new(counters.media_errors.into());
    log.error_log_entries = U128::new(subsystem.errors_logged().into());
    fixed(context, command, length, log.as_bytes())
}

fn changed_namespaces(context: &Context<'_>, command: &GetLogPage, length: u32) -> Result<Done, Failure> {
    let mut state = context.association.lock();
    let list = state.events.changed_namespaces();
    let done = fixed(context, command, length, list.as_bytes())?;
    if !command.rae {
        // What changes from here on is told by another event.
        state.events.clear_changed_namespaces();
        state.events.acknowledge(Event::NamespaceChanged);
    }
    Ok(done)
}

fn discovery(context: &mut Context<'_>, command: &GetLogPage, length: u32) -> Result<Done, Failure> {
    let association = context.association;
    let newest = context.shared.directory();
    // Pieces of one reading come from one directory: that of the header.
    let directory = match context.directory.take() {
        Some(held) if command.offset != 0 => held,
        _ => Arc::clone(&newest),
    };
    let (host, local) = (&association.host.nqn, association.facts.local.ip());
    let total = directory.page_length(host, local);
    let outcome = check_offset(command, total).map_err(Failure::from).and_then(|()| {
        let render = |at, out: &mut [u8]| {
            directory.render(host, local, at, out);
        };
        context.pages.render(total, command.offset, length, render)
    });
    let current = directory.generation == newest.generation;
    *context.directory = Some(directory);
    let data = outcome?;
    if !command.rae && current {
        association.lock().events.acknowledge(Event::DiscoveryChanged);
        // A change between the two looks is in nobody's page yet.
        if context.shared.directory().generation != newest.generation {
            association.raise(Event::DiscoveryChanged);
        }
    } else if !command.rae {
        association.lock().events.acknowledge_only(Event::DiscoveryChanged);
    }
    Ok(data.into())
}
