//! Truncation, flipped bits, arbitrary bytes: no panic, and the right answer.

use proptest::prelude::*;

use super::*;

const KINDS: [Kind; 5] = [Kind::CapsuleCmd, Kind::CapsuleResp, Kind::H2cData, Kind::C2hData, Kind::R2t];

/// Every kind with every combination of digests, a few alignments, with and without data where that is possible.
fn valid() -> impl Iterator<Item = (Kind, Sender, u32)> {
    KINDS.into_iter().flat_map(|kind| {
        ALL_DIGESTS.into_iter().flat_map(move |digests| {
            [0, 1, 15, 31].into_iter().flat_map(move |value| {
                let sender = Sender { digests, alignment: alignment(value) };
                let lengths: &[u32] = match kind {
                    Kind::CapsuleCmd => &[0, 512, LIMIT],
                    Kind::H2cData | Kind::C2hData => &[4, 512, LIMIT],
                    _ => &[0],
                };
                lengths.iter().map(move |len| (kind, sender, *len))
            })
        })
    })
}

// test: TCP-QUE-05, TCP-RES-04
#[test]
fn truncated_anywhere_a_header_is_incomplete_and_nothing_else() {
    for (kind, sender, len) in valid() {
        let (bytes, layout) = encode(kind, &sender, len);
        let receiver = receiver(kind.receiver(), sender.digests, sender.alignment);
        for cut in 0..layout.header_end() {
            assert!(parse(&bytes[..cut], &receiver).unwrap().is_none(), "{kind:?} cut at {cut}");
        }
        for cut in layout.header_end()..=bytes.len() {
            assert!(parse(&bytes[..cut], &receiver).unwrap().is_some(), "{kind:?} cut at {cut}");
        }
    }
}

/// What may come of a flipped bit at `at`, without a header digest: reports, and whether it can go unnoticed.
fn allowed(kind: Kind, at: usize, data: bool) -> (Vec<(u16, u32)>, bool) {
    let capsule = kind == Kind::CapsuleCmd;
    match at {
        // Another type: unknown, of the other direction, ICReq or ICResp, or one whose fields then are wrong. A
        // termination request with a wrong length is not answered at all (checked by the caller).
        0 => (vec![(1, 0), (2, 0), (1, 1), (1, 2), (1, 3), (1, 4)], false),
        // LAST_PDU may be set or not. SUCCESS may be cleared, or set beside LAST_PDU. DDGSTF of a capsule without
        // data says nothing.
        1 => (vec![(1, 1), (1, 4)], true),
        2 => (vec![(1, 2)], false),
        // A larger offset that is aligned leaves less data: legal for a capsule, a contradiction to DATAL.
        3 => (vec![(1, 3), (1, 4)], capsule && data),
        // Likewise a shorter or longer PDU; too long ones meet the limit.
        4..=7 => (vec![(1, 3), (1, 4), (5, 0), (4, 0), (1, 1)], capsule && data),
        8..=11 => (vec![], true),
        12..=15 => (vec![(4, 0)], true),
        16..=19 => (vec![(1, 4), (4, 0)], capsule || matches!(kind, Kind::CapsuleResp | Kind::R2t)),
        _ => (vec![], true),
    }
}

// test: TCP-ERR-04, TCP-CH-12, TCP-RES-04
#[test]
fn every_flipped_bit_is_legal_or_reported_where_it_is() {
    let mut noticed = 0;
    for (kind, sender, len) in valid() {
        let receiver = receiver(kind.receiver(), sender.digests, sender.alignment);
        let (bytes, layout) = encode(kind, &sender, len);
        for bit in 0..layout.header_end() * 8 {
            let at = bit / 8;
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (bit % 8);
            // Enough bytes for whatever the header asks for now.
            flipped.resize(flipped.len() + TERM_REQ_MAX, 0);
            let outcome = parse(&flipped, &receiver);
            let (mut reports, mut unnoticed) = allowed(kind, at, len > 0);
            if sender.digests.header {
                // Whatever the fields would be, the digest does not match; a flip in the common header may be seen
                // before that.
                let digest = &flipped[layout.header_len()..layout.header_end()];
                let received = u32::from_le_bytes(digest.try_into().unwrap());
                unnoticed = false;
                if at < COMMON_HEADER_LEN {
                    reports.push((3, received));
                } else {
                    reports = vec![(3, received)];
                }
            }
            match outcome {
                Ok(Some((_, Incoming::TermReq(_)))) => assert_eq!(at, 0, "{kind:?}"),
                Ok(Some(_)) => assert!(unnoticed, "{kind:?} bit {bit} of {bytes:x?} went unnoticed"),
                Ok(None) => panic!("{kind:?} bit {bit}: waits for more"),
                Err(Violation::MalformedTermReq) => assert_eq!(at, 0, "{kind:?}"),
                Err(violation) => {
                    let report = report(violation);
                    assert!(reports.contains(&report), "{kind:?} bit {bit}: {violation} {report:?}");
                    noticed += 1;
                }
            }
        }
    }
    assert!(noticed > 10_000);
}

