//! Asynchronous events.

use nvmf_controller::NamespaceOptions;
use nvmf_transport::{RequestData, RequestId};
use nvmf_wire::{
    Status,
    admin::{Abort, async_event_request},
    event::{AsyncEvent, NoticeEvent, SmartEvent},
    feature::{AsyncEventConfiguration, Fid, GetFeatures, SetFeatures, TemperatureThreshold},
    log::{
        GetLogPage, Lid,
        health::{ChangedNamespaces, CriticalWarning, SmartHealth},
    },
};

use crate::rig::*;

const NAMESPACES: AsyncEventConfiguration = AsyncEventConfiguration::NAMESPACE_ATTRIBUTE;

fn enable(rig: &mut Rig, admin: Q, events: AsyncEventConfiguration) {
    rig.command(admin, SetFeatures::new(Fid::ASYNC_EVENT_CONFIGURATION, events.bits()).to_sqe()).ok();
}

fn request(rig: &mut Rig, admin: Q) -> RequestId {
    rig.submit(admin, async_event_request(), RequestData::None)
}

#[track_caller]
fn event(rig: &mut Rig, admin: Q, request: RequestId) -> AsyncEvent {
    AsyncEvent(rig.answer(admin, request).expect("no event").ok().cqe.dw0())
}

fn changed(rig: &mut Rig, admin: Q, rae: bool) -> Vec<u32> {
    let log = GetLogPage::new(Lid::CHANGED_NAMESPACE_LIST, 4096).with_rae(rae).to_sqe();
    ChangedNamespaces::view(&rig.read(admin, log, 4096).ok().data).unwrap().iter().collect()
}

fn touch(rig: &Rig, nsid: u32) {
    rig.subsystem.add_namespace(nsid, NamespaceOptions::new(ram(8))).unwrap();
    rig.subsystem.remove_namespace(nsid).unwrap();
}

#[test]
fn a_namespace_comes_and_goes() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    enable(&mut rig, admin, NAMESPACES);
    let waiting = request(&mut rig, admin);
    assert!(rig.answer(admin, waiting).is_none());
    rig.subsystem.add_namespace(5, NamespaceOptions::new(ram(8))).unwrap();
    rig.settle();
    let notice = AsyncEvent::notice(NoticeEvent::NAMESPACE_ATTRIBUTE_CHANGED);
    assert_eq!(event(&mut rig, admin, waiting), notice);
    assert_eq!(notice.0, 0x0004_0002);
    // No second event before the list was read; the list then tells of all.
    let next = request(&mut rig, admin);
    rig.subsystem.remove_namespace(5).unwrap();
    touch(&rig, 3);
    rig.settle();
    assert!(rig.answer(admin, next).is_none());
    assert_eq!(changed(&mut rig, admin, true), [3, 5]);
    assert!(rig.answer(admin, next).is_none(), "read with RAE");
    assert_eq!(changed(&mut rig, admin, false), [3, 5]);
    assert_eq!(changed(&mut rig, admin, false), [0u32; 0]);
    touch(&rig, 9);
    rig.settle();
    assert_eq!(event(&mut rig, admin, next), notice);
    assert_eq!(changed(&mut rig, admin, false), [9]);
}

#[test]
fn a_storm_without_requests_is_told_later() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    enable(&mut rig, admin, NAMESPACES);
    for nsid in 2..=900 {
        touch(&rig, nsid);
        rig.settle();
    }
    for round in 0..3 {
        let late = request(&mut rig, admin);
        if round == 0 {
            assert_eq!(event(&mut rig, admin, late).info(), NoticeEvent::NAMESPACE_ATTRIBUTE_CHANGED.0);
            assert_eq!(changed(&mut rig, admin, false), (2..=900).collect::<Vec<_>>());
        } else {
            assert!(rig.answer(admin, late).is_none(), "one event for all of them");
        }
    }
    // And the next change is told again.
    touch(&rig, 7);
    rig.settle();
    let answered = rig.engine().answers.len();
    assert_eq!(answered, 1);
}

#[test]
fn more_changes_than_the_list_holds() {
    let mut rig = Rig::with(Default::default(), |s| s.max_namespaces = 2000, 1);
    let (admin, _) = rig.controller();
    for nsid in 2..=1026 {
        touch(&rig, nsid);
    }
    rig.settle();
    assert_eq!(changed(&mut rig, admin, false), [u32::MAX]);
    assert_eq!(changed(&mut rig, admin, false), [0u32; 0]);
    // Nothing was enabled, so nothing is pending.
    enable(&mut rig, admin, NAMESPACES);
    let waiting = request(&mut rig, admin);
    assert!(rig.answer(admin, waiting).is_none());
}

