//! The cases against a target, as data.

mod capsule;
mod connect;
mod end;
mod keys;

use super::Case;

macro_rules! cases {
    ($( $id:literal, $title:literal, $reference:literal, $run:path; )*) => {
        /// Every case.
        pub const CASES: &[Case] = &[$( Case { id: $id, title: $title, reference: $reference, run: $run } ),*];
    };
}

cases! {
    "RD-CM-01", "private data of another length than 32 is turned down with status 1", "RDMA Transport 1.0 §3.1", connect::length;
    "RD-CM-02", "an unknown record format is turned down with status 2", "RDMA Transport 1.0 §3.1", connect::format;
    "RD-CM-03", "a reserved queue identifier is turned down with status 3", "RDMA Transport 1.0 §3.1", connect::queue_id;
    "RD-CM-04", "submission queues of no and of too many entries are turned down with status 4", "RDMA Transport 1.0 §3.1", connect::submission_size;
    "RD-CM-05", "a receive queue that cannot hold the answers is turned down with status 5", "RDMA Transport 1.0 §3.1", connect::receive_size;
    "RD-CM-06", "a host that serves no RDMA READ is turned down with status 7", "RDMA Transport 1.0 §3.1", connect::no_reads;
    "RD-CM-07", "a reserved controller identifier is turned down with status 9", "RDMA Transport 1.0 §3.1", connect::controller_id;
    "RD-CM-08", "a good request is accepted, reserved bytes of it are not looked at", "RDMA Transport 1.0 §3.1", connect::good;
    "RD-CP-01", "a capsule shorter than a command ends its connection", "RDMA Transport 1.0 §3.3", capsule::short;
    "RD-CP-02", "a capsule longer than the receives for it ends its connection", "RDMA Transport 1.0 §3.3", capsule::long;
    "RD-CP-03", "the admin queue's capsules have no room for data", "RDMA Transport 1.0 §3.3", capsule::admin_data;
    "RD-CP-04", "in-capsule data is found at its offset", "NVMe-oF 1.1 §2.3.1", capsule::offset;
    "RD-CP-05", "in-capsule data that is not there fails the command with what is wrong of it", "NVMe Base 2.0 §4.1.2", capsule::missing;
    "RD-SG-01", "descriptors of other transports and kinds fail the command", "RDMA Transport 1.0 §3.3", keys::other_kinds;
    "RD-SG-02", "as many descriptors as the controller takes are used, one more fails the command", "NVMe Base 2.0 §4.1.2", keys::several;
    "RD-SG-03", "a descriptor that is shorter or longer than the data fails the command", "NVMe Base 2.0 §4.1.2", keys::length;
    "RD-SG-04", "a command without data needs no key", "RDMA Transport 1.0 §3.3", keys::nothing;
    "RD-KY-01", "a key is invalidated with the completion where that is asked for, and nowhere else", "RDMA Transport 1.0 §3.3", keys::invalidate;
    "RD-KY-02", "a key that does not exist ends the connection, not the target", "RFC 5040 §7.1", keys::unknown;
    "RD-KY-03", "a key without the right that is needed ends the connection and moves no byte", "RFC 5040 §7.1", keys::no_right;
    "RD-KY-04", "a descriptor longer than the memory ends the connection and touches nothing beyond", "RFC 5041 §5.4", keys::beyond;
    "RD-DT-01", "data is in place when its completion arrives", "RFC 5040 §5.5", keys::order;
    "RD-DT-02", "no more RDMA READs are outstanding than the host serves", "RFC 6581 §9", keys::read_depth;
    "RD-EN-01", "connections that end at any moment harm nobody", "RDMA Transport 1.0 §3.3", end::any_moment;
    "RD-EN-02", "more commands than the queue has entries end the connection", "NVMe-oF 1.1 §2.4.1", end::overrun;
}
