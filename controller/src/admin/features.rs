//! Get Features and Set Features: the rules all features share, and the features that are more than a number of the
//! association's (NVMe Base 2.0 §5.15, §5.27).

use nvmf_transport::RequestData;
use nvmf_wire::{
    Sqe, Status,
    feature::{
        AsyncEventConfiguration, FeatureCapabilities, Fid, GetFeatures, HostBehavior, HostIdentifier, Select,
        SetFeatures,
    },
    sqe::NSID_BROADCAST,
};

use super::{After, Context, Done, Failure, identify, no_data, room};
use crate::association::{
    Association,
    events::Event,
    features::{self as values, Features, Traits},
};

fn traits(association: &Association, fid: Fid) -> Result<Traits, Status> {
    let found = match &association.subsystem {
        Some(subsystem) => values::io_feature(fid, identify::has_volatile_cache(subsystem)),
        None => values::discovery_feature(fid),
    };
    found.ok_or(Status::INVALID_FIELD)
}

fn limits(association: &Association, has_io_queues: bool) -> values::Context {
    values::Context { max_io_queues: association.facts.max_io_queues, has_io_queues }
}

pub(super) fn get(context: &mut Context<'_>, sqe: &Sqe, data: &RequestData) -> Result<Done, Failure> {
    let command = GetFeatures::parse(sqe);
    let association = context.association;
    let traits = traits(association, command.fid)?;
    if traits.namespace_specific && command.sel != Select::SUPPORTED_CAPABILITIES {
        active(association, command.nsid)?;
    }
    let selected = match command.sel {
        Select::CURRENT => association.lock().features.clone(),
        // Nothing is saved, so the saved value is the default.
        Select::DEFAULT | Select::SAVED => Features::default(),
        Select::SUPPORTED_CAPABILITIES => {
            no_data(data)?;
            let capabilities = FeatureCapabilities(0)
                .with_changeable(traits.changeable)
                .with_namespace_specific(traits.namespace_specific);
            return Ok(Done { result: capabilities.bits().into(), ..Done::default() });
        }
        _ => return Err(Status::INVALID_FIELD.into()),
    };
    let current = command.sel == Select::CURRENT;
    let result = match command.fid {
        Fid::HOST_BEHAVIOR_SUPPORT => {
            room(data, HostBehavior::SIZE as u32)?;
            let bytes = context.pages.copy(&selected.host_behavior, 0, HostBehavior::SIZE as u32)?;
            return Ok(bytes.into());
        }
        Fid::HOST_IDENTIFIER => {
            // NVMe-oF 1.1 §4.3: Fabrics has the form of 128 bits only.
            if !HostIdentifier(command.cdw11).extended() {
                return Err(Status::INVALID_FIELD.into());
            }
            room(data, 16)?;
            return Ok(context.pages.copy(&association.host.id, 0, 16)?.into());
        }
        Fid::ASYNC_EVENT_CONFIGURATION if current => association.lock().events.enabled().bits(),
        Fid::KEEP_ALIVE_TIMER if current => association.kato(),
        Fid::ASYNC_EVENT_CONFIGURATION | Fid::KEEP_ALIVE_TIMER => 0,
        fid => selected.get(fid, command.nsid, command.cdw11, limits(association, false))?,
    };
    no_data(data)?;
    Ok(Done { result: result.into(), ..Done::default() })
}

fn active(association: &Association, nsid: u32) -> Result<(), Status> {
    let subsystem = association.subsystem.as_ref().ok_or(Status::INVALID_FIELD)?;
    match subsystem.namespaces.current().table.get(nsid) {
        Some(_) => Ok(()),
        None => Err(Status::INVALID_NAMESPACE_OR_FORMAT),
    }
}

