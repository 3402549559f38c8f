//! Who this host says it is: its NQN and its 128-bit identifier (NVMe-oF 1.1 §3.3, HOSTNQN and HOSTID).
//!
//! The files are those of nvme-cli, so that a machine has one identity whatever program connects. Where there are none, an
//! identity is made up: the UUID form of the NQN, with the same UUID as identifier. Deliberately absent: storing a made-up one.

use std::{fs, io, path::Path};

use nvmf_wire::{Nqn, nqn::NqnError};
use uuid::Uuid;

/// Where nvme-cli keeps `hostnqn` and `hostid`.
pub const SYSTEM_FOLDER: &str = "/etc/nvme";

/// A host's NQN and identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostIdentity {
    /// HOSTNQN.
    pub nqn: Nqn,
    /// HOSTID. Two hosts with the same one are the same host to a controller; zero is not allowed.
    pub id: [u8; 16],
}

/// Why an identity file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It is there and cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Its NQN is malformed.
    #[error("{path} holds no valid NQN")]
    Nqn {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: NqnError,
    },
    /// Its identifier is not a UUID.
    #[error("{path} holds no UUID")]
    Id {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: uuid::Error,
    },
}

impl HostIdentity {
    /// A new random identity.
    pub fn generate() -> Self {
        Self::from_uuid(Uuid::new_v4())
    }

    /// The identity of a UUID: the UUID form of the NQN and the UUID as identifier.
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self { nqn: Nqn::from_uuid(*uuid.as_bytes()), id: *uuid.as_bytes() }
    }

    /// The identity stored in `folder` as nvme-cli does; what is missing there is derived from the rest, or made up.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, IdentityError> {
        let folder = folder.as_ref();
        let nqn = match first_line(&folder.join("hostnqn"))? {
            Some((path, text)) => {
                Some(Nqn::parse_lenient(&text).map_err(|source| IdentityError::Nqn { path, source })?)
            }
            None => None,
        };
        let id = match first_line(&folder.join("hostid"))? {
            Some((path, text)) => {
                Some(Uuid::parse_str(&text).map_err(|source| IdentityError::Id { path, source })?)
            }
            None => None,
        };
        let uuid = id.or_else(|| nqn.as_ref().and_then(uuid_of)).unwrap_or_else(Uuid::new_v4);
        let generated = Self::from_uuid(uuid);
        Ok(Self { nqn: nqn.unwrap_or(generated.nqn), id: generated.id })
    }

    /// The identity of this machine, from [`SYSTEM_FOLDER`].
    pub fn of_this_machine() -> Result<Self, IdentityError> {
        Self::load(SYSTEM_FOLDER)
    }
}

/// The UUID in the UUID form of an NQN.
fn uuid_of(nqn: &Nqn) -> Option<Uuid> {
    Uuid::parse_str(nqn.as_str().strip_prefix("nqn.2014-08.org.nvmexpress:uuid:")?).ok()
}

/// The first line of a file with more than white space in it; `None` if there is no such file or line.
fn first_line(path: &Path) -> Result<Option<(String, String)>, IdentityError> {
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => {
            let line = text.lines().map(str::trim).find(|line| !line.is_empty());
            Ok(line.map(|line| (name, line.to_owned())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::Read { path: name, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("nvmf-host-identity-{}", Uuid::new_v4()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.join(name), text).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const UUID: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn both_files() {
        let folder = Folder::new();
        folder.write("hostnqn", "nqn.2024-01.org.example:host\n");
        folder.write("hostid", &format!("\n {UUID} \n"));
        let identity = HostIdentity::load(&folder.0).unwrap();
        assert_eq!(identity.nqn, "nqn.2024-01.org.example:host");
        assert_eq!(identity.id, *Uuid::parse_str(UUID).unwrap().as_bytes());
    }

    #[test]
    fn id_from_the_nqn() {
        let folder = Folder::new();
        folder.write("hostnqn", &format!("nqn.2014-08.org.nvmexpress:uuid:{UUID}"));
        let identity = HostIdentity::load(&folder.0).unwrap();
        assert_eq!(identity.id, *Uuid::parse_str(UUID).unwrap().as_bytes());
    }

    #[test]
    fn nothing_stored_makes_one_up() {
        let folder = Folder::new();
        let identity = HostIdentity::load(&folder.0).unwrap();
        assert_eq!(identity.nqn, Nqn::from_uuid(identity.id));
        assert_ne!(identity, HostIdentity::load(&folder.0).unwrap());
    }

    #[test]
    fn garbage_is_refused() {
        let folder = Folder::new();
        folder.write("hostnqn", "hel\u{7}lo");
        assert!(matches!(HostIdentity::load(&folder.0), Err(IdentityError::Nqn { .. })));
        folder.write("hostnqn", "nqn.2024-01.org.example:host");
        folder.write("hostid", "hello");
        assert!(matches!(HostIdentity::load(&folder.0), Err(IdentityError::Id { .. })));
    }
}
