//! Each fault does what it says and nothing else, the contract holds under all of them, and a plan replays.

use std::time::Duration;

use nvmf_transport::{
    Close, CloseReason, Command, ControllerEvent, Data, ErrorKind, Gather, HostEvent, QueueId, QueueKind,
    QueueSettings, RequestData,
};
use nvmf_wire::{Cqe, IoOpcode, Sqe};

use super::{Faults, Plan};
use crate::{Network, SimTransport, tests::Pair};

const MILLI: Duration = Duration::from_millis(1);

/// A pair whose host (or controller) suffers by a plan.
fn suffering(plan: &str, host_suffers: bool) -> (Pair, Faults) {
    let network = Network::new(1);
    let (host, controller) = SimTransport::new(&network).shared();
    let faults = Faults::new(plan.parse().unwrap());
    let pair = match host_suffers {
        true => Pair::over(&network, &*faults.host(host), &*controller),
        false => Pair::over(&network, &*host, &*faults.controller(controller)),
    };
    (pair, faults)
}

fn reads(pair: &mut Pair, queue: QueueId, count: u64) {
    (0..count).for_each(|cookie| pair.read(queue, 4096, cookie));
    pair.run(MILLI / 10);
    pair.answer_reads();
    pair.run(MILLI / 10);
}

fn bits_set(data: &Data) -> u32 {
    match data {
        Data::FromController(buffer) | Data::ToController(buffer) => {
            buffer.iter().map(|byte| byte.count_ones()).sum()
        }
        Data::None => 0,
    }
}

#[test]
fn a_plan_survives_being_text() {
    let text = "seed=7 delay(1ms..5ms)@chance(100)/io withhold@command(3) reorder(4)@byte(4096)/q2 flip-write@connected \
                flip-read@configured/admin stall@connecting stall(2s)@command(9)*3 reset@byte(1)/io*1";
    let plan: Plan = text.parse().unwrap();
    assert_eq!(plan.faults.len(), 8);
    assert_eq!(plan.to_string().parse::<Plan>().unwrap(), plan);
    for (wrong, part) in [
        ("seed=x", "x"),
        ("delay(5ms..1ms)@connected", "5ms..1ms"),
        ("delay(1h..2h)@connected", "1h"),
        ("explode@connected", "explode"),
        ("reset@never", "never"),
        ("reset@connected/x", "x"),
        ("reset", "reset"),
        ("reset@command(1", "command(1"),
    ] {
        assert_eq!(wrong.parse::<Plan>().unwrap_err().part, part);
    }
}

#[test]
fn an_empty_plan_changes_nothing() {
    let (mut pair, faults) = suffering("", true);
    let queue = pair.connect();
    reads(&mut pair, queue, 10);
    assert_eq!(pair.completed(), (0..10).collect::<Vec<_>>());
    assert!(faults.deeds().is_empty());
}

#[test]
fn a_delayed_completion_comes_later_and_the_others_do_not_wait() {
    let (mut pair, faults) = suffering("delay(5ms..5ms)@command(2)", true);
    let queue = pair.connect();
    reads(&mut pair, queue, 3);
    assert_eq!(pair.completed(), [0, 2]);
    pair.run(4 * MILLI);
    assert_eq!(pair.completed(), [0, 2]);
    pair.run(2 * MILLI);
    assert_eq!(pair.completed(), [0, 2, 1]);
    assert_eq!(faults.deeds().len(), 1);
}

#[test]
fn a_withheld_completion_is_an_abort_when_the_queue_ends() {
    let (mut pair, _) = suffering("withhold@command(1)", true);
    let queue = pair.connect();
    reads(&mut pair, queue, 2);
    pair.run(Duration::from_secs(60));
    assert_eq!(pair.completed(), [1]);
    pair.host_events.clear();
    pair.host.close(queue, Close::Now);
    pair.run(MILLI);
    let [
        HostEvent::Aborted { cookie: 0, data, .. },
        HostEvent::Closed { reason: CloseReason::Requested, .. },
    ] = &pair.host_events[..]
    else {
        panic!("{:?}", pair.host_events)
    };
    assert_eq!(data.len(), 4096);
}

