//! What a controller says about itself, checked and bounded before anything is done with it.
//!
//! Every number a hostile or broken controller can report ends here as a limit of ours or as an error that names the field.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use nvmf_transport::{QueueInfo, QueueKind};
use nvmf_wire::{
    Nqn,
    identify::{ControllerAttributes, ControllerType, IdentifyController},
    property::{Cap, Version},
};

use crate::Options;

/// One queue, for display.
#[derive(Clone, Debug)]
pub struct QueueDetails {
    /// Which.
    pub kind: QueueKind,
    /// Entries of its submission queue.
    pub depth: u16,
    /// Whether SQ flow control is on.
    pub sq_flow_control: bool,
    /// What the transport negotiated.
    pub info: QueueInfo,
}

/// What is known of the controller and the queues of an association that is up.
#[derive(Clone, Debug)]
pub struct ControllerInfo {
    /// The transport's name.
    pub transport: &'static str,
    /// The controller's address.
    pub address: SocketAddr,
    /// The subsystem.
    pub subnqn: Nqn,
    /// The name we gave.
    pub hostnqn: Nqn,
    /// The controller's identifier.
    pub cntlid: u16,
    /// Whether it is a discovery controller.
    pub discovery: bool,
    /// CAP.
    pub capabilities: Cap,
    /// VS.
    pub version: Version,
    /// Identify Controller, as received.
    pub identify: Arc<IdentifyController>,
    /// Data one I/O command moves at most: the least of MDTS, the transport's limit and the option.
    pub max_transfer: u32,
    /// Data one admin command moves at most.
    pub admin_max_transfer: u32,
    /// The keep-alive timeout in force.
    pub kato: Option<Duration>,
    /// I/O queues that were asked for.
    pub queues_requested: u16,
    /// The admin queue and the I/O queues.
    pub queues: Vec<QueueDetails>,
    /// CRDT1 to 3.
    pub retry_delays: [Duration; 3],
    /// Abort commands the controller takes at once.
    pub abort_limit: u16,
}

/// The checked limits of a controller.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) discovery: bool,
    /// In-capsule data of I/O queues.
    pub(super) in_capsule: u32,
    /// MDTS in bytes.
    pub(super) max_transfer: u32,
    /// Entries of an I/O queue.
    pub(super) max_entries: u32,
    pub(super) retry_delays: [Duration; 3],
    pub(super) abort_limit: u16,
    pub(super) event_limit: u16,
    pub(super) traffic_keeps_alive: bool,
    pub(super) disconnect: bool,
    /// The largest namespace identifier.
    pub(super) namespaces: u32,
}

/// Checks CAP before the controller is enabled.
pub(super) fn check_capabilities(cap: Cap, options: &Options) -> Result<(), String> {
    if cap.mpsmin() > cap.mpsmax() {
        return Err(format!("CAP.MPSMIN {} exceeds CAP.MPSMAX {}", cap.mpsmin(), cap.mpsmax()));
    }
    if options.queues > 0 && !options.subnqn.is_discovery() {
        if cap.max_queue_entries() < 2 {
            return Err("CAP.MQES 0 leaves no room for an I/O queue".into());
        }
        if cap.css() & (Cap::CSS_NVM | Cap::CSS_IO_SETS) == 0 {
            return Err(format!("CAP.CSS {:02X}h offers no NVM command set", cap.css()));
        }
    }
    Ok(())
}

