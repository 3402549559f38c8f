use proptest::prelude::*;

use super::*;

/// One bit at a time, from the definition: reflected polynomial 0x82F63B78, start and end inverted.
pub(crate) fn bitwise(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()))
    })
}

// test: TCP-DG-05, TCP-DG-06
#[test]
fn vectors_of_rfc_3720_b_4() {
    let up: Vec<u8> = (0..32).collect();
    let down: Vec<u8> = (0..32).rev().collect();
    assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
    assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
    assert_eq!(crc32c(&up), 0x46DD_794E);
    assert_eq!(crc32c(&down), 0x113F_DB5C);
    // The iSCSI READ (10) command of the same appendix.
    let read = [
        0x01, 0xC0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0, 0, 0, 0, 0x14, 0,
        0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(crc32c(&read), 0xD996_3A56);
    // On the wire, as the appendix prints them: least significant byte first.
    assert_eq!(crc32c(&[0; 32]).to_le_bytes(), [0xAA, 0x36, 0x91, 0x8A]);
    assert_eq!(crc32c(&[]), 0);
}

#[test]
fn every_short_length_at_every_alignment_agrees_with_the_definition() {
    let bytes: Vec<u8> = (0..700u32).map(|n| (n.wrapping_mul(0x9E37_79B1) >> 11) as u8).collect();
    for start in 0..17 {
        for len in 0..520 {
            let part = &bytes[start..start + len];
            assert_eq!(crc32c(part), bitwise(part), "{len} bytes from {start}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn pieces_and_copies_agree_with_the_whole(
        bytes in prop::collection::vec(any::<u8>(), 0..20_000),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let (mut in_pieces, mut while_copying) = (Crc32c::new(), Crc32c::default());
        let mut copy = vec![0; bytes.len()];
        for pair in cuts.windows(2) {
            let range = pair[0]..pair[1];
            in_pieces.update(&bytes[range.clone()]);
            while_copying.copy_and_update(&mut copy[range.clone()], &bytes[range]);
        }
        prop_assert_eq!(in_pieces.finish(), crc32c(&bytes));
        prop_assert_eq!(while_copying.finish(), crc32c(&bytes));
        prop_assert_eq!(bitwise(&bytes), crc32c(&bytes));
        prop_assert_eq!(&copy, &bytes);
        copy.fill(0);
        prop_assert_eq!(copy_and_crc32c(&mut copy, &bytes), crc32c(&bytes));
        prop_assert_eq!(&copy, &bytes);
    }
}

#[test]
#[should_panic(expected = "different length")]
fn a_copy_between_different_lengths_is_refused() {
    Crc32c::new().copy_and_update(&mut [0; 3], &[0; 4]);
}
