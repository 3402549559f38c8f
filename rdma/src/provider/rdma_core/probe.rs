//! What a device is and can do, as plain values: for the limits of connections, and for people.

use std::{
    ffi::{CStr, c_int},
    fs,
    path::Path,
    ptr::{self, NonNull},
};

use nvmf_transport::{Error, Stage};

use super::error;
use crate::{
    ffi::{self, Libraries, LoadError},
    verbs::{Device, KeyScope, Kind},
};

/// The narrowest values that devices in use have; what the interface promises where there is no device to ask.
/// (iWARP adapters give a send 4 elements and a READ 1; siw copies 80 bytes inline.)
pub(super) fn narrowest() -> Device {
    Device {
        name: "verbs".into(),
        port: 1,
        kind: Kind::Iwarp,
        max_send_sge: 4,
        max_recv_sge: 4,
        max_read_sge: 1,
        max_inline: 0,
        max_initiator_depth: 16,
        max_responder_resources: 16,
        max_qp_wr: 1024,
        max_cqe: 4096,
        max_mr: 1024,
        max_mr_size: 1 << 32,
        max_private_data: 56,
        cq_resize: false,
        srq: false,
        key_scope: KeyScope::Region,
        send_invalidate: false,
        read_sink_remote_write: true,
    }
}

/// The narrowest of each value of several devices.
pub(super) fn least<'a>(devices: impl IntoIterator<Item = &'a Device>) -> Device {
    let mut devices = devices.into_iter();
    let Some(first) = devices.next() else { return narrowest() };
    let start = Device { name: "verbs".into(), ..first.clone() };
    devices.fold(start, |least, one| Device {
        // The rules of iWARP are the strictest.
        kind: if one.kind == Kind::Iwarp { Kind::Iwarp } else { least.kind },
        max_send_sge: least.max_send_sge.min(one.max_send_sge),
        max_recv_sge: least.max_recv_sge.min(one.max_recv_sge),
        max_read_sge: least.max_read_sge.min(one.max_read_sge),
        max_inline: least.max_inline.min(one.max_inline),
        max_initiator_depth: least.max_initiator_depth.min(one.max_initiator_depth),
        max_responder_resources: least.max_responder_resources.min(one.max_responder_resources),
        max_qp_wr: least.max_qp_wr.min(one.max_qp_wr),
        max_cqe: least.max_cqe.min(one.max_cqe),
        max_mr: least.max_mr.min(one.max_mr),
        max_mr_size: least.max_mr_size.min(one.max_mr_size),
        max_private_data: least.max_private_data.min(one.max_private_data),
        cq_resize: least.cq_resize && one.cq_resize,
        srq: least.srq && one.srq,
        send_invalidate: least.send_invalidate && one.send_invalidate,
        read_sink_remote_write: least.read_sink_remote_write || one.read_sink_remote_write,
        ..least
    })
}

/// Everything that decides whether and how verbs can be used on this machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Why rdma-core's libraries cannot be used, if they cannot.
    pub library: Result<(), LoadError>,
    /// Bytes of memory that this process may lock (registered memory is locked); `None` without a limit.
    pub memlock: Option<u64>,
    /// The adapters, in the order the system lists them.
    pub adapters: Vec<Adapter>,
}

/// An RDMA adapter, of hardware or of software.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adapter {
    /// Its name, e.g. `siw0`.
    pub name: String,
    /// The kernel's driver, e.g. `mlx5_core`; for `siw` and `rxe`, which have none on a bus, their name.
    pub driver: String,
    /// Whether the kernel does in software what hardware would.
    pub software: bool,
    /// The version of its firmware, empty where it has none.
    pub firmware: String,
    /// Queue pairs.
    pub max_qp: u32,
    /// Completion queues.
    pub max_cq: u32,
    /// Its ports; what they can do is mostly the adapter's and the same for each.
    pub ports: Vec<Port>,
}

/// A port of an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Port {
    /// What it can do.
    pub device: Device,
    /// Its state when the adapter was opened.
    pub state: PortState,
    /// Bytes of the largest packet (InfiniBand, RoCE); of iWARP nominal.
    pub mtu: u32,
    /// Network interfaces that lead over it, as far as the system tells.
    pub interfaces: Vec<String>,
}

/// The state of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Carries traffic.
    Active,
    /// Has no link.
    Down,
    /// On its way up, or of a state unknown here.
    Other(u32),
}

impl std::fmt::Display for PortState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Active => f.write_str("active"),
            Self::Down => f.write_str("down"),
            Self::Other(number) => write!(f, "state {number}"),
        }
    }
}