// test: TCP-CH-02, TCP-CH-04, TCP-CH-05, TCP-CH-07, TCP-CH-11, TCP-C2H-08, TCP-CMD-05
#[test]
fn what_is_recognised_at_one_glance_is_what_judging_would_find() {
    const MAX: u32 = 4096;
    let mut recognised = 0;
    let digests = [Digests::NONE, Digests::BOTH, Digests { header: false, data: true }];
    for (role, digests, value) in [Role::Host, Role::Controller]
        .into_iter()
        .flat_map(|role| digests.map(|digests| (role, digests)))
        .flat_map(|(role, digests)| [0, 1, 31].map(|value| (role, digests, value)))
    {
        let ready = Receiver {
            phase: Phase::Ready,
            digests,
            alignment: alignment(value),
            max_in_capsule: MAX,
            max_data: MAX,
            ..Receiver::initializing(role)
        };
        for receiver in [ready, Receiver { phase: Phase::Initializing, ..ready }] {
            for (pdu_type, flags) in (0..=0x0b).flat_map(|t| (0..32).map(move |f| (t, f))) {
                for (hlen, pdo) in [16, 24, 72, 128]
                    .into_iter()
                    .flat_map(|h| [0, 23, 24, 28, 72, 76, 128].map(move |p| (h, p)))
                {
                    for plen in
                        [0, 8, 23, 24, 25, 71, 72, 73, 76, 24 + MAX, 25 + MAX, 72 + MAX, 73 + MAX, u32::MAX]
                    {
                        let [p0, p1, p2, p3] = plen.to_le_bytes();
                        let bytes = [pdu_type, flags, hlen, pdo, p0, p1, p2, p3];
                        if let Some(header) = Header::usual(&bytes, &receiver) {
                            assert_eq!(
                                Header::judge(&bytes, &receiver),
                                Ok(header),
                                "{bytes:?} {receiver:?}"
                            );
                            recognised += 1;
                        }
                    }
                }
            }
        }
    }
    // Host: two lengths of data, with or without LAST_PDU, or with SUCCESS too. Controller: no data, and three lengths.
    assert!(recognised >= 9, "{recognised}");
}

fn any_digests() -> impl Strategy<Value = Digests> {
    (any::<bool>(), any::<bool>()).prop_map(|(header, data)| Digests { header, data })
}

fn any_receiver() -> impl Strategy<Value = Receiver> {
    (any::<bool>(), any::<bool>(), any_digests(), 0..=31u8, any::<u32>(), any::<u32>()).prop_map(
        |(host, ready, digests, value, max_in_capsule, max_data)| Receiver {
            role: if host { Role::Host } else { Role::Controller },
            phase: if ready { Phase::Ready } else { Phase::Initializing },
            digests,
            alignment: alignment(value),
            max_in_capsule,
            max_data,
        },
    )
}