#[test]
fn what_is_not_enabled_is_not_told() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    let waiting = request(&mut rig, admin);
    let cid = nvmf_wire::Cid(rig.last_cid());
    touch(&rig, 2);
    rig.settle();
    assert!(rig.answer(admin, waiting).is_none());
    rig.command(admin, Abort { sqid: 0, cid }.to_sqe()).ok();
    // Pending, then disabled, then enabled: not told either.
    enable(&mut rig, admin, NAMESPACES);
    touch(&rig, 2);
    rig.settle();
    enable(&mut rig, admin, AsyncEventConfiguration::empty());
    enable(&mut rig, admin, NAMESPACES);
    let waiting = request(&mut rig, admin);
    assert!(rig.answer(admin, waiting).is_none());
    let get = GetFeatures::new(Fid::ASYNC_EVENT_CONFIGURATION).to_sqe();
    assert_eq!(rig.command(admin, get).ok().cqe.dw0(), NAMESPACES.bits());
}

#[test]
fn events_that_cannot_be_enabled() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    let discovery = rig.discovery(0);
    let set = |bits| SetFeatures::new(Fid::ASYNC_EVENT_CONFIGURATION, bits).to_sqe();
    for bits in [1 << 31, 1 << 9, 1 << 11, 1 << 6, 1 << 14, u32::MAX] {
        assert_eq!(rig.command(admin, set(bits)).status(), Status::INVALID_FIELD, "{bits:#x}");
    }
    for bits in [1 << 8, 1, u32::MAX] {
        assert_eq!(rig.command(discovery, set(bits)).status(), Status::INVALID_FIELD, "{bits:#x}");
    }
    rig.command(admin, set(0x13f)).ok();
}

#[test]
fn requests_are_limited() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    let held: Vec<RequestId> = (0..4).map(|_| request(&mut rig, admin)).collect();
    let over = rig.command(admin, async_event_request());
    assert_eq!(over.status(), Status::ASYNC_EVENT_LIMIT_EXCEEDED);
    assert!(held.into_iter().all(|request| rig.answer(admin, request).is_none()));
}

#[test]
fn a_request_can_be_aborted() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    let first = request(&mut rig, admin);
    let cid = nvmf_wire::Cid(rig.last_cid());
    let second = request(&mut rig, admin);
    let answer = rig.command(admin, Abort { sqid: 0, cid }.to_sqe()).ok();
    assert!(Abort::was_aborted(&answer.cqe));
    assert_eq!(rig.answer(admin, first).unwrap().status(), Status::ABORT_REQUESTED);
    assert!(rig.answer(admin, second).is_none());
    let answer = rig.command(admin, Abort { sqid: 0, cid }.to_sqe()).ok();
    assert!(!Abort::was_aborted(&answer.cqe), "it is gone");
}

#[test]
fn temperature() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    enable(
        &mut rig,
        admin,
        AsyncEventConfiguration::empty().with_critical_warnings(CriticalWarning::TEMPERATURE),
    );
    let waiting = request(&mut rig, admin);
    let threshold = |kelvins| {
        let value = TemperatureThreshold(0).with_threshold(kelvins).bits();
        SetFeatures::new(Fid::TEMPERATURE_THRESHOLD, value).to_sqe()
    };
    let get = GetFeatures::new(Fid::TEMPERATURE_THRESHOLD).to_sqe();
    let default = rig.command(admin, get).ok().cqe.dw0() as u16;
    rig.command(admin, threshold(280)).ok();
    assert_eq!(event(&mut rig, admin, waiting), AsyncEvent::smart(SmartEvent::TEMPERATURE_THRESHOLD));
    let log = GetLogPage::new(Lid::SMART_HEALTH, 512).to_sqe();
    let smart = rig.read(admin, log, 512).ok();
    assert_eq!(SmartHealth::view(&smart.data).unwrap().critical_warning(), CriticalWarning::TEMPERATURE);
    rig.command(admin, threshold(default)).ok();
    let smart = rig.read(admin, log, 512).ok();
    assert_eq!(SmartHealth::view(&smart.data).unwrap().critical_warning, 0);
}