/// Asks an open device what it is. `pd` is a domain on it.
pub(super) fn adapter(
    libs: &Libraries,
    verbs: NonNull<ffi::ibv_context>,
    pd: *mut ffi::ibv_pd,
    name: &str,
) -> Result<Adapter, Error> {
    // SAFETY: all zero is valid for a structure of numbers.
    let mut attributes: ffi::ibv_device_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the context is open, and the structure is the one the function fills.
    let failed = unsafe { (libs.ib.ibv_query_device)(verbs.as_ptr(), &raw mut attributes) };
    if failed != 0 {
        return Err(error::os(Stage::Setup, format!("cannot query {name}"), error::of_code(failed)));
    }
    // SAFETY: the context is open and its device lives as long.
    let iwarp = unsafe { (*(*verbs.as_ptr()).device).transport_type } == ffi::IBV_TRANSPORT_IWARP;
    let inline = max_inline(libs, verbs, pd, &attributes);
    let sys = Path::new("/sys/class/infiniband").join(name);
    let driver = driver(&sys);
    let ports = (1..=attributes.phys_port_cnt)
        .filter_map(|number| {
            // SAFETY: the context is open.
            let port = unsafe { ffi::query_port(&libs.ib, verbs.as_ptr(), number) }?;
            let kind = match (iwarp, u32::from(port.link_layer)) {
                (true, _) => Kind::Iwarp,
                (false, ffi::IBV_LINK_LAYER_ETHERNET) => Kind::RoCe,
                (false, _) => Kind::InfiniBand,
            };
            Some(Port {
                device: device(name, number, kind, &attributes, inline),
                state: match port.state {
                    ffi::IBV_PORT_ACTIVE => PortState::Active,
                    ffi::IBV_PORT_DOWN => PortState::Down,
                    other => PortState::Other(other),
                },
                // The numbers 1 to 5 stand for 256 to 4096 bytes.
                mtu: if (1..=5).contains(&port.active_mtu) { 128 << port.active_mtu } else { 0 },
                interfaces: interfaces(&sys, number),
            })
        })
        .collect();
    // SAFETY: the library ends the text with a zero, in an array that began as zeroes.
    let firmware = unsafe { CStr::from_ptr(attributes.fw_ver.as_ptr()) }.to_string_lossy().into_owned();
    Ok(Adapter {
        name: name.into(),
        software: matches!(driver.as_str(), "siw" | "rxe"),
        driver,
        firmware: if firmware.trim_matches(['0', '.']).is_empty() { String::new() } else { firmware },
        max_qp: count(attributes.max_qp),
        max_cq: count(attributes.max_cq),
        ports,
    })
}

fn count(number: c_int) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn elements(number: c_int) -> u16 {
    u16::try_from(number.max(1)).unwrap_or(u16::MAX)
}

/// 255 means "as many as there are" in the connection manager's call, so 254 is the most that can be meant.
fn depth(number: c_int) -> u8 {
    u8::try_from(number.clamp(0, 254)).unwrap_or(254)
}

fn device(name: &str, port: u8, kind: Kind, attributes: &ffi::ibv_device_attr, inline: u32) -> Device {
    Device {
        name: name.into(),
        port,
        kind,
        max_send_sge: elements(attributes.max_sge),
        max_recv_sge: elements(attributes.max_sge),
        max_read_sge: if kind == Kind::Iwarp { 1 } else { elements(attributes.max_sge_rd) },
        max_inline: inline,
        max_initiator_depth: depth(attributes.max_qp_init_rd_atom),
        max_responder_resources: depth(attributes.max_qp_rd_atom),
        max_qp_wr: count(attributes.max_qp_wr),
        max_cqe: count(attributes.max_cqe),
        max_mr: count(attributes.max_mr),
        max_mr_size: attributes.max_mr_size,
        // RFC 5044 has 512, Linux takes 256 in all, of which RFC 6581 takes 4, and its callers have a byte for the length. The
        // InfiniBand CM has 92 bytes for a request, 36 of them for the IP addresses.
        max_private_data: if kind == Kind::Iwarp { 252 } else { 56 },
        cq_resize: kind != Kind::Iwarp,
        srq: attributes.max_srq > 0,
        key_scope: KeyScope::Region,
        send_invalidate: attributes.device_cap_flags & ffi::IBV_DEVICE_MEM_MGT_EXTENSIONS != 0,
        read_sink_remote_write: kind == Kind::Iwarp,
    }
}