pub(super) fn set(
    context: &mut Context<'_>,
    sqe: &Sqe,
    data: &RequestData,
    input: Option<&[u8]>,
) -> Result<Done, Failure> {
    let command = SetFeatures::parse(sqe);
    let association = context.association;
    let traits = traits(association, command.fid)?;
    if command.save {
        return Err(Status::FEATURE_NOT_SAVEABLE.into());
    }
    if command.fid == Fid::HOST_IDENTIFIER {
        // NVMe-oF 1.1 §4.3: Connect has set it, and nothing sets it again.
        return Err(Status::COMMAND_SEQUENCE_ERROR.into());
    }
    if !traits.changeable {
        return Err(Status::FEATURE_NOT_CHANGEABLE.into());
    }
    let all = command.nsid == 0 || command.nsid == NSID_BROADCAST;
    if !traits.namespace_specific && !all {
        return Err(Status::FEATURE_NOT_NAMESPACE_SPECIFIC.into());
    }
    if command.fid == Fid::HOST_BEHAVIOR_SUPPORT {
        return host_behavior(association, data, input);
    }
    no_data(data)?;
    let mut after = After::Nothing;
    let result = match command.fid {
        Fid::ASYNC_EVENT_CONFIGURATION => {
            after = After::Report;
            event_configuration(association, AsyncEventConfiguration::from_bits_retain(command.cdw11))?
        }
        Fid::KEEP_ALIVE_TIMER => {
            after = After::Rearm;
            association.set_kato(command.cdw11);
            0
        }
        fid => {
            let namespaces = affected(association, traits, command.nsid)?;
            let mut state = association.lock();
            let has_io_queues = state.open_io_queues() > 0;
            let result = state.features.set(
                fid,
                namespaces.into_iter(),
                command.cdw11,
                limits(association, has_io_queues),
            )?;
            association.set_write_through(!state.features.write_cache);
            if fid == Fid::TEMPERATURE_THRESHOLD && state.features.temperature_warning() {
                state.events.raise(Event::Temperature);
                after = After::Report;
            }
            result
        }
    };
    Ok(Done { result: result.into(), after, ..Done::default() })
}

/// The namespaces a feature that is namespace specific is set for.
fn affected(association: &Association, traits: Traits, nsid: u32) -> Result<Vec<u32>, Status> {
    let Some(subsystem) = association.subsystem.as_ref().filter(|_| traits.namespace_specific) else {
        return Ok(Vec::new());
    };
    if nsid == NSID_BROADCAST {
        return Ok(subsystem.namespaces().iter().map(|namespace| namespace.nsid()).collect());
    }
    active(association, nsid)?;
    Ok(vec![nsid])
}

fn event_configuration(association: &Association, asked: AsyncEventConfiguration) -> Result<u32, Status> {
    // Critical warnings may all be enabled (bits 5:0); of notices those that OAES reports.
    let supported = if association.is_discovery() {
        AsyncEventConfiguration::DISCOVERY_LOG_CHANGE
    } else {
        AsyncEventConfiguration::NAMESPACE_ATTRIBUTE.union(AsyncEventConfiguration::from_bits_retain(0x3f))
    };
    if !supported.contains(asked) {
        return Err(Status::INVALID_FIELD);
    }
    let mut state = association.lock();
    state.events.enable(asked);
    if state.features.temperature_warning() && !association.is_discovery() {
        state.events.raise(Event::Temperature);
    }
    Ok(0)
}

fn host_behavior(
    association: &Association,
    data: &RequestData,
    input: Option<&[u8]>,
) -> Result<Done, Failure> {
    let bytes = match (data, input) {
        _ if data.len() != HostBehavior::SIZE => return Err(Status::DATA_SGL_LENGTH_INVALID.into()),
        (_, Some(input)) => input,
        (RequestData::InCapsule(buffer), None) => buffer,
        _ => return Err(Failure::NeedData(HostBehavior::SIZE as u32)),
    };
    let asked = HostBehavior::view(bytes).ok_or(Status::DATA_SGL_LENGTH_INVALID)?;
    if [asked.acre, asked.etdas, asked.lbafee].iter().any(|&value| value > 1) {
        return Err(Status::INVALID_FIELD.into());
    }
    let mut state = association.lock();
    state.features.host_behavior.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    Ok(Done::default())
}
