//! What a user chooses about an association, with the defaults nvme-cli's users expect.
//!
//! Deliberately absent: what only one transport knows (digests, alignment, R2Ts); that is the transport value's configuration.

use std::{net::SocketAddr, time::Duration};

use nvmf_wire::Nqn;

use crate::HostIdentity;

/// Which controller of the subsystem to ask for (NVMe-oF 1.1 §3.3, CNTLID).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ControllerId {
    /// Any: the subsystem makes one up (FFFFh).
    #[default]
    Dynamic,
    /// Any of the static ones (FFFEh).
    AnyStatic,
    /// This one.
    Static(u16),
}

impl ControllerId {
    /// The field of the Connect command's data.
    pub fn to_wire(self) -> u16 {
        match self {
            Self::Dynamic => 0xffff,
            Self::AnyStatic => 0xfffe,
            Self::Static(id) => id,
        }
    }
}

/// How to associate with a controller and what to do when that ends.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The subsystem to connect to.
    pub subnqn: Nqn,
    /// Who we say we are.
    pub host: HostIdentity,
    /// Which controller to ask for.
    pub cntlid: ControllerId,
    /// I/O queues to ask for; the controller may grant fewer. 0 for an association of admin commands only.
    pub queues: u16,
    /// Entries of each I/O submission queue; one less is how many commands may be outstanding on it. Lowered to what the
    /// controller (CAP.MQES, MAXCMD) and the transport allow.
    pub queue_depth: u16,
    /// Entries of the admin submission queue.
    pub admin_depth: u16,
    /// The keep-alive timeout; `None` for none, and then a dead controller is noticed by command timeouts only.
    pub kato: Option<Duration>,
    /// Whether SQ flow control is to be used. Without it a transport may save response capsules.
    pub sq_flow_control: bool,
    /// How long after a loss, and after each failed attempt, the next attempt to connect is made.
    pub reconnect_delay: Duration,
    /// How long after a loss the association is given up; `None` for never, zero for at once.
    pub controller_loss_timeout: Option<Duration>,
    /// How long after a loss held and new I/O fails; `None` to hold it until the association is back or given up.
    pub fast_io_fail_timeout: Option<Duration>,
    /// How long an I/O command may take before it is aborted.
    pub command_timeout: Duration,
    /// How long an admin command may take before it is aborted.
    pub admin_timeout: Duration,
    /// How long the controller may take to abort a command before the association is reset.
    pub abort_timeout: Duration,
    /// How long each step of connecting may take. Becoming ready is bounded by the controller's CAP.TO instead.
    pub connect_timeout: Duration,
    /// How long an orderly end may take, outstanding commands included.
    pub shutdown_timeout: Duration,
    /// How many times a command that may be retried is, before its status is reported.
    pub retries: u8,
    /// The longest wait before a retry, whatever the controller asks for.
    pub retry_delay_limit: Duration,
    /// Data one command moves at most, in bytes; the controller's MDTS and the transport may lower it.
    pub max_transfer: u32,
    /// Requests accepted beyond those the queues hold.
    pub backlog: usize,
    /// Namespaces looked at; a controller that lists more is heard no further.
    pub max_namespaces: usize,
    /// Whether to ask for asynchronous events (namespace and discovery changes).
    pub async_events: bool,
    /// The local address to connect from.
    pub source: Option<SocketAddr>,
}

/// A value out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct OptionsError {
    /// The field of [`Options`].
    pub field: &'static str,
    /// What is wrong with its value.
    pub why: &'static str,
}

