//! Commands of I/O queues.

use std::sync::Arc;

use nvmf_controller::{
    NamespaceOptions, ServerOptions,
    backend::{
        Backend, BlockSize, FileBackend, FileOptions, RamBackend,
        faulty::{Faulty, Order},
    },
};
use nvmf_transport::RequestData;
use nvmf_wire::{
    Cid, IoOpcode, Sqe, Status,
    io::{DatasetManagement, DatasetRange, Rw, flush},
    sqe::{Fuse, NSID_BROADCAST},
    zerocopy::IntoBytes,
};

use crate::rig::*;

#[test]
fn read_what_was_written() {
    let mut rig = Rig::new();
    let (_, io) = rig.ready();
    let data = pattern(8, 3);
    rig.write(io, write(5, 8), &data).ok();
    assert_eq!(rig.read(io, read(5, 8), 8 * 512).ok().data, data);
    assert_eq!(rig.read(io, read(7, 1), 512).ok().data, data[1024..1536]);
    assert_eq!(rig.read(io, read(13, 1), 512).ok().data, [0; 512]);
    rig.write(io, Rw::new(6, 1).with_fua(true).write(1), &[9; 512]).ok();
    assert_eq!(rig.read(io, Rw::new(6, 1).with_fua(true).read(1), 512).ok().data, [9; 512]);
}

#[test]
fn large_writes_come_in_pieces() {
    let mut rig = Rig::new();
    let (_, io) = rig.ready();
    let data = pattern(2048, 5);
    rig.write_remote(io, write(100, 2048), data.clone()).ok();
    let pieces = std::mem::take(&mut rig.engine().fetched);
    assert!(pieces.len() >= 8 && pieces.iter().all(|&(_, len)| len <= 128 << 10), "{pieces:?}");
    let mut next = 0;
    for (offset, len) in pieces {
        assert_eq!(offset, next, "in order, each byte once");
        next += len as u32;
    }
    assert_eq!(rig.read(io, read(100, 2048), 1 << 20).ok().data, data);
    // Small ones in one.
    rig.write_remote(io, write(0, 3), pattern(3, 1)).ok();
    assert_eq!(rig.engine().fetched, [(0, 1536)]);
}

#[test]
fn blocks_of_4096_bytes() {
    let mut rig = Rig::new();
    let disk = RamBackend::new(64 * 4096, BlockSize::B4096).unwrap();
    rig.subsystem.add_namespace(2, NamespaceOptions::new(Arc::new(disk))).unwrap();
    let (_, io) = rig.ready();
    let data = pattern(64, 8);
    rig.write_remote(io, Rw::new(3, 8).write(2), data.clone()).ok();
    assert_eq!(rig.read(io, Rw::new(3, 8).read(2), 32768).ok().data, data);
    assert_eq!(rig.read(io, Rw::new(64, 1).read(2), 4096).status(), Status::LBA_OUT_OF_RANGE);
    assert_eq!(rig.read(io, Rw::new(63, 1).read(2), 512).status(), Status::DATA_SGL_LENGTH_INVALID);
}

#[test]
fn namespaces_ranges_and_sizes_are_checked() {
    let mut rig = Rig::with(ServerOptions::default(), |s| s.max_transfer = 64 << 10, 1);
    let (_, io) = rig.ready();
    let commands =
        [IoOpcode::READ, IoOpcode::WRITE, IoOpcode::COMPARE, IoOpcode::VERIFY, IoOpcode::WRITE_ZEROES];
    for opcode in commands {
        let moves = matches!(opcode, IoOpcode::READ | IoOpcode::WRITE | IoOpcode::COMPARE);
        let mut status = |rw: Rw, nsid, len: u32| {
            let data = if moves { RequestData::Remote { len } } else { RequestData::None };
            rig.run(io, rw.to_sqe(opcode, nsid), data).status()
        };
        for nsid in [0, 2, 1024, 1025, NSID_BROADCAST] {
            assert_eq!(status(Rw::new(0, 1), nsid, 512), Status::INVALID_NAMESPACE_OR_FORMAT, "{opcode:?}");
        }
        for (slba, blocks) in [(65_536, 1), (65_535, 2), (65_409, 128), (u64::MAX, 1), (u64::MAX - 64, 128)] {
            assert_eq!(
                status(Rw::new(slba, blocks), 1, blocks * 512),
                Status::LBA_OUT_OF_RANGE,
                "{opcode:?}"
            );
        }
        for blocks in [129, 65_536] {
            assert_eq!(
                status(Rw::new(0, blocks), 1, blocks * 512),
                Status::INVALID_FIELD,
                "{opcode:?} beyond MDTS"
            );
        }
        let fused = Rw::new(0, 1).to_sqe(opcode, 1).with_fuse(Fuse::FIRST);
        let data = || if moves { RequestData::Remote { len: 512 } } else { RequestData::None };
        assert_eq!(rig.run(io, fused, data()).status(), Status::INVALID_FIELD);
        let mut prp = Rw::new(0, 1).to_sqe(opcode, 1);
        prp.flags = 0;
        assert_eq!(rig.run(io, prp, data()).status(), Status::INVALID_FIELD);
    }
    let last = rig.read(io, read(65_408, 128), 64 << 10);
    assert_eq!(last.ok().data.len(), 64 << 10);
}

