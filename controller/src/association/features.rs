//! The values of features, and the rules of Get Features and Set Features (NVMe Base 2.0 §5.15, §5.27; NVM Command Set 1.0 §4.1.3).
//!
//! Nothing is saved over a reset, so Save is refused and the saved value is the default. Features that need more than the
//! association's state (Asynchronous Event Configuration, Keep Alive Timer, Host Identifier) are the admin module's.

use std::collections::BTreeMap;

use nvmf_wire::{
    Status,
    feature::{ErrorRecovery, Fid, NumberOfQueues, PowerManagement, TemperatureThreshold, WriteAtomicity},
};

/// The composite temperature in kelvins: there is no sensor, so it is a quiet room's.
pub(crate) const TEMPERATURE: u16 = 310;
/// WCTEMP, the default over temperature threshold.
pub(crate) const WARNING_TEMPERATURE: u16 = 343;

/// What a feature is, apart from its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traits {
    pub(crate) changeable: bool,
    pub(crate) namespace_specific: bool,
}

/// Which features an I/O controller has; the first of `volatile_write_cache` only with such a cache.
pub(crate) fn io_feature(fid: Fid, volatile_write_cache: bool) -> Option<Traits> {
    let (changeable, namespace_specific) = match fid {
        Fid::ARBITRATION
        | Fid::POWER_MANAGEMENT
        | Fid::TEMPERATURE_THRESHOLD
        | Fid::NUMBER_OF_QUEUES
        | Fid::WRITE_ATOMICITY
        | Fid::ASYNC_EVENT_CONFIGURATION
        | Fid::KEEP_ALIVE_TIMER
        | Fid::HOST_BEHAVIOR_SUPPORT => (true, false),
        Fid::ERROR_RECOVERY => (true, true),
        Fid::VOLATILE_WRITE_CACHE if volatile_write_cache => (true, false),
        // Set by Connect and by nothing else (NVMe-oF 1.1 §4.3).
        Fid::HOST_IDENTIFIER => (false, false),
        _ => return None,
    };
    Some(Traits { changeable, namespace_specific })
}

/// Which features a discovery controller has (NVMe Base 2.0 §3.1.2.3).
pub(crate) fn discovery_feature(fid: Fid) -> Option<Traits> {
    matches!(fid, Fid::ASYNC_EVENT_CONFIGURATION | Fid::KEEP_ALIVE_TIMER)
        .then_some(Traits { changeable: true, namespace_specific: false })
}

/// Temperature Threshold: whose temperature and which side of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Threshold {
    Over,
    Under,
}

/// The values that are the association's.
#[derive(Clone, Debug)]
pub(crate) struct Features {
    arbitration: u32,
    power: u32,
    over: u16,
    under: u16,
    error_recovery: BTreeMap<u32, u32>,
    pub(crate) write_cache: bool,
    write_atomicity: u32,
    /// Queue pairs granted, 1's based; `None` until the host has asked.
    pub(crate) queues: Option<u16>,
    /// Host Behavior Support, the bytes that mean something.
    pub(crate) host_behavior: [u8; 6],
}

impl Default for Features {
    fn default() -> Self {
        Self {
            arbitration: 7,
            power: 0,
            over: WARNING_TEMPERATURE,
            under: 0,
            error_recovery: BTreeMap::new(),
            write_cache: true,
            write_atomicity: 0,
            queues: None,
            host_behavior: [0; 6],
        }
    }
}

/// What the association knows that the rules need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// I/O queues allowed at most.
    pub(crate) max_io_queues: u16,
    /// Whether an I/O queue exists.
    pub(crate) has_io_queues: bool,
}

impl Features {
    /// Whether the temperature is beyond a threshold.
    pub(crate) fn temperature_warning(&self) -> bool {
        TEMPERATURE >= self.over || TEMPERATURE <= self.under
    }

