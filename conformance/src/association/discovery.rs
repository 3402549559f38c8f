//! The discovery controller (NVMe-oF 1.1 §5).

use nvmf_controller::SubsystemOptions;
use nvmf_transport::{Data, QueueId, Wire};
use nvmf_wire::{
    AdminOpcode, Nqn, Sqe, Status,
    admin::async_event_request,
    event::{AsyncEvent, NoticeEvent},
    fabrics::CNTLID_DYNAMIC,
    feature::{AsyncEventConfiguration, Fid, SetFeatures},
    identify::{Cns, ControllerType, Identify, IdentifyController},
    log::{
        GetLogPage, Lid,
        discovery::{AddressFamily, DiscoveryEntry, DiscoveryHeader, SubsystemType},
    },
};

use super::{Associated, Who, check_status};
use crate::{
    Context as _, Fixture, Stop, Verdict, check, check_eq,
    site::{CLOSED, OPEN, STRANGER, Site, nqn},
};

fn discovery(site: &mut Site, host: Option<&str>) -> Result<Associated, Stop> {
    let mut who = Who::at(Nqn::DISCOVERY);
    if let Some(host) = host {
        who.host = nqn(host);
    }
    site.associate(&who)
}

fn header(site: &mut Site, admin: QueueId) -> Result<(u64, u64), Stop> {
    let bytes = site.get(admin, GetLogPage::new(Lid::DISCOVERY, 1024).to_sqe(), 1024)?;
    let header = DiscoveryHeader::view(&bytes).doing("the header")?;
    check_eq!(header.recfmt.get(), 0);
    Ok((header.genctr.get(), header.numrec.get()))
}

fn entries(site: &mut Site, admin: QueueId) -> Result<(u64, Vec<DiscoveryEntry>), Stop> {
    let (generation, records) = header(site, admin)?;
    let mut entries = Vec::new();
    for n in 0..records {
        let sqe = GetLogPage::new(Lid::DISCOVERY, 1024).with_offset(1024 * (n + 1)).to_sqe();
        let bytes = site.get(admin, sqe, 1024)?;
        entries.push(*DiscoveryEntry::view(&bytes).doing("an entry")?);
    }
    Ok((generation, entries))
}

fn names(entries: &[DiscoveryEntry]) -> Vec<Nqn> {
    let mut names: Vec<Nqn> = entries.iter().filter_map(|entry| entry.subnqn.nqn().ok()).collect();
    names.dedup();
    names
}

/// Every subsystem by every listener, each field as a host needs it.
// test: TCP-ADR-05
pub fn records(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = discovery(&mut site, None)?.admin;
    let (_, entries) = entries(&mut site, admin)?;
    check_eq!(entries.len(), 4, "two subsystems by two listeners");
    let wire = fixture.controller().wire();
    for listener in site.listeners.clone() {
        for name in [OPEN, CLOSED] {
            let port = listener.address.port().to_string();
            let entry = entries.iter().find(|entry| {
                entry.subnqn.nqn().is_ok_and(|subsystem| subsystem == nqn(name))
                    && entry.trsvcid.to_string() == port
            });
            let entry = entry.doing(&format!("an entry for {name} by {}", listener.address))?;
            check_eq!(entry.trtype.0, wire.0);
            let family = match (wire, listener.address.is_ipv4()) {
                (Wire::INTRA_HOST, _) => AddressFamily::INTRA_HOST,
                (_, true) => AddressFamily::IPV4,
                (_, false) => AddressFamily::IPV6,
            };
            check_eq!(entry.adrfam, family);
            check_eq!(entry.subtype, SubsystemType::NVM);
            check_eq!(entry.cntlid.get(), CNTLID_DYNAMIC);
            check!(entry.asqsz.get() >= DiscoveryEntry::MIN_ASQSZ, "ASQSZ {}", entry.asqsz.get());
            let address = listener.address.ip().to_string();
            check_eq!(entry.traddr.to_string(), address);
        }
    }
    let ports: std::collections::BTreeSet<u16> = entries.iter().map(|entry| entry.portid.get()).collect();
    check_eq!(ports.len(), 2, "a port identifier per listener");
    Ok(())
}

/// A host sees what it may connect to, and nothing else.
pub fn filtered(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let stranger = discovery(&mut site, Some(STRANGER))?.admin;
    let (_, seen) = entries(&mut site, stranger)?;
    check_eq!(names(&seen), [nqn(OPEN)]);
    let friend = discovery(&mut site, None)?.admin;
    let (_, seen) = entries(&mut site, friend)?;
    check_eq!(names(&seen).len(), 2);
    Ok(())
}

/// The generation counter changes with everything that is added, removed or allowed.
pub fn generation(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = discovery(&mut site, None)?.admin;
    let mut generations = vec![header(&mut site, admin)?.0];
    let name = nqn("nqn.2024-01.org.example:another");
    let added = site.server.add_subsystem(SubsystemOptions::new(name)).doing("a subsystem")?;
    generations.push(header(&mut site, admin)?.0);
    added.set_hosts([nqn(STRANGER)].into_iter().collect());
    generations.push(header(&mut site, admin)?.0);
    site.server.remove_subsystem(&name).doing("to remove it")?;
    generations.push(header(&mut site, admin)?.0);
    let port = site.server.add_listener(fixture.controller().wire(), ([127, 0, 0, 1], 4420).into());
    generations.push(header(&mut site, admin)?.0);
    site.server.remove_listener(port);
    generations.push(header(&mut site, admin)?.0);
    check!(generations.windows(2).all(|pair| pair[0] != pair[1]), "{generations:?}");
    check_eq!(header(&mut site, admin)?.0, generations[5], "it changes although nothing happened");
    Ok(())
}