#[test]
fn lengths_and_directions_are_checked() {
    let mut rig = Rig::new();
    let (_, io) = rig.ready();
    let wrong = Status::DATA_SGL_LENGTH_INVALID;
    for len in [0, 4, 511, 513, 1024] {
        assert_eq!(rig.run(io, read(0, 1), RequestData::Remote { len }).status(), wrong);
        assert_eq!(rig.run(io, write(0, 1), RequestData::Remote { len }).status(), wrong);
    }
    assert_eq!(rig.command(io, read(0, 1)).status(), wrong);
    assert_eq!(rig.command(io, write(0, 1)).status(), wrong);
    assert_eq!(rig.write(io, write(0, 2), &[0; 512]).status(), wrong);
    assert_eq!(
        rig.write(io, read(0, 1), &[0; 512]).status(),
        Status::INVALID_FIELD,
        "no room in the capsule"
    );
    for sqe in [flush(1), Rw::new(0, 1).write_zeroes(1), Rw::new(0, 1).verify(1)] {
        assert_eq!(rig.write(io, sqe, &[0; 512]).status(), wrong);
        assert_eq!(rig.read(io, sqe, 512).status(), wrong);
    }
    // What the transport found wrong is answered with its status.
    let sqe = write(0, 1).with_cid(Cid(3));
    let request = rig.deliver(io, sqe, Err(Status::TRANSIENT_TRANSPORT_ERROR));
    rig.settle();
    assert_eq!(rig.answer(io, request).unwrap().status(), Status::TRANSIENT_TRANSPORT_ERROR);
    assert_eq!(rig.read(io, read(0, 1), 512).ok().data, [0; 512], "nothing was stored");
}

#[test]
fn unknown_opcodes() {
    let mut rig = Rig::new();
    let (_, io) = rig.ready();
    for opcode in 0..=u8::MAX {
        let opcode = IoOpcode(opcode);
        let known = [
            IoOpcode::FLUSH,
            IoOpcode::WRITE,
            IoOpcode::READ,
            IoOpcode::COMPARE,
            IoOpcode::WRITE_ZEROES,
            IoOpcode::DATASET_MANAGEMENT,
            IoOpcode::VERIFY,
            IoOpcode::FABRICS,
        ];
        if !known.contains(&opcode) {
            assert_eq!(rig.command(io, Sqe::io(opcode, 1)).status(), Status::INVALID_OPCODE, "{opcode:?}");
        }
    }
}

#[test]
fn flush_of_one_and_of_all() {
    let mut rig = Rig::new();
    let disks: Vec<_> = (2..=4)
        .map(|nsid| {
            let disk = Arc::new(Faulty::new(ram(8)));
            rig.subsystem.add_namespace(nsid, NamespaceOptions::new(disk.clone())).unwrap();
            disk
        })
        .collect();
    let (_, io) = rig.ready();
    rig.command(io, flush(2)).ok();
    assert_eq!(disks.iter().map(|disk| disk.submitted()).collect::<Vec<_>>(), [1, 0, 0]);
    disks.iter().for_each(|disk| disk.hold());
    let all = rig.submit(io, flush(NSID_BROADCAST), RequestData::None);
    disks[0].release(Order::Arrival);
    disks[2].release(Order::Arrival);
    rig.settle();
    assert!(rig.answer(io, all).is_none());
    disks[1].release(Order::Arrival);
    rig.settle();
    rig.answer(io, all).unwrap().ok();
    disks[1].fail_nth(1, Status::WRITE_FAULT);
    assert_eq!(rig.command(io, flush(NSID_BROADCAST)).status(), Status::WRITE_FAULT);
    for nsid in [0, 5] {
        assert_eq!(rig.command(io, flush(nsid)).status(), Status::INVALID_NAMESPACE_OR_FORMAT);
    }
}

