//! SGL descriptors: bytes, kinds and refusals.

use super::truncations;
use crate::sgl::{SglSubtype, SglType, in_capsule_range};
use crate::{Sgl, SglDescriptor, SglError, Status};
use zerocopy::{FromBytes, IntoBytes};

const ADDRESS: u64 = 0x0807_0605_0403_0201;

#[test]
fn bytes_of_every_kind() {
    let cases: [(SglDescriptor, [u8; 16], Sgl); 9] = [
        (
            SglDescriptor::data_block(ADDRESS, 0x0C0B_0A09),
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 0xA, 0xB, 0xC, 0, 0, 0, 0x00],
            Sgl::DataBlock { address: ADDRESS, length: 0x0C0B_0A09 },
        ),
        (
            SglDescriptor::in_capsule(ADDRESS, 0x0C0B_0A09),
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 0xA, 0xB, 0xC, 0, 0, 0, 0x01],
            Sgl::InCapsule { offset: ADDRESS, length: 0x0C0B_0A09 },
        ),
        (
            SglDescriptor::bit_bucket(0x0C0B_0A09),
            [0, 0, 0, 0, 0, 0, 0, 0, 9, 0xA, 0xB, 0xC, 0, 0, 0, 0x10],
            Sgl::BitBucket { length: 0x0C0B_0A09 },
        ),
        (
            SglDescriptor::segment_in_capsule(0, 48, false),
            [0, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0x21],
            Sgl::Segment { at: 0, length: 48, in_capsule: true, last: false },
        ),
        (
            SglDescriptor::segment_in_capsule(16, 32, true),
            [16, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0x31],
            Sgl::Segment { at: 16, length: 32, in_capsule: true, last: true },
        ),
        (
            SglDescriptor::keyed(ADDRESS, 0x000B_0A09, 0x0F0E_0D0C, false).unwrap(),
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 0xA, 0xB, 0xC, 0xD, 0xE, 0xF, 0x40],
            Sgl::Keyed { address: ADDRESS, length: 0x000B_0A09, key: 0x0F0E_0D0C, invalidate: false },
        ),
        (
            SglDescriptor::keyed(0, SglDescriptor::MAX_KEYED_LENGTH, u32::MAX, true).unwrap(),
            [0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 0x4F],
            Sgl::Keyed { address: 0, length: 0x00FF_FFFF, key: u32::MAX, invalidate: true },
        ),
        (
            SglDescriptor::transport(0x0C0B_0A09),
            [0, 0, 0, 0, 0, 0, 0, 0, 9, 0xA, 0xB, 0xC, 0, 0, 0, 0x5A],
            Sgl::Transport { length: 0x0C0B_0A09 },
        ),
        (
            SglDescriptor::transport(u32::MAX),
            [0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0x5A],
            Sgl::Transport { length: u32::MAX },
        ),
    ];
    for (descriptor, bytes, meaning) in cases {
        assert_eq!(descriptor.as_bytes(), bytes, "{meaning:?}");
        assert_eq!(SglDescriptor::read_from_bytes(&bytes).unwrap(), descriptor);
        assert_eq!(descriptor.parse(), Ok(meaning));
        assert_eq!(descriptor.length(), meaning.length());
    }
    truncations::<SglDescriptor>(|bytes| SglDescriptor::ref_from_prefix(bytes).is_ok());
}

#[test]
fn a_keyed_length_has_24_bits() {
    assert_eq!(SglDescriptor::keyed(0, 1 << 24, 0, false), None);
}

#[test]
fn every_identifier_is_a_kind_or_an_error() {
    for identifier in 0..=u8::MAX {
        let mut descriptor = SglDescriptor::data_block(0, 16);
        descriptor.identifier = identifier;
        let legal = matches!(identifier, 0x00 | 0x01 | 0x10 | 0x20 | 0x21 | 0x30 | 0x31 | 0x40 | 0x4F | 0x5A);
        let parsed = descriptor.parse();
        assert_eq!(parsed.is_ok(), legal, "{identifier:#04x}");
        if let Err(error) = parsed {
            let (kind, subtype) = (identifier >> 4, identifier & 0xF);
            assert_eq!(error, SglError::Type { kind, subtype });
            assert_eq!(Status::from(error), Status::SGL_DESCRIPTOR_TYPE_INVALID);
        }
        assert_eq!(descriptor.kind(), SglType(identifier >> 4));
        assert_eq!(descriptor.subtype(), SglSubtype(identifier & 0xF));
    }
}

#[test]
fn segments_are_of_whole_descriptors() {
    for length in [0, 1, 15, 17, u32::MAX] {
        let error = SglDescriptor::segment_in_capsule(0, length, true).parse().unwrap_err();
        assert_eq!(error, SglError::SegmentLength { length });
        assert_eq!(error.status(), Status::INVALID_SGL_SEGMENT_DESCRIPTOR);
    }
}

#[test]
fn reserved_bytes_are_not_looked_at() {
    let mut descriptor = SglDescriptor::transport(4096);
    descriptor.specific[4..].fill(0xFF);
    assert_eq!(descriptor.parse(), Ok(Sgl::Transport { length: 4096 }));
}

#[test]
fn in_capsule_bounds() {
    assert_eq!(in_capsule_range(0, 0, 0), Ok(0..0));
    assert_eq!(in_capsule_range(0, 4096, 4096), Ok(0..4096));
    assert_eq!(in_capsule_range(4096, 0, 4096), Ok(4096..4096));
    assert_eq!(in_capsule_range(1, 2, 4), Ok(1..3));
    for offset in [4097, u64::MAX] {
        let error = in_capsule_range(offset, 0, 4096).unwrap_err();
        assert_eq!(error, SglError::Offset { offset, available: 4096 });
        assert_eq!(error.status(), Status::SGL_OFFSET_INVALID);
    }
    for (offset, length) in [(0, 4097), (4096, 1), (1, u32::MAX)] {
        let error = in_capsule_range(offset, length, 4096).unwrap_err();
        assert_eq!(error, SglError::Length { offset, length, available: 4096 });
        assert_eq!(error.status(), Status::DATA_SGL_LENGTH_INVALID);
    }
}
