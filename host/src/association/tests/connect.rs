//! Connecting, and how each stage fails: its stage, its code, its time.

use nvmf_transport::{ErrorKind, QueueKind, Stage as At};
use nvmf_wire::{
    AdminOpcode, FabricsType, Status,
    fabrics::InvalidParameter,
    property::{Cap, Csts},
};

use super::{
    fake::{Connection, Reply},
    *,
};

fn on_fabrics(
    fctype: FabricsType,
    reply: Reply,
) -> impl FnMut(QueueKind, &nvmf_wire::Sqe) -> Option<Reply> + Send {
    move |_, sqe| (sqe.fctype() == Some(fctype)).then_some(reply)
}

fn on_admin(
    opcode: AdminOpcode,
    reply: Reply,
) -> impl FnMut(QueueKind, &nvmf_wire::Sqe) -> Option<Reply> + Send {
    move |kind, sqe| (kind == QueueKind::Admin && sqe.opcode == opcode.0).then_some(reply)
}

#[test]
fn everything_is_asked_for_and_remembered() {
    let mut options = options();
    options.kato = Some(Duration::from_secs(7));
    let identity = options.host;
    let mut sim = Sim::new(options);
    sim.settle();
    assert_eq!(sim.association.state(), State::Live);
    assert!(matches!(sim.notices[..], [(_, Notice::Connected { again: false })]));
    let info = sim.association.info().unwrap();
    assert_eq!((info.cntlid, info.transport, info.queues.len()), (5, "fake", 3));
    assert_eq!(info.max_transfer, 16384, "MDTS 2 of 4 KiB pages");
    assert_eq!(sim.association.namespaces().len(), 1);
    assert_eq!(sim.association.namespaces()[0].identity.uuid, Some(uuid::Uuid::from_bytes([7; 16])));
    // Connect: KATO on the admin queue only, SQ flow control off asked for and granted, the controller's id on I/O queues.
    let connects: Vec<_> =
        sim.fake.sent.iter().filter(|(_, sqe)| sqe.fctype() == Some(FabricsType::CONNECT)).collect();
    let parsed: Vec<_> = connects.iter().map(|(_, sqe)| nvmf_wire::fabrics::Connect::parse(sqe)).collect();
    assert_eq!(
        parsed.iter().map(|c| (c.qid, c.sqsize, c.kato)).collect::<Vec<_>>(),
        [(0, 31, 7000), (1, 7, 0), (2, 7, 0)]
    );
    assert!(parsed.iter().all(|connect| connect.cattr.disable_sq_flow_control()));
    assert!(sim.fake.configured.iter().all(|settings| !settings.sq_flow_control));
    let ids: Vec<u16> = sim.fake.connect_data.iter().map(|data| data.cntlid.get()).collect();
    assert_eq!(ids, [0xffff, 5, 5]);
    for data in &sim.fake.connect_data {
        assert_eq!((data.hostid, data.hostnqn.nqn().unwrap()), (identity.id, identity.nqn));
        assert_eq!(data.subnqn.nqn().unwrap(), SUBNQN);
    }
    // IOCCSZ 68: 1 KiB in the capsule.
    assert_eq!(sim.fake.connects[1].max_in_capsule, 1024);
    // Events: as many as the controller takes.
    assert_eq!(sim.fake.count(AdminOpcode::ASYNC_EVENT_REQUEST.0, true), 4);
}

#[test]
fn sq_flow_control_stays_on_if_not_asked_off() {
    let mut options = options();
    options.sq_flow_control = true;
    let sim = Sim::live(options);
    assert!(sim.fake.configured.iter().all(|settings| settings.sq_flow_control));
    assert!(sim.association.info().unwrap().queues.iter().all(|queue| queue.sq_flow_control));
}

#[test]
fn depth_is_lowered_to_what_the_controller_takes() {
    let mut sim = Sim::new(options());
    sim.fake.cap = sim.fake.cap.with_mqes(3);
    sim.settle();
    assert_eq!(sim.association.info().unwrap().queues[1].depth, 4);
    let mut sim = Sim::new(options());
    sim.fake.identify.maxcmd = 5.into();
    sim.settle();
    assert_eq!(sim.association.info().unwrap().queues[1].depth, 5);
}

#[test]
fn fewer_queues_are_enough_and_more_change_nothing() {
    for (granted, used) in [(1, 1), (2, 2), (65_535, 2), (65_536, 2)] {
        let mut sim = Sim::new(options());
        sim.fake.granted = granted;
        sim.settle();
        assert_eq!(sim.association.state(), State::Live);
        assert_eq!(sim.association.info().unwrap().queues.len(), 1 + used, "granted {granted}");
    }
}

