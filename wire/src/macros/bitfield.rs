//! `bitfield!`: a word whose bits have names, with a getter and a `with_` for each.
//!
//! A `with_` drops the bits of a value that do not fit, as storing into the hardware's register would; getters of an
//! arbitrary word never fail.

macro_rules! bitfield {
    (
        $(#[$meta:meta])*
        $vis:vis struct $Name:ident($repr:ident) {
            $($(#[$fmeta:meta])* $get:ident, $with:ident: $ty:tt = $lo:literal..$hi:literal;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[repr(transparent)]
        $vis struct $Name(pub $repr);

        impl $Name {
            /// From the raw word; every word is one.
            #[must_use]
            pub const fn from_bits_retain(bits: $repr) -> Self {
                Self(bits)
            }

            /// The raw word.
            #[must_use]
            pub const fn bits(self) -> $repr {
                self.0
            }

            $(
                $(#[$fmeta])*
                #[doc = concat!("(Bits `", stringify!($lo), "..", stringify!($hi), "`.)")]
                #[must_use]
                pub const fn $get(self) -> bitfield!(@type $ty) {
                    let bits = (self.0 >> $lo) & ($repr::MAX >> ($repr::BITS - ($hi - $lo)));
                    bitfield!(@from $ty, bits)
                }

                #[doc = concat!("The same with `", stringify!($get), "` set.")]
                #[must_use]
                pub const fn $with(self, value: bitfield!(@type $ty)) -> Self {
                    let mask: $repr = ($repr::MAX >> ($repr::BITS - ($hi - $lo))) << $lo;
                    Self((self.0 & !mask) | (((bitfield!(@into $ty, value) as $repr) << $lo) & mask))
                }
            )*

            #[cfg(test)]
            pub(crate) const FIELDS: &'static [(&'static str, u32, u32)] = &[$((stringify!($get), $lo, $hi)),*];
        }

        impl core::fmt::Debug for $Name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct(stringify!($Name))
                    $(.field(stringify!($get), &self.$get()))*
                    .finish()
            }
        }

        impl From<$repr> for $Name {
            fn from(bits: $repr) -> Self {
                Self(bits)
            }
        }

        impl From<$Name> for $repr {
            fn from(value: $Name) -> Self {
                value.0
            }
        }
    };

    (@type [$Enum:ident $repr:ident]) => { $Enum };
    (@type $ty:tt) => { $ty };
    (@from [$Enum:ident $repr:ident], $bits:ident) => { $Enum($bits as $repr) };
    (@from bool, $bits:ident) => { $bits != 0 };
    (@from $ty:tt, $bits:ident) => { $bits as $ty };
    (@into [$Enum:ident $repr:ident], $value:ident) => { $value.0 };
    (@into $ty:tt, $value:ident) => { $value };
}
