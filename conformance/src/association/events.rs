//! Asynchronous events (NVMe Base 2.0 §5.2).

use nvmf_controller::{
    NamespaceOptions,
    backend::{BlockSize, RamBackend},
};
use nvmf_transport::{Data, QueueId};
use nvmf_wire::{
    Status,
    admin::async_event_request,
    event::{AsyncEvent, EventType, NoticeEvent},
    feature::{AsyncEventConfiguration, Fid, SetFeatures},
    identify::{Cns, Identify, IdentifyController},
    log::{GetLogPage, Lid, health::ChangedNamespaces},
    property::Cc,
};
use std::{sync::Arc, time::Duration};

use super::check_status;
use crate::{Context as _, Fixture, Stop, Verdict, check, check_eq, site::Site};

fn enable(site: &mut Site, admin: QueueId) -> Verdict {
    let value = AsyncEventConfiguration::NAMESPACE_ATTRIBUTE.bits();
    let status = site.status(admin, SetFeatures::new(Fid::ASYNC_EVENT_CONFIGURATION, value).to_sqe())?;
    check_status!(status, Status::SUCCESS);
    Ok(())
}

fn add(site: &mut Site, nsid: u32) -> Verdict {
    let size = BlockSize::from_bytes(512).doing("a block size")?;
    let backend = RamBackend::new(1 << 20, size).doing("memory")?;
    site.subsystem.add_namespace(nsid, NamespaceOptions::new(Arc::new(backend))).doing("a namespace")
}

fn changed(site: &mut Site, admin: QueueId, rae: bool) -> Result<Vec<u32>, Stop> {
    let sqe = GetLogPage::new(Lid::CHANGED_NAMESPACE_LIST, 4096).with_rae(rae).to_sqe();
    let bytes = site.get(admin, sqe, 4096)?;
    Ok(ChangedNamespaces::view(&bytes).doing("the list")?.iter().collect())
}

/// A namespace that comes or goes is told to every host that asked, and its list empties when read.
pub fn namespaces(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (first, second) = (site.usual()?.admin, site.usual()?.admin);
    for admin in [first, second] {
        enable(&mut site, admin)?;
    }
    let requests = [
        site.send(first, async_event_request(), Data::None)?,
        site.send(second, async_event_request(), Data::None)?,
    ];
    site.pass(Duration::from_millis(20))?;
    check!(requests.iter().all(|&sent| !site.has_ended(sent)), "an event without cause");
    add(&mut site, 5)?;
    for (sent, admin) in requests.into_iter().zip([first, second]) {
        let answer = site.answer(sent)?;
        check_status!(answer.status(), Status::SUCCESS);
        let event = AsyncEvent::parse(&answer.cqe);
        check_eq!(event, AsyncEvent::notice(NoticeEvent::NAMESPACE_ATTRIBUTE_CHANGED));
        check_eq!(event.kind(), EventType::NOTICE);
        check_eq!(changed(&mut site, admin, true)?, [5]);
        check_eq!(changed(&mut site, admin, false)?, [5], "RAE keeps the list");
        check!(changed(&mut site, admin, false)?.is_empty(), "reading empties it");
    }
    let again = site.send(first, async_event_request(), Data::None)?;
    site.subsystem.remove_namespace(5).doing("to remove it")?;
    site.answer(again)?;
    check_eq!(changed(&mut site, first, false)?, [5]);
    Ok(())
}

/// An event that happens while no request is there waits for one; it is told once until its page is read.
pub fn pending(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    enable(&mut site, admin)?;
    add(&mut site, 5)?;
    add(&mut site, 6)?;
    let answer = site.call(admin, async_event_request(), Data::None)?;
    check_eq!(AsyncEvent::parse(&answer.cqe), AsyncEvent::notice(NoticeEvent::NAMESPACE_ATTRIBUTE_CHANGED));
    let second = site.send(admin, async_event_request(), Data::None)?;
    add(&mut site, 8)?;
    site.pass(Duration::from_millis(20))?;
    check!(!site.has_ended(second), "told again before the log page was read");
    check_eq!(changed(&mut site, admin, false)?, [5, 6, 8]);
    add(&mut site, 9)?;
    site.answer(second)?;
    check_eq!(changed(&mut site, admin, false)?, [9]);
    Ok(())
}

/// Events nobody enabled are not told.
pub fn disabled(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    let request = site.send(admin, async_event_request(), Data::None)?;
    add(&mut site, 5)?;
    site.pass(Duration::from_millis(20))?;
    check!(!site.has_ended(request), "an event that was not enabled");
    let bogus = SetFeatures::new(Fid::ASYNC_EVENT_CONFIGURATION, 1 << 30).to_sqe();
    check_status!(site.status(admin, bogus)?, Status::INVALID_FIELD, "an event the controller does not have");
    Ok(())
}

/// As many requests are held as the controller says, and one more is refused.
pub fn limit(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    let bytes = site.get(admin, Identify::new(Cns::CONTROLLER, 0).to_sqe(), 4096)?;
    let most = IdentifyController::view(&bytes).doing("the controller")?.aerl + 1;
    let sent: Vec<_> =
        (0..=most).map(|_| site.send(admin, async_event_request(), Data::None)).collect::<Result<_, _>>()?;
    // Which of them is one too many depends on the order in which they arrive.
    let all = sent.clone();
    site.until("a refusal", |site| all.iter().any(|&sent| site.has_ended(sent)))?;
    site.pass(Duration::from_millis(20))?;
    let refused: Vec<_> = sent.into_iter().filter(|&sent| site.has_ended(sent)).collect();
    check_eq!(refused.len(), 1);
    check_status!(site.answer(refused[0])?.status(), Status::ASYNC_EVENT_LIMIT_EXCEEDED);
    Ok(())
}

/// A reset ends the requests that are held.
pub fn reset(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let admin = site.usual()?.admin;
    enable(&mut site, admin)?;
    let held = site.send(admin, async_event_request(), Data::None)?;
    check!(site.write_cc(admin, Cc(0))?.status().is_success());
    let answer = site.answer(held)?;
    check!(!answer.status().is_success(), "an event of a controller that was reset: {}", answer.status());
    site.csts_until(admin, "end of the reset", |csts| !csts.rdy())?;
    site.enable(admin)?;
    let request = site.send(admin, async_event_request(), Data::None)?;
    add(&mut site, 5)?;
    site.pass(Duration::from_millis(20))?;
    check!(!site.has_ended(request), "events stay enabled over a reset");
    Ok(())
}