#[test]
fn transport_failures_have_codes_of_their_own() {
    let code = |connection| {
        let (error, _) = Sim::failure(options(), |fake| fake.connection = connection);
        assert_eq!(error.address(), Some("192.0.2.1:4420".parse().unwrap()));
        assert!(error.is_transport());
        (error.stage(), error.code())
    };
    let fail = |at, kind| code(Connection::Fail(at, kind));
    assert_eq!(fail(At::Connect, ErrorKind::Refused), (Stage::TransportConnect, "connection-refused"));
    assert_eq!(fail(At::Connect, ErrorKind::Unreachable), (Stage::TransportConnect, "unreachable"));
    assert_eq!(fail(At::Connect, ErrorKind::TimedOut), (Stage::TransportConnect, "connect-timeout"));
    assert_eq!(fail(At::Negotiate, ErrorKind::NotNvme), (Stage::Negotiate, "not-nvme"));
    assert_eq!(fail(At::Negotiate, ErrorKind::TimedOut), (Stage::Negotiate, "negotiate-timeout"));
    assert_eq!(fail(At::Negotiate, ErrorKind::PeerClosed), (Stage::Negotiate, "negotiate-closed"));
    assert_eq!(fail(At::Negotiate, ErrorKind::Incompatible), (Stage::Negotiate, "incompatible-parameters"));
    assert_eq!(code(Connection::CloseAtOnce), (Stage::Negotiate, "negotiate-closed"));
}

#[test]
fn a_transport_that_says_nothing_is_not_waited_for_for_ever() {
    let (error, after) = Sim::failure(options(), |fake| fake.connection = Connection::Silent);
    assert_eq!(error.code(), "connect-timeout");
    assert!(after <= Duration::from_secs(12), "{after:?}");
    let (error, _) = Sim::failure(options(), |fake| fake.io_connection = Connection::Silent);
    assert_eq!(error.code(), "connect-timeout");
}

#[test]
fn what_connect_is_refused_for_is_named() {
    let refuse = |status, parameter: Option<InvalidParameter>| {
        let dw0 = parameter.map_or(0, InvalidParameter::dw0);
        let rule = on_fabrics(FabricsType::CONNECT, Reply::StatusWith(status, dw0));
        let (error, _) = Sim::failure(options(), |fake| fake.rule(rule));
        assert_eq!((error.stage(), error.status()), (Stage::Connect, Some(status)));
        assert!(!error.is_transport());
        (error.code(), error.field(), error.to_string())
    };
    let invalid = Status::CONNECT_INVALID_PARAMETERS.with_dnr();
    let (code, field, text) = refuse(invalid, Some(InvalidParameter::SUBNQN));
    assert_eq!((code, field), ("unknown-subsystem", Some("SUBNQN")));
    assert!(text.contains(SUBNQN) && text.contains("192.0.2.1:4420"), "{text}");
    assert_eq!(refuse(invalid, Some(InvalidParameter::HOSTID)).0, "invalid-hostid");
    assert_eq!(refuse(invalid, Some(InvalidParameter::HOSTNQN)).0, "invalid-hostnqn");
    assert_eq!(refuse(invalid, Some(InvalidParameter::CNTLID)).0, "invalid-controller-id");
    let (code, field, _) = refuse(invalid, Some(InvalidParameter::SQSIZE));
    assert_eq!((code, field), ("connect-invalid-parameters", Some("SQSIZE")));
    let nowhere = InvalidParameter { in_data: true, offset: 1000 };
    assert_eq!(refuse(invalid, Some(nowhere)).0, "connect-invalid-parameters");
    assert_eq!(refuse(Status::CONNECT_INVALID_HOST, None).0, "connect-invalid-host");
    assert_eq!(refuse(Status::CONNECT_CONTROLLER_BUSY, None).0, "controller-busy");
    assert_eq!(refuse(Status::CONNECT_RESTART_DISCOVERY, None).0, "restart-discovery");
    assert_eq!(refuse(Status::AUTHENTICATION_REQUIRED, None).0, "authentication-required");
    assert_eq!(refuse(Status::INTERNAL_ERROR, None).0, "connect-failed");
}

