//! `open_enum!`: an enumeration of the wire that keeps the values nobody has defined yet.
//!
//! A Rust `enum` would make an unknown value unrepresentable, and a peer of a later revision a crash or a lie.
//! The type is a newtype with one constant per defined value; `Debug` prints the constant's name or the number,
//! `Display` a description for people. Over `u8` it is also a zero-copy field type.

macro_rules! open_enum {
    ($(#[$meta:meta])* $vis:vis $Name:ident : u8 { $($body:tt)* }) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable, zerocopy::Unaligned,
        )]
        #[repr(transparent)]
        $vis struct $Name(pub u8);
        open_enum!(@body $Name u8 { $($body)* });
    };
    ($(#[$meta:meta])* $vis:vis $Name:ident : $repr:ident { $($body:tt)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        $vis struct $Name(pub $repr);
        open_enum!(@body $Name $repr { $($body)* });
    };
    (@body $Name:ident $repr:ident { $( $(#[$cmeta:meta])* $CONST:ident = $value:expr, $text:literal; )* }) => {
        impl $Name {
            $(
                #[doc = $text]
                #[doc = concat!("(`", stringify!($value), "`).")]
                $(#[$cmeta])*
                pub const $CONST: Self = Self($value);
            )*

            /// Every value this revision of the crate knows, in the order of the specification.
            pub const KNOWN: &'static [Self] = &[$(Self::$CONST),*];

            /// The name of the constant, if the value is a known one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$CONST => Some(stringify!($CONST)),)*
                    _ => None,
                }
            }

            /// A few words for people, if the value is a known one.
            #[must_use]
            pub const fn description(self) -> Option<&'static str> {
                match self {
                    $(Self::$CONST => Some($text),)*
                    _ => None,
                }
            }

            /// Whether the value is a known one.
            #[must_use]
            pub const fn is_known(self) -> bool {
                self.name().is_some()
            }
        }

        impl core::fmt::Debug for $Name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, concat!(stringify!($Name), "({:#04x})"), self.0),
                }
            }
        }

        impl core::fmt::Display for $Name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.description() {
                    Some(text) => f.pad(text),
                    None => write!(f, "unknown ({:02X}h)", self.0),
                }
            }
        }

        impl From<$repr> for $Name {
            fn from(value: $repr) -> Self {
                Self(value)
            }
        }

        impl From<$Name> for $repr {
            fn from(value: $Name) -> Self {
                value.0
            }
        }
    };
}