/// Checks Identify Controller.
pub(super) fn examine(cap: Cap, identify: &IdentifyController, options: &Options) -> Result<Facts, String> {
    let discovery = identify.cntrltype == ControllerType::DISCOVERY || options.subnqn.is_discovery();
    let wants_io = options.queues > 0 && !discovery;
    let mut in_capsule = 0;
    if wants_io {
        // NVMe-oF 1.1 §4.1: both mandatory sizes, in units of 16 bytes.
        let ioccsz = identify.ioccsz.get();
        in_capsule = identify
            .in_capsule_data()
            .ok_or_else(|| format!("IOCCSZ {ioccsz} leaves no room for a command of 64 bytes"))?;
        if identify.iorcsz.get() < 1 {
            return Err("IORCSZ 0 leaves no room for a completion".into());
        }
        if identify.sgls().supported() == 0 {
            return Err("SGLS says that SGLs are not supported, which Fabrics requires".into());
        }
        if identify.icdoff.get() != 0 {
            // A data offset no transport of ours makes: legal, and answered by sending no data in the capsule.
            tracing::info!(
                icdoff = identify.icdoff.get(),
                "the controller wants in-capsule data at an offset; not used"
            );
            in_capsule = 0;
        }
    }
    let mdts = identify.max_transfer(cap.min_page_size()).unwrap_or(u64::MAX);
    let entries = match u32::from(identify.maxcmd.get()) {
        0 => cap.max_queue_entries(),
        // One command could never be outstanding if the queue had one entry.
        maxcmd => cap.max_queue_entries().min(maxcmd.max(2)),
    };
    let tenths = |n: u16| Duration::from_millis(u64::from(n) * 100);
    Ok(Facts {
        discovery,
        in_capsule: u32::try_from(in_capsule).unwrap_or(u32::MAX),
        max_transfer: u32::try_from(mdts).unwrap_or(u32::MAX),
        max_entries: entries,
        retry_delays: [identify.crdt1.get(), identify.crdt2.get(), identify.crdt3.get()].map(tenths),
        abort_limit: u16::from(identify.acl) + 1,
        event_limit: u16::from(identify.aerl) + 1,
        traffic_keeps_alive: identify.ctratt().contains(ControllerAttributes::TRAFFIC_BASED_KEEP_ALIVE),
        disconnect: identify.ofcs.get() & IdentifyController::OFCS_DISCONNECT != 0,
        namespaces: identify.nn.get(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identify() -> IdentifyController {
        let mut identify = IdentifyController::zeroed();
        identify.ioccsz = 260.into();
        identify.iorcsz = 1.into();
        identify.sgls = 1.into();
        identify
    }

    fn options() -> Options {
        Options::new(Nqn::parse("nqn.2024-01.org.example:disk").unwrap())
    }

    const CAP: Cap = Cap(1 << 37 | 127);

    #[test]
    fn plain_controller() {
        let facts = examine(CAP, &identify(), &options()).unwrap();
        assert_eq!((facts.in_capsule, facts.max_transfer, facts.max_entries), (4096, u32::MAX, 128));
    }

    #[test]
    fn absurd_values_are_bounded() {
        let mut it = identify();
        (it.mdts, it.ioccsz, it.maxcmd) = (255, u32::MAX.into(), 1.into());
        let facts = examine(CAP, &it, &options()).unwrap();
        assert_eq!((facts.in_capsule, facts.max_transfer, facts.max_entries), (u32::MAX, u32::MAX, 2));
        it.mdts = 1;
        assert_eq!(examine(CAP, &it, &options()).unwrap().max_transfer, 8192);
        it.icdoff = 4.into();
        assert_eq!(examine(CAP, &it, &options()).unwrap().in_capsule, 0);
    }

    #[test]
    fn garbage_names_its_field() {
        let error = |change: fn(&mut IdentifyController)| {
            let mut it = identify();
            change(&mut it);
            examine(CAP, &it, &options()).unwrap_err()
        };
        assert!(error(|it| it.ioccsz = 3.into()).starts_with("IOCCSZ"));
        assert!(error(|it| it.iorcsz = 0.into()).starts_with("IORCSZ"));
        assert!(error(|it| it.sgls = 0.into()).starts_with("SGLS"));
        assert!(check_capabilities(Cap(1 << 37), &options()).unwrap_err().starts_with("CAP.MQES"));
        assert!(check_capabilities(Cap(127), &options()).unwrap_err().starts_with("CAP.CSS"));
        assert!(check_capabilities(CAP.with_mpsmin(3), &options()).unwrap_err().starts_with("CAP.MPSMIN"));
    }

    #[test]
    fn a_discovery_controller_needs_nothing_of_that() {
        let facts = examine(CAP, &IdentifyController::zeroed(), &Options::discovery()).unwrap();
        assert!(facts.discovery);
    }
}
