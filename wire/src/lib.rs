//! The structures of NVMe and NVMe over Fabrics, as bytes: no I/O, no allocation by the peer's wish
