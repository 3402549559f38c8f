//! `nvmf identify URI`: the controller, its connections and its namespaces.

use std::collections::BTreeMap;

use nvmf_host::{Connection, ControllerInfo, Namespace};
use nvmf_transport::WaitPolicy;
use serde::Serialize;

use crate::{
    args::IdentifyArgs,
    connect,
    failure::{Code, Failure},
    output::{Output, Style, bytes, list, table},
};

#[derive(Serialize)]
struct Controller {
    transport: &'static str,
    address: String,
    subnqn: String,
    hostnqn: String,
    cntlid: u16,
    model: String,
    serial: String,
    firmware: String,
    nvme_version: String,
    controller_type: String,
    max_transfer: u32,
    max_queue_entries: u32,
    in_capsule_data: u64,
    max_commands: u16,
    keep_alive_ms: Option<u64>,
    traffic_based_keep_alive: bool,
    volatile_write_cache: bool,
    commands: Vec<String>,
    async_event_limit: u16,
    abort_limit: u16,
    max_namespaces: u32,
}

#[derive(Serialize)]
struct Queue {
    qid: u16,
    depth: u16,
    sq_flow_control: bool,
    local: String,
    peer: String,
    data_path: &'static str,
    negotiated: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct NamespaceRow {
    nsid: u32,
    bytes: u64,
    blocks: u64,
    block_size: u32,
    used_blocks: u64,
    read_only: bool,
    uuid: Option<String>,
    nguid: Option<String>,
    eui64: Option<String>,
    unusable: Option<&'static str>,
}

#[derive(Serialize)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    controller: Option<Controller>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    queues: Vec<Queue>,
    namespaces: Vec<NamespaceRow>,
}

/// `nvmf identify`
pub(crate) fn identify(args: IdentifyArgs, output: Output) -> Result<(), Failure> {
    let nsid = args.nsid.or(args.uri.nsid);
    let connection = connect::connect(&args.uri, &args.connect, WaitPolicy::default(), false, output)?;
    let Connection { mut host, association, .. } = connection;
    let gone = || Failure::new(Code::Lost, "association", "the controller was lost while it was looked at");
    let state = host.association(association).ok_or_else(gone)?;
    let info = state.info().cloned().ok_or_else(gone)?;
    let namespaces = state.namespaces();
    let rows: Vec<_> = namespaces
        .iter()
        .filter(|namespace| nsid.is_none_or(|nsid| namespace.nsid == nsid))
        .map(NamespaceRow::from)
        .collect();
    if let (Some(nsid), true) = (nsid, rows.is_empty()) {
        let all: Vec<_> = namespaces.iter().map(|namespace| namespace.nsid.to_string()).collect();
        return Err(Failure::new(
            Code::NoNamespace,
            "namespace",
            format!("subsystem {} has no namespace {nsid}", info.subnqn),
        )
        .note(format!("it has {}", if all.is_empty() { "none".into() } else { all.join(", ") }))
        .hint("choose one of them with --nsid"));
    }
    let answer = Answer {
        controller: nsid.is_none().then(|| Controller::from(&*info)),
        queues: if nsid.is_none() { queues(&info) } else { Vec::new() },
        namespaces: rows,
    };
    let printed = output.result(&answer, || answer.to_text(Style::of_stdout()));
    if let Err(error) = host.disconnect(association, &mut Vec::new()) {
        tracing::warn!(%error, "the association did not end in good order");
    }
    printed
}

impl From<&ControllerInfo> for Controller {
    fn from(info: &ControllerInfo) -> Self {
        let id = &*info.identify;
        Self {
            transport: info.transport,
            address: info.address.to_string(),
            subnqn: info.subnqn.to_string(),
            hostnqn: info.hostnqn.to_string(),
            cntlid: info.cntlid,
            model: id.mn.to_string(),
            serial: id.sn.to_string(),
            firmware: id.fr.to_string(),
            nvme_version: info.version.to_string(),
            controller_type: id.cntrltype.to_string(),
            max_transfer: info.max_transfer,
            max_queue_entries: info.capabilities.max_queue_entries(),
            in_capsule_data: id.in_capsule_data().unwrap_or(0),
            max_commands: id.maxcmd.get(),
            keep_alive_ms: info.kato.and_then(|kato| u64::try_from(kato.as_millis()).ok()),
            traffic_based_keep_alive: id
                .ctratt()
                .contains(nvmf_wire::identify::ControllerAttributes::TRAFFIC_BASED_KEEP_ALIVE),
            volatile_write_cache: id.vwc & 1 != 0,
            commands: id.oncs().iter_names().map(|(name, _)| name.to_lowercase().replace('_', "-")).collect(),
            async_event_limit: u16::from(id.aerl) + 1,
            abort_limit: u16::from(id.acl) + 1,
            max_namespaces: id.nn.get(),
        }
    }
}

