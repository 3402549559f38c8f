//! Reads and writes of every shape, in bytes of every grouping.

use super::*;

/// The wire types of the PDUs that went to the controller and to the host since `from`.
fn types(bytes: &[u8]) -> Vec<u8> {
    pdus(bytes).iter().map(|pdu| pdu[0]).collect()
}

fn in_capsule(data: Result<RequestData, Status>) -> Buffer {
    match data {
        Ok(RequestData::InCapsule(buffer)) => buffer,
        other => panic!("not in the capsule: {other:?}"),
    }
}

fn remote(data: Result<RequestData, Status>) -> u32 {
    match data {
        Ok(RequestData::Remote { len }) => len,
        other => panic!("not remote: {other:?}"),
    }
}

/// A fetch of all data in pieces of `piece`, and the bytes that came.
fn fetch_all(pair: &mut Pair, request: RequestId, len: usize, piece: usize) -> Vec<u8> {
    let mut asked = 0;
    let mut got = vec![0; len];
    let mut done = 0;
    while done < len {
        while asked < len {
            let size = piece.min(len - asked);
            match pair.controller.fetch(request, asked as u32, buffer(size)) {
                Ok(()) => asked += size,
                Err(refused) => {
                    assert_eq!(refused.why, nvmf_transport::Misuse::TooManyFetches);
                    break;
                }
            }
        }
        assert!(pair.step(), "stuck at {done} of {len}");
        for event in pair.controller_events.drain(..) {
            let ControllerEvent::Fetched { offset, data, outcome, request: of } = event else {
                panic!("{event:?}")
            };
            assert_eq!((of, outcome), (request, Ok(())));
            got[offset as usize..offset as usize + data.len()].copy_from_slice(&data);
            done += data.len();
        }
    }
    got
}

// test: TCP-QUE-05, TCP-C2H-07, TCP-C2H-09, TCP-CMD-10
#[test]
fn a_read_lands_in_its_buffer_and_success_is_folded_without_flow_control() {
    let mut pair = Pair::up(&Setting::default(), 1, 1 << 20);
    pair.to_host.clear();
    pair.read(4096, 77);
    let (request, sqe, data) = pair.command();
    assert_eq!((remote(data), sqe.io_opcode()), (4096, IoOpcode::READ));
    pair.success(request, pattern(5, 4096));
    let (cqe, sqhd_valid, transferred, data, cookie) = pair.completion();
    assert!(cqe.status().is_success() && !sqhd_valid);
    assert_eq!((transferred, cookie), (4096, 77));
    assert_eq!(data.into_buffer().unwrap()[..], pattern(5, 4096)[..]);
    assert_eq!(types(&pair.to_host), [7]);
}

// test: TCP-C2H-10, TCP-C2H-16, TCP-RSP-04, TCP-RSP-06
#[test]
fn with_flow_control_or_a_result_a_completion_follows_the_data() {
    for (flow_control, result) in [(true, 0), (false, 9), (true, 9)] {
        let setting = Setting { sq_flow_control: flow_control, ..Setting::default() };
        let mut pair = Pair::up(&setting, 1, 1 << 20);
        pair.to_host.clear();
        pair.read(512, 1);
        let (request, ..) = pair.command();
        let cqe = Cqe::default().with_dw0(result).with_sqhd(3);
        pair.controller.respond(request, cqe, pattern(1, 512).into()).unwrap();
        let (cqe, sqhd_valid, transferred, ..) = pair.completion();
        assert_eq!((cqe.dw0(), cqe.sqhd(), sqhd_valid, transferred), (result, 3, true, 512));
        assert_eq!(types(&pair.to_host), [7, 5]);
    }
}

// test: TCP-RSP-01, TCP-RSP-02
#[test]
fn an_error_has_no_data_and_is_never_folded() {
    let mut pair = Pair::up(&Setting::default(), 1, 1 << 20);
    pair.to_host.clear();
    pair.read(4096, 1);
    let (request, sqe, _) = pair.command();
    let cqe = Cqe::error(nvmf_wire::Cid(0), Status::LBA_OUT_OF_RANGE);
    pair.controller.respond(request, cqe, Gather::new()).unwrap();
    let (cqe, _, transferred, ..) = pair.completion();
    assert_eq!((cqe.status(), cqe.cid(), transferred), (Status::LBA_OUT_OF_RANGE, sqe.cid(), 0));
    assert_eq!(types(&pair.to_host), [5]);
}

