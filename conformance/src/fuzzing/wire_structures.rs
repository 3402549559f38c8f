//! Every parser and every view of `nvmf-wire` on arbitrary bytes: none panics, whatever is shown of a peer's bytes can be
//! shown, and what was parsed survives being made bytes again.

use std::fmt::{Debug, Display};

use nvmf_wire::{
    Ascii, Cid, Cqe, IoOpcode, Nqn, NqnField, Sgl, SglDescriptor, Sqe, Status,
    admin::Abort,
    event::AsyncEvent,
    fabrics::{
        Authentication, Connect, ConnectAccepted, ConnectData, Disconnect, InvalidParameter, PropertyGet,
        PropertySet,
    },
    feature::{GetFeatures, HostBehavior, NumberOfQueues, SetFeatures, Timestamp},
    identify::{
        CommandSetCombinations, ControllerList, Identify, IdentifyController, IdentifyNamespace,
        NamespaceDescriptor, NamespaceDescriptors, NamespaceDescriptorsBuilder, NamespaceList,
    },
    io::{DatasetManagement, DatasetRange, Rw},
    log::{
        GetLogPage, Lid,
        discovery::{DiscoveryEntry, DiscoveryHeader, DiscoveryLsp, EntryFlags},
        effects::{CommandEffectsLog, SupportedLogPages},
        health::{ChangedNamespaces, ErrorInformation, FirmwareSlots, SmartHealth},
    },
    property::{Cap, Cc, Crto, Csts},
    sgl::in_capsule_range,
    zerocopy::FromBytes,
};

use super::{Target, seeds};

pub(super) const TARGET: Target =
    Target { name: "wire_structures", body, seeds: || seeds::random(8, 4200), longest: 4500 };

/// The body.
pub(super) fn body(data: &[u8]) {
    if let Ok((sqe, _)) = Sqe::read_from_prefix(data) {
        commands(&sqe);
        descriptor(&sqe.sgl, data.len());
    }
    if let Ok((cqe, _)) = Cqe::read_from_prefix(data) {
        completion(cqe);
    }
    identify(data);
    logs(data);
    names(data);
    descriptors(data);
    registers(data);
}

/// A value of a peer may end up in a log or on a terminal.
fn shown(value: impl Debug) {
    assert!(!format!("{value:?}").is_empty());
}

fn said(value: impl Display) {
    assert!(!value.to_string().chars().any(char::is_control), "control characters shown");
}

macro_rules! survives {
    ($($Type:ident . $back:ident),* ; $sqe:expr) => {
        $(
            let parsed = $Type::parse($sqe);
            assert_eq!($Type::parse(&parsed.$back()), parsed);
            shown(parsed);
        )*
    };
}

fn commands(sqe: &Sqe) {
    survives!(
        Connect.to_sqe, Disconnect.to_sqe, Authentication.to_send, Authentication.to_receive, Identify.to_sqe,
        GetLogPage.to_sqe, GetFeatures.to_sqe, SetFeatures.to_sqe, Abort.to_sqe; sqe
    );
    let connect = Connect::parse(sqe);
    assert_eq!(connect.entries(), u32::from(connect.sqsize) + 1);
    if let (Ok(get), Ok(set)) = (PropertyGet::parse(sqe), PropertySet::parse(sqe)) {
        assert_eq!(PropertyGet::parse(&get.to_sqe()), Ok(get));
        assert_eq!(PropertySet::parse(&set.to_sqe()), Ok(set));
        assert!(set.wide || set.value <= u64::from(u32::MAX));
        said(get.offset);
    } else {
        assert_eq!(PropertyGet::parse(sqe), Err(Status::INVALID_FIELD));
        assert_eq!(PropertySet::parse(sqe), Err(Status::INVALID_FIELD));
    }
    let rw = Rw::parse(sqe);
    assert!((1..=Rw::MAX_BLOCKS).contains(&rw.blocks));
    assert_eq!(Rw::parse(&rw.to_sqe(IoOpcode(sqe.opcode), sqe.nsid())), rw);
    assert_eq!(rw.is_within(u64::MAX), rw.slba.checked_add(u64::from(rw.blocks)).is_some());
    assert!(!rw.is_within(rw.slba));
    let dsm = DatasetManagement::parse(sqe);
    assert_eq!(DatasetManagement::parse(&dsm.to_sqe(sqe.nsid())), dsm);
    assert!(dsm.data_length() <= DatasetManagement::MAX_RANGES * DatasetRange::SIZE);
    let page = GetLogPage::parse(sqe);
    assert_eq!(page.length(), (u64::from(page.numd) + 1) * 4);
    said(sqe.admin_opcode());
    said(sqe.io_opcode());
    said(page.lid);
    said(GetFeatures::parse(sqe).fid);
    said(Identify::parse(sqe).cns);
    shown((sqe, sqe.data_direction(), sqe.fctype(), sqe.psdt(), sqe.fuse()));
    shown((DiscoveryLsp::from_bits_retain(page.lsp), NumberOfQueues(sqe.cdw11.get()).is_valid()));
    // A caller's CID is replaced, and nothing else changes.
    let renamed = sqe.with_cid(Cid(!sqe.cid().0));
    assert_eq!(renamed.with_cid(sqe.cid()), *sqe);
}

