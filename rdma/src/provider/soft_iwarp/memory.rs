//! Memory: what is registered for how long, and for whom.
//!
//! What a peer can name is registered for one connection and with exact bounds: the sink of a READ until it has ended, the memory
//! of a host's command until it is withdrawn. What only this side names goes by its address.
#![allow(unsafe_code, reason = "registers the memory that requests name, by address")]

use std::ptr::NonNull;

use nvmf_soft_iwarp::{Access, Qp, RegionOptions, STag, Sge as SoftSge};
use nvmf_transport::{Error, ErrorKind, Region, Stage};
use smallvec::SmallVec;

use super::verbs::{SoftIwarpVerbs, gone};
use crate::verbs::{ConnId, Keys, RemoteAccess, RemoteKey, Sge};

/// The pieces of a request that the peer does not hear of.
#[inline]
pub(super) fn by_address(sges: &[Sge]) -> SmallVec<[SoftSge; 4]> {
    sges.iter().map(|sge| SoftSge { stag: STag::LOCAL, to: sge.address, len: sge.length }).collect()
}

impl SoftIwarpVerbs {
    /// Registers where an RDMA READ puts its data for as long as it is outstanding. On iWARP the peer names that place: exactly
    /// the bytes of this READ, on this connection.
    ///
    /// # Safety
    /// As for the posting call that names it.
    pub(super) unsafe fn sink(&mut self, qp: Qp, sge: &Sge) -> Result<SoftSge, Error> {
        let start = std::ptr::with_exposed_provenance_mut::<u8>(sge.address as usize);
        let start = NonNull::new(start).unwrap_or(NonNull::dangling());
        let options = RegionOptions::new(Access::LOCAL_WRITE | Access::REMOTE_WRITE).only(qp);
        // SAFETY: the caller keeps the bytes until the request has completed or the connection is destroyed; either
        // deregisters before the caller hears of it. Connections hold no slices across calls.
        match unsafe { self.endpoint.register_raw(start, sge.length as usize, options) } {
            Ok(region) => Ok(region.sge(0, sge.length)),
            Err(error) => Err(Error::new(Stage::Memory, ErrorKind::Resources, error.to_string())),
        }
    }
}

impl Keys for SoftIwarpVerbs {
    fn local_key(&mut self, _: ConnId, _: &Region) -> Option<u32> {
        // All memory of the process will do.
        Some(0)
    }

    unsafe fn expose(
        &mut self,
        conn: ConnId,
        _: &Region,
        start: *mut u8,
        len: u32,
        access: RemoteAccess,
    ) -> Result<RemoteKey, Error> {
        let qp = self.qp(conn)?;
        let access = match access {
            RemoteAccess::Read => Access::REMOTE_READ,
            RemoteAccess::Write => Access::REMOTE_WRITE,
        };
        let start = NonNull::new(start).ok_or_else(gone)?;
        let options = RegionOptions::new(access | Access::REMOTE_INVALIDATE).only(qp);
        // SAFETY: the caller keeps the bytes untouched until `withdraw` or the connection's destruction, which deregister.
        let region = unsafe { self.endpoint.register_raw(start, len as usize, options) }
            .map_err(|error| Error::new(Stage::Memory, ErrorKind::Resources, error.to_string()))?;
        if let Some(conn) = self.conn(conn) {
            conn.exposed.push(region.stag);
        }
        Ok(RemoteKey { address: region.base, key: region.stag.value(), invalidate: true })
    }

    fn withdraw(&mut self, conn: ConnId, key: u32) {
        let tag = STag::new(key);
        let Some(conn) = self.conn(conn) else { return };
        if let Some(place) = conn.exposed.iter().position(|&exposed| exposed == tag) {
            conn.exposed.swap_remove(place);
            let _ = self.endpoint.deregister(tag);
        }
    }
}
