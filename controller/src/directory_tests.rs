//! The discovery log page in pieces, and the addresses it reports.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use nvmf_transport::Wire;
use nvmf_wire::{
    Nqn,
    log::discovery::{DiscoveryEntry, RdmaProvider, SecureChannel, TcpSecurity},
};
use proptest::prelude::*;

use super::{Directory, ListenerEntry, reachable};
use crate::options::Hosts;

fn host() -> Nqn {
    Nqn::from_uuid([1; 16])
}

fn directory(subsystems: usize, listeners: usize) -> Directory {
    let name = |number| Nqn::parse(&format!("nqn.2024-01.com.example:{number}")).unwrap();
    let hosts = |number: usize| match number % 3 {
        0 => Hosts::Only([Nqn::from_uuid([2; 16])].into()),
        1 => Hosts::Only([host()].into()),
        _ => Hosts::Any,
    };
    let address = |port: usize| SocketAddr::new([192, 0, 2, 1].into(), 4420 + port as u16);
    Directory {
        generation: 7,
        subsystems: (0..subsystems).map(|number| (name(number), Arc::new(hosts(number)))).collect(),
        listeners: (0..listeners)
            .map(|number| ListenerEntry {
                portid: number as u16 + 1,
                wire: Wire::TCP,
                rdma_provider: RdmaProvider::NONE,
                address: address(number),
            })
            .collect(),
        admin_entries: 128,
    }
}

fn local() -> IpAddr {
    [192, 0, 2, 1].into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pieces_make_the_whole(subsystems in 0usize..7, listeners in 0usize..4, piece in 1usize..3000) {
        let directory = directory(subsystems, listeners);
        let length = directory.page_length(&host(), local());
        let mut whole = vec![0xee; length as usize];
        prop_assert_eq!(directory.render(&host(), local(), 0, &mut whole), length);
        let visible = (0..subsystems).filter(|number| number % 3 != 0).count();
        prop_assert_eq!(length as usize, 1024 * (1 + visible * listeners));
        let mut pieces = Vec::new();
        while pieces.len() < whole.len() + 100 {
            let mut out = vec![0xee; piece];
            directory.render(&host(), local(), pieces.len() as u64, &mut out);
            pieces.extend(out);
        }
        prop_assert_eq!(&pieces[..whole.len()], &whole[..]);
        prop_assert!(pieces[whole.len()..].iter().all(|&byte| byte == 0));
    }
}

// test: TCP-ADR-05, TCP-ADR-07
#[test]
fn entries_for_tcp_name_their_port_and_their_security() {
    let mut page = vec![0; 3 * 1024];
    directory(2, 2).render(&host(), local(), 0, &mut page);
    let entries: Vec<_> =
        page[1024..].chunks(1024).map(|entry| DiscoveryEntry::view(entry).unwrap()).collect();
    assert_eq!(entries.iter().map(|entry| entry.trsvcid.to_string()).collect::<Vec<_>>(), ["4420", "4421"]);
    assert!(entries.iter().all(|entry| entry.tcp().unwrap().sectype == TcpSecurity::NONE));
    // Without TLS nothing may hint at a secure channel: libnvme takes "not required" for an offer of one.
    assert!(entries.iter().all(|entry| entry.treq().secure_channel() == SecureChannel::NOT_SPECIFIED));
}

#[test]
fn offsets_beyond_any_page() {
    let mut out = [1; 64];
    directory(3, 3).render(&host(), local(), u64::MAX - 3, &mut out);
    assert_eq!(out, [0; 64]);
}

#[test]
fn wildcards_report_the_address_the_host_used() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let seen = |listener, local| reachable(ip(listener), ip(local)).map(|ip| ip.to_string());
    assert_eq!(seen("0.0.0.0", "192.0.2.7").as_deref(), Some("192.0.2.7"));
    assert_eq!(seen("0.0.0.0", "::ffff:192.0.2.7").as_deref(), Some("192.0.2.7"));
    assert_eq!(seen("0.0.0.0", "2001:db8::1"), None);
    assert_eq!(seen("::", "2001:db8::1").as_deref(), Some("2001:db8::1"));
    assert_eq!(seen("::", "192.0.2.7"), None);
    assert_eq!(seen("::", "::ffff:192.0.2.7"), None);
    assert_eq!(seen("198.51.100.1", "192.0.2.7").as_deref(), Some("198.51.100.1"));
}
