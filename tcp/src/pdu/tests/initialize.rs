//! Connection parameters: every answer to every offer, every field that can be wrong.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

const POLICIES: [DigestPolicy; 3] = [DigestPolicy::Off, DigestPolicy::On, DigestPolicy::Required];

// test: TCP-DG-01, TCP-IC-08, TCP-IC-10, TCP-IC-15, TCP-IC-18, TCP-IC-20, TCP-IC-23, TCP-ERR-10
#[test]
fn a_digest_is_used_when_both_want_it_and_the_connection_fails_when_one_must() {
    let mut outcomes = [0; 3];
    for header_host in POLICIES {
        for data_host in POLICIES {
            for header_controller in POLICIES {
                for data_controller in POLICIES {
                    let host = HostTerms {
                        header_digest: header_host,
                        data_digest: data_host,
                        ..HostTerms::default()
                    };
                    let controller = ControllerTerms {
                        header_digest: header_controller,
                        data_digest: data_controller,
                        ..ControllerTerms::default()
                    };
                    let off = DigestPolicy::Off;
                    let expected = Digests {
                        header: header_host != off && header_controller != off,
                        data: data_host != off && data_controller != off,
                    };
                    let lacks = |header: DigestPolicy, data: DigestPolicy| {
                        (header == DigestPolicy::Required && !expected.header)
                            || (data == DigestPolicy::Required && !expected.data)
                    };
                    match controller.answer(&host.request()) {
                        Err(violation) => {
                            assert!(lacks(header_controller, data_controller));
                            assert_eq!(report(violation), (6, 11));
                            outcomes[0] += 1;
                        }
                        Ok((response, mine)) => {
                            assert!(!lacks(header_controller, data_controller));
                            assert_eq!(response.dgst, expected.bits());
                            match host.accept(&response) {
                                Err(violation) => {
                                    assert!(lacks(header_host, data_host));
                                    assert_eq!(report(violation), (6, 11));
                                    outcomes[1] += 1;
                                }
                                Ok(theirs) => {
                                    assert!(!lacks(header_host, data_host));
                                    assert_eq!(mine, theirs);
                                    assert_eq!(mine.digests, expected);
                                    outcomes[2] += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    assert_eq!(outcomes.iter().sum::<i32>(), 81);
    assert!(outcomes.iter().all(|count| *count > 0));
}

// test: TCP-IC-06, TCP-IC-07, TCP-IC-17
#[test]
fn wrong_fields_of_icreq() {
    let controller = ControllerTerms::default();
    let good = HostTerms::default().request();
    for pfv in [1u16, 0x0100, 0xFFFF] {
        let request = IcReq { pfv: pfv.into(), hpda: 32, ..good };
        assert_eq!(report(controller.answer(&request).unwrap_err()), (1, 8), "the lower offset is reported");
    }
    for hpda in 0..=255 {
        match controller.answer(&IcReq { hpda, ..good }) {
            Ok((_, negotiated)) => {
                assert!(hpda <= 31);
                assert_eq!(negotiated.host_alignment.value(), hpda);
                assert_eq!(u32::from(negotiated.host_alignment.bytes()), (u32::from(hpda) + 1) * 4);
            }
            Err(violation) => {
                assert!(hpda > 31);
                assert_eq!(report(violation), (1, 10));
            }
        }
    }
    // Reserved bits of DGST and reserved bytes are a later version's; they change nothing.
    let request = IcReq { dgst: 0xFC, reserved: [0xFF; 112], ..good };
    let (response, negotiated) = controller.answer(&request).unwrap();
    assert_eq!((response.dgst, negotiated.digests), (0, Digests::NONE));
}

// test: TCP-IC-12, TCP-IC-13, TCP-IC-14, TCP-IC-15, TCP-IC-16, TCP-IC-19
#[test]
fn wrong_fields_of_icresp() {
    let host = HostTerms { data_digest: DigestPolicy::On, ..HostTerms::default() };
    let (good, _) = ControllerTerms::default().answer(&host.request()).unwrap();
    assert_eq!(report(host.accept(&IcResp { pfv: 1.into(), cpda: 32, ..good }).unwrap_err()), (1, 8));
    for cpda in 0..=255 {
        match host.accept(&IcResp { cpda, ..good }) {
            Ok(negotiated) => assert_eq!(negotiated.controller_alignment.value(), cpda),
            Err(violation) => {
                assert!(cpda > 31);
                assert_eq!(report(violation), (1, 10));
            }
        }
    }
    for dgst in 0..=255u8 {
        match host.accept(&IcResp { dgst, ..good }) {
            Ok(negotiated) => {
                assert!(dgst & !0b10 == 0);
                assert_eq!(negotiated.digests.bits(), dgst);
            }
            Err(violation) => {
                assert!(dgst & !0b10 != 0);
                assert_eq!(report(violation), (1, 11));
            }
        }
    }
    for max in [0, 4, 4092, 4095, 4097, 4098, 8191, u32::MAX] {
        let response = IcResp { maxh2cdata: max.into(), ..good };
        assert_eq!(report(host.accept(&response).unwrap_err()), (1, 12), "MAXH2CDATA {max}");
    }
    for max in [4096, 4100, 131_072, DATA_MAX & !3] {
        let response = IcResp { maxh2cdata: max.into(), ..good };
        assert_eq!(host.accept(&response).unwrap().max_h2c_data, max);
    }
}

// test: TCP-IC-09, TCP-IC-25
#[test]
fn announced_numbers_are_clamped() {
    let controller = ControllerTerms::default();
    let good = HostTerms::default().request();
    for (raw, outstanding) in [(0, 1), (1, 2), (15, 16), (u32::MAX - 1, u32::MAX), (u32::MAX, u32::MAX)] {
        let (_, negotiated) = controller.answer(&IcReq { maxr2t: raw.into(), ..good }).unwrap();
        assert_eq!(negotiated.max_r2t.get(), outstanding);
    }
    let (response, _) = controller.answer(&good).unwrap();
    let largest = IcResp { maxh2cdata: (u32::MAX - 3).into(), ..response };
    assert_eq!(HostTerms::default().accept(&largest).unwrap().max_h2c_data, DATA_MAX & !3);

    for (asked, announced) in [(0, 4096), (1, 4096), (4099, 4096), (4100, 4100), (u32::MAX, DATA_MAX & !3)] {
        let terms = ControllerTerms { max_h2c_data: asked, ..controller };
        let (response, negotiated) = terms.answer(&good).unwrap();
        assert_eq!((response.maxh2cdata.get(), negotiated.max_h2c_data), (announced, announced));
        assert!(HostTerms::default().accept(&response).is_ok(), "a host accepts what is announced");
    }
}

// test: TCP-IC-23, TCP-CH-06
#[test]
fn each_side_sends_as_the_other_asked() {
    let negotiated = Negotiated {
        digests: Digests { header: true, data: false },
        host_alignment: alignment(3),
        controller_alignment: alignment(15),
        max_r2t: NonZeroU32::MIN,
        max_h2c_data: 8192,
    };
    let to_controller = negotiated.sender(Role::Host);
    let to_host = negotiated.sender(Role::Controller);
    assert_eq!((to_controller.alignment.bytes(), to_host.alignment.bytes()), (64, 16));

    let bytes = encode(Kind::CapsuleCmd, &to_controller, 4096).0;
    assert!(parse(&bytes, &negotiated.controller_receiver(4096)).unwrap().is_some());
    assert_eq!(report(parse(&bytes, &negotiated.controller_receiver(4095)).unwrap_err()), (5, 0));

    let bytes = encode(Kind::H2cData, &to_controller, 8192).0;
    assert!(parse(&bytes, &negotiated.controller_receiver(0)).unwrap().is_some());
    let bytes = encode(Kind::H2cData, &to_controller, 8196).0;
    assert_eq!(report(parse(&bytes, &negotiated.controller_receiver(0)).unwrap_err()), (5, 0));

    let bytes = encode(Kind::C2hData, &to_host, 65536).0;
    assert!(parse(&bytes, &negotiated.host_receiver(65536)).unwrap().is_some());
    assert_eq!(report(parse(&bytes, &negotiated.host_receiver(65535)).unwrap_err()), (4, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    // test: TCP-RES-04
    #[test]
    fn any_128_bytes_are_answered_legally_or_refused(bytes in prop::array::uniform32(any::<u8>()), pfv in 0u16..2) {
        let mut request = HostTerms::default().request();
        let [hpda, dgst, a, b, c, d, ..] = bytes;
        request.pfv = pfv.into();
        request.hpda = hpda;
        request.dgst = dgst;
        request.maxr2t = u32::from_le_bytes([a, b, c, d]).into();
        if let Ok((response, negotiated)) = ControllerTerms::default().answer(&request) {
            prop_assert_eq!(response.dgst & !dgst, 0);
            prop_assert!(pfv == 0 && hpda <= 31);
            prop_assert!(negotiated.max_h2c_data >= MAXH2CDATA_MIN);
        }
        let mut response = ControllerTerms::default().answer(&HostTerms::default().request()).unwrap().0;
        response.pfv = pfv.into();
        response.cpda = hpda;
        response.dgst = dgst;
        response.maxh2cdata = u32::from_le_bytes([a, b, c, d]).into();
        let host = HostTerms {
            header_digest: DigestPolicy::On,
            data_digest: DigestPolicy::On,
            ..HostTerms::default()
        };
        if let Ok(negotiated) = host.accept(&response) {
            prop_assert!(negotiated.max_h2c_data.is_multiple_of(4));
            prop_assert!((MAXH2CDATA_MIN..=DATA_MAX).contains(&negotiated.max_h2c_data));
        }
    }
}
