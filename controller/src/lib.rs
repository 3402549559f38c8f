//! The controller (target) side of NVMe over Fabrics: subsystems, namespaces, discovery

pub mod backend;
