//! The properties of a controller and what writing CC does (NVMe Base 2.0 §3.1.3, §3.5, §3.6).
//!
//! A plain state machine: it says what has to happen ([`Effect`]) and is told when that is done. Deliberately absent: queues,
//! timers, commands.

use nvmf_wire::{
    Status,
    property::{
        Arbitration, Cap, Cc, CommandSetSelected, Crto, Csts, ShutdownNotification, ShutdownStatus, Version,
    },
};

/// What a write to CC asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// The controller is ready.
    Enabled,
    /// CC was not acceptable: the controller says so by CSTS.CFS and stays as it is until it is disabled.
    Failed,
    /// End all I/O queues, forget the state of the controller, then call [`Registers::reset_done`].
    Reset,
    /// End all I/O queues, put what was written on stable storage, then call [`Registers::shutdown_done`].
    Shutdown,
}

/// CAP, VS, CC, CSTS, CRTO.
#[derive(Clone, Debug)]
pub(crate) struct Registers {
    cap: Cap,
    cc: Cc,
    csts: Csts,
    /// RDY is still set although EN is not.
    resetting: bool,
}

/// CAP.TO and CRTO.CRWMT in 500 ms: a reset waits for I/O to end, nothing else takes time.
const READY_TIMEOUT: u8 = 15;

impl Registers {
    /// The version of the specification that is reported.
    pub(crate) const VERSION: Version = Version::V2_0;

    /// A controller that is not enabled. `discovery`: it has no I/O queues.
    pub(crate) fn new(entries: u16, discovery: bool) -> Self {
        let css = if discovery { Cap::CSS_NVM | Cap::CSS_ADMIN_ONLY } else { Cap::CSS_NVM };
        let cap = Cap(0)
            .with_mqes(entries.saturating_sub(1))
            .with_cqr(true)
            .with_timeout(READY_TIMEOUT)
            .with_css(css)
            .with_mpsmin(0)
            .with_mpsmax(4)
            .with_crwms(true);
        Self { cap, cc: Cc(0), csts: Csts(0), resetting: false }
    }

    pub(crate) fn cap(&self) -> Cap {
        self.cap
    }

    pub(crate) fn cc(&self) -> Cc {
        self.cc
    }

    pub(crate) fn csts(&self) -> Csts {
        self.csts
    }

    pub(crate) fn crto(&self) -> Crto {
        Crto(0).with_crwmt(READY_TIMEOUT.into())
    }

    /// Whether the controller processes commands other than Fabrics commands.
    pub(crate) fn ready(&self) -> bool {
        self.csts.rdy() && !self.resetting && !self.csts.cfs() && self.csts.shst() == ShutdownStatus::NONE
    }

    pub(crate) fn shutting_down(&self) -> bool {
        self.csts.shst() == ShutdownStatus::IN_PROGRESS
    }

    /// Whether CC describes the queue entries of NVMe, which an I/O queue needs (NVMe Base 2.0 §3.1.3.5, IOSQES).
    pub(crate) fn entry_sizes_set(&self) -> bool {
        self.cc.iosqes() == 6 && self.cc.iocqes() == 4
    }

    /// Writes CC. Reserved bits are not looked at.
    pub(crate) fn write_cc(&mut self, new: Cc) -> Result<Effect, Status> {
        let old = self.cc;
        let selections = |cc: Cc| (cc.css(), cc.mps(), cc.ams());
        if old.en() && new.en() && selections(old) != selections(new) {
            // NVMe Base 2.0 §3.1.3.5: these fields may only change while EN is 0.
            return Err(Status::INVALID_FIELD.with_dnr());
        }
        if !old.en() && new.en() && self.resetting {
            // NVMe Base 2.0 §3.1.3.5: EN set while RDY is still 1 is undefined; refused, so that the host sees it.
            return Err(Status::COMMAND_SEQUENCE_ERROR.with_dnr());
        }
        self.cc = new;
        match (old.en(), new.en()) {
            (true, false) => Ok(self.disable()),
            (false, true) => {
                let effect = self.enable();
                if effect == Effect::Enabled && new.shn() != ShutdownNotification::NONE {
                    return Ok(self.shut_down());
                }
                Ok(effect)
            }
            _ if new.shn() != ShutdownNotification::NONE && old.shn() == ShutdownNotification::NONE => {
                Ok(self.shut_down())
            }
            _ => Ok(Effect::None),
        }
    }

    fn enable(&mut self) -> Effect {
        self.csts = if self.acceptable() { Csts(0).with_rdy(true) } else { Csts(0).with_cfs(true) };
        if self.csts.cfs() { Effect::Failed } else { Effect::Enabled }
    }

    fn acceptable(&self) -> bool {
        let (cc, cap) = (self.cc, self.cap);
        let css = match cc.css() {
            CommandSetSelected::NVM => true,
            CommandSetSelected::ADMIN_ONLY => cap.css() & Cap::CSS_ADMIN_ONLY != 0,
            _ => false,
        };
        css && (cap.mpsmin()..=cap.mpsmax()).contains(&cc.mps())
            && cc.ams() == Arbitration::ROUND_ROBIN
            // May still be 0 here: they are needed before the first I/O queue only. Hosts set them on discovery controllers too.
            && matches!(cc.iosqes(), 0 | 6)
            && matches!(cc.iocqes(), 0 | 4)
    }

    fn disable(&mut self) -> Effect {
        self.resetting = self.csts.rdy();
        self.csts = Csts(0).with_rdy(self.resetting);
        Effect::Reset
    }

    fn shut_down(&mut self) -> Effect {
        self.csts = self.csts.with_shst(ShutdownStatus::IN_PROGRESS);
        Effect::Shutdown
    }

    /// All I/O queues of a reset are gone.
    pub(crate) fn reset_done(&mut self) {
        if self.resetting {
            self.resetting = false;
            self.csts = self.csts.with_rdy(false);
        }
    }

    /// All that a shutdown has to do is done.
    pub(crate) fn shutdown_done(&mut self) {
        if self.shutting_down() {
            self.csts = self.csts.with_shst(ShutdownStatus::COMPLETE);
        }
    }

    /// The controller cannot go on.
    pub(crate) fn fail(&mut self) {
        self.csts = self.csts.with_cfs(true);
    }
}