impl Options {
    /// The defaults, for a subsystem. The host identity is a new random one.
    pub fn new(subnqn: Nqn) -> Self {
        // One queue per processor, as nvme-cli does; more than four gain nothing for the one thread that drives them.
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get().min(4) as u16);
        Self {
            subnqn,
            host: HostIdentity::generate(),
            cntlid: ControllerId::Dynamic,
            queues: processors,
            queue_depth: 128,
            admin_depth: 32,
            kato: Some(Duration::from_secs(5)),
            sq_flow_control: false,
            reconnect_delay: Duration::from_secs(10),
            controller_loss_timeout: Some(Duration::from_secs(600)),
            fast_io_fail_timeout: None,
            command_timeout: Duration::from_secs(30),
            admin_timeout: Duration::from_secs(60),
            abort_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(5),
            retries: 5,
            retry_delay_limit: Duration::from_secs(30),
            max_transfer: u32::MAX,
            backlog: 1024,
            max_namespaces: 1024,
            async_events: true,
            source: None,
        }
    }

    /// For reading the discovery log once: no I/O queues, no keep-alive, no second try.
    pub fn discovery() -> Self {
        Self {
            queues: 0,
            kato: None,
            controller_loss_timeout: Some(Duration::ZERO),
            async_events: false,
            ..Self::new(Nqn::DISCOVERY)
        }
    }

    /// For staying with a discovery controller and hearing of changes: as [`Options::discovery`] with keep-alive (the 30 s
    /// of nvme-cli), events and reconnect.
    pub fn persistent_discovery() -> Self {
        Self { queues: 0, kato: Some(Duration::from_secs(30)), ..Self::new(Nqn::DISCOVERY) }
    }

    /// Checks every value for itself and against the others.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let no = |field, why| Err(OptionsError { field, why });
        if self.host.id == [0; 16] {
            return no("hostid", "must not be zero");
        }
        if matches!(self.cntlid, ControllerId::Static(0 | 0xfff0..)) {
            return no("cntlid", "must be from 1 to FFEFh");
        }
        if self.queues > 1024 {
            return no("queues", "must be at most 1024");
        }
        if self.queue_depth < 2 {
            return no("queue_depth", "must be at least 2");
        }
        // NVMe-oF 1.1 §1.5.2: at least 32 entries on the admin queue.
        if !(32..=4096).contains(&self.admin_depth) {
            return no("admin_depth", "must be from 32 to 4096");
        }
        if self
            .kato
            .is_some_and(|kato| kato < Duration::from_secs(1) || kato.as_millis() > u128::from(u32::MAX))
        {
            return no("kato", "must be none, or from 1 second to 2^32 milliseconds");
        }
        if self.reconnect_delay.is_zero() {
            return no("reconnect_delay", "must not be zero");
        }
        if let (Some(fast), Some(loss)) = (self.fast_io_fail_timeout, self.controller_loss_timeout)
            && fast > loss
            && !loss.is_zero()
        {
            return no("fast_io_fail_timeout", "must not exceed the controller loss timeout");
        }
        for (field, value) in [
            ("command_timeout", self.command_timeout),
            ("admin_timeout", self.admin_timeout),
            ("abort_timeout", self.abort_timeout),
            ("connect_timeout", self.connect_timeout),
            ("shutdown_timeout", self.shutdown_timeout),
        ] {
            if value.is_zero() {
                return no(field, "must not be zero");
            }
        }
        if self.max_transfer < 4096 {
            return no("max_transfer", "must be at least 4096");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options::new(Nqn::parse("nqn.2024-01.org.example:disk").unwrap())
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(options().validate(), Ok(()));
        assert_eq!(Options::discovery().validate(), Ok(()));
        assert_eq!(Options::persistent_discovery().validate(), Ok(()));
    }

    #[test]
    fn each_range_is_checked() {
        let field = |change: fn(&mut Options)| {
            let mut options = options();
            change(&mut options);
            options.validate().unwrap_err().field
        };
        assert_eq!(field(|o| o.host.id = [0; 16]), "hostid");
        assert_eq!(field(|o| o.cntlid = ControllerId::Static(0xfff0)), "cntlid");
        assert_eq!(field(|o| o.queues = 1025), "queues");
        assert_eq!(field(|o| o.queue_depth = 1), "queue_depth");
        assert_eq!(field(|o| o.admin_depth = 31), "admin_depth");
        assert_eq!(field(|o| o.kato = Some(Duration::from_millis(10))), "kato");
        assert_eq!(field(|o| o.reconnect_delay = Duration::ZERO), "reconnect_delay");
        assert_eq!(
            field(|o| o.fast_io_fail_timeout = Some(Duration::from_secs(601))),
            "fast_io_fail_timeout"
        );
        assert_eq!(field(|o| o.command_timeout = Duration::ZERO), "command_timeout");
        assert_eq!(field(|o| o.max_transfer = 512), "max_transfer");
    }
}
