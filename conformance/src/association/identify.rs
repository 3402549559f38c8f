//! Identify (NVMe Base 2.0 §5.17; NVMe-oF 1.1 §4.4).

use nvmf_wire::{
    Status,
    identify::{
        Cns, CommandSet, ControllerAttributes, ControllerList, ControllerType, Identify, IdentifyController,
        IdentifyNamespace, NamespaceDescriptor, NamespaceDescriptors, NamespaceList,
    },
    property::Version,
    sqe::NSID_BROADCAST,
};

use super::check_status;
use crate::{
    Context as _, Fixture, Stop, Verdict, check, check_eq,
    site::{LARGE, LARGE_BLOCKS, MAX_TRANSFER, OPEN, READ_ONLY, SMALL, SMALL_BLOCKS, Site, nqn},
};

fn identify(
    site: &mut Site,
    admin: nvmf_transport::QueueId,
    cns: Cns,
    nsid: u32,
) -> Result<Result<Vec<u8>, Status>, Stop> {
    site.fetch(admin, Identify::new(cns, nsid).to_sqe(), 4096)
}

/// The controller: every field that Fabrics gives a meaning, and that nothing reserved is set.
pub fn controller(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = site.usual()?;
    let bytes = site.get(associated.admin, Identify::new(Cns::CONTROLLER, 0).to_sqe(), 4096)?;
    let id = IdentifyController::view(&bytes).doing("to read it")?;
    check_eq!(id.cntlid.get(), associated.cntlid);
    check_eq!(id.cntrltype, ControllerType::IO);
    check_eq!(id.subnqn.nqn().ok(), Some(nqn(OPEN)));
    check!(Version(id.ver.get()) >= Version::V1_4, "VER {:#x}", id.ver.get());
    check!(!id.sn.to_string().trim().is_empty(), "the serial number is empty");
    check_eq!(
        u64::from(4096u32) << id.mdts,
        u64::from(MAX_TRANSFER.min(fixture.controller().limits().max_transfer)),
        "MDTS"
    );
    check_eq!(id.ioccsz.get() * 16, 64 + site.io_in_capsule, "IOCCSZ: the command and its in-capsule data");
    // test: TCP-RSP-03
    check_eq!(id.iorcsz.get(), 1, "IORCSZ: a completion of 16 bytes");
    check_eq!(id.icdoff.get(), 0, "ICDOFF");
    check!(id.msdbd >= 1, "MSDBD 0: not even one descriptor");
    check!(id.sgls.get() & 0b11 != 0, "SGLs are what Fabrics uses: {:#x}", id.sgls.get());
    check!(id.kas.get() > 0, "KAS 0: Fabrics needs keep alive");
    check!(
        id.ctratt.get() & ControllerAttributes::HOST_ID_128.bits() != 0,
        "CTRATT: 128-bit host identifiers"
    );
    check_eq!(id.sqes, 0x66, "SQES");
    check_eq!(id.cqes, 0x44, "CQES");
    check!(id.maxcmd.get() > 0, "MAXCMD 0: mandatory over Fabrics");
    check!(id.nn.get() >= READ_ONLY, "NN {}", id.nn.get());
    check!(
        id.mnan.get() != 0 && id.mnan.get() <= id.nn.get(),
        "MNAN {} of NN {}",
        id.mnan.get(),
        id.nn.get()
    );
    check_eq!(id.fuses.get(), 0);
    check!(bytes[1807..2048].iter().all(|&byte| byte == 0), "reserved bytes are set");
    Ok(())
}

/// Namespaces of both block sizes.
pub fn namespace(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    for (nsid, blocks, size) in
        [(SMALL, SMALL_BLOCKS, 512), (LARGE, LARGE_BLOCKS, 4096), (READ_ONLY, LARGE_BLOCKS, 4096)]
    {
        let bytes = site.get(admin, Identify::new(Cns::NAMESPACE, nsid).to_sqe(), 4096)?;
        let id = IdentifyNamespace::view(&bytes).doing("to read it")?;
        check_eq!(id.nsze.get(), blocks);
        check_eq!(id.ncap.get(), blocks);
        check!(id.nuse.get() <= blocks);
        check_eq!(id.block_size(), Some(size));
        check_eq!(id.nsattr & 1 == 1, nsid == READ_ONLY, "the write protected bit of namespace {nsid}");
        check!(id.nguid != [0; 16], "namespace {nsid} has no NGUID");
    }
    Ok(())
}