#[test]
fn an_io_queue_that_is_refused_is_named() {
    let (error, _) = Sim::failure(options(), |fake| {
        fake.rule(|kind, _| {
            (kind == QueueKind::Io(2)).then_some(Reply::Status(Status::CONNECT_CONTROLLER_BUSY))
        });
    });
    assert_eq!(error.queue(), Some(QueueKind::Io(2)));
    assert!(error.to_string().contains("I/O queue 2"), "{error}");
}

#[test]
fn authentication_is_not_mistaken_for_success() {
    let rule = on_fabrics(FabricsType::CONNECT, Reply::StatusWith(Status::SUCCESS, 5 | 1 << 17));
    let (error, _) = Sim::failure(options(), |fake| fake.rule(rule));
    assert_eq!(error.code(), "authentication-required");
}

#[test]
fn each_later_stage() {
    type Script = fn(&mut Fake);
    let cases: [(Script, Stage, &str); 9] = [
        (
            |f| f.rule(on_fabrics(FabricsType::PROPERTY_GET, Reply::Status(Status::INVALID_FIELD))),
            Stage::Property,
            "property-failed",
        ),
        (
            |f| f.rule(on_fabrics(FabricsType::PROPERTY_SET, Reply::Status(Status::INVALID_FIELD))),
            Stage::Enable,
            "property-failed",
        ),
        (|f| f.rule(on_fabrics(FabricsType::PROPERTY_GET, Reply::Hold)), Stage::Property, "command-timeout"),
        (|f| f.cap = Cap(0), Stage::Property, "bad-capabilities"),
        (|f| f.csts = Csts(0).with_cfs(true), Stage::Enable, "controller-fatal"),
        (
            |f| f.rule(on_admin(AdminOpcode::IDENTIFY, Reply::Status(Status::INTERNAL_ERROR))),
            Stage::Identify,
            "identify-failed",
        ),
        (|f| f.rule(on_admin(AdminOpcode::IDENTIFY, Reply::Short)), Stage::Identify, "bad-identify"),
        (|f| f.rule(on_admin(AdminOpcode::IDENTIFY, Reply::Close)), Stage::Identify, "connection-lost"),
        (
            |f| {
                f.rule(|_, sqe| {
                    (sqe.opcode == AdminOpcode::SET_FEATURES.0 && sqe.cdw10.get() == 7)
                        .then_some(Reply::Status(Status::INVALID_FIELD))
                });
            },
            Stage::Features,
            "features-failed",
        ),
    ];
    for (script, stage, code) in cases {
        let (error, after) = Sim::failure(options(), script);
        assert_eq!((error.stage(), error.code()), (stage, code), "{error}");
        assert!(after <= Duration::from_secs(11), "{code} took {after:?}");
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn never_ready_is_bounded_by_cap_to() {
    let (error, after) = Sim::failure(options(), |fake| fake.not_ready = None);
    assert_eq!((error.stage(), error.code()), (Stage::Enable, "never-ready"));
    assert!(
        (Duration::from_secs(2)..Duration::from_millis(2500)).contains(&after),
        "CAP.TO is 2 s: {after:?}"
    );
}

#[test]
fn slowly_ready_is_waited_for() {
    let mut sim = Sim::new(options());
    sim.fake.not_ready = Some(8);
    sim.run(Duration::from_secs(2));
    assert_eq!(sim.association.state(), State::Live);
}

#[test]
fn optional_features_may_be_refused() {
    let mut sim = Sim::new(options());
    sim.fake.identify.crdt1 = 1.into();
    sim.fake.rule(|_, sqe| {
        (sqe.opcode == AdminOpcode::SET_FEATURES.0 && sqe.cdw10.get() != 7)
            .then_some(Reply::Status(Status::INVALID_FIELD))
    });
    sim.settle();
    assert_eq!(sim.association.state(), State::Live);
}

#[test]
fn discovery_needs_no_queues_and_no_namespaces() {
    let sim = Sim::live(Options::discovery());
    let info = sim.association.info().unwrap();
    assert!(info.discovery && info.queues.len() == 1);
    assert_eq!(sim.fake.count(AdminOpcode::ASYNC_EVENT_REQUEST.0, true), 0);
    assert_eq!(sim.fake.open(), [QueueKind::Admin]);
}

#[test]
fn codes_are_unique_and_hints_exist() {
    let mut codes: Vec<_> = crate::ConnectErrorKind::ALL.iter().map(|kind| kind.code()).collect();
    assert!(crate::ConnectErrorKind::ALL.iter().all(|kind| !kind.hint().is_empty()));
    let count = codes.len();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), count);
}
