//! Every alignment with every choice of digests, lengths and limits; each PDU held against the rules as bytes.

use super::*;
use crate::digest::crc32c;

/// What the bytes of one direction must obey.
struct Rules {
    alignment: u8,
    header_digest: bool,
    data_digest: bool,
    /// Type and longest data of the data PDUs of this direction.
    data_pdu: (u8, usize),
}

/// Holds every PDU behind ICReq or ICResp against the rules; says how many data PDUs there are.
// test: TCP-CH-01, TCP-CH-06, TCP-CH-08, TCP-CH-09, TCP-CH-10, TCP-CH-13, TCP-PAD-01, TCP-PAD-02, TCP-PAD-03, TCP-PAD-04
// test: TCP-DG-02, TCP-DG-03, TCP-DG-04, TCP-DG-06, TCP-DG-07, TCP-DG-08, TCP-DG-10, TCP-H2C-09, TCP-H2C-13, TCP-C2H-02
fn obeys(bytes: &[u8], rules: &Rules) -> usize {
    let word = |pdu: &[u8], at: usize| u32::from_le_bytes(pdu[at..at + 4].try_into().unwrap());
    let mut data_pdus = 0;
    for pdu in &pdus(bytes)[1..] {
        let (flags, hlen, pdo) = (pdu[1], usize::from(pdu[2]), usize::from(pdu[3]));
        assert_eq!(flags & 1 != 0, rules.header_digest);
        let header_end = hlen + if rules.header_digest { 4 } else { 0 };
        if rules.header_digest {
            assert_eq!(word(pdu, hlen), crc32c(&pdu[..hlen]));
        }
        if pdo == 0 {
            assert_eq!((pdu.len(), flags & 2), (header_end, 0));
            continue;
        }
        let unit = 4 * (usize::from(rules.alignment) + 1);
        assert_eq!(pdo, header_end.next_multiple_of(unit));
        assert!(pdu[header_end..pdo].iter().all(|&b| b == 0));
        let trailer = if rules.data_digest { 4 } else { 0 };
        let data = &pdu[pdo..pdu.len() - trailer];
        assert_eq!(flags & 2 != 0, rules.data_digest);
        if rules.data_digest {
            assert_eq!(word(pdu, pdu.len() - 4), crc32c(data));
        }
        if pdu[0] == rules.data_pdu.0 {
            data_pdus += 1;
            assert!(data.len() <= rules.data_pdu.1);
            assert_eq!(word(pdu, 16) as usize, data.len());
            assert!(word(pdu, 12).is_multiple_of(4) && pdu[20..24] == [0; 4]);
        }
    }
    data_pdus
}

/// Writes and reads back `len` bytes.
fn exchange(setting: &Setting, len: usize, seed: u64) {
    let mut pair = Pair::up(setting, seed, 1 + (seed as usize * 7919) % 60_000);
    pair.write(len, seed);
    let (request, _, data) = pair.command();
    match data.unwrap() {
        RequestData::InCapsule(data) => assert_eq!(data[..], pattern(seed, len)[..]),
        RequestData::Remote { .. } => {
            let piece = (len / 3).next_multiple_of(4);
            let mut at = 0;
            while at < len {
                let size = piece.min(len - at);
                pair.controller.fetch(request, at as u32, buffer(size)).unwrap();
                at += size;
            }
            pair.run();
            for event in pair.controller_events.drain(..) {
                let ControllerEvent::Fetched { offset, data, outcome: Ok(()), .. } = event else {
                    panic!("{event:?}")
                };
                assert_eq!(data[..], pattern(seed, len)[offset as usize..offset as usize + data.len()]);
            }
        }
        RequestData::None => panic!("a write has data"),
    }
    pair.success(request, Gather::new());
    assert!(pair.completion().0.status().is_success());
    pair.read(len, seed);
    let (request, ..) = pair.command();
    pair.success(request, pattern(seed + 1, len));
    let (cqe, _, _, data, _) = pair.completion();
    assert!(cqe.status().is_success());
    assert_eq!(data.into_buffer().unwrap()[..], pattern(seed + 1, len)[..]);

    let terms = *pair.host.negotiated_terms().unwrap();
    let rules = |alignment: Alignment, data_pdu| Rules {
        alignment: alignment.value(),
        header_digest: terms.digests.header,
        data_digest: terms.digests.data,
        data_pdu,
    };
    let h2c =
        obeys(&pair.to_controller, &rules(terms.controller_alignment, (6, terms.max_h2c_data as usize)));
    let c2h = obeys(&pair.to_host, &rules(terms.host_alignment, (7, setting.max_c2h_data as usize)));
    assert_eq!(c2h, len.div_ceil(setting.max_c2h_data as usize));
    assert_eq!(h2c > 0, len > setting.in_capsule as usize);
    assert!(pair.both_open());
}

const LENGTHS: [usize; 6] = [4, 512, 4096, 8196, 20_000, 66_052];

// test: TCP-IC-23, TCP-DG-01
#[test]
fn every_alignment_with_every_choice_of_digests() {
    let mut seed = 0;
    for alignment in 0..32 {
        for digests in 0..4 {
            let setting = Setting { in_capsule: 4096, ..Setting::default() }
                .digests(digests & 1 != 0, digests & 2 != 0)
                .alignment(alignment, 31 - alignment)
                .max_r2t(1 + seed % 3)
                .max_h2c_data(4096 << (seed % 4));
            for len in LENGTHS {
                exchange(&setting, len, u64::from(seed));
            }
            seed += 1;
        }
    }
}

#[test]
fn every_limit_with_every_number_of_r2ts() {
    let mut seed = 1000;
    for max_h2c_data in [4096, 8192, 12_288, 1 << 20] {
        for max_r2t in [1, 2, 3, 16] {
            for max_c2h_data in [4096, 65_536, 1 << 20] {
                let setting = Setting { in_capsule: 0, max_c2h_data, ..Setting::default() }
                    .digests(seed % 2 == 0, seed % 3 == 0)
                    .max_r2t(max_r2t)
                    .max_h2c_data(max_h2c_data);
                exchange(&setting, 66_052, seed);
                seed += 1;
            }
        }
    }
}

// test: TCP-QUE-05
#[test]
fn one_byte_at_a_time() {
    for digests in 0..4 {
        let setting = Setting { in_capsule: 4096, ..Setting::default() }
            .digests(digests & 1 != 0, digests & 2 != 0)
            .alignment(31, 7);
        let mut pair = Pair::up(&setting, 1, 1);
        for len in [512, 4096, 5000] {
            pair.write(len, 1);
            let (request, _, data) = pair.command();
            if let Ok(RequestData::Remote { len }) = data {
                pair.controller.fetch(request, 0, buffer(len as usize)).unwrap();
                pair.run();
                assert!(matches!(
                    pair.controller_events.pop(),
                    Some(ControllerEvent::Fetched { outcome: Ok(()), .. })
                ));
            }
            pair.success(request, Gather::new());
            pair.completion();
            pair.read(len, 1);
            let (request, ..) = pair.command();
            pair.success(request, pattern(2, len));
            assert_eq!(pair.completion().3.into_buffer().unwrap()[..], pattern(2, len)[..]);
        }
    }
}
