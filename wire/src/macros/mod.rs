//! The three shapes of everything on the wire: a structure, a word of bit fields, a value of an open enumeration.
//!
//! Each macro also gives the tests a table of what it generated, so that a golden test can insist on covering all.

#[macro_use]
mod open_enum;
#[macro_use]
mod structure;
#[macro_use]
mod bitfield;