#[test]
fn a_reordered_completion_lets_others_pass_but_not_for_ever() {
    let (mut pair, _) = suffering("reorder(2)@command(1) reorder(5)@command(4)", true);
    let queue = pair.connect();
    reads(&mut pair, queue, 4);
    assert_eq!(pair.completed(), [1, 2, 0]);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.completed(), [1, 2, 0, 3]);
}

#[test]
fn one_bit_of_a_read_flips_on_either_side() {
    for host_suffers in [true, false] {
        let (mut pair, _) = suffering("flip-read@command(2)", host_suffers);
        let queue = pair.connect();
        reads(&mut pair, queue, 3);
        let bits = |event: &HostEvent| match event {
            HostEvent::Completed { data, .. } => bits_set(data),
            other => panic!("{other:?}"),
        };
        let wrong: Vec<u32> = pair.host_events.iter().map(bits).collect();
        assert_eq!(wrong, [0, 1, 0]);
    }
}

#[test]
fn one_bit_of_a_write_flips_and_the_callers_buffer_is_as_it_was() {
    for (len, host_suffers) in [(512, true), (512, false), (65_536, true), (65_536, false)] {
        let (mut pair, _) = suffering("flip-write@command(1)", host_suffers);
        let queue = pair.connect();
        let data = Data::ToController(pair.host.memory().allocate(len).unwrap());
        pair.host.submit(queue, Command { sqe: Sqe::io(IoOpcode::WRITE, 1), data, cookie: 1 }).unwrap();
        pair.run(MILLI);
        let Some(ControllerEvent::Command { request, sqe, data }) = pair.controller_events.pop() else {
            panic!()
        };
        let arrived = match data.unwrap() {
            RequestData::InCapsule(buffer) => buffer,
            RequestData::Remote { .. } => {
                let into = pair.controller.memory().allocate(len).unwrap();
                pair.controller.fetch(request, 0, into).unwrap();
                pair.run(MILLI);
                match pair.controller_events.pop() {
                    Some(ControllerEvent::Fetched { data, outcome: Ok(()), .. }) => data,
                    other => panic!("{other:?}"),
                }
            }
            RequestData::None => panic!("no data"),
        };
        assert_eq!(arrived.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        pair.controller.respond(request, Cqe::success(sqe.cid()), Gather::new()).unwrap();
        pair.run(MILLI);
        let Some(HostEvent::Completed { data, .. }) = pair.host_events.pop() else { panic!() };
        assert_eq!(bits_set(&data), 0);
    }
}

#[test]
fn a_stalled_queue_is_silent_for_its_time() {
    let (mut pair, _) = suffering("stall(1s)@command(2)", true);
    let queue = pair.connect();
    reads(&mut pair, queue, 3);
    assert!(pair.host_events.is_empty());
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.completed(), [0, 1, 2]);
}

#[test]
fn a_queue_stalled_for_ever_ends_when_this_side_closes_it() {
    let (mut pair, _) = suffering("stall@command(2)", true);
    let queue = pair.connect();
    reads(&mut pair, queue, 3);
    pair.network.reset(pair.address);
    pair.run(Duration::from_secs(60));
    assert!(pair.host_events.is_empty(), "a stalled queue hears of no end either: {:?}", pair.host_events);
    pair.host.close(queue, Close::AfterFlush);
    pair.run(MILLI);
    let aborted = pair.host_events.iter().filter(|event| matches!(event, HostEvent::Aborted { .. })).count();
    assert_eq!(aborted, 3);
    assert!(matches!(
        pair.host_events.last(),
        Some(HostEvent::Closed { reason: CloseReason::Requested, .. })
    ));
    assert_eq!(pair.host_events.len(), 4);
}

