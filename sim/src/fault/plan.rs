//! What may go wrong, when, and on which queues. Plain values.

use std::time::Duration;

use nvmf_transport::QueueKind;

/// A seed and the faults it decides about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What every random choice follows from.
    pub seed: u64,
    /// The faults, each on its own.
    pub faults: Vec<Fault>,
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub what: What,
    /// When.
    pub when: When,
    /// On which queues.
    pub on: On,
    /// How many times in the life of an engine; 0 for as often as it comes to it.
    pub times: u32,
}

/// What goes wrong. The first five strike one command, the others the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The command's completion (at a controller: its arrival) comes later.
    Delay {
        /// At least by this.
        least: Duration,
        /// At most by this.
        most: Duration,
    },
    /// It never comes: the command ends when its queue does.
    Withhold,
    /// This many others of the queue come before it, if they come within a moment.
    Reorder {
        /// How many.
        others: u16,
    },
    /// One bit of what the host sends is wrong.
    FlipWrite,
    /// One bit of what the host receives is wrong.
    FlipRead,
    /// Nothing more is heard of the queue: for this long, or until this side closes it.
    Stall {
        /// How long; `None` for ever.
        time: Option<Duration>,
    },
    /// The connection breaks.
    Reset,
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At any command, so many times of a thousand.
    Chance(u16),
    /// At the n-th command of a queue, counted from 1.
    Command(u64),
    /// At the command that carries the n-th byte of data of a queue, counted from 1.
    Byte(u64),
    /// When a queue has come to this point; for faults of commands, at the first command from there on.
    Moment(Moment),
}

/// A point in the life of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It was asked for (only a host knows).
    Connecting,
    /// It is negotiated.
    Connected,
    /// Its Connect command has been answered.
    Configured,
}

/// Which queues a fault strikes. Before its Connect command a controller does not know what a queue is: there only `Any` fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum On {
    /// All of them.
    #[default]
    Any,
    /// Admin queues.
    Admin,
    /// I/O queues.
    Io,
    /// The I/O queue of this number.
    Queue(u16),
}

impl On {
    pub(super) fn fits(self, kind: Option<QueueKind>) -> bool {
        match (self, kind) {
            (Self::Any, _) | (Self::Admin, Some(QueueKind::Admin)) | (Self::Io, Some(QueueKind::Io(_))) => {
                true
            }
            (Self::Queue(qid), Some(kind)) => kind.qid() == qid,
            _ => false,
        }
    }
}

impl What {
    /// Whether it strikes a whole queue and not one command.
    pub(super) fn is_of_queue(self) -> bool {
        matches!(self, Self::Stall { .. } | Self::Reset)
    }
}

impl Plan {
    /// A plan without faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, faults: Vec::new() }
    }

    /// Adds a fault on any queue.
    #[must_use]
    pub fn with(self, what: What, when: When) -> Self {
        self.with_on(what, when, On::Any)
    }

    /// Adds a fault on some queues.
    #[must_use]
    pub fn with_on(mut self, what: What, when: When, on: On) -> Self {
        self.faults.push(Fault { what, when, on, times: 0 });
        self
    }

    /// Lets the fault that was added last strike only so many times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        if let Some(last) = self.faults.last_mut() {
            last.times = times;
        }
        self
    }
}
