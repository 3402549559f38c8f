//! Golden tests: what every field of every structure is in bytes.
//!
//! The tables name offset and size as the specification does, and a structure's table has to name every field there is.

use core::ops::Range;
use std::format;
use std::string::String;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Fills one field at a time with 1, 2, 3, … and looks for exactly that at its offset; `le` says the field is a number.
macro_rules! golden {
    ($($Name:ident { $($field:ident: $offset:literal, $size:literal $($le:ident)?;)* })*) => {$(
        let table: &[(&str, usize, usize)] = &[$((stringify!($field), $offset, $size)),*];
        assert_eq!($Name::FIELDS, table);
        $(
            crate::tests::field::<$Name>(stringify!($field), $offset..$offset + $size, |this| {
                zerocopy::IntoBytes::as_mut_bytes(&mut this.$field)
            });
            $(
                crate::tests::$le::<$Name>(stringify!($field), $offset..$offset + $size, |this| {
                    this.$field.get().into()
                });
            )?
        )*
        assert_eq!($Name::default(), $Name::zeroed());
        crate::tests::truncations::<$Name>(|bytes| $Name::view(bytes).is_some());
        let mut bytes = std::vec![0; $Name::SIZE];
        crate::tests::number(zerocopy::IntoBytes::as_mut_bytes($Name::view_mut(&mut bytes).unwrap()));
        assert_eq!(zerocopy::IntoBytes::as_bytes($Name::view(&bytes).unwrap()), bytes);
        assert!($Name::view_mut(&mut bytes[1..]).is_none());
    )*};
}

/// Sets one field of a bit field at a time to all ones and looks for exactly the mask.
macro_rules! golden_bits {
    ($($Name:ident($repr:ident) { $($get:ident, $with:ident: $mask:literal;)* })*) => {$(
        {
            let names: std::vec::Vec<_> = $Name::FIELDS.iter().map(|field| field.0).collect();
            assert_eq!(names, [$(stringify!($get)),*]);
            let (all, none) = ($Name($repr::MAX), $Name(0));
            let mut seen: $repr = 0;
            $(
                assert_eq!(seen & $mask, 0, "{} overlaps", stringify!($get));
                seen |= $mask;
                assert_eq!(none.$with(all.$get()).0, $mask, stringify!($get));
                assert_eq!(all.$with(none.$get()).0, !$mask, stringify!($get));
                assert_eq!($Name(!$mask).$get(), none.$get(), stringify!($get));
                assert_eq!($Name($mask).$get(), all.$get(), stringify!($get));
                assert_ne!(all.$get(), none.$get());
                assert!(std::format!("{all:?}").contains(stringify!($get)));
            )*
            assert_ne!(seen, 0);
            assert_eq!($repr::from($Name::from($repr::MAX)), $repr::MAX);
            assert_eq!($Name::from_bits_retain($repr::MAX).bits(), $repr::MAX);
        }
    )*};
}

/// The bit of each flag; unknown bits stay.
macro_rules! golden_flags {
    ($Name:ident { $($FLAG:ident: $bit:literal;)* }) => {
        $(assert_eq!($Name::$FLAG.bits(), 1 << $bit, stringify!($FLAG));)*
        let all = $Name::from_bits_retain(!0);
        assert_eq!(all.bits(), !0);
        let known = [$(stringify!($FLAG)),*];
        assert!(all.iter_names().map(|(name, _)| name).eq(known));
    };
}

mod arbitrary;
mod bits;
mod commands;
mod descriptors;
mod flags;
mod layout;
mod layout_identify;
mod logs;
mod names;
mod open_enums;
mod queue_entries;
mod results;
mod sgl;
mod status;

/// One field of `golden!`: filling it changes exactly its bytes.
fn field<T: FromZeros + IntoBytes + Immutable>(name: &str, at: Range<usize>, field: fn(&mut T) -> &mut [u8]) {
    let mut this = T::new_zeroed();
    number(field(&mut this));
    let mut expected = std::vec![0; size_of::<T>()];
    number(&mut expected[at]);
    assert_eq!(this.as_bytes(), expected, "{name}");
}

/// One number of `golden!`: its bytes 1, 2, 3, … are a little-endian number.
fn le<T: FromBytes + IntoBytes>(name: &str, at: Range<usize>, value: fn(&T) -> u128) {
    let mut this = T::new_zeroed();
    let size = at.len();
    number(&mut this.as_mut_bytes()[at]);
    let expected = (0..size).map(|i| (i as u128 + 1) << (8 * i)).sum();
    assert_eq!(value(&this), expected, "{name}");
}

fn number(bytes: &mut [u8]) {
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = (i % 251) as u8 + 1;
    }
}

/// Every truncation of a structure's bytes is refused; exactly enough and more is accepted.
fn truncations<T>(accepts: impl Fn(&[u8]) -> bool) {
    let bytes = std::vec![0xFF; size_of::<T>() + 1];
    for length in 0..size_of::<T>() {
        assert!(!accepts(&bytes[..length]), "{length} of {} bytes", size_of::<T>());
    }
    assert!(accepts(&bytes[..size_of::<T>()]));
    assert!(accepts(&bytes));
}

/// The bytes that are not 0, as `offset:byte`, to compare a whole command with a line of text.
fn sparse(value: &(impl IntoBytes + Immutable)) -> String {
    let mut text = String::new();
    for (i, byte) in value.as_bytes().iter().enumerate().filter(|(_, byte)| **byte != 0) {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&format!("{i}:{byte:02x}"));
    }
    text
}
