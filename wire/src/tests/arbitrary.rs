//! Any bytes at all: parsing never panics, and what was parsed survives being made bytes again.

use crate::admin::Abort;
use crate::event::AsyncEvent;
use crate::fabrics::*;
use crate::feature::{GetFeatures, SetFeatures};
use crate::identify::*;
use crate::io::{DatasetManagement, Rw};
use crate::log::GetLogPage;
use crate::{Ascii, Cqe, IoOpcode, Nqn, NqnField, Sgl, SglDescriptor, Sqe, Status};
use proptest::collection::vec;
use proptest::prelude::*;
use std::string::ToString;
use zerocopy::{FromBytes, IntoBytes, transmute};

proptest! {
    #[test]
    fn commands(low in any::<[u8; 32]>(), high in any::<[u8; 32]>()) {
        let sqe: Sqe = transmute!([low, high]);
        prop_assert_eq!(Connect::parse(&Connect::parse(&sqe).to_sqe()), Connect::parse(&sqe));
        prop_assert_eq!(Disconnect::parse(&Disconnect::parse(&sqe).to_sqe()), Disconnect::parse(&sqe));
        prop_assert_eq!(Authentication::parse(&Authentication::parse(&sqe).to_send()), Authentication::parse(&sqe));
        prop_assert_eq!(Identify::parse(&Identify::parse(&sqe).to_sqe()), Identify::parse(&sqe));
        prop_assert_eq!(GetLogPage::parse(&GetLogPage::parse(&sqe).to_sqe()), GetLogPage::parse(&sqe));
        prop_assert_eq!(GetFeatures::parse(&GetFeatures::parse(&sqe).to_sqe()), GetFeatures::parse(&sqe));
        prop_assert_eq!(SetFeatures::parse(&SetFeatures::parse(&sqe).to_sqe()), SetFeatures::parse(&sqe));
        prop_assert_eq!(Abort::parse(&Abort::parse(&sqe).to_sqe()), Abort::parse(&sqe));
        let rw = Rw::parse(&sqe);
        prop_assert!((1..=Rw::MAX_BLOCKS).contains(&rw.blocks));
        prop_assert_eq!(Rw::parse(&rw.to_sqe(IoOpcode(sqe.opcode), sqe.nsid())), rw);
        let dsm = DatasetManagement::parse(&sqe);
        prop_assert_eq!(DatasetManagement::parse(&dsm.to_sqe(1)), dsm);
        match (PropertyGet::parse(&sqe), PropertySet::parse(&sqe)) {
            (Ok(get), Ok(set)) => {
                prop_assert_eq!(PropertyGet::parse(&get.to_sqe()), Ok(get));
                prop_assert_eq!(PropertySet::parse(&set.to_sqe()), Ok(set));
            }
            (get, set) => {
                prop_assert_eq!(get, Err(Status::INVALID_FIELD));
                prop_assert_eq!(set, Err(Status::INVALID_FIELD));
            }
        }
    }

    #[test]
    fn descriptors(bytes in any::<[u8; 16]>(), identifier in prop_oneof![Just(0x40_u8), Just(0x5A), any::<u8>()]) {
        let descriptor = SglDescriptor { identifier, ..transmute!(bytes) };
        if let Ok(sgl) = descriptor.parse() {
            prop_assert_eq!(sgl.length(), descriptor.length());
            let again = match sgl {
                Sgl::DataBlock { address, length } => SglDescriptor::data_block(address, length),
                Sgl::InCapsule { offset, length } => SglDescriptor::in_capsule(offset, length),
                Sgl::BitBucket { length } => SglDescriptor::bit_bucket(length),
                Sgl::Segment { at, length, last, .. } => SglDescriptor::segment_in_capsule(at, length, last),
                Sgl::Keyed { address, length, key, invalidate } => {
                    SglDescriptor::keyed(address, length, key, invalidate).unwrap()
                }
                Sgl::Transport { length } => SglDescriptor::transport(length),
            };
            if !matches!(sgl, Sgl::Segment { in_capsule: false, .. }) {
                prop_assert_eq!(again.parse(), Ok(sgl));
            }
        }
    }

    #[test]
    fn completions(bytes in any::<[u8; 16]>()) {
        let cqe: Cqe = transmute!(bytes);
        let again = Cqe::error(cqe.cid(), cqe.status())
            .with_phase(cqe.phase())
            .with_sqhd(cqe.sqhd())
            .with_sqid(cqe.sqid())
            .with_u64(cqe.u64());
        prop_assert_eq!(again, cqe);
        prop_assert!(!cqe.status().to_string().is_empty());
        prop_assert!(!AsyncEvent::parse(&cqe).to_string().is_empty());
        if let Some(parameter) = InvalidParameter::parse(&cqe) {
            prop_assert_eq!(InvalidParameter::parse(&parameter.to_cqe(cqe.cid())), Some(parameter));
        }
    }

    #[test]
    fn namespace_names(bytes in vec(any::<u8>(), 0..300)) {
        let mut rest = bytes.len();
        for name in NamespaceDescriptors::parse(&bytes) {
            let length = match name {
                NamespaceDescriptor::Eui64(id) => id.len(),
                NamespaceDescriptor::Nguid(id) | NamespaceDescriptor::Uuid(id) => id.len(),
                NamespaceDescriptor::Csi(_) => 1,
                NamespaceDescriptor::Other { bytes, .. } => bytes.len(),
            };
            prop_assert!(length > 0 && length + 4 <= rest);
            rest -= length + 4;
        }
    }

    #[test]
    fn names(bytes in vec(any::<u8>(), 0..260), text in "nqn\\.[0-9]{4}-[0-9]{2}\\.[a-z.-]{1,12}(:.{0,8})?") {
        let _ = Nqn::from_utf8(&bytes);
        let mut field = [0; 256];
        field.iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
        if let Ok(nqn) = NqnField(field).nqn() {
            prop_assert!(nqn.as_bytes().len() <= Nqn::MAX_LENGTH && field.starts_with(nqn.as_bytes()));
        }
        match Nqn::parse(&text) {
            Ok(nqn) => {
                prop_assert_eq!(Nqn::parse_lenient(&text), Ok(nqn));
                prop_assert_eq!(nqn.as_str(), text);
            }
            Err(error) => prop_assert!(error.at <= text.len()),
        }
    }

    #[test]
    fn ascii(bytes in any::<[u8; 8]>()) {
        let field = Ascii::<8>::read_from_bytes(&bytes).unwrap();
        prop_assert!(field.to_string().bytes().all(|byte| (0x20..=0x7E).contains(&byte)));
        if let Some(text) = field.as_str() {
            prop_assert_eq!(field.to_string(), text);
            let again = Ascii::<8>::new(text).unwrap();
            prop_assert_eq!(again.as_str(), Some(text));
        }
        prop_assert_eq!(field.as_bytes(), bytes);
    }
}