#[test]
fn write_zeroes_compare_verify() {
    let mut rig = Rig::new();
    let (_, io) = rig.ready();
    let data = pattern(8, 7);
    rig.write(io, write(0, 8), &data).ok();
    rig.write(io, Rw::new(0, 8).compare(1), &data).ok();
    rig.write_remote(io, Rw::new(0, 8).compare(1), data.clone()).ok();
    let mut other = data.clone();
    other[4095] ^= 1;
    assert_eq!(rig.write(io, Rw::new(0, 8).compare(1), &other).status(), Status::COMPARE_FAILURE);
    assert_eq!(rig.write_remote(io, Rw::new(0, 8).compare(1), other).status(), Status::COMPARE_FAILURE);
    rig.command(io, Rw::new(2, 2).write_zeroes(1)).ok();
    rig.command(io, Rw::new(6, 1).with_deallocate(true).with_fua(true).write_zeroes(1)).ok();
    let mut expected = data;
    expected[1024..2048].fill(0);
    expected[3072..3584].fill(0);
    assert_eq!(rig.read(io, read(0, 8), 4096).ok().data, expected);
    rig.command(io, Rw::new(0, 8).verify(1)).ok();
}

#[test]
fn dataset_management() {
    let mut rig = Rig::new();
    let (_, io) = rig.ready();
    rig.write(io, write(0, 16), &[1; 8192]).ok();
    let list = |ranges: &[(u64, u32)]| -> Vec<u8> {
        ranges
            .iter()
            .flat_map(|&(slba, blocks)| DatasetRange::new(slba, blocks).as_bytes().to_vec())
            .collect()
    };
    let dsm = |count| DatasetManagement::deallocate(count).unwrap().to_sqe(1);
    rig.write(io, dsm(2), &list(&[(0, 4), (8, 8)])).ok();
    let left = rig.read(io, read(0, 16), 8192).ok().data;
    assert!(left[..2048].iter().chain(&left[4096..]).all(|&byte| byte == 0));
    assert!(left[2048..4096].iter().all(|&byte| byte == 1));
    rig.write_remote(io, dsm(1), list(&[(4, 4)])).ok();
    assert_eq!(rig.read(io, read(0, 16), 8192).ok().data, [0; 8192]);
    rig.write_remote(io, dsm(256), list(&vec![(65_535, 1); 256])).ok();
    rig.write(io, dsm(2), &list(&[(0, 0), (65_536, 0)])).ok();
    for bad in [&[(65_535, 2)][..], &[(u64::MAX, 2)], &[(65_537, 0)]] {
        assert_eq!(rig.write(io, dsm(1), &list(bad)).status(), Status::LBA_OUT_OF_RANGE);
        assert_eq!(rig.write_remote(io, dsm(1), list(bad)).status(), Status::LBA_OUT_OF_RANGE);
    }
    assert_eq!(rig.write(io, dsm(2), &list(&[(0, 1)])).status(), Status::DATA_SGL_LENGTH_INVALID);
    // Linux describes room for the most ranges there may be, whatever NR says; what is behind those of NR is not looked at.
    rig.write(io, write(0, 16), &[1; 8192]).ok();
    let mut page = list(&[(0, 4), (8, 8)]);
    page.extend(list(&[(u64::MAX, 9); 254]));
    rig.write(io, dsm(2), &page).ok();
    assert_eq!(rig.read(io, read(0, 16), 8192).ok().data, left);
    rig.write_remote(io, dsm(2), page.clone()).ok();
    assert_eq!(rig.read(io, read(0, 16), 8192).ok().data, left);
    page.extend(list(&[(0, 1)]));
    assert_eq!(rig.write(io, dsm(2), &page).status(), Status::DATA_SGL_LENGTH_INVALID);
    assert_eq!(
        rig.write(io, dsm(1).with_nsid(9), &list(&[(0, 1)])).status(),
        Status::INVALID_NAMESPACE_OR_FORMAT
    );
    // Hints are taken and come to nothing.
    let mut hint = dsm(1);
    hint.cdw11 = 3.into();
    rig.write(io, hint, &list(&[(u64::MAX, 9)])).ok();
}