fn descriptor(descriptor: &SglDescriptor, available: usize) {
    shown(descriptor);
    let sgl = match descriptor.parse() {
        Ok(sgl) => sgl,
        Err(error) => {
            said(error);
            return assert!(!error.status().is_success());
        }
    };
    assert_eq!(sgl.length(), descriptor.length());
    let again = match sgl {
        Sgl::DataBlock { address, length } => SglDescriptor::data_block(address, length),
        Sgl::InCapsule { offset, length } => SglDescriptor::in_capsule(offset, length),
        Sgl::BitBucket { length } => SglDescriptor::bit_bucket(length),
        Sgl::Segment { in_capsule: false, .. } => return,
        Sgl::Segment { at, length, last, .. } => SglDescriptor::segment_in_capsule(at, length, last),
        Sgl::Keyed { address, length, key, invalidate } => {
            SglDescriptor::keyed(address, length, key, invalidate).expect("a length of 24 bits")
        }
        Sgl::Transport { length } => SglDescriptor::transport(length),
    };
    assert_eq!(again.length(), descriptor.length());
    // A bit bucket has no address, a transport block neither: their bytes are not kept.
    assert_eq!(again.parse(), Ok(sgl));
    if let Sgl::InCapsule { offset, length } = sgl
        && let Ok(range) = in_capsule_range(offset, length, available)
    {
        assert!(range.start <= range.end && range.end <= available && range.len() == length as usize);
    }
}

fn completion(cqe: Cqe) {
    let again = Cqe::error(cqe.cid(), cqe.status())
        .with_phase(cqe.phase())
        .with_sqhd(cqe.sqhd())
        .with_sqid(cqe.sqid())
        .with_u64(cqe.u64());
    assert_eq!(again, cqe);
    assert_eq!(cqe.ok().is_ok(), cqe.status().is_success());
    let status = cqe.status();
    assert!(status.is(status.code()) && status.with_dnr().dnr());
    said(status);
    said(status.as_fabrics());
    let event = AsyncEvent::parse(&cqe);
    assert_eq!(AsyncEvent::parse(&event.to_cqe(cqe.cid())), event);
    said(event);
    shown((cqe, Abort::was_aborted(&cqe)));
    if let Some(parameter) = InvalidParameter::parse(&cqe) {
        assert_eq!(InvalidParameter::parse(&parameter.to_cqe(cqe.cid())), Some(parameter));
        said(parameter);
    }
    match ConnectAccepted::parse(&cqe) {
        Ok(accepted) => assert_eq!(ConnectAccepted::parse(&accepted.to_cqe(cqe.cid())), Ok(accepted)),
        Err(refused) => assert_eq!(refused, status),
    }
}

fn identify(data: &[u8]) {
    if let Some(controller) = IdentifyController::view(data) {
        shown(controller);
        controller.in_capsule_data().inspect(|&bytes| assert!(bytes <= (1 << 36)));
        for page in [4096, 1 << 27, u32::MAX] {
            controller.max_transfer(page).inspect(|&most| assert!(most >= u64::from(page)));
        }
    }
    if let Some(namespace) = IdentifyNamespace::view(data) {
        shown(namespace);
        assert!(usize::from(namespace.format_index()) < namespace.lbaf.len());
        namespace.block_size().inspect(|size| assert!(size.is_power_of_two() && *size >= 512));
        namespace.lbaf.iter().for_each(|format| shown((format.block_size(), format.relative_performance())));
    }
    if let Some(list) = NamespaceList::view(data) {
        let nsids: Vec<u32> = list.iter().collect();
        assert!(nsids.len() <= NamespaceList::CAPACITY && !nsids.contains(&0));
        assert_eq!(NamespaceList::after(0, nsids.iter().copied()).iter().collect::<Vec<_>>(), nsids);
    }
    if let Some(list) = ControllerList::view(data) {
        let cntlids: Vec<u16> = list.iter().collect();
        assert!(cntlids.len() <= ControllerList::CAPACITY);
        assert_eq!(ControllerList::from(0, cntlids.iter().copied()).iter().collect::<Vec<_>>(), cntlids);
    }
    if let Some(sets) = CommandSetCombinations::view(data) {
        assert!(sets.iter().all(|(index, set)| index < 512 && !set.is_empty()));
    }
    if let Some(connect) = ConnectData::view(data) {
        shown(connect);
        shown((connect.subnqn.nqn(), connect.hostnqn.nqn(), connect.subnqn.is_empty()));
    }
}

