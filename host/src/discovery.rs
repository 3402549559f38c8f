//! Reads the discovery log whole: header, entries, header again, until both headers are of one generation
//! (NVMe-oF 1.1 §5.3).

use nvmf_wire::log::{
    Lid,
    discovery::{DiscoveryEntry, DiscoveryHeader},
};

use crate::{AsyncClient, ClientError};

/// Entries read at most: 16 MiB of them.
pub const MAX_DISCOVERY_ENTRIES: u64 = 16 * 1024;

/// How often the log may change while it is read.
const TRIES: u32 = 10;

/// The discovery log of one generation.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryLog {
    /// GENCTR.
    pub generation: u64,
    /// The entries, as received.
    pub entries: Vec<DiscoveryEntry>,
}

impl AsyncClient {
    /// The discovery log, whole and of one generation.
    pub async fn discover(&self) -> Result<DiscoveryLog, ClientError> {
        let mut header = self.discovery_header(true).await?;
        for _ in 0..TRIES {
            let count = header.numrec.get();
            if header.recfmt.get() != 0 {
                let format = header.recfmt.get();
                return Err(ClientError::BadAnswer(format!(
                    "the discovery log is of unknown format {format}"
                )));
            }
            if count > MAX_DISCOVERY_ENTRIES {
                return Err(ClientError::BadAnswer(format!("the discovery log claims {count} entries")));
            }
            let len = count as usize * DiscoveryEntry::SIZE;
            let bytes = self.log_page(Lid::DISCOVERY, 0, DiscoveryHeader::SIZE as u64, len, true).await?;
            // The last look acknowledges the event of a change, if there was one; a later change makes a new one.
            let after = self.discovery_header(false).await?;
            if after.genctr == header.genctr && after.numrec == header.numrec {
                let entries =
                    bytes.chunks_exact(DiscoveryEntry::SIZE).filter_map(DiscoveryEntry::view).copied();
                return Ok(DiscoveryLog { generation: header.genctr.get(), entries: entries.collect() });
            }
            header = after;
        }
        Err(ClientError::UnstableLog(TRIES))
    }

    async fn discovery_header(&self, retain: bool) -> Result<DiscoveryHeader, ClientError> {
        let bytes = self.log_page(Lid::DISCOVERY, 0, 0, DiscoveryHeader::SIZE, retain).await?;
        let short = || ClientError::BadAnswer("the discovery log has no header".into());
        DiscoveryHeader::view(&bytes).copied().ok_or_else(short)
    }
}