/// How many bytes a send can carry inline. Devices do not tell; they refuse queue pairs that ask for too many.
fn max_inline(
    libs: &Libraries,
    verbs: NonNull<ffi::ibv_context>,
    pd: *mut ffi::ibv_pd,
    attributes: &ffi::ibv_device_attr,
) -> u32 {
    // SAFETY: the context is open; no channel is needed.
    let cq = unsafe { (libs.ib.ibv_create_cq)(verbs.as_ptr(), 4, ptr::null_mut(), ptr::null_mut(), 0) };
    if cq.is_null() {
        return 0;
    }
    let mut granted = 0;
    for asked in [256, 224, 208, 128, 96, 80, 64, 32] {
        // SAFETY: all zero (null pointers, no capacities) is valid.
        let mut attr: ffi::ibv_qp_init_attr = unsafe { std::mem::zeroed() };
        attr.send_cq = cq;
        attr.recv_cq = cq;
        attr.qp_type = ffi::IBV_QPT_RC;
        attr.cap = ffi::ibv_qp_cap {
            max_send_wr: 1,
            max_recv_wr: 1,
            max_send_sge: u32::from(elements(attributes.max_sge)).min(4),
            max_recv_sge: 1,
            max_inline_data: asked,
        };
        // SAFETY: domain and queue are live, `attr` is complete.
        let qp = unsafe { (libs.ib.ibv_create_qp)(pd, &raw mut attr) };
        if !qp.is_null() {
            granted = attr.cap.max_inline_data.max(asked);
            // SAFETY: nothing uses the queue pair.
            unsafe { (libs.ib.ibv_destroy_qp)(qp) };
            break;
        }
    }
    // SAFETY: no queue pair is left on it.
    unsafe { (libs.ib.ibv_destroy_cq)(cq) };
    granted
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn driver(sys: &Path) -> String {
    if let Ok(link) = fs::read_link(sys.join("device/driver"))
        && let Some(name) = link.file_name()
    {
        return name.to_string_lossy().into_owned();
    }
    let described = read(&sys.join("node_desc"));
    if described.contains("Software iWARP") {
        "siw".into()
    } else if described.starts_with("rxe") || sys.join("parent").exists() {
        "rxe".into()
    } else {
        described
    }
}

fn interfaces(sys: &Path, port: u8) -> Vec<String> {
    let port = sys.join("ports").join(port.to_string());
    let mut found: Vec<String> = fs::read_dir(port.join("gid_attrs/ndevs"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| read(&entry.path()))
        .filter(|name| !name.is_empty())
        .collect();
    if found.is_empty() {
        // The GID of an iWARP port begins with the address of its interface, and older kernels tell no more.
        let gid: String = read(&port.join("gids/0")).chars().filter(|c| *c != ':').take(12).collect();
        found = fs::read_dir("/sys/class/net")
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| {
                let mac: String = read(&entry.path().join("address")).chars().filter(|c| *c != ':').collect();
                mac.len() == 12 && mac == gid && mac.bytes().any(|digit| digit != b'0')
            })
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> ffi::ibv_device_attr {
        // SAFETY: all zero is valid for a structure of numbers.
        let mut attributes: ffi::ibv_device_attr = unsafe { std::mem::zeroed() };
        attributes.max_sge = 30;
        attributes.max_sge_rd = 28;
        attributes.max_qp_wr = 32768;
        attributes.max_cqe = 1 << 20;
        attributes.max_qp_rd_atom = 300;
        attributes.max_qp_init_rd_atom = 128;
        attributes.device_cap_flags = ffi::IBV_DEVICE_MEM_MGT_EXTENSIONS;
        attributes
    }

    #[test]
    fn the_rules_of_iwarp_are_the_devices() {
        let iwarp = device("siw0", 1, Kind::Iwarp, &attributes(), 80);
        assert_eq!((iwarp.max_read_sge, iwarp.cq_resize, iwarp.read_sink_remote_write), (1, false, true));
        assert!(iwarp.max_private_data >= 32 && iwarp.max_private_data <= 252);
        let roce = device("rxe0", 1, Kind::RoCe, &attributes(), 80);
        assert_eq!((roce.max_read_sge, roce.cq_resize, roce.read_sink_remote_write), (28, true, false));
        assert_eq!(roce.max_private_data, 56);
    }

    #[test]
    fn what_a_driver_reports_is_not_taken_for_more_than_can_be_said() {
        let mut odd = attributes();
        odd.max_sge = -1;
        odd.max_sge_rd = 0;
        odd.max_qp_wr = -5;
        let device = device("odd0", 1, Kind::RoCe, &odd, 0);
        assert_eq!((device.max_send_sge, device.max_read_sge, device.max_qp_wr), (1, 1, 0));
        assert_eq!((device.max_responder_resources, device.max_initiator_depth), (254, 128));
    }

    #[test]
    fn the_least_of_several_is_least_in_everything() {
        let iwarp = device("siw0", 1, Kind::Iwarp, &attributes(), 80);
        let mut wide = attributes();
        wide.max_sge = 4;
        wide.device_cap_flags = 0;
        let roce = device("mlx5_0", 2, Kind::RoCe, &wide, 256);
        let least = least([&roce, &iwarp]);
        assert_eq!((least.max_send_sge, least.max_read_sge, least.max_inline), (4, 1, 80));
        assert_eq!((least.kind, least.cq_resize, least.send_invalidate), (Kind::Iwarp, false, false));
        assert_eq!((least.max_private_data, least.read_sink_remote_write), (56, true));
        assert_eq!(super::least([]), narrowest());
    }
}
