//! The RDMA transport of NVMe over Fabrics.