#[test]
fn a_broken_connection_is_told_as_one_on_both_sides() {
    for plan in
        ["reset@connected", "reset@command(2)", "reset@configured", "reset@byte(5000)", "reset@connecting"]
    {
        let (mut pair, _) = suffering(plan, true);
        let target = nvmf_transport::Target::new(nvmf_transport::Wire::INTRA_HOST, pair.address);
        let queue = pair.host.connect(&target, &Pair::options(8)).unwrap();
        pair.run(MILLI);
        for cookie in 0..3 {
            let sqe = Sqe::io(IoOpcode::READ, 1);
            let data = Data::FromController(pair.host.memory().allocate(4096).unwrap());
            // Refused where the connection is gone already.
            let _ = pair.host.submit(queue, Command { sqe, data, cookie });
        }
        let settings = QueueSettings { kind: QueueKind::Io(1), depth: 8, sq_flow_control: true };
        let _ = pair.host.configure(queue, settings);
        pair.run(MILLI);
        match pair.host_events.last() {
            Some(HostEvent::Closed { reason: CloseReason::Failed(error), .. }) => {
                assert_eq!(error.kind(), ErrorKind::Reset, "{plan}");
            }
            other => panic!("{plan}: {other:?}"),
        }
        if !plan.contains("connecting") {
            let last = pair.controller_events.last();
            assert!(matches!(last, Some(ControllerEvent::Closed { .. })), "{plan}: {last:?}");
        }
    }
}

#[test]
fn a_controller_that_withholds_leaves_the_host_waiting() {
    let (mut pair, _) = suffering("withhold@command(2) delay(3ms..3ms)@command(3)", false);
    let queue = pair.connect();
    reads(&mut pair, queue, 4);
    assert_eq!(pair.completed(), [0, 3]);
    pair.run(4 * MILLI);
    pair.answer_reads();
    pair.run(MILLI);
    assert_eq!(pair.completed(), [0, 3, 2]);
}

#[test]
fn the_same_plan_strikes_the_same_way_and_every_command_ends_once() {
    let run = |seed: u64| {
        let plan = format!(
            "seed={seed} delay(1ms..30ms)@chance(200) withhold@chance(50) reorder(3)@chance(100) flip-read@chance(100) \
             reset@command(180)"
        );
        let (mut pair, faults) = suffering(&plan, true);
        let queue = pair.connect();
        let mut story = Vec::new();
        let mut ended = vec![0; 200];
        let mut next = 0;
        for _ in 0..400 {
            if next < 200 {
                let data = Data::FromController(pair.host.memory().allocate(512).unwrap());
                let command = Command { sqe: Sqe::io(IoOpcode::READ, 1), data, cookie: next };
                if pair.host.submit(queue, command).is_ok() {
                    next += 1;
                }
            }
            pair.run(MILLI);
            pair.answer_reads();
            pair.run(MILLI);
            for event in pair.host_events.drain(..) {
                match event {
                    HostEvent::Completed { cookie, data, .. } => {
                        ended[cookie as usize] += 1;
                        story.push((cookie, bits_set(&data)));
                    }
                    HostEvent::Aborted { cookie, .. } => {
                        ended[cookie as usize] += 1;
                        story.push((cookie, 1000));
                    }
                    _ => story.push((u64::MAX, 0)),
                }
            }
        }
        assert!(ended.iter().take(next as usize).all(|&times| times == 1), "{ended:?}");
        assert_eq!(story.last(), Some(&(u64::MAX, 0)), "the end comes last");
        (story, faults.deeds())
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn a_fault_strikes_as_often_as_it_may_and_by_order() {
    let (mut pair, faults) = suffering("withhold@chance(1000)*2", true);
    let queue = pair.connect();
    reads(&mut pair, queue, 5);
    assert_eq!(pair.completed(), [2, 3, 4]);
    faults.now(super::What::Reset, super::On::Io);
    pair.run(MILLI);
    assert!(matches!(
        pair.host_events.last(),
        Some(HostEvent::Closed { reason: CloseReason::Failed(_), .. })
    ));
    assert_eq!(faults.deeds().len(), 3);
}