#[test]
fn a_read_only_namespace() {
    let mut rig = Rig::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    let mut options = FileOptions::new(file.path());
    options.read_only = true;
    let disk: Arc<dyn Backend> = Arc::new(FileBackend::open(&options).unwrap());
    rig.subsystem.add_namespace(2, NamespaceOptions::new(disk)).unwrap();
    let (_, io) = rig.ready();
    let list = DatasetRange::new(0, 1);
    assert_eq!(
        rig.write(io, write(0, 1).with_nsid(2), &[0; 512]).status(),
        Status::NAMESPACE_WRITE_PROTECTED
    );
    let remote = rig.run(io, write(0, 1).with_nsid(2), RequestData::Remote { len: 512 });
    assert_eq!(remote.status(), Status::NAMESPACE_WRITE_PROTECTED, "without fetching a byte");
    assert_eq!(rig.command(io, Rw::new(0, 1).write_zeroes(2)).status(), Status::NAMESPACE_WRITE_PROTECTED);
    let dsm = DatasetManagement::deallocate(1).unwrap().to_sqe(2);
    assert_eq!(rig.write(io, dsm, list.as_bytes()).status(), Status::NAMESPACE_WRITE_PROTECTED);
    assert!(rig.engine().fetched.is_empty());
}

#[test]
fn a_namespace_that_goes_under_io() {
    let mut rig = Rig::new();
    let disk = Arc::new(Faulty::new(ram(1024)));
    rig.subsystem.add_namespace(2, NamespaceOptions::new(disk.clone())).unwrap();
    let (_, io) = rig.ready();
    disk.hold();
    let pending = rig.submit(io, read(0, 1).with_nsid(2), RequestData::Remote { len: 512 });
    rig.subsystem.remove_namespace(2).unwrap();
    let late = rig.read(io, read(0, 1).with_nsid(2), 512);
    assert_eq!(late.status(), Status::INVALID_NAMESPACE_OR_FORMAT);
    disk.release(Order::Arrival);
    rig.settle();
    rig.answer(io, pending).unwrap().ok();
    rig.subsystem.add_namespace(2, NamespaceOptions::new(ram(8))).unwrap();
    rig.read(io, read(0, 1).with_nsid(2), 512).ok();
}

#[test]
fn completions_in_any_order() {
    let mut rig = Rig::new();
    let disk = Arc::new(Faulty::new(ram(1024)));
    rig.subsystem.add_namespace(2, NamespaceOptions::new(disk.clone())).unwrap();
    let (_, io) = rig.ready();
    for seed in 0..20 {
        disk.hold();
        let requests: Vec<_> = (0..100)
            .map(|n| {
                if n % 3 == 0 {
                    let data = RequestData::InCapsule(buffer(&pattern(1, n as u8)));
                    rig.submit(io, write(n, 1).with_nsid(2), data)
                } else {
                    rig.submit(io, read(n, 2).with_nsid(2), RequestData::Remote { len: 1024 })
                }
            })
            .collect();
        disk.release(Order::Shuffled(seed));
        rig.settle();
        for request in requests {
            rig.answer(io, request).unwrap().ok();
        }
        assert!(rig.engine().answers.is_empty());
    }
}

#[test]
fn a_failing_piece_fails_the_write() {
    let mut rig = Rig::new();
    let disk = Arc::new(Faulty::new(ram(4096)));
    rig.subsystem.add_namespace(2, NamespaceOptions::new(disk.clone())).unwrap();
    let (_, io) = rig.ready();
    disk.fail_nth(3, Status::WRITE_FAULT);
    let answer = rig.write_remote(io, write(0, 2048).with_nsid(2), pattern(2048, 1));
    assert_eq!(answer.status(), Status::WRITE_FAULT);
    // Bad data of one piece: that status, and nothing of the piece stored.
    let request = rig.submit(io, write(0, 512).with_nsid(2), RequestData::Remote { len: 256 << 10 });
    let fetches = std::mem::take(&mut rig.engine().fetches);
    let before = disk.submitted();
    for (n, (request, offset, data)) in fetches.into_iter().enumerate() {
        let outcome = if n == 0 { Err(Status::TRANSIENT_TRANSPORT_ERROR) } else { Ok(()) };
        rig.serve_fetch(io, request, offset, data, outcome);
    }
    assert_eq!(rig.answer(io, request).unwrap().status(), Status::TRANSIENT_TRANSPORT_ERROR);
    assert_eq!(disk.submitted(), before);
}

#[test]
fn a_read_from_memory_is_not_copied() {
    let mut rig = Rig::new();
    let (_, io) = rig.ready();
    rig.write_remote(io, write(0, 256), pattern(256, 2)).ok();
    let one = rig.read(io, read(0, 256), 128 << 10).ok();
    assert!(one.views <= 3, "{} views", one.views);
}