// test: TCP-CMD-01, TCP-CMD-04, TCP-CMD-09, TCP-CMD-13
#[test]
fn a_write_that_fits_goes_in_the_capsule() {
    let setting = Setting { in_capsule: 65536, ..Setting::default() };
    for (header, data) in [(false, false), (true, true)] {
        let setting = setting.clone().digests(header, data);
        for len in [4, 512, 513 * 4, 4096, 8192, 16384, 20480, 65536] {
            let mut pair = Pair::up(&setting, len as u64, 50_000);
            pair.to_host.clear();
            pair.write(len, len as u64);
            let (request, sqe, data) = pair.command();
            assert_eq!((sqe.sgl.length() as usize, sqe.sgl.address.get(), sqe.psdt().0), (len, 0, 1));
            assert_eq!(in_capsule(data)[..], pattern(len as u64, len)[..]);
            pair.success(request, Gather::new());
            assert!(pair.completion().0.status().is_success());
            assert_eq!(types(&pair.to_host), [5]);
        }
    }
}

// test: TCP-CMD-02, TCP-CMD-03
#[test]
fn before_connect_and_on_the_admin_queue_8_kib_fit_the_capsule() {
    let admin = Setting { kind: QueueKind::Admin, in_capsule: 65536, ..Setting::default() };
    let mut pair = Pair::up(&admin, 1, 1 << 20);
    pair.write(8192, 1);
    in_capsule(pair.command().2);
    pair.write(8196, 1);
    assert_eq!(remote(pair.command().2), 8196);

    let mut pair = Pair::new(&Setting { in_capsule: 0, ..Setting::default() }, 1, 1 << 20);
    pair.run();
    pair.write(1024, 1);
    in_capsule(pair.command().2);
}

// test: TCP-CMD-14, TCP-R2T-01, TCP-R2T-03, TCP-R2T-15, TCP-H2C-01, TCP-H2C-02
#[test]
fn a_long_write_is_fetched() {
    let len = 150_000;
    for piece in [len, 65536, 4096, 10_000] {
        for max_r2t in [1, 2, 5] {
            let mut pair = Pair::up(&Setting::default().max_r2t(max_r2t), piece as u64, 30_000);
            pair.to_host.clear();
            pair.write(len, 9);
            let (request, _, data) = pair.command();
            assert_eq!(remote(data) as usize, len);
            assert_eq!(fetch_all(&mut pair, request, len, piece), pattern(9, len)[..]);
            pair.success(request, Gather::new());
            let (cqe, _, _, data, _) = pair.completion();
            assert!(cqe.status().is_success());
            assert_eq!(data.into_buffer().unwrap()[..], pattern(9, len)[..]);
            let r2ts = types(&pair.to_host).iter().filter(|&&t| t == 9).count();
            assert_eq!(r2ts, len.div_ceil(piece));
        }
    }
}

