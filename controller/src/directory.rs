//! What the discovery log page is made of: subsystems and listeners as they were at one generation.
//!
//! A directory never changes. A discovery controller holds on to the one whose header it has given out, so that a page read in
//! pieces belongs together; the generation counter tells the host to read again (NVMe-oF 1.1 §5.3).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use nvmf_transport::Wire;
use nvmf_wire::{
    Ascii, Nqn, NqnField,
    fabrics::CNTLID_DYNAMIC,
    log::discovery::{
        AddressFamily, DiscoveryEntry, DiscoveryHeader, RdmaConnectionManagement, RdmaProvider, RdmaQpType,
        RdmaSubtype, SecureChannel, SubsystemType, TcpSubtype, TransportRequirements, TransportType,
    },
};
use zerocopy::{
    IntoBytes,
    little_endian::{U16, U64},
};

use crate::options::Hosts;

/// An open listener, as the discovery log page tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerEntry {
    /// Its port identifier, unique within the server.
    pub portid: u16,
    /// The wire spoken there.
    pub wire: Wire,
    /// Of NVMe/RDMA, the network under it.
    pub rdma_provider: RdmaProvider,
    /// The address it is bound to; a wildcard is reported as the address the host has used.
    pub address: SocketAddr,
}

/// Subsystems and listeners at one generation.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) generation: u64,
    pub(crate) subsystems: Vec<(Nqn, Arc<Hosts>)>,
    pub(crate) listeners: Vec<ListenerEntry>,
    pub(crate) admin_entries: u16,
}

impl Directory {
    /// The records for a host that is connected to `local`.
    pub(crate) fn records(&self, host: &Nqn, local: IpAddr) -> impl Iterator<Item = Record<'_>> {
        let visible = move |&(_, hosts): &&(Nqn, Arc<Hosts>)| hosts.allow(&host.clone());
        self.subsystems.iter().filter(visible).flat_map(move |(nqn, _)| {
            self.listeners.iter().filter_map(move |listener| {
                Some(Record { nqn, listener, address: reachable(listener.address.ip(), local)? })
            })
        })
    }

    /// The header of the page.
    pub(crate) fn header(&self, records: u64) -> DiscoveryHeader {
        let mut header = DiscoveryHeader::zeroed();
        header.genctr = U64::new(self.generation);
        header.numrec = U64::new(records);
        header
    }

    /// Writes the bytes of the page from `offset` on into `out`; what lies behind the end becomes 0. Answers the length of the page.
    pub(crate) fn render(&self, host: &Nqn, local: IpAddr, offset: u64, out: &mut [u8]) -> u64 {
        out.fill(0);
        let mut at = DiscoveryHeader::SIZE as u64;
        let mut records = 0;
        for record in self.records(host, local) {
            if overlaps(at, offset, out.len()) {
                place(out, offset, at, record.entry(self.admin_entries).as_bytes());
            }
            at += DiscoveryEntry::SIZE as u64;
            records += 1;
        }
        place(out, offset, 0, self.header(records).as_bytes());
        at
    }

    /// The length of the page in bytes.
    pub(crate) fn page_length(&self, host: &Nqn, local: IpAddr) -> u64 {
        let records = self.records(host, local).count() as u64;
        DiscoveryHeader::SIZE as u64 + records * DiscoveryEntry::SIZE as u64
    }
}

fn overlaps(at: u64, offset: u64, length: usize) -> bool {
    at < offset.saturating_add(length as u64) && offset < at + DiscoveryEntry::SIZE as u64
}

/// Copies what of `bytes`, which start at `at` of the page, lies in the window of `out`, which starts at `offset`.
fn place(out: &mut [u8], offset: u64, at: u64, bytes: &[u8]) {
    let skip = usize::try_from(offset.saturating_sub(at)).unwrap_or(usize::MAX);
    let start = usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
    let (Some(from), Some(to)) = (bytes.get(skip..), out.get_mut(start..)) else {
        return;
    };
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

/// The address to report for a listener to a host that has reached `local`; `None` if that host cannot reach it that way.
fn reachable(listener: IpAddr, local: IpAddr) -> Option<IpAddr> {
    let local = local.to_canonical();
    match listener {
        IpAddr::V4(v4) if v4.is_unspecified() => local.is_ipv4().then_some(local),
        // A listener on [::] takes IPv6 only, so that one on 0.0.0.0 may have the same port.
        IpAddr::V6(v6) if v6.is_unspecified() => local.is_ipv6().then_some(local),
        other => Some(other.to_canonical()),
    }
}

/// One way to one subsystem.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    nqn: &'a Nqn,
    listener: &'a ListenerEntry,
    address: IpAddr,
}

impl Record<'_> {
    fn entry(&self, admin_entries: u16) -> DiscoveryEntry {
        let mut entry = DiscoveryEntry::zeroed();
        match self.listener.wire {
            Wire::TCP => {
                // spec: TCP-ADR-07
                entry.set_tcp(TcpSubtype::zeroed());
            }
            Wire::RDMA => {
                let mut subtype = RdmaSubtype::zeroed();
                subtype.qptype = RdmaQpType::RELIABLE_CONNECTED;
                subtype.prtype = self.listener.rdma_provider;
                subtype.cms = RdmaConnectionManagement::RDMA_IP_CM;
                entry.set_rdma(subtype);
            }
            Wire(other) => entry.trtype = TransportType(other),
        }
        entry.adrfam = match self.address {
            _ if self.listener.wire == Wire::INTRA_HOST => AddressFamily::INTRA_HOST,
            IpAddr::V4(_) => AddressFamily::IPV4,
            IpAddr::V6(_) => AddressFamily::IPV6,
        };
        entry.subtype = SubsystemType::NVM;
        // "Not required" promises a secure channel to whoever wants one: libnvme 1.3 asks its kernel for TLS on it.
        entry.set_treq(
            TransportRequirements(0)
                .with_secure_channel(SecureChannel::NOT_SPECIFIED)
                .with_sq_flow_control_disable_supported(true),
        );
        entry.portid = U16::new(self.listener.portid);
        entry.cntlid = U16::new(CNTLID_DYNAMIC);
        entry.asqsz = U16::new(admin_entries.max(DiscoveryEntry::MIN_ASQSZ));
        // spec: TCP-ADR-05
        entry.trsvcid = Ascii::lossy(&self.listener.address.port().to_string());
        entry.traddr = Ascii::lossy(&self.address.to_string());
        entry.subnqn = NqnField::from(self.nqn);
        entry
    }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
