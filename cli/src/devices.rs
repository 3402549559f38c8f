//! The RDMA devices of this machine for `nvmf transports --explain`: what each is, whether it carries traffic, and what it can do.
//!
//! What the library reports becomes plain values for JSON, and lines for people. Nothing here judges a device; selection does.

use nvmf_rdma::{
    provider::rdma_core::{Adapter, Port, Report},
    verbs::{Device, KeyScope, Kind},
};
use serde::Serialize;

use crate::output::{Style, bytes, list};

/// What `verbs` has to work with.
#[derive(Serialize)]
pub(crate) struct Devices {
    /// Why the system's RDMA libraries cannot be used, if they cannot.
    problem: Option<String>,
    /// Bytes this process may lock; `None` without a limit.
    memlock: Option<u64>,
    devices: Vec<Row>,
}

/// One port of an adapter.
#[derive(Serialize)]
struct Row {
    device: String,
    port: u8,
    kind: String,
    driver: String,
    software: bool,
    firmware: String,
    state: String,
    interfaces: Vec<String>,
    mtu: u32,
    queue_pairs: u32,
    completion_queues: u32,
    queue_entries: u32,
    completion_queue_entries: u32,
    completion_queue_resize: bool,
    shared_receive_queues: bool,
    read_depth_initiator: u8,
    read_depth_responder: u8,
    elements_send: u16,
    elements_receive: u16,
    elements_read: u16,
    inline_bytes: u32,
    memory_regions: u32,
    memory_region_bytes: u64,
    send_with_invalidate: bool,
    key_per_command: bool,
    read_sink_needs_remote_write: bool,
}

impl Row {
    fn new(adapter: &Adapter, port: &Port) -> Self {
        let device: &Device = &port.device;
        Self {
            device: adapter.name.clone(),
            port: device.port,
            kind: device.kind.to_string(),
            driver: adapter.driver.clone(),
            software: adapter.software,
            firmware: adapter.firmware.clone(),
            state: port.state.to_string(),
            interfaces: port.interfaces.clone(),
            mtu: port.mtu,
            queue_pairs: adapter.max_qp,
            completion_queues: adapter.max_cq,
            queue_entries: device.max_qp_wr,
            completion_queue_entries: device.max_cqe,
            completion_queue_resize: device.cq_resize,
            shared_receive_queues: device.srq,
            read_depth_initiator: device.max_initiator_depth,
            read_depth_responder: device.max_responder_resources,
            elements_send: device.max_send_sge,
            elements_receive: device.max_recv_sge,
            elements_read: device.max_read_sge,
            inline_bytes: device.max_inline,
            memory_regions: device.max_mr,
            memory_region_bytes: device.max_mr_size,
            send_with_invalidate: device.send_invalidate,
            key_per_command: device.key_scope == KeyScope::Command,
            read_sink_needs_remote_write: device.read_sink_remote_write || device.kind == Kind::Iwarp,
        }
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let yes = |is: bool| if is { "yes" } else { "no" };
        let by = if self.software { "the kernel, in software" } else { "hardware" };
        let firmware =
            if self.firmware.is_empty() { String::new() } else { format!(", firmware {}", self.firmware) };
        let line = |name: &'static str, value: String| (name, value);
        vec![
            line("kind", format!("{} by {by} (driver {}{firmware})", self.kind, self.driver)),
            line("link", format!("{}, by {}, MTU {}", self.state, or_none(&self.interfaces), self.mtu)),
            line("queue pairs", format!("{} of {} entries", self.queue_pairs, self.queue_entries)),
            line(
                "completion queues",
                format!(
                    "{} of {} entries; resize: {}",
                    self.completion_queues,
                    self.completion_queue_entries,
                    yes(self.completion_queue_resize)
                ),
            ),
            line("shared receive queues", yes(self.shared_receive_queues).into()),
            line(
                "read depth",
                format!(
                    "{} as initiator, {} as responder",
                    self.read_depth_initiator, self.read_depth_responder
                ),
            ),
            line(
                "elements",
                format!(
                    "{} of a send, {} of a receive, {} of an RDMA READ",
                    self.elements_send, self.elements_receive, self.elements_read
                ),
            ),
            line("inline data", bytes(self.inline_bytes.into())),
            line(
                "memory regions",
                format!("{} of up to {}", self.memory_regions, bytes(self.memory_region_bytes)),
            ),
            line("send with invalidate", yes(self.send_with_invalidate).into()),
            line(
                "remote keys",
                format!(
                    "{}{}",
                    if self.key_per_command { "one per command" } else { "one per memory region" },
                    if self.read_sink_needs_remote_write {
                        "; sinks of RDMA READ are remotely writable"
                    } else {
                        ""
                    }
                ),
            ),
        ]
    }
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "no known interface".into() } else { names.join(", ") }
}

impl From<Report> for Devices {
    fn from(report: Report) -> Self {
        let all =
            report.adapters.iter().flat_map(|adapter| adapter.ports.iter().map(move |port| (adapter, port)));
        Self {
            problem: report.library.err().map(|error| error.to_string()),
            memlock: report.memlock,
            devices: all.map(|(adapter, port)| Row::new(adapter, port)).collect(),
        }
    }
}

impl Devices {
    /// For people.
    pub(crate) fn to_text(&self, style: Style) -> String {
        let mut text = style.bold("RDMA devices, for verbs");
        match &self.problem {
            Some(problem) => text.push_str(&format!("\n{problem}")),
            None if self.devices.is_empty() => {
                text.push_str("\nnone (`rdma link` lists them; soft-iwarp needs none)");
            }
            None => {}
        }
        for row in &self.devices {
            let title = format!("{} port {}", row.device, row.port);
            text.push_str(&format!("\n\n{title}\n"));
            list(row.lines()).lines().for_each(|line| text.push_str(&format!("  {line}\n")));
            text.truncate(text.trim_end().len());
        }
        let memlock = match self.memlock {
            None => "without a limit".to_owned(),
            Some(limit) => {
                format!(
                    "at most {} (`ulimit -l unlimited`, or LimitMEMLOCK=infinity in a unit, lifts it)",
                    bytes(limit)
                )
            }
        };
        text.push_str(&format!("\n\nmemory that this process may lock, and so register: {memlock}"));
        text
    }
}
