//! Those who offer verbs.
//!
//! [`soft_iwarp`] is software over any TCP network, and [`rdma_core`] the system's RDMA stack. [`loopback`] is within this
//! process: a strict device for tests that need no network, with every limit as small as one wishes.

pub mod loopback;
pub mod rdma_core;
pub mod soft_iwarp;
