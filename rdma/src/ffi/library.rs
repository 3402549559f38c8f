//! Loading the two libraries, once per process and for good: both start things (device lists, exit handlers) that do not survive
//! being unloaded.

use std::sync::OnceLock;

use super::{Ibverbs, Rdmacm};

/// The names under which every distribution has them: the ABI version is part of the name.
const IBVERBS: &str = "libibverbs.so.1";
const RDMACM: &str = "librdmacm.so.1";

/// The functions of both libraries.
pub(crate) struct Libraries {
    pub(crate) ib: Ibverbs,
    pub(crate) cm: Rdmacm,
}

/// Why verbs cannot be used at all on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A library is not installed, or cannot be loaded.
    #[error(
        "{library} cannot be loaded: install {debian} (Debian, Ubuntu) or {rpm} (Fedora, RHEL, SUSE) [{reason}]"
    )]
    Missing {
        /// Its file name.
        library: &'static str,
        /// Debian's package.
        debian: &'static str,
        /// The package of distributions with RPM.
        rpm: &'static str,
        /// What the loader says.
        reason: String,
    },
    /// A library is there, and is not the one that is meant.
    #[error(
        "{library} lacks a function that rdma-core's has had since version 15: update rdma-core [{reason}]"
    )]
    Unusable {
        /// Its file name.
        library: &'static str,
        /// What the loader says.
        reason: String,
    },
}

/// The libraries, loaded at the first call.
pub(crate) fn libraries() -> Result<&'static Libraries, LoadError> {
    static LOADED: OnceLock<Result<Libraries, LoadError>> = OnceLock::new();
    LOADED.get_or_init(|| load(IBVERBS, RDMACM)).as_ref().map_err(Clone::clone)
}

fn load(ibverbs: &'static str, rdmacm: &'static str) -> Result<Libraries, LoadError> {
    let ib = open(ibverbs, "libibverbs1 and ibverbs-providers", "libibverbs and rdma-core")?;
    let cm = open(rdmacm, "librdmacm1", "librdmacm")?;
    // SAFETY: the names, with their ABI version, stand for rdma-core's libraries, whose functions have the types of the bindings.
    let ib = unsafe { Ibverbs::from_library(ib) }
        .map_err(|e| LoadError::Unusable { library: ibverbs, reason: e.to_string() })?;
    // SAFETY: as above.
    let cm = unsafe { Rdmacm::from_library(cm) }
        .map_err(|e| LoadError::Unusable { library: rdmacm, reason: e.to_string() })?;
    Ok(Libraries { ib, cm })
}

fn open(
    library: &'static str,
    debian: &'static str,
    rpm: &'static str,
) -> Result<libloading::Library, LoadError> {
    // SAFETY: rdma-core's libraries may be loaded at any time, from any thread.
    unsafe { libloading::Library::new(library) }.map_err(|e| LoadError::Missing {
        library,
        debian,
        rpm,
        reason: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_names_its_packages() {
        let Err(error) = load("libibverbs-that-is-nowhere.so.1", RDMACM) else {
            panic!("there is no such library")
        };
        let text = error.to_string();
        assert!(matches!(error, LoadError::Missing { .. }), "{error:?}");
        for word in ["libibverbs-that-is-nowhere.so.1", "libibverbs1", "ibverbs-providers", "rdma-core"] {
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn a_library_of_another_kind_is_not_taken_for_rdma_core() {
        // The C library is everywhere and has none of the functions.
        let Err(error) = load("libc.so.6", "libc.so.6") else { panic!("the C library has no verbs") };
        assert!(matches!(error, LoadError::Unusable { library: "libc.so.6", .. }), "{error:?}");
    }
}
