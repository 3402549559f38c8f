//! The host behind a thread of its own: [`Client`] blocks, [`AsyncClient`] is for any executor (of tokio it needs only the
//! channels). Both speak in bytes and refuse what is not aligned to blocks.
//!
//! `driver` is the thread, `tokio` the asynchronous face, `blocking` the same waited for. Deliberately absent: buffering and
//! read-modify-write; a block device on top of this wants neither.

mod blocking;
mod driver;
mod tokio;

pub use self::{
    blocking::Client,
    tokio::{AsyncClient, Pending},
};

use ::tokio::sync::broadcast;

use crate::{ConnectError, IoError, Notice};

/// Why a call of a client failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The association did not come about, or the thread could not be started.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A command failed.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The discovery log changed again and again while it was read.
    #[error("the discovery log changed {0} times while it was read")]
    UnstableLog(u32),
    /// What the controller returned makes no sense.
    #[error("{0}")]
    BadAnswer(String),
}

impl ClientError {
    /// The stable code, for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.code(),
            Self::Io(error) => error.code(),
            Self::UnstableLog(_) => "unstable-log",
            Self::BadAnswer(_) => "bad-answer",
        }
    }

    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.hint(),
            Self::Io(error) => error.hint(),
            Self::UnstableLog(_) => "subsystems come and go quickly there; try again",
            Self::BadAnswer(_) => "the controller violates the specification; report it to its maker",
        }
    }
}

/// What happens to a client's association, as it happens. One that is not read misses the oldest.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Notice>);

impl Events {
    /// The next one; `None` after the last.
    pub async fn next(&mut self) -> Option<Notice> {
        loop {
            match self.0.recv().await {
                Ok(notice) => return Some(notice),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// The next one if there is one already.
    pub fn try_next(&mut self) -> Option<Notice> {
        loop {
            match self.0.try_recv() {
                Ok(notice) => return Some(notice),
                Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => return None,
            }
        }
    }

    /// The next one, blocking; `None` after the last.
    pub fn wait(&mut self) -> Option<Notice> {
        blocking::block_on(self.next())
    }
}