fn logs(data: &[u8]) {
    if let Some(entry) = DiscoveryEntry::view(data) {
        shown(entry);
        said(entry.traddr);
        said(entry.trsvcid);
        shown((entry.tcp(), entry.rdma(), entry.treq(), entry.eflags().contains(EntryFlags::EPCSD)));
        if let Ok(nqn) = entry.subnqn.nqn() {
            said(nqn);
        }
    }
    DiscoveryHeader::view(data).inspect(|header| shown(header));
    ErrorInformation::view(data).inspect(|entry| shown((*entry, entry.status(), entry.cid())));
    SmartHealth::view(data).inspect(|page| shown((*page, page.critical_warning())));
    FirmwareSlots::view(data).inspect(|page| {
        shown(page);
        page.revisions.iter().for_each(said);
    });
    ChangedNamespaces::view(data).inspect(|page| {
        assert!(page.iter().count() <= 1024);
        assert_eq!(page.is_overflowed(), page.iter().next() == Some(u32::MAX));
    });
    if let (Some(effects), Some(pages)) = (CommandEffectsLog::view(data), SupportedLogPages::view(data)) {
        for byte in [0, data[0], 0x7f, 0xff] {
            shown((
                effects.admin_command(byte.into()),
                effects.io_command(byte.into()),
                pages.page(Lid(byte)),
            ));
        }
    }
    HostBehavior::view(data).inspect(|value| shown(value));
    if let Some(mut stamp) = Timestamp::view(data).copied() {
        let before = stamp;
        stamp.set_milliseconds(before.milliseconds());
        assert_eq!(stamp, before);
    }
}

fn names(data: &[u8]) {
    for bytes in [
        data,
        data.get(..224).unwrap_or(data),
        data.get(..223).unwrap_or(data),
        data.get(..40).unwrap_or(data),
    ] {
        let lenient = Nqn::from_utf8(bytes);
        match &lenient {
            Ok(nqn) => {
                assert!(nqn.as_bytes() == bytes && bytes.len() <= Nqn::MAX_LENGTH);
                said(nqn);
                let field = NqnField::from(nqn);
                assert_eq!(field.nqn().as_ref(), Ok(nqn));
            }
            Err(error) => {
                assert!(error.at <= bytes.len());
                said(error);
            }
        }
        if let Ok(text) = std::str::from_utf8(bytes)
            && let Ok(strict) = Nqn::parse(text)
        {
            assert_eq!(Ok(strict), lenient);
        }
    }
    if let Ok((field, _)) = NqnField::read_from_prefix(data) {
        shown(field);
        if let Ok(nqn) = field.nqn() {
            assert!(field.0.starts_with(nqn.as_bytes()) && field.0.get(nqn.as_bytes().len()) == Some(&0));
        }
    }
    if let Ok((text, _)) = Ascii::<40>::read_from_prefix(data) {
        said(text);
        if let Some(exact) = text.as_str() {
            assert_eq!(Ascii::<40>::new(exact).ok().as_ref().and_then(Ascii::as_str), Some(exact));
        }
    }
    let lossy = String::from_utf8_lossy(data);
    assert!(Ascii::<20>::lossy(&lossy).as_str().is_some());
}

fn descriptors(data: &[u8]) {
    let (mut builder, mut used) = (NamespaceDescriptorsBuilder::new(), 0);
    for descriptor in NamespaceDescriptors::parse(data) {
        used += 4 + match descriptor {
            NamespaceDescriptor::Eui64(id) => id.len(),
            NamespaceDescriptor::Nguid(id) | NamespaceDescriptor::Uuid(id) => id.len(),
            NamespaceDescriptor::Csi(_) => 1,
            NamespaceDescriptor::Other { bytes, .. } => bytes.len(),
            _ => 0,
        };
        assert!(used <= data.len());
        builder = builder.with(descriptor);
    }
    if used <= 4096 {
        let again = builder.finish();
        assert!(NamespaceDescriptors::parse(&again).eq(NamespaceDescriptors::parse(data)));
    }
}

fn registers(data: &[u8]) {
    let Some(bytes) = data.first_chunk::<8>() else {
        return;
    };
    let wide = u64::from_le_bytes(*bytes);
    let narrow = wide as u32;
    shown((Cap(wide), Cc(narrow), Csts(narrow), Crto(narrow)));
    assert!(Cc(narrow).page_size() >= 4096);
    let cap = Cap(wide);
    assert_eq!(cap.with_mqes(cap.mqes()), cap);
}
