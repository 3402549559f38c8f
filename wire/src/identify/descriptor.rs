//! The Namespace Identification Descriptor list (CNS 03h, NVMe Base 2.0 §5.17.2.3): every name a namespace has.

use super::{CommandSet, IDENTIFY_LENGTH};

open_enum! {
    /// Namespace Identifier Type (NIDT).
    pub NamespaceDescriptorKind: u8 {
        EUI64 = 0x1, "IEEE Extended Unique Identifier";
        NGUID = 0x2, "Namespace Globally Unique Identifier";
        UUID = 0x3, "Namespace UUID";
        CSI = 0x4, "Command Set Identifier";
    }
}

/// One descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum NamespaceDescriptor<'a> {
    /// IEEE Extended Unique Identifier, most significant byte first.
    Eui64([u8; 8]),
    /// Namespace Globally Unique Identifier, most significant byte first.
    Nguid([u8; 16]),
    /// Namespace UUID, bytes in the order of RFC 9562.
    Uuid([u8; 16]),
    /// The I/O command set of the namespace.
    Csi(CommandSet),
    /// A type nobody has defined, or one of them with a length that is not its own.
    Other {
        /// The type.
        kind: NamespaceDescriptorKind,
        /// The identifier.
        bytes: &'a [u8],
    },
}

impl<'a> NamespaceDescriptor<'a> {
    fn new(kind: NamespaceDescriptorKind, bytes: &'a [u8]) -> Self {
        match kind {
            NamespaceDescriptorKind::EUI64 => bytes.try_into().ok().map(Self::Eui64),
            NamespaceDescriptorKind::NGUID => bytes.try_into().ok().map(Self::Nguid),
            NamespaceDescriptorKind::UUID => bytes.try_into().ok().map(Self::Uuid),
            NamespaceDescriptorKind::CSI => match bytes {
                [csi] => Some(Self::Csi(CommandSet(*csi))),
                _ => None,
            },
            _ => None,
        }
        .unwrap_or(Self::Other { kind, bytes })
    }
}

/// The descriptors in the data of an Identify command. Ends at an identifier of no length, at the end of the data, or at a
/// descriptor that reaches beyond it.
#[derive(Clone, Copy, Debug)]
pub struct NamespaceDescriptors<'a> {
    rest: &'a [u8],
}

impl<'a> NamespaceDescriptors<'a> {
    /// Reads the data of an Identify command, or as much of it as there is.
    #[must_use]
    pub const fn parse(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for NamespaceDescriptors<'a> {
    type Item = NamespaceDescriptor<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&[kind, length, _, _], rest) = self.rest.split_first_chunk::<HEADER>()?;
        let split = (length != 0).then(|| rest.split_at_checked(usize::from(length))).flatten();
        let (bytes, rest) = split.unwrap_or_default();
        self.rest = rest;
        split.is_some().then(|| NamespaceDescriptor::new(NamespaceDescriptorKind(kind), bytes))
    }
}

const HEADER: usize = 4;

/// Makes the data of an Identify command.
#[derive(Clone, Debug)]
pub struct NamespaceDescriptorsBuilder {
    bytes: [u8; IDENTIFY_LENGTH],
    used: usize,
}

impl Default for NamespaceDescriptorsBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl NamespaceDescriptorsBuilder {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; IDENTIFY_LENGTH], used: 0 }
    }

    /// Adds a descriptor; one that does not fit, or has an identifier of 0 or more than 255 bytes, is left out.
    #[must_use]
    pub fn with(mut self, descriptor: NamespaceDescriptor<'_>) -> Self {
        match descriptor {
            NamespaceDescriptor::Eui64(id) => self.push(NamespaceDescriptorKind::EUI64, &id),
            NamespaceDescriptor::Nguid(id) => self.push(NamespaceDescriptorKind::NGUID, &id),
            NamespaceDescriptor::Uuid(id) => self.push(NamespaceDescriptorKind::UUID, &id),
            NamespaceDescriptor::Csi(csi) => self.push(NamespaceDescriptorKind::CSI, &[csi.0]),
            NamespaceDescriptor::Other { kind, bytes } => self.push(kind, bytes),
        }
        self
    }

    fn push(&mut self, kind: NamespaceDescriptorKind, id: &[u8]) {
        let Some(length) = u8::try_from(id.len()).ok().filter(|&length| length != 0) else {
            return;
        };
        let Some(free) = self.bytes.get_mut(self.used..) else {
            return;
        };
        let Some((header, rest)) = free.split_first_chunk_mut::<HEADER>() else {
            return;
        };
        let Some(to) = rest.get_mut(..id.len()) else {
            return;
        };
        *header = [kind.0, length, 0, 0];
        to.copy_from_slice(id);
        self.used += HEADER + id.len();
    }

    /// The 4096 bytes.
    #[must_use]
    pub const fn finish(self) -> [u8; IDENTIFY_LENGTH] {
        self.bytes
    }
}
