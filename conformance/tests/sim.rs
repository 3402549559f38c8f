//! The suite over the in-memory transport: without delay, over a slow link, and with the narrowest limits.

use nvmf_conformance::{conformance_suite, fixtures::Sim};

conformance_suite!(immediate, Sim::immediate);
conformance_suite!(slow, Sim::slow);
conformance_suite!(narrow, Sim::narrow);

// The decorators keep the contract of what they wrap.
conformance_suite!(decorated, Sim::decorated);
conformance_suite!(disordered, Sim::disordered);
