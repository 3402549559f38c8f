//! The host (initiator) side of NVMe over Fabrics: association, reconnect, clients