// test: TCP-R2T-07, TCP-R2T-16
#[test]
fn no_more_r2ts_are_outstanding_than_the_host_takes() {
    let mut pair = Pair::up(&Setting::default().max_r2t(2), 1, 1 << 20);
    pair.write(65536, 1);
    let (request, ..) = pair.command();
    for at in 0..4 {
        pair.controller.fetch(request, at * 16384, buffer(16384)).unwrap();
    }
    // Nothing has been moved: exactly two R2Ts wait, with tags that differ.
    let mut events = Vec::new();
    let out = pair.controller.give_out(usize::MAX, &mut events);
    let r2ts = pdus(&out);
    assert_eq!(types(&out), [9, 9]);
    assert_ne!(r2ts[0][10..12], r2ts[1][10..12]);
    pair.host.take_in(&out, &mut vec![0; 4096], &mut pair.host_events);
    pair.run();
    let fetched: Vec<u32> = pair
        .controller_events
        .drain(..)
        .map(|event| match event {
            ControllerEvent::Fetched { offset, outcome: Ok(()), .. } => offset,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(fetched, [0, 16384, 32768, 49152]);
}

// test: TCP-C2H-01, TCP-C2H-03, TCP-C2H-06, TCP-C2H-14, TCP-C2H-15
#[test]
fn a_long_read_is_cut_into_pdus_and_gathered_from_where_it_lies() {
    let len = 200_004;
    let view = pattern(3, len).freeze();
    for cuts in [vec![], vec![4096], vec![1, 100_000, 199_999], vec![65536, 131_072], vec![512, 1000, 1500]] {
        for (header, data) in [(false, false), (true, true)] {
            let mut pair = Pair::up(&Setting::default().digests(header, data), 1, 70_000);
            pair.to_host.clear();
            pair.read(len, 1);
            let (request, ..) = pair.command();
            pair.success(request, gather(&view, &cuts));
            let (cqe, _, transferred, data, _) = pair.completion();
            assert!(cqe.status().is_success());
            assert_eq!(transferred as usize, len);
            assert_eq!(data.into_buffer().unwrap()[..], view[..]);
            let pdus = pdus(&pair.to_host);
            assert_eq!(pdus.len(), len.div_ceil(65536));
            for (at, pdu) in pdus.iter().enumerate() {
                let last = at + 1 == pdus.len();
                assert_eq!(pdu[1] >> 2, if last { 3 } else { 0 }, "LAST_PDU and SUCCESS");
                assert_eq!(u32::from_le_bytes(pdu[12..16].try_into().unwrap()) as usize, at * 65536);
            }
        }
    }
}

#[test]
fn a_short_read_says_how_much_came() {
    let mut pair = Pair::up(&Setting::default(), 1, 1 << 20);
    pair.read(4096, 1);
    let (request, ..) = pair.command();
    pair.success(request, pattern(1, 512));
    assert_eq!(pair.completion().2, 512);
}

// test: TCP-RES-01
#[test]
fn views_are_let_go_when_they_have_left() {
    let mut pair = Pair::up(&Setting::default(), 1, 1 << 20);
    pair.read(4096, 1);
    let (request, ..) = pair.command();
    let view = pattern(1, 4096).freeze();
    pair.success(request, view.clone());
    let view = view.try_into_buffer().expect_err("it is being sent");
    pair.completion();
    view.try_into_buffer().expect("it has been sent");
}

// test: TCP-QUE-04
#[test]
fn many_commands_at_once_end_once_each() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let setting =
            Setting { depth: 16, ..Setting::default() }.digests(seed % 2 == 0, seed % 3 == 0).max_r2t(2);
        let setting = setting.max_h2c_data(4096 << (seed % 4));
        let mut pair = Pair::up(&setting, seed, 20_000);
        let mut outstanding = 0;
        let (mut submitted, mut ended) = (0u64, std::collections::HashSet::new());
        while submitted < 200 || outstanding > 0 {
            while submitted < 200 && outstanding < 16 && random.below(3) > 0 {
                let len = [0, 512, 4096, 8192, 30_000, 100_000][random.below(6)];
                match random.below(2) {
                    0 => pair.read(len, submitted),
                    _ => pair.write(len, submitted),
                }
                submitted += 1;
                outstanding += 1;
            }
            pair.step();
            for event in std::mem::take(&mut pair.controller_events) {
                answer(&mut pair, event);
            }
            for event in std::mem::take(&mut pair.host_events) {
                let HostEvent::Completed { cqe, transferred, data, cookie, .. } = event else {
                    panic!("{event:?}")
                };
                assert!(cqe.status().is_success() && ended.insert(cookie));
                if let Data::FromController(buffer) = data {
                    assert_eq!(
                        (buffer.len(), &buffer[..]),
                        (transferred as usize, &pattern(7, buffer.len())[..])
                    );
                }
                outstanding -= 1;
            }
        }
        assert_eq!(ended.len(), 200);
        assert!(pair.both_open());
        assert_eq!((pair.host.outstanding(), pair.controller.outstanding()), (0, 0));
    }
}

/// A controller that answers reads with a pattern and fetches writes whole.
fn answer(pair: &mut Pair, event: ControllerEvent) {
    match event {
        ControllerEvent::Command { request, sqe, data } => match data.unwrap() {
            RequestData::Remote { len } if sqe.io_opcode() == IoOpcode::WRITE => {
                pair.controller.fetch(request, 0, buffer(len as usize)).unwrap();
            }
            RequestData::Remote { len } => pair.success(request, pattern(7, len as usize)),
            RequestData::InCapsule(_) | RequestData::None => pair.success(request, Gather::new()),
        },
        ControllerEvent::Fetched { request, outcome, .. } => {
            outcome.unwrap();
            pair.success(request, Gather::new());
        }
        other => panic!("{other:?}"),
    }
}