    /// The value of a feature of one dword.
    pub(crate) fn get(&self, fid: Fid, nsid: u32, cdw11: u32, context: Context) -> Result<u32, Status> {
        Ok(match fid {
            Fid::ARBITRATION => self.arbitration,
            Fid::POWER_MANAGEMENT => self.power,
            Fid::TEMPERATURE_THRESHOLD => match threshold(TemperatureThreshold(cdw11), false)? {
                Threshold::Over => self.over.into(),
                Threshold::Under => self.under.into(),
            },
            Fid::ERROR_RECOVERY => self.error_recovery.get(&nsid).copied().unwrap_or_default(),
            Fid::VOLATILE_WRITE_CACHE => self.write_cache.into(),
            Fid::NUMBER_OF_QUEUES => {
                NumberOfQueues::pairs(self.queues.unwrap_or(context.max_io_queues).into()).bits()
            }
            Fid::WRITE_ATOMICITY => self.write_atomicity,
            _ => return Err(Status::INVALID_FIELD.with_dnr()),
        })
    }

    /// Sets a feature of one dword; answers dword 0 of the completion.
    pub(crate) fn set(
        &mut self,
        fid: Fid,
        namespaces: impl Iterator<Item = u32>,
        value: u32,
        context: Context,
    ) -> Result<u32, Status> {
        let invalid = Status::INVALID_FIELD.with_dnr();
        match fid {
            // Weights without weighted round robin, and a burst: taken and given back, as nothing arbitrates queues here.
            Fid::ARBITRATION => self.arbitration = value & 0xffff_ff07,
            Fid::POWER_MANAGEMENT => {
                let asked = PowerManagement(value);
                if asked.power_state() != 0 {
                    return Err(invalid);
                }
                self.power = PowerManagement(0).with_workload_hint(asked.workload_hint()).bits();
            }
            Fid::TEMPERATURE_THRESHOLD => {
                let asked = TemperatureThreshold(value);
                match threshold(asked, true)? {
                    Threshold::Over => self.over = asked.threshold(),
                    Threshold::Under => self.under = asked.threshold(),
                }
            }
            Fid::ERROR_RECOVERY => {
                let asked = ErrorRecovery(value);
                if asked.dulbe() {
                    return Err(invalid);
                }
                namespaces.for_each(|nsid| {
                    self.error_recovery.insert(nsid, asked.time_limit().into());
                });
            }
            Fid::VOLATILE_WRITE_CACHE => self.write_cache = value & 1 != 0,
            Fid::NUMBER_OF_QUEUES => return self.set_queues(NumberOfQueues(value), context),
            Fid::WRITE_ATOMICITY => {
                self.write_atomicity = WriteAtomicity(value & 1).bits();
            }
            _ => return Err(invalid),
        }
        Ok(0)
    }

    fn set_queues(&mut self, asked: NumberOfQueues, context: Context) -> Result<u32, Status> {
        if context.has_io_queues {
            // NVMe Base 2.0 §5.27.1.5: only before the first I/O queue is created.
            return Err(Status::COMMAND_SEQUENCE_ERROR.with_dnr());
        }
        if !asked.is_valid() {
            return Err(Status::INVALID_FIELD.with_dnr());
        }
        // A queue pair is one connection, so the greater number is the one that satisfies the host.
        let pairs = asked.submission().max(asked.completion()).saturating_add(1);
        let granted = pairs.min(context.max_io_queues);
        self.queues = Some(granted);
        Ok(NumberOfQueues::pairs(granted.into()).bits())
    }
}

/// There is the composite temperature and no sensor; `all` also allows the selection of all (Set Features only).
fn threshold(feature: TemperatureThreshold, all: bool) -> Result<Threshold, Status> {
    let selected = feature.select() == 0 || (all && feature.select() == 0xf);
    match feature.kind() {
        0 if selected => Ok(Threshold::Over),
        1 if selected => Ok(Threshold::Under),
        _ => Err(Status::INVALID_FIELD.with_dnr()),
    }
}
