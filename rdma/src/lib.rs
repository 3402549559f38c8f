//! The RDMA transport of NVMe over Fabrics.

pub mod verbs;
