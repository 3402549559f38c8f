//! `nvmf transports [URI]`: every transport, its limits, and whether it would carry a connection, with its reason.

use nvmf_transport::{Offer, Target, Verdict};
use serde::Serialize;

use crate::{
    args::TransportsArgs,
    connect,
    devices::Devices,
    failure::Failure,
    output::{Output, Style, bytes, table},
    transports,
    uri::Uri,
};

/// One transport's answer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) transport: &'static str,
    pub(crate) wire: &'static str,
    pub(crate) accepts: bool,
    pub(crate) preference: Option<u8>,
    pub(crate) because: String,
}

impl From<&Verdict> for Row {
    fn from(verdict: &Verdict) -> Self {
        let (preference, because) = match &verdict.offer {
            Offer::Accept { preference, because } => (Some(*preference), because),
            Offer::Decline { because } => (None, because),
        };
        Self {
            transport: verdict.transport,
            wire: verdict.wire.name(),
            accepts: preference.is_some(),
            preference,
            because: because.clone(),
        }
    }
}

#[derive(Serialize)]
struct Limits {
    transport: &'static str,
    max_transfer: u32,
    in_capsule_admin: u32,
    in_capsule_io: u32,
    max_depth: u16,
    max_fetches: u16,
}

#[derive(Serialize)]
struct Answer {
    target: Option<String>,
    transports: Vec<Row>,
    limits: Vec<Limits>,
    selected: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rdma: Option<Devices>,
}

/// `nvmf transports`
pub(crate) fn transports(args: TransportsArgs, output: Output) -> Result<(), Failure> {
    let known = transports::for_hosts(&args.connect)?;
    // Without a URI every transport is asked about an address on any wire.
    let any = "nvme://127.0.0.1".parse::<Uri>().ok();
    let uri = args.uri.as_ref().or(any.as_ref());
    let mut rows = Vec::new();
    for target in uri.map(connect::resolve).transpose()?.into_iter().flatten().take(1) {
        rows = verdicts(&known, &target, &args);
    }
    let limits = known
        .iter()
        .map(|transport| {
            let limits = transport.limits();
            Limits {
                transport: transport.name(),
                max_transfer: limits.max_transfer,
                in_capsule_admin: limits.max_in_capsule.admin,
                in_capsule_io: limits.max_in_capsule.io,
                max_depth: limits.max_depth,
                max_fetches: limits.max_fetches,
            }
        })
        .collect();
    let answer = Answer {
        target: args.uri.as_ref().map(ToString::to_string),
        selected: rows.iter().find(|row| row.accepts).map(|row| row.transport),
        transports: rows,
        limits,
        rdma: args.explain.then(|| Devices::from(transports::rdma_report())),
    };
    output.result(&answer, || answer.to_text(Style::of_stdout()))
}

fn verdicts(
    known: &nvmf_transport::Transports<dyn nvmf_transport::HostTransport>,
    target: &Target,
    args: &TransportsArgs,
) -> Vec<Row> {
    let verdicts = match known.select(target, &transports::policy(&args.connect)) {
        Ok(selection) => selection.verdicts,
        Err(none) => none.verdicts,
    };
    verdicts.iter().map(Row::from).collect()
}

/// A table of answers.
pub(crate) fn rows_to_text(rows: &[Row], style: Style) -> String {
    let rows = rows.iter().map(|row| {
        let verdict = match row.preference {
            Some(preference) => style.green(&format!("accepts ({preference})")),
            None => style.red("declines"),
        };
        [row.transport.to_owned(), format!("nvme+{}", row.wire), verdict, row.because.clone()]
    });
    table(&["TRANSPORT", "WIRE", "VERDICT", "BECAUSE"], rows)
}

impl Answer {
    fn to_text(&self, style: Style) -> String {
        let limits = self.limits.iter().map(|limits| {
            [
                limits.transport.to_owned(),
                bytes(limits.max_transfer.into()),
                format!("{} / {}", bytes(limits.in_capsule_admin.into()), bytes(limits.in_capsule_io.into())),
                limits.max_depth.to_string(),
                limits.max_fetches.to_string(),
            ]
        });
        let limits = table(
            &["TRANSPORT", "MAX TRANSFER", "IN-CAPSULE (ADMIN / IO)", "MAX DEPTH>", "MAX FETCHES>"],
            limits,
        );
        let chosen = match (&self.target, self.selected) {
            (Some(target), Some(transport)) => {
                format!("\n\n{transport} would carry a connection to {target}")
            }
            (Some(target), None) => format!("\n\nnone would carry a connection to {target}"),
            (None, _) => String::new(),
        };
        let devices = self.rdma.as_ref().map(|devices| format!("\n\n{}", devices.to_text(style)));
        let devices = devices.unwrap_or_default();
        format!("{}\n\n{limits}{devices}{chosen}", rows_to_text(&self.transports, style))
    }
}