/// Namespaces that are not active, and numbers that are none.
pub fn no_namespace(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    // Inactive: zeroes. Not a number of a namespace: an error (NVMe Base 2.0 §5.17.2.1).
    match identify(&mut site, admin, Cns::NAMESPACE, 2)? {
        Ok(bytes) => check!(bytes.iter().all(|&byte| byte == 0), "an inactive namespace is described"),
        Err(status) => return Err(Stop::failed(format!("an inactive namespace: {status}"))),
    }
    for nsid in [0, 65, NSID_BROADCAST, NSID_BROADCAST - 1] {
        match identify(&mut site, admin, Cns::NAMESPACE, nsid)? {
            Ok(_) => check!(false, "NSID {nsid:#x} is described"),
            Err(status) => check_status!(status, Status::INVALID_NAMESPACE_OR_FORMAT, "NSID {nsid:#x}"),
        }
    }
    Ok(())
}

/// The list of active namespaces, from any point.
pub fn list(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    for (after, expected) in
        [(0, vec![1, 3, 7]), (1, vec![3, 7]), (2, vec![3, 7]), (7, vec![]), (1000, vec![])]
    {
        let bytes = site.get(admin, Identify::new(Cns::ACTIVE_NAMESPACES, after).to_sqe(), 4096)?;
        let list = NamespaceList::view(&bytes).doing("to read it")?;
        check_eq!(list.iter().collect::<Vec<_>>(), expected, "after {after}");
    }
    for after in [NSID_BROADCAST, NSID_BROADCAST - 1] {
        match identify(&mut site, admin, Cns::ACTIVE_NAMESPACES, after)? {
            Ok(_) => check!(false, "a list after {after:#x}"),
            Err(status) => check_status!(status, Status::INVALID_NAMESPACE_OR_FORMAT, "after {after:#x}"),
        }
    }
    Ok(())
}

/// The identification descriptors: unique, and the same for every host.
pub fn descriptors(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let first = site.usual()?.admin;
    let second = site.usual()?.admin;
    let mut seen = Vec::new();
    for nsid in [SMALL, LARGE, READ_ONLY] {
        let command = Identify::new(Cns::NAMESPACE_DESCRIPTORS, nsid).to_sqe();
        let bytes = site.get(first, command, 4096)?;
        check_eq!(bytes, site.get(second, command, 4096)?);
        let (mut unique, mut command_set) = (0, false);
        for descriptor in NamespaceDescriptors::parse(&bytes) {
            match descriptor {
                NamespaceDescriptor::Csi(set) => {
                    command_set = true;
                    check_eq!(set, CommandSet::NVM);
                }
                _ => unique += 1,
            }
        }
        check!(unique >= 1, "namespace {nsid} has no unique identifier");
        check!(command_set, "namespace {nsid} names no command set");
        check!(!seen.contains(&bytes), "two namespaces with one identity");
        seen.push(bytes);
    }
    match identify(&mut site, first, Cns::NAMESPACE_DESCRIPTORS, 2)? {
        Ok(_) => check!(false, "descriptors of an inactive namespace"),
        Err(status) => check_status!(status, Status::INVALID_NAMESPACE_OR_FORMAT),
    }
    Ok(())
}

/// Structures that do not exist.
pub fn unknown(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    for cns in [0x04, 0x09, 0x1f, 0x7f, 0xff] {
        match identify(&mut site, admin, Cns(cns), SMALL)? {
            Ok(_) => check!(false, "CNS {cns:02x} is answered"),
            Err(status) => check_status!(status, Status::INVALID_FIELD, "CNS {cns:02x}"),
        }
    }
    Ok(())
}

/// The controllers of the subsystem.
pub fn controllers(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (first, second) = (site.usual()?, site.usual()?);
    let bytes = site.get(first.admin, Identify::new(Cns::CONTROLLERS, 0).to_sqe(), 4096)?;
    let mut listed: Vec<u16> = ControllerList::view(&bytes).doing("to read it")?.iter().collect();
    listed.sort_unstable();
    let mut expected = vec![first.cntlid, second.cntlid];
    expected.sort_unstable();
    check_eq!(listed, expected);
    Ok(())
}
