//! libibverbs and librdmacm, called through libraries that are loaded when they are first needed.
//!
//! `bindings.rs` is what bindgen makes of the headers (`ci/bindings`); it is committed, so that neither header nor library is
//! needed to build. `inline.rs` has what those headers define as inline functions, and `library.rs` the loading. Nothing here
//! knows of NVMe. Decision record 0008 says why these are our own.
//!
//! Structures that the libraries make (contexts, queue pairs, identifiers) are only ever looked into through pointers that they
//! gave out, and only in their first fields: their ends hold thread types whose size is the machine's.
#![allow(unsafe_code, reason = "a foreign interface")]

#[allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    reason = "generated"
)]
#[rustfmt::skip]
mod bindings;
mod inline;
#[cfg(test)]
mod layout_tests;
mod library;

pub(crate) use bindings::*;
pub(crate) use inline::{poll_cq, post_recv, post_send, query_port, req_notify_cq};
pub use library::LoadError;
pub(crate) use library::{Libraries, libraries};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the bindings to libibverbs and librdmacm describe 64-bit machines");