/// Bytes that get past the type more often than not.
fn any_pdu() -> impl Strategy<Value = Vec<u8>> {
    let near = (0..10u8, 0..16u8, prop::sample::select(vec![24u8, 72, 128]), any::<u8>(), 0..20_000u32)
        .prop_map(|(pdu_type, flags, hlen, pdo, plen)| {
            let mut bytes = vec![pdu_type, flags, hlen, pdo];
            bytes.extend(plen.to_le_bytes());
            bytes
        });
    let start = prop_oneof![4 => near, 1 => prop::collection::vec(any::<u8>(), 0..=8)];
    (start, prop::collection::vec(any::<u8>(), 0..160)).prop_map(|(mut start, rest)| {
        start.extend(rest);
        start
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_000))]

    // test: TCP-RES-01, TCP-RES-04, TCP-CH-11
    #[test]
    fn whatever_arrives_is_within_the_limits_or_refused(bytes in any_pdu(), receiver in any_receiver()) {
        let Some(first) = bytes.first_chunk() else { return Ok(()) };
        let Ok(header) = Header::parse(first, &receiver) else { return Ok(()) };
        let layout = header.layout();
        let limit = match header.kind() {
            Kind::CapsuleCmd => receiver.max_in_capsule,
            Kind::H2cData | Kind::C2hData => receiver.max_data,
            _ => 0,
        };
        prop_assert!(layout.data_len() <= limit);
        prop_assert!(header.needed() <= TERM_REQ_MAX);
        prop_assert!(layout.data_start() <= 255);
        if !matches!(header.kind(), Kind::H2cTermReq | Kind::C2hTermReq) {
            prop_assert_eq!(layout.plen(), header.plen());
        }
        prop_assert_eq!(header.kind().receiver(), receiver.role);
        if let Ok(incoming) = Incoming::parse(&header, &bytes) {
            prop_assert_eq!(incoming.is_none(), bytes.len() < header.needed());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    // test: TCP-CH-09, TCP-H2C-03, TCP-C2H-02, TCP-R2T-02
    #[test]
    fn what_is_written_is_read(
        digests in any_digests(),
        value in 0..=31u8,
        (cccid, ttag, last, success) in (any::<u16>(), any::<u16>(), any::<bool>(), any::<bool>()),
        (offset, length) in (0..=u32::MAX - LIMIT, 1..=LIMIT),
    ) {
        let sender = Sender { digests, alignment: alignment(value) };
        let controller = receiver(Role::Controller, digests, alignment(value));
        let host = receiver(Role::Host, digests, alignment(value));
        let mut out = [0; ENCODED_MAX];

        let data = DataToController { cccid, ttag, offset, length, last };
        let encoded = sender.h2c_data(&data, &mut out).unwrap();
        let (header, incoming) = parse(&out[..encoded.len], &controller).unwrap().unwrap();
        prop_assert_eq!(header.layout(), &encoded.layout);
        let Incoming::H2cData(pdu) = incoming else { panic!() };
        prop_assert_eq!(data, DataToController {
            cccid: pdu.cccid.get(),
            ttag: pdu.ttag.get(),
            offset: pdu.datao.get(),
            length: pdu.datal.get(),
            last: pdu.is_last(),
        });

        let data = DataToHost { cccid, offset, length, last, success: success && last };
        let encoded = sender.c2h_data(&data, &mut out).unwrap();
        let (header, incoming) = parse(&out[..encoded.len], &host).unwrap().unwrap();
        prop_assert_eq!(header.layout(), &encoded.layout);
        let Incoming::C2hData(pdu) = incoming else { panic!() };
        prop_assert_eq!(data, DataToHost {
            cccid: pdu.cccid.get(),
            offset: pdu.datao.get(),
            length: pdu.datal.get(),
            last: pdu.is_last(),
            success: pdu.is_success(),
        });

        let encoded = sender.r2t(cccid, ttag, offset, length, &mut out).unwrap();
        let (_, incoming) = parse(&out[..encoded.len], &host).unwrap().unwrap();
        let Incoming::R2t(pdu) = incoming else { panic!() };
        prop_assert_eq!(
            (pdu.cccid.get(), pdu.ttag.get(), pdu.r2to.get(), pdu.r2tl.get()),
            (cccid, ttag, offset, length)
        );

        let encoded = sender.capsule_cmd(&sqe(), length, &mut out).unwrap();
        let (header, incoming) = parse(&out[..encoded.len], &controller).unwrap().unwrap();
        prop_assert_eq!(header.layout(), &encoded.layout);
        let Incoming::CapsuleCmd(pdu) = incoming else { panic!() };
        prop_assert_eq!(pdu.sqe, sqe());
    }
}