/// A log that changes while it is read in pieces: the pieces belong together, or the generation tells that they do not.
pub fn change_while_reading(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = discovery(&mut site, None)?.admin;
    let (before, records) = header(&mut site, admin)?;
    let name = nqn("nqn.2024-01.org.example:a-first-in-any-order");
    site.server.add_subsystem(SubsystemOptions::new(name)).doing("a subsystem")?;
    let mut seen = Vec::new();
    for n in 0..records {
        let sqe = GetLogPage::new(Lid::DISCOVERY, 1024).with_offset(1024 * (n + 1)).to_sqe();
        let bytes = site.get(admin, sqe, 1024)?;
        seen.push(*DiscoveryEntry::view(&bytes).doing("an entry")?);
    }
    let (after, now) = header(&mut site, admin)?;
    check!(after != before, "a host could not tell that the log has changed");
    check!(now > records);
    let (_, entries) = entries(&mut site, admin)?;
    check!(names(&entries).contains(&name));
    Ok(())
}

/// More subsystems than fit one command, read in pieces of every kind.
pub fn many(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    for n in 0..100 {
        let name = nqn(&format!("nqn.2024-01.org.example:number-{n:03}"));
        site.server.add_subsystem(SubsystemOptions::new(name)).doing("a subsystem")?;
    }
    let admin = discovery(&mut site, None)?.admin;
    let (_, records) = header(&mut site, admin)?;
    check_eq!(records, 204);
    let total = 1024 * (records as usize + 1);
    let mut whole = Vec::new();
    // Pieces that do not end where entries do.
    while whole.len() < total {
        let len = 16_000.min(total - whole.len());
        let sqe = GetLogPage::new(Lid::DISCOVERY, len as u32).with_offset(whole.len() as u64).to_sqe();
        whole.extend(site.get(admin, sqe, len)?);
    }
    let mut found = std::collections::BTreeSet::new();
    for chunk in whole[1024..].chunks_exact(1024) {
        let entry = DiscoveryEntry::view(chunk).doing("an entry")?;
        let name = entry.subnqn.nqn().map_err(|error| Stop::failed(error.to_string()))?;
        found.insert(name.as_str().to_owned());
    }
    check_eq!(found.len(), 102);
    Ok(())
}

/// A host that asked for it is told when the log changes, once until it has read it.
pub fn events(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = discovery(&mut site, None)?.admin;
    let value = AsyncEventConfiguration::DISCOVERY_LOG_CHANGE.bits();
    let set = SetFeatures::new(Fid::ASYNC_EVENT_CONFIGURATION, value).to_sqe();
    check_status!(site.status(admin, set)?, Status::SUCCESS);
    let request = site.send(admin, async_event_request(), Data::None)?;
    let name = nqn("nqn.2024-01.org.example:another");
    site.server.add_subsystem(SubsystemOptions::new(name)).doing("a subsystem")?;
    let answer = site.answer(request)?;
    check_eq!(AsyncEvent::parse(&answer.cqe), AsyncEvent::notice(NoticeEvent::DISCOVERY_LOG_CHANGE));
    let again = site.send(admin, async_event_request(), Data::None)?;
    site.server.remove_subsystem(&name).doing("to remove it")?;
    site.pass(std::time::Duration::from_millis(20))?;
    check!(!site.has_ended(again), "told again before the log was read");
    header(&mut site, admin)?;
    site.server.add_subsystem(SubsystemOptions::new(name)).doing("a subsystem")?;
    site.answer(again).map(drop)
}

/// What a discovery controller says of itself, and the commands it does not have.
pub fn controller(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = discovery(&mut site, None)?;
    let bytes = site.get(associated.admin, Identify::new(Cns::CONTROLLER, 0).to_sqe(), 4096)?;
    let id = IdentifyController::view(&bytes).doing("the controller")?;
    check_eq!(id.cntrltype, ControllerType::DISCOVERY);
    check_eq!(id.cntlid.get(), associated.cntlid);
    check_eq!(id.subnqn.nqn().ok(), Some(Nqn::DISCOVERY));
    for opcode in [AdminOpcode::ABORT, AdminOpcode::CREATE_IO_SQ, AdminOpcode(0xc1), AdminOpcode::FORMAT_NVM]
    {
        check_status!(
            site.status(associated.admin, Sqe::admin(opcode))?,
            Status::INVALID_OPCODE,
            "{opcode:?}"
        );
    }
    match site.fetch(associated.admin, Identify::new(Cns::ACTIVE_NAMESPACES, 0).to_sqe(), 4096)? {
        Ok(_) => check!(false, "a discovery controller lists namespaces"),
        Err(status) => check_status!(status, Status::INVALID_FIELD),
    }
    match site.fetch(associated.admin, GetLogPage::new(Lid::SMART_HEALTH, 512).to_sqe(), 512)? {
        Ok(_) => check!(false, "a discovery controller has a health log"),
        Err(status) => check_status!(status, Status::INVALID_LOG_PAGE),
    }
    Ok(())
}
