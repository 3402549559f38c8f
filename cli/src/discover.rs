//! `nvmf discover URI`: the discovery log page, as URIs that the other commands take.

use nvmf_host::{Client, ClientError};
use nvmf_transport::Wire;
use nvmf_wire::{
    Nqn,
    log::discovery::{DiscoveryEntry, SubsystemType},
};
use serde::Serialize;

use crate::{
    args::{ConnectArgs, DiscoverArgs},
    connect,
    failure::{Code, Failure},
    output::{Output, table},
    uri::{DISCOVERY_PORT, Uri},
};

/// One record, as shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Record {
    /// What it points to.
    pub(crate) subtype: String,
    /// The subsystem's name.
    pub(crate) subnqn: String,
    /// Where to connect.
    pub(crate) uri: Option<String>,
    pub(crate) trtype: String,
    pub(crate) adrfam: String,
    pub(crate) traddr: String,
    pub(crate) trsvcid: String,
    pub(crate) portid: u16,
    pub(crate) cntlid: u16,
    pub(crate) asqsz: u16,
    pub(crate) treq: u8,
    /// Of NVMe/RDMA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rdma: Option<RdmaRecord>,
    #[serde(skip)]
    nvm: Option<Nqn>,
}

/// What a record says of NVMe/RDMA, in the specification's words.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RdmaRecord {
    pub(crate) qptype: String,
    pub(crate) prtype: String,
    pub(crate) cms: String,
}

impl RdmaRecord {
    fn new(entry: &DiscoveryEntry) -> Option<Self> {
        let subtype = entry.rdma()?;
        let name = |known: Option<&str>, number: u8| known.map_or_else(|| number.to_string(), str::to_owned);
        Some(Self {
            qptype: name(subtype.qptype.description(), subtype.qptype.0),
            prtype: name(subtype.prtype.description(), subtype.prtype.0),
            cms: name(subtype.cms.description(), subtype.cms.0),
        })
    }
}

/// The whole page.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Log {
    /// Changes whenever the page does.
    pub(crate) generation: u64,
    /// Its records.
    pub(crate) records: Vec<Record>,
}

impl Log {
    /// The NVM subsystems in it, each once.
    pub(crate) fn subsystems(&self) -> Vec<Nqn> {
        let mut names: Vec<Nqn> = self.records.iter().filter_map(|record| record.nvm).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// `nvmf discover`
pub(crate) fn discover(args: DiscoverArgs, output: Output) -> Result<(), Failure> {
    let log = ask(&args.uri, &args.connect, DISCOVERY_PORT)?;
    output.result(&log, || log.to_text())
}

/// Connects to the discovery controller, on `port` unless the URI has one, and reads the log page.
pub(crate) fn ask(uri: &Uri, args: &ConnectArgs, port: u16) -> Result<Log, Failure> {
    let client = connect::discovery(uri, args, port)?;
    let log = read(&client);
    client.close();
    log
}

fn read(client: &Client) -> Result<Log, Failure> {
    let log = client.discover().map_err(|error| match error {
        ClientError::Connect(error) => error.into(),
        ClientError::Io(error) => Failure::from(error),
        other => Failure::new(Code::Controller, "discovery", other.to_string())
            .named(other.code())
            .hint(other.hint()),
    })?;
    Ok(Log { generation: log.generation, records: log.entries.iter().map(Record::new).collect() })
}

impl Record {
    fn new(entry: &DiscoveryEntry) -> Self {
        let name = entry.subnqn.nqn();
        let subnqn = match &name {
            Ok(nqn) => nqn.to_string(),
            Err(error) => format!("({error})"),
        };
        let (traddr, trsvcid) = (entry.traddr.to_string(), entry.trsvcid.to_string());
        let uri = name.ok().and_then(|nqn| address(entry, &traddr, &trsvcid, nqn));
        Self {
            subtype: match entry.subtype {
                SubsystemType::REFERRAL => "referral".into(),
                SubsystemType::NVM => "nvm".into(),
                SubsystemType::CURRENT_DISCOVERY => "discovery".into(),
                other => other.0.to_string(),
            },
            subnqn,
            uri: uri.map(|uri| uri.to_string()),
            trtype: entry.trtype.description().map_or_else(|| entry.trtype.0.to_string(), str::to_lowercase),
            adrfam: entry.adrfam.description().map_or_else(|| entry.adrfam.0.to_string(), str::to_lowercase),
            traddr,
            trsvcid,
            portid: entry.portid.get(),
            cntlid: entry.cntlid.get(),
            asqsz: entry.asqsz.get(),
            treq: entry.treq,
            rdma: RdmaRecord::new(entry),
            nvm: name.ok().filter(|_| entry.subtype == SubsystemType::NVM),
        }
    }
}

/// The record as a URI to use, if it is one this program understands.
fn address(entry: &DiscoveryEntry, traddr: &str, trsvcid: &str, nqn: Nqn) -> Option<Uri> {
    let wire = Wire(entry.trtype.0);
    if wire != Wire::TCP && wire != Wire::RDMA {
        return None;
    }
    Some(Uri {
        wire: Some(wire),
        host: traddr.to_owned(),
        // spec: TCP-ADR-06
        port: Some(trsvcid.trim().parse().ok()?),
        nqn: Some(nqn),
        nsid: None,
    })
}

impl Log {
    fn to_text(&self) -> String {
        if self.records.is_empty() {
            return format!(
                "no records (generation {})\nThis host may not be allowed to see any; see --hostnqn",
                self.generation
            );
        }
        let rows = self.records.iter().map(|record| {
            let place = record.uri.clone().unwrap_or_else(|| {
                format!("{} {} {} {}", record.trtype, record.traddr, record.trsvcid, record.subnqn)
            });
            [record.subtype.clone(), record.portid.to_string(), place]
        });
        table(&["TYPE", "PORT ID>", "WHERE"], rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvmf_wire::{
        Ascii,
        log::discovery::{AddressFamily, TransportType},
    };

    fn entry(traddr: &str, trsvcid: &str) -> DiscoveryEntry {
        let mut entry = DiscoveryEntry::zeroed();
        entry.trtype = TransportType::TCP;
        entry.adrfam = AddressFamily::IPV6;
        entry.subtype = SubsystemType::NVM;
        entry.traddr = Ascii::lossy(traddr);
        entry.trsvcid = Ascii::lossy(trsvcid);
        entry.subnqn = Nqn::DISCOVERY.into();
        entry
    }

    #[test]
    fn records_are_uris_to_use() {
        let record = Record::new(&entry("2001:db8::7", "4420"));
        let uri = record.uri.unwrap();
        assert_eq!(uri, "nvme+tcp://[2001:db8::7]:4420/nqn.2014-08.org.nvmexpress.discovery");
        assert!(uri.parse::<Uri>().is_ok());
    }

    // test: TCP-ADR-06
    #[test]
    fn what_is_no_address_stays_text() {
        assert_eq!(Record::new(&entry("2001:db8::7", "none")).uri, None);
        let mut fibre = entry("nn-0x1:pn-0x2", "none");
        fibre.trtype = TransportType::FC;
        let log = Log { generation: 1, records: vec![Record::new(&fibre)] };
        assert!(log.to_text().contains("fibre channel nn-0x1:pn-0x2"), "{}", log.to_text());
    }

    #[test]
    fn subsystems_are_listed_once() {
        let record = Record::new(&entry("192.0.2.7", "4420"));
        let log = Log { generation: 1, records: vec![record.clone(), record] };
        assert_eq!(log.subsystems(), [Nqn::DISCOVERY]);
    }
}
