//! Lists of namespaces, of controllers and of a namespace's names.

use super::sparse;
use crate::identify::*;
use std::vec::Vec;

#[test]
fn namespaces_after_an_identifier() {
    let list = NamespaceList::after(1, [1, 2, 0x0102_0304]);
    assert_eq!(sparse(&list), "0:02 4:04 5:03 6:02 7:01");
    assert!(list.iter().eq([2, 0x0102_0304]));
    let long = NamespaceList::after(0, 1..=2000);
    assert!(long.iter().eq(1..=1024));
    assert!(NamespaceList::after(1024, 1..=2000).iter().eq(1025..=2000));
    assert_eq!(NamespaceList::after(u32::MAX, [u32::MAX]).iter().count(), 0);
}

#[test]
fn controllers_from_an_identifier() {
    let list = ControllerList::from(2, [1, 2, 0x0304]);
    assert_eq!(sparse(&list), "0:02 2:02 4:04 5:03");
    assert!(list.iter().eq([2, 0x0304]));
    assert_eq!(ControllerList::from(0, 0..3000).iter().count(), ControllerList::CAPACITY);
    let mut lying = list;
    lying.count = u16::MAX.into();
    assert_eq!(lying.iter().count(), ControllerList::CAPACITY);
}

#[test]
fn a_namespaces_names() {
    let (eui64, nguid, uuid) = ([8; 8], [16; 16], [0x33; 16]);
    let names = [
        NamespaceDescriptor::Eui64(eui64),
        NamespaceDescriptor::Nguid(nguid),
        NamespaceDescriptor::Uuid(uuid),
        NamespaceDescriptor::Csi(CommandSet::ZONED),
        NamespaceDescriptor::Other { kind: NamespaceDescriptorKind(0x77), bytes: &[1, 2] },
    ];
    let built = names.into_iter().fold(NamespaceDescriptorsBuilder::new(), |list, name| list.with(name));
    let bytes = built.finish();
    let mut expected = Vec::new();
    expected.extend([1, 8, 0, 0]);
    expected.extend(eui64);
    expected.extend([2, 16, 0, 0]);
    expected.extend(nguid);
    expected.extend([3, 16, 0, 0]);
    expected.extend(uuid);
    expected.extend([4, 1, 0, 0, 2]);
    expected.extend([0x77, 2, 0, 0, 1, 2]);
    assert_eq!(bytes[..expected.len()], expected);
    assert!(bytes[expected.len()..].iter().all(|&byte| byte == 0));
    assert!(NamespaceDescriptors::parse(&bytes).eq(names));
    // Every truncation yields the whole descriptors in front of the cut, and no part of one.
    let ends = [12, 32, 52, 57, 63];
    for length in 0..=expected.len() {
        let whole = ends.iter().filter(|&&end| end <= length).count();
        let parsed: Vec<_> = NamespaceDescriptors::parse(&bytes[..length]).collect();
        assert_eq!(parsed, names[..whole], "{length} bytes");
    }
}

#[test]
fn a_known_name_of_another_length_is_not_it() {
    for (kind, length) in [(1, 7), (2, 15), (3, 17), (4, 2)] {
        let mut bytes = [0; 64];
        bytes[0] = kind;
        bytes[1] = length;
        let parsed: Vec<_> = NamespaceDescriptors::parse(&bytes).collect();
        let other = NamespaceDescriptor::Other {
            kind: NamespaceDescriptorKind(kind),
            bytes: &bytes[4..4 + usize::from(length)],
        };
        assert_eq!(parsed, [other]);
    }
}

#[test]
fn what_does_not_fit_is_left_out() {
    let long = [1; 256];
    let other = |bytes| NamespaceDescriptor::Other { kind: NamespaceDescriptorKind(9), bytes };
    let empty = NamespaceDescriptorsBuilder::new().with(other(&[])).with(other(&long)).finish();
    assert!(empty.iter().all(|&byte| byte == 0));
    let filled = (0..20).fold(NamespaceDescriptorsBuilder::new(), |list, _| list.with(other(&long[..255])));
    let filled = filled.with(NamespaceDescriptor::Uuid([7; 16])).finish();
    // 15 descriptors of 259 bytes leave 211 bytes: no room for another, but for the UUID.
    let parsed: Vec<_> = NamespaceDescriptors::parse(&filled).collect();
    assert_eq!((parsed.len(), parsed.last()), (16, Some(&NamespaceDescriptor::Uuid([7; 16]))));
}
