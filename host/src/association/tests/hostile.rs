//! A controller that lies: every lie is bounded, most are errors with a name, none is a panic.

use nvmf_wire::{
    AdminOpcode, Status,
    event::{AsyncEvent, NoticeEvent},
    identify::{IdentifyNamespace, LbaFormat},
    property::Csts,
};
use proptest::prelude::*;

use super::{fake::Reply, *};

fn listing(nsids: &[u32]) -> Sim {
    let mut sim = Sim::new(options());
    let namespace = sim.fake.namespaces[0].1;
    sim.fake.namespaces = nsids.iter().map(|nsid| (*nsid, namespace)).collect();
    sim.run(Duration::from_secs(20));
    sim
}

#[test]
fn namespaces_beyond_nn_or_out_of_order() {
    // NN is 4.
    let sim = listing(&[1, 5]);
    assert_eq!(sim.association.namespaces().iter().map(|found| found.nsid).collect::<Vec<_>>(), [1, 5]);
    for list in [&[2, 1][..], &[1, 1], &[3, 2]] {
        assert_eq!(listing(list).association.error().unwrap().code(), "bad-identify", "{list:?}");
    }
    assert_eq!(listing(&[1, 2, 4]).association.namespaces().len(), 3);
}

#[test]
fn more_namespaces_than_anyone_wants() {
    let mut options = options();
    options.max_namespaces = 1500;
    let mut sim = Sim::new(options);
    let namespace = sim.fake.namespaces[0].1;
    sim.fake.identify.nn = u32::MAX.into();
    sim.fake.namespaces = (1..=5000).map(|nsid| (nsid, namespace)).collect();
    sim.run(Duration::from_secs(1));
    assert_eq!(sim.association.state(), State::Live);
    assert_eq!(sim.association.namespaces().len(), 1500);
}

#[test]
fn unusable_formats_are_refused_per_request() {
    for (lbads, ms, nsze) in [(0, 0, 1), (63, 0, 1), (9, 8, 1), (12, 0, u64::MAX)] {
        let mut sim = Sim::new(options());
        let mut namespace = IdentifyNamespace::zeroed();
        namespace.nsze = nsze.into();
        namespace.lbaf[0] = LbaFormat::new(lbads, ms);
        sim.fake.namespaces = vec![(1, namespace)];
        sim.settle();
        assert_eq!(sim.association.state(), State::Live);
        let rejected = sim.try_submit(1, read(0, 1)).unwrap_err();
        assert_eq!(rejected.why, IoError::UnusableNamespace(1).into());
    }
}

#[test]
fn a_namespace_that_vanishes_while_it_is_looked_at_is_left_out() {
    let mut sim = Sim::new(options());
    let namespace = sim.fake.namespaces[0].1;
    sim.fake.namespaces = vec![(1, namespace), (2, namespace)];
    sim.fake.rule(|_, sqe| {
        let gone = sqe.opcode == AdminOpcode::IDENTIFY.0 && sqe.cdw10.get() == 0 && sqe.nsid() == 2;
        gone.then_some(Reply::Status(Status::INVALID_NAMESPACE_OR_FORMAT))
    });
    sim.settle();
    assert_eq!(sim.association.namespaces().iter().map(|n| n.nsid).collect::<Vec<_>>(), [1]);
}

#[test]
fn success_with_less_data_is_not_success() {
    let mut sim = Sim::live(options());
    sim.fake.rule(|_, sqe| (sqe.opcode == 2).then_some(Reply::Short));
    sim.submit(1, read(0, 2));
    sim.settle();
    assert_eq!(sim.result(1), Err(IoError::ShortData { expected: 1024, transferred: 512 }));
}

#[test]
fn a_storm_of_events_ends_in_one_scan_at_a_time() {
    let mut sim = Sim::live(options());
    let event = AsyncEvent::notice(NoticeEvent::NAMESPACE_ATTRIBUTE_CHANGED);
    let mut left = 500;
    sim.fake.rule(move |kind, sqe| {
        let request = kind.qid() == 0 && sqe.opcode == AdminOpcode::ASYNC_EVENT_REQUEST.0;
        if !request || left == 0 {
            return None;
        }
        left -= 1;
        Some(Reply::StatusWith(Status::SUCCESS, event.bits()))
    });
    // The four that wait are answered by a reset; the new ones meet the storm.
    sim.fake.cut();
    sim.run(Duration::from_secs(30));
    assert_eq!(sim.association.state(), State::Live);
    assert!(sim.notices.len() <= 1100);
}

#[test]
fn a_controller_that_goes_fatal_on_reconnect_is_tried_again_and_given_up() {
    let mut options = options();
    options.controller_loss_timeout = Some(Duration::from_secs(35));
    let mut sim = Sim::live(options);
    sim.fake.rule(|_, sqe| {
        let csts = sqe.fctype() == Some(nvmf_wire::FabricsType::PROPERTY_GET) && sqe.cdw11.get() == 0x1c;
        csts.then_some(Reply::StatusWith(Status::SUCCESS, Csts(0).with_cfs(true).bits()))
    });
    sim.fake.cut();
    sim.run(Duration::from_secs(60));
    assert_eq!(sim.association.error().unwrap().code(), "controller-lost");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Identify data of any content, a namespace of any content, properties of any value: connected or failed in bounded
    /// time, and then any read is answered or refused.
    #[test]
    fn arbitrary_answers(
        noise in proptest::collection::vec((0usize..4096, any::<u8>()), 0..200),
        namespace in proptest::collection::vec((0usize..384, any::<u8>()), 0..64),
        cap in any::<u64>(),
        keep_cap in any::<bool>(),
        granted in any::<u32>(),
        start in any::<u64>(),
    ) {
        use nvmf_wire::zerocopy::IntoBytes;
        let mut sim = Sim::new(options());
        for (at, byte) in noise {
            sim.fake.identify.as_mut_bytes()[at] = byte;
        }
        for (at, byte) in namespace {
            sim.fake.namespaces[0].1.as_mut_bytes()[at] = byte;
        }
        if !keep_cap {
            sim.fake.cap = nvmf_wire::property::Cap(cap);
        }
        sim.fake.granted = granted;
        sim.run(Duration::from_secs(400));
        match sim.association.state() {
            State::Live => {
                let size = sim.association.namespace(1).map_or(512, |n| n.block_size.max(1) as usize);
                let data = Pages.allocate(size).unwrap();
                if sim.try_submit(1, Op::Read { start, data }).is_ok() {
                    // The fake stores blocks of 512 bytes only; others are not answered, and time out.
                    if size != 512 {
                        return Ok(());
                    }
                    sim.settle();
                    sim.ended(1);
                }
            }
            State::Ended => prop_assert!(sim.association.error().is_some()),
            other => prop_assert!(false, "{other:?}"),
        }
    }
}
