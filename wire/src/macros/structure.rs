//! `wire_struct!`: a structure at fixed offsets, viewable in any bytes that are long enough.
//!
//! The size is part of the declaration and checked by the compiler. Reserved fields are private to the crate, so a
//! structure is made by `zeroed()` (or `Default`) and its fields are set: what is reserved stays 0.

macro_rules! wire_struct {
    (
        $(#[$meta:meta])*
        $vis:vis struct $Name:ident[$size:literal] {
            $($(#[$fmeta:meta])* $fvis:vis $field:ident: $ty:ty),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, PartialEq, Eq, Debug,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable, zerocopy::Unaligned,
        )]
        #[repr(C)]
        $vis struct $Name {
            $($(#[$fmeta])* $fvis $field: $ty,)*
        }
        const _: () = assert!(size_of::<$Name>() == $size);

        impl $Name {
            /// Size in bytes.
            pub const SIZE: usize = $size;

            /// All bytes 0.
            #[must_use]
            pub fn zeroed() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }

            /// The structure at the start of `bytes`, or `None` if they are too few.
            #[must_use]
            pub fn view(bytes: &[u8]) -> Option<&Self> {
                zerocopy::FromBytes::ref_from_prefix(bytes).ok().map(|(this, _)| this)
            }

            /// The structure at the start of `bytes`, to be written, or `None` if they are too few.
            #[must_use]
            pub fn view_mut(bytes: &mut [u8]) -> Option<&mut Self> {
                zerocopy::FromBytes::mut_from_prefix(bytes).ok().map(|(this, _)| this)
            }

            #[cfg(test)]
            pub(crate) const FIELDS: &'static [(&'static str, usize, usize)] = &[
                $((stringify!($field), core::mem::offset_of!($Name, $field), size_of::<$ty>())),*
            ];
        }

        impl Default for $Name {
            fn default() -> Self {
                Self::zeroed()
            }
        }
    };
}

/// Typed views of raw fields: a getter of the field's name and a setter.
macro_rules! typed_fields {
    ($Name:ident { $($field:ident, $set:ident: $Ty:ident;)* }) => {
        impl $Name {
            $(
                #[doc = concat!("The `", stringify!($field), "` field, typed.")]
                #[must_use]
                pub fn $field(&self) -> $Ty {
                    $Ty::from_bits_retain(self.$field.into())
                }

                #[doc = concat!("Sets the `", stringify!($field), "` field.")]
                pub fn $set(&mut self, value: $Ty) -> &mut Self {
                    self.$field = value.bits().into();
                    self
                }
            )*
        }
    };
}
