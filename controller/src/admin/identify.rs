//! Identify (NVMe Base 2.0 §5.17; NVM Command Set 1.0 §4.1.5).

use nvmf_transport::{RequestData, SglKinds};
use nvmf_wire::{
    Ascii, Nqn, NqnField, Sqe, Status,
    identify::{
        Cns, CommandSet, CommandSetCombination, CommandSetCombinations, ControllerAttributes, ControllerList,
        ControllerType, DeallocateFeatures, DeallocatedValue, FlushAll, FormattedLbaSize, IDENTIFY_LENGTH,
        Identify, IdentifyController, IdentifyControllerNvm, IdentifyNamespace, IdentifyNamespaceIndependent,
        IdentifyNamespaceNvm, IndependentFeatures, LbaFormat, LogPageAttributes, NamespaceDescriptor,
        NamespaceDescriptorsBuilder, NamespaceFeatures, NamespaceList, NamespaceStatus, OptionalAsyncEvents,
        OptionalNvmCommands, QueueEntrySizes, SglSupport, VolatileWriteCacheSupport,
    },
    sqe::NSID_BROADCAST,
};
use zerocopy::{
    IntoBytes,
    little_endian::{U16, U32, U64, U128},
};

use super::{Context, Done, Failure, room};
use crate::{
    association::{Association, KAS, errors, features::WARNING_TEMPERATURE, registers::Registers},
    namespace::Namespace,
    subsystem::{PAGE, Subsystem},
};

/// Abort commands at once, 0's based (ACL).
pub(crate) const ABORT_LIMIT: u8 = 3;
/// Asynchronous Event Requests at once, 0's based (AERL).
pub(crate) const EVENT_LIMIT: u8 = 3;

pub(super) fn run(context: &mut Context<'_>, sqe: &Sqe, data: &RequestData) -> Result<Done, Failure> {
    let command = Identify::parse(sqe);
    room(data, IDENTIFY_LENGTH as u32)?;
    let association = context.association;
    let reply = |bytes: &[u8]| Ok(context.pages.copy(bytes, 0, IDENTIFY_LENGTH as u32)?.into());
    let Some(subsystem) = &association.subsystem else {
        return match command.cns {
            Cns::CONTROLLER => reply(discovery_controller(association).as_bytes()),
            _ => Err(Status::INVALID_FIELD.into()),
        };
    };
    match command.cns {
        Cns::CONTROLLER => reply(controller(association, subsystem).as_bytes()),
        Cns::NAMESPACE => reply(namespace(subsystem, command.nsid, identify_namespace)?.as_bytes()),
        Cns::ACTIVE_NAMESPACES => reply(list(subsystem, command.nsid)?.as_bytes()),
        Cns::NAMESPACE_DESCRIPTORS => {
            let table = subsystem.namespaces.current().table;
            let namespace = table.get(command.nsid).ok_or(Status::INVALID_NAMESPACE_OR_FORMAT)?;
            reply(&descriptors(namespace))
        }
        Cns::INDEPENDENT_NAMESPACE => reply(namespace(subsystem, command.nsid, independent)?.as_bytes()),
        Cns::ATTACHED_CONTROLLERS => {
            let table = subsystem.namespaces.current().table;
            table.get(command.nsid).ok_or(Status::INVALID_NAMESPACE_OR_FORMAT)?;
            reply(controllers(subsystem, command.cntid).as_bytes())
        }
        Cns::CONTROLLERS => reply(controllers(subsystem, command.cntid).as_bytes()),
        Cns::COMMAND_SET_COMBINATIONS
            if matches!(command.cntid, 0xffff) || command.cntid == association.cntlid =>
        {
            reply(CommandSetCombinations::new([CommandSetCombination::NVM]).as_bytes())
        }
        // What follows is asked for one I/O command set, and there is one.
        _ if command.csi != CommandSet::NVM => Err(Status::INVALID_FIELD.into()),
        Cns::COMMAND_SET_NAMESPACE => {
            reply(namespace(subsystem, command.nsid, |_| IdentifyNamespaceNvm::zeroed())?.as_bytes())
        }
        Cns::COMMAND_SET_CONTROLLER => reply(controller_nvm(association).as_bytes()),
        Cns::COMMAND_SET_ACTIVE_NAMESPACES => reply(list(subsystem, command.nsid)?.as_bytes()),
        _ => Err(Status::INVALID_FIELD.into()),
    }
}

