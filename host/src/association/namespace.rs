//! A namespace as this host sees it: its geometry, checked, and the names it can be recognised by.

use std::{fmt, sync::Arc};

use nvmf_wire::identify::{IdentifyNamespace, NamespaceDescriptor, NamespaceDescriptors};
use uuid::Uuid;

/// The names of a namespace. All of them missing means that it cannot be recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceIdentity {
    /// UUID.
    pub uuid: Option<Uuid>,
    /// NGUID.
    pub nguid: Option<[u8; 16]>,
    /// EUI64.
    pub eui64: Option<[u8; 8]>,
}

/// An active namespace.
#[derive(Clone)]
pub struct Namespace {
    /// Its identifier.
    pub nsid: u32,
    /// Its size in blocks (NSZE).
    pub blocks: u64,
    /// Bytes of a block; 0 if the format makes no sense.
    pub block_size: u32,
    /// Whether the controller refuses to write to it.
    pub write_protected: bool,
    /// Its names.
    pub identity: NamespaceIdentity,
    /// Why this host cannot read or write it, if so.
    pub unusable: Option<&'static str>,
    /// Identify Namespace, as received.
    pub identify: Arc<IdentifyNamespace>,
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace")
            .field("nsid", &self.nsid)
            .field("blocks", &self.blocks)
            .field("block_size", &self.block_size)
            .field("identity", &self.identity)
            .field("unusable", &self.unusable)
            .finish_non_exhaustive()
    }
}

impl Namespace {
    /// Checks what Identify returned.
    pub(super) fn examine(nsid: u32, identify: &IdentifyNamespace) -> Self {
        let format = identify.format();
        // Above 64 KiB a block no longer fits what transports move in one piece.
        let block_size = format.block_size().filter(|size| *size <= 65_536).unwrap_or(0);
        let blocks = identify.nsze.get();
        let unusable = if block_size == 0 {
            Some("the block size is not from 512 to 65536 bytes")
        } else if format.ms.get() != 0 {
            Some("the format has metadata, which this host does not support")
        } else if blocks.checked_mul(u64::from(block_size)).is_none() {
            Some("the size in bytes exceeds 2^64")
        } else {
            None
        };
        let some = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
        let identity = NamespaceIdentity {
            uuid: None,
            nguid: Some(identify.nguid).filter(|id| some(id)),
            eui64: Some(identify.eui64).filter(|id| some(id)),
        };
        Self {
            nsid,
            blocks,
            block_size,
            write_protected: identify.nsattr & 1 != 0,
            identity,
            unusable,
            identify: Arc::new(*identify),
        }
    }

    /// Adds the names of the descriptor list.
    pub(super) fn describe(&mut self, bytes: &[u8]) {
        for descriptor in NamespaceDescriptors::parse(bytes) {
            match descriptor {
                NamespaceDescriptor::Uuid(id) => self.identity.uuid = Some(Uuid::from_bytes(id)),
                NamespaceDescriptor::Nguid(id) => self.identity.nguid = Some(id),
                NamespaceDescriptor::Eui64(id) => self.identity.eui64 = Some(id),
                _ => {}
            }
        }
    }

    /// The size in bytes.
    pub fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(u64::from(self.block_size))
    }

    /// The block size as a power of two.
    pub(super) fn shift(&self) -> u8 {
        self.block_size.trailing_zeros() as u8
    }

    /// Whether requests made for `self` mean the same when sent to `other`.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let differ = |ours: Option<&[u8]>, theirs: Option<&[u8]>| matches!((ours, theirs), (Some(a), Some(b)) if a != b);
        let (a, b) = (&self.identity, &other.identity);
        let (a_uuid, b_uuid) = (a.uuid.map(Uuid::into_bytes), b.uuid.map(Uuid::into_bytes));
        self.block_size == other.block_size
            && self.unusable.is_some() == other.unusable.is_some()
            && !differ(a_uuid.as_ref().map(|id| &id[..]), b_uuid.as_ref().map(|id| &id[..]))
            && !differ(a.nguid.as_ref().map(|id| &id[..]), b.nguid.as_ref().map(|id| &id[..]))
            && !differ(a.eui64.as_ref().map(|id| &id[..]), b.eui64.as_ref().map(|id| &id[..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvmf_wire::identify::LbaFormat;

    fn identify(lbads: u8, ms: u16, nsze: u64) -> Namespace {
        let mut identify = IdentifyNamespace::zeroed();
        identify.lbaf[0] = LbaFormat::new(lbads, ms);
        identify.nsze = nsze.into();
        Namespace::examine(1, &identify)
    }

    #[test]
    fn geometry() {
        let namespace = identify(12, 0, 1000);
        assert_eq!((namespace.unusable, namespace.block_size, namespace.bytes()), (None, 4096, 4_096_000));
    }

    #[test]
    fn formats_that_make_no_sense_are_unusable_and_harmless() {
        for lbads in [0, 1, 8, 17, 31, 32, 63, 255] {
            let namespace = identify(lbads, 0, u64::MAX);
            assert!(namespace.unusable.is_some(), "LBADS {lbads}");
            assert_eq!(namespace.block_size, 0);
            let _ = namespace.bytes();
        }
        assert!(identify(9, 8, 1).unusable.is_some());
        assert!(identify(9, 0, u64::MAX).unusable.is_some());
    }

    #[test]
    fn another_disk_is_noticed() {
        let (mut a, mut b) = (identify(9, 0, 1), identify(9, 0, 1));
        assert!(a.is_same(&b));
        a.identity.nguid = Some([1; 16]);
        assert!(a.is_same(&b));
        b.identity.nguid = Some([2; 16]);
        assert!(!a.is_same(&b));
        assert!(!identify(9, 0, 1).is_same(&identify(12, 0, 1)));
    }
}
