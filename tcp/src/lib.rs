//! NVMe/TCP: PDU codec, sans-io connection, socket engine, accelerator seam.
//!
//! The transport of the *NVM Express TCP Transport Specification*: both roles, from the bytes up. [`pdu`] turns
//! bytes into PDUs that cannot be wrong and PDUs into bytes, [`digest`] is the CRC32C both digests use; neither
//! holds state. Deliberately absent here: TLS, and anything that knows what a command means.
//!
//! Start with [`pdu::Header::parse`], the one validator of everything a peer sends. The requirements obeyed are
//! numbered in `spec/nvme-tcp.md` and named at the code as `spec: TCP-…`.

pub mod digest;
pub mod pdu;
