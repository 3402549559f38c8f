//! Asynchronous events: which are enabled, which wait for a request, which wait for their log page to be read
//! (NVMe Base 2.0 §5.2).
//!
//! An event is never lost for want of an Asynchronous Event Request: it stays pending until one comes. After it was reported
//! it is not reported again before the host has read the log page that belongs to it, which then tells of all since.

use std::collections::BTreeSet;

use nvmf_wire::{
    event::{AsyncEvent, NoticeEvent, SmartEvent},
    feature::AsyncEventConfiguration,
    log::health::{ChangedNamespaces, CriticalWarning},
};

/// An event that this controller can report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A namespace was added, removed or changed.
    NamespaceChanged,
    /// The discovery log page changed.
    DiscoveryChanged,
    /// The temperature is beyond a threshold.
    Temperature,
}

impl Event {
    const ALL: [Self; 3] = [Self::Temperature, Self::NamespaceChanged, Self::DiscoveryChanged];

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    fn completion(self) -> AsyncEvent {
        match self {
            Self::NamespaceChanged => AsyncEvent::notice(NoticeEvent::NAMESPACE_ATTRIBUTE_CHANGED),
            Self::DiscoveryChanged => AsyncEvent::notice(NoticeEvent::DISCOVERY_LOG_CHANGE),
            Self::Temperature => AsyncEvent::smart(SmartEvent::TEMPERATURE_THRESHOLD),
        }
    }
}

/// The most namespaces the changed namespace list can name (NVMe Base 2.0 §5.16.1.5).
const LIST: usize = 1024;

/// The event state of one controller.
#[derive(Debug, Default)]
pub(crate) struct Events {
    enabled: AsyncEventConfiguration,
    pending: u8,
    reported: u8,
    changed: BTreeSet<u32>,
    overflowed: bool,
}

impl Events {
    /// What the host has enabled.
    pub(crate) fn enabled(&self) -> AsyncEventConfiguration {
        self.enabled
    }

    /// Enables and disables events. One that is disabled is not reported any more even if it happened before.
    pub(crate) fn enable(&mut self, configuration: AsyncEventConfiguration) {
        self.enabled = configuration;
        for event in Event::ALL {
            if !self.is_enabled(event) {
                self.pending &= !event.bit();
            }
        }
    }

    fn is_enabled(&self, event: Event) -> bool {
        match event {
            Event::NamespaceChanged => self.enabled.contains(AsyncEventConfiguration::NAMESPACE_ATTRIBUTE),
            Event::DiscoveryChanged => self.enabled.contains(AsyncEventConfiguration::DISCOVERY_LOG_CHANGE),
            Event::Temperature => self.enabled.critical_warnings().contains(CriticalWarning::TEMPERATURE),
        }
    }

    /// Notes that an event happened; whether there is something to report that there was not before.
    pub(crate) fn raise(&mut self, event: Event) -> bool {
        if !self.is_enabled(event) || self.reported & event.bit() != 0 {
            return false;
        }
        let news = self.pending & event.bit() == 0;
        self.pending |= event.bit();
        news
    }

    /// Notes that a namespace changed; whether there is something to report that there was not before.
    pub(crate) fn namespace_changed(&mut self, nsid: u32) -> bool {
        if self.changed.len() < LIST || self.changed.contains(&nsid) {
            self.changed.insert(nsid);
        } else {
            self.overflowed = true;
        }
        self.raise(Event::NamespaceChanged)
    }

    /// The next event to complete a request with.
    pub(crate) fn take(&mut self) -> Option<AsyncEvent> {
        let event = Event::ALL.into_iter().find(|event| self.pending & event.bit() != 0)?;
        self.pending &= !event.bit();
        self.reported |= event.bit();
        Some(event.completion())
    }

    /// Notes that the log page of an event was read without Retain Asynchronous Event.
    pub(crate) fn acknowledge(&mut self, event: Event) {
        self.reported &= !event.bit();
        // The page that was read told of it; a request that comes now has nothing to hear.
        self.pending &= !event.bit();
    }

    /// As [`Events::acknowledge`], of a page that was older than the event that is pending.
    pub(crate) fn acknowledge_only(&mut self, event: Event) {
        self.reported &= !event.bit();
    }

    /// The changed namespace list.
    pub(crate) fn changed_namespaces(&self) -> ChangedNamespaces {
        if self.overflowed {
            // FFFFFFFFh alone: more than fit, look at all of them.
            return ChangedNamespaces::new([nvmf_wire::sqe::NSID_BROADCAST]);
        }
        ChangedNamespaces::new(self.changed.iter().copied())
    }

    /// Empties the changed namespace list, which was read.
    pub(crate) fn clear_changed_namespaces(&mut self) {
        self.changed.clear();
        self.overflowed = false;
    }

    /// Forgets everything, as a controller reset does.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}