/// What `describe` says of an active namespace; zeroes of an inactive one (NVMe Base 2.0 §5.17.2.1).
fn namespace<T: Default>(
    subsystem: &Subsystem,
    nsid: u32,
    describe: impl FnOnce(&Namespace) -> T,
) -> Result<T, Status> {
    if nsid == 0 || nsid == NSID_BROADCAST || nsid > subsystem.max_namespaces {
        return Err(Status::INVALID_NAMESPACE_OR_FORMAT);
    }
    Ok(subsystem
        .namespaces
        .current()
        .table
        .get(nsid)
        .map_or_else(T::default, |namespace| describe(namespace)))
}

fn list(subsystem: &Subsystem, after: u32) -> Result<NamespaceList, Status> {
    // NVMe Base 2.0 §5.17.2.2: FFFFFFFEh and FFFFFFFFh name nothing a list could start behind.
    if after >= NSID_BROADCAST - 1 {
        return Err(Status::INVALID_NAMESPACE_OR_FORMAT);
    }
    Ok(NamespaceList::after(
        after,
        subsystem.namespaces.current().table.iter().map(|namespace| namespace.nsid()),
    ))
}

fn controllers(subsystem: &Subsystem, from: u16) -> ControllerList {
    ControllerList::from(from, subsystem.associations().iter().map(|association| association.cntlid))
}

/// The most one command may move, as a power of two of pages.
fn mdts(association: &Association) -> u8 {
    (association.facts.max_transfer / PAGE).checked_ilog2().unwrap_or_default() as u8
}

/// What every controller of Fabrics says of itself.
fn common(association: &Association, nqn: &Nqn) -> IdentifyController {
    let facts = &association.facts;
    let limits = &facts.limits;
    let mut id = IdentifyController::zeroed();
    id.cntlid = U16::new(association.cntlid);
    id.mdts = mdts(association);
    id.set_ver(Registers::VERSION);
    id.aerl = EVENT_LIMIT;
    id.kas = U16::new(KAS);
    id.set_ctratt(ControllerAttributes::HOST_ID_128 | ControllerAttributes::TRAFFIC_BASED_KEEP_ALIVE);
    id.set_sgls(
        SglSupport(0)
            .with_supported(1)
            .with_keyed(limits.sgl.contains(SglKinds::KEYED))
            .with_offset(limits.sgl.contains(SglKinds::IN_CAPSULE))
            .with_transport(limits.sgl.contains(SglKinds::TRANSPORT)),
    );
    id.subnqn = NqnField::from(nqn);
    id.ioccsz = U32::new((64 + limits.max_in_capsule.io) / 16);
    // spec: TCP-RSP-03
    id.iorcsz = U32::new(1);
    id.msdbd = limits.max_descriptors.clamp(1, 255) as u8;
    id
}

fn discovery_controller(association: &Association) -> IdentifyController {
    let mut id = common(association, &Nqn::DISCOVERY);
    id.sn = Ascii::lossy("DISCOVERY");
    id.mn = Ascii::lossy("nvmf discovery");
    id.fr = Ascii::lossy(env!("CARGO_PKG_VERSION"));
    id.cntrltype = ControllerType::DISCOVERY;
    // A direct discovery controller (DDC).
    id.dctype = 1;
    id.set_oaes(OptionalAsyncEvents::DISCOVERY_LOG_CHANGE);
    id.set_lpa(LogPageAttributes::EXTENDED_DATA | LogPageAttributes::SUPPORTED_LOG_PAGES);
    id.maxcmd = U16::new(association.lock().registers.cap().mqes().saturating_add(1));
    id
}