fn queues(info: &ControllerInfo) -> Vec<Queue> {
    info.queues
        .iter()
        .map(|queue| Queue {
            qid: queue.kind.qid(),
            depth: queue.depth,
            sq_flow_control: queue.sq_flow_control,
            local: queue.info.local.to_string(),
            peer: queue.info.peer.to_string(),
            data_path: queue.info.data_path,
            negotiated: queue.info.negotiated.iter().cloned().collect(),
        })
        .collect()
}

impl From<&Namespace> for NamespaceRow {
    fn from(namespace: &Namespace) -> Self {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Self {
            nsid: namespace.nsid,
            bytes: namespace.bytes(),
            blocks: namespace.blocks,
            block_size: namespace.block_size,
            used_blocks: namespace.identify.nuse.get(),
            read_only: namespace.write_protected,
            uuid: namespace.identity.uuid.map(|uuid| uuid.to_string()),
            nguid: namespace.identity.nguid.map(|id| hex(&id)),
            eui64: namespace.identity.eui64.map(|id| hex(&id)),
            unusable: namespace.unusable,
        }
    }
}

impl Answer {
    fn to_text(&self, style: Style) -> String {
        let mut text = String::new();
        if let Some(controller) = &self.controller {
            text.push_str(&controller.to_text());
            text.push('\n');
        }
        if let Some(first) = self.queues.first() {
            let parameters = first.negotiated.iter().map(|(name, value)| format!("{name} {value}"));
            let io = self.queues.iter().filter(|queue| queue.qid != 0).collect::<Vec<_>>();
            let depth = io.first().map_or(0, |queue| queue.depth);
            text.push_str(&list([
                (
                    "queues",
                    format!("admin of {} entries, {} for I/O of {depth} entries", first.depth, io.len()),
                ),
                ("data path", first.data_path.to_owned()),
                ("negotiated", parameters.collect::<Vec<_>>().join(", ")),
                ("SQ flow control", if first.sq_flow_control { "on" } else { "off" }.to_owned()),
            ]));
            text.push('\n');
        }
        if self.namespaces.is_empty() {
            text.push_str("no namespaces\n");
            return text;
        }
        let rows = self.namespaces.iter().map(|namespace| {
            let names = [&namespace.uuid, &namespace.nguid, &namespace.eui64];
            [
                namespace.nsid.to_string(),
                bytes(namespace.bytes),
                namespace.blocks.to_string(),
                namespace.block_size.to_string(),
                match (namespace.unusable, namespace.read_only) {
                    (Some(why), _) => style.red(why),
                    (None, true) => "read only".into(),
                    (None, false) => "read and write".into(),
                },
                names.into_iter().flatten().next().cloned().unwrap_or_default(),
            ]
        });
        text.push_str(&table(&["NSID>", "SIZE>", "BLOCKS>", "BLOCK SIZE>", "ACCESS", "IDENTITY"], rows));
        text
    }
}

impl Controller {
    fn to_text(&self) -> String {
        let keep_alive = match self.keep_alive_ms {
            Some(ms) if self.traffic_based_keep_alive => format!("{ms} ms, any command counts"),
            Some(ms) => format!("{ms} ms"),
            None => "off".into(),
        };
        list([
            ("subsystem", self.subnqn.clone()),
            ("controller", format!("{} at {} by {}", self.cntlid, self.address, self.transport)),
            ("this host", self.hostnqn.clone()),
            ("model", self.model.clone()),
            ("serial", self.serial.clone()),
            ("firmware", self.firmware.clone()),
            ("version", format!("NVMe {}, {}", self.nvme_version, self.controller_type)),
            ("max transfer", bytes(self.max_transfer.into())),
            ("in-capsule data", bytes(self.in_capsule_data)),
            ("max queue", format!("{} entries", self.max_queue_entries)),
            ("keep alive", keep_alive),
            ("write cache", if self.volatile_write_cache { "volatile; flush it" } else { "none" }.to_owned()),
            ("commands", self.commands.join(", ")),
        ])
    }
}