fn controller(association: &Association, subsystem: &Subsystem) -> IdentifyController {
    let volatile = has_volatile_cache(subsystem);
    let mut id = common(association, subsystem.nqn());
    id.sn = subsystem.serial;
    id.mn = subsystem.model;
    id.fr = subsystem.firmware;
    id.rab = 7;
    // More than one controller may be made of the subsystem.
    id.cmic = 1 << 1;
    id.cntrltype = ControllerType::IO;
    id.nvmsr = 1;
    id.set_oaes(OptionalAsyncEvents::NAMESPACE_ATTRIBUTE);
    id.acl = ABORT_LIMIT;
    // One slot, read only.
    id.frmw = 1 | 1 << 1;
    id.set_lpa(
        LogPageAttributes::COMMAND_EFFECTS
            | LogPageAttributes::EXTENDED_DATA
            | LogPageAttributes::SUPPORTED_LOG_PAGES,
    );
    id.elpe = (errors::ENTRIES - 1) as u8;
    id.wctemp = U16::new(WARNING_TEMPERATURE);
    id.cctemp = U16::new(WARNING_TEMPERATURE + 20);
    id.set_sqes(QueueEntrySizes::SQE);
    id.set_cqes(QueueEntrySizes::CQE);
    id.maxcmd = U16::new(association.lock().registers.cap().mqes().saturating_add(1));
    id.nn = U32::new(subsystem.max_namespaces);
    id.mnan = U32::new(subsystem.max_namespaces);
    id.set_oncs(
        OptionalNvmCommands::COMPARE
            | OptionalNvmCommands::DATASET_MANAGEMENT
            | OptionalNvmCommands::WRITE_ZEROES
            | OptionalNvmCommands::SAVE_SELECT
            | OptionalNvmCommands::VERIFY,
    );
    id.set_vwc(VolatileWriteCacheSupport(0).with_present(volatile).with_flush_all(FlushAll::SUPPORTED));
    id.ofcs = U16::new(IdentifyController::OFCS_DISCONNECT);
    id
}

/// Whether an acknowledged write may be lost until Flush, on any namespace.
pub(super) fn has_volatile_cache(subsystem: &Subsystem) -> bool {
    subsystem.namespaces.current().table.iter().any(|namespace| namespace.geometry().volatile_write_cache)
}

fn controller_nvm(association: &Association) -> IdentifyControllerNvm {
    let mut id = IdentifyControllerNvm::zeroed();
    id.vsl = mdts(association);
    id.wzsl = mdts(association);
    id.ver = U32::new(nvmf_wire::property::Version::new(1, 0, 0).bits());
    id
}

/// A number of blocks as a 0's based field.
fn zero_based(blocks: u32) -> U16 {
    U16::new(u16::try_from(blocks.saturating_sub(1)).unwrap_or(u16::MAX))
}

fn identify_namespace(namespace: &Namespace) -> IdentifyNamespace {
    let geometry = namespace.geometry();
    let mut id = IdentifyNamespace::zeroed();
    id.nsze = U64::new(geometry.blocks);
    id.ncap = U64::new(geometry.blocks);
    id.nuse = U64::new(geometry.blocks);
    id.set_nsfeat(
        NamespaceFeatures(0)
            .with_thin_provisioning(geometry.thin)
            .with_identifiers_not_reused(true)
            .with_optimal_performance(1),
    );
    id.set_flbas(FormattedLbaSize(0));
    // Any controller of the subsystem reaches it.
    id.nmic = 1;
    let value = if geometry.deallocated_reads_zero {
        DeallocatedValue::ZEROES
    } else {
        DeallocatedValue::NOT_REPORTED
    };
    id.set_dlfeat(
        DeallocateFeatures(0)
            .with_value(value)
            .with_write_zeroes_deallocate(geometry.write_zeroes_deallocates),
    );
    id.nvmcap = U128::new(geometry.bytes().into());
    id.npwg = zero_based(geometry.optimal.write);
    id.npwa = zero_based(geometry.optimal.write);
    id.npdg = zero_based(geometry.optimal.deallocate);
    id.npda = zero_based(geometry.optimal.deallocate);
    id.nows = zero_based(geometry.optimal.write_size);
    id.nsattr = geometry.read_only.into();
    id.nguid = namespace.nguid();
    id.eui64 = namespace.eui64().unwrap_or_default();
    id.lbaf[0] = LbaFormat::new(geometry.block_size.shift() as u8, 0);
    id
}

fn independent(namespace: &Namespace) -> IdentifyNamespaceIndependent {
    let mut id = IdentifyNamespaceIndependent::zeroed();
    id.set_nsfeat(IndependentFeatures(0).with_identifiers_not_reused(true));
    id.nmic = 1;
    id.nsattr = namespace.geometry().read_only.into();
    id.set_nstat(NamespaceStatus(0).with_ready(true));
    id
}

fn descriptors(namespace: &Namespace) -> [u8; IDENTIFY_LENGTH] {
    let mut list = NamespaceDescriptorsBuilder::new();
    if let Some(eui64) = namespace.eui64() {
        list = list.with(NamespaceDescriptor::Eui64(eui64));
    }
    list.with(NamespaceDescriptor::Nguid(namespace.nguid()))
        .with(NamespaceDescriptor::Uuid(namespace.uuid().into_bytes()))
        .with(NamespaceDescriptor::Csi(CommandSet::NVM))
        .finish()
}
