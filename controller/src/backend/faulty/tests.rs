use std::sync::Arc;

use nvmf_transport::{Memory, Pages, Wake};
use nvmf_wire::Status;

use super::{Faulty, Order, Volatile};
use crate::backend::{
    Backend, BlockSize, Finished, Operation, Progress, RamBackend,
    tests::{bytes, flush, pieces, read, write},
};

fn ram() -> Arc<RamBackend> {
    Arc::new(RamBackend::new(1 << 20, BlockSize::B512).unwrap())
}

#[test]
fn the_chosen_operation_fails_and_has_no_effect() {
    let faulty = Faulty::new(ram());
    faulty.fail_nth(2, Status::WRITE_FAULT);
    faulty.fail_nth(4, Status::UNRECOVERED_READ_ERROR.with_dnr());
    write(&faulty, 0, &[1; 512]).unwrap();
    assert_eq!(write(&faulty, 0, &[2; 512]).unwrap_err(), Status::WRITE_FAULT);
    assert_eq!(bytes(&read(&faulty, 0, 1).unwrap()), [1; 512]);
    assert_eq!(read(&faulty, 0, 1).unwrap_err(), Status::UNRECOVERED_READ_ERROR.with_dnr());
    read(&faulty, 0, 1).unwrap();
    assert_eq!(faulty.submitted(), 5);
}

#[test]
fn space_runs_out_and_comes_back() {
    let faulty = Faulty::new(ram());
    faulty.limit_writes(Some(1024));
    write(&faulty, 0, &[1; 1024]).unwrap();
    assert_eq!(write(&faulty, 2, &[1; 512]).unwrap_err(), Status::CAPACITY_EXCEEDED.with_dnr());
    assert_eq!(bytes(&read(&faulty, 2, 1).unwrap()), [0; 512]);
    faulty.limit_writes(None);
    write(&faulty, 2, &[1; 512]).unwrap();
}

#[test]
fn completions_are_withheld_and_released_in_any_order() {
    let faulty = Faulty::new(ram());
    let finished = Finished::new(Wake::new().unwrap());
    let mut pages: &dyn Memory = &Pages;
    let mut submit = |tag: u64| {
        let operation = Operation::Write { slba: tag, data: pieces(&[tag as u8; 512], 512), fua: false };
        assert!(matches!(faulty.submit(operation, &mut pages, finished.ticket(tag)), Progress::Pending));
    };
    let ended = || {
        let mut ended = Vec::new();
        finished.drain(&mut ended);
        ended.iter().map(|finish| finish.tag).collect::<Vec<_>>()
    };
    faulty.hold();
    (1..=4).for_each(&mut submit);
    assert_eq!((faulty.held(), ended()), (4, vec![]));
    assert!(faulty.release_one(1) && !faulty.release_one(3));
    assert_eq!(ended(), [2]);
    faulty.release(Order::Reverse);
    assert_eq!(ended(), [4, 3, 1]);
    faulty.hold();
    (10..30).for_each(&mut submit);
    faulty.release(Order::Shuffled(1));
    let mut order = ended();
    assert!(!order.is_sorted());
    order.sort_unstable();
    assert_eq!(order, (10..30).collect::<Vec<_>>());
    assert_eq!(bytes(&read(&faulty, 29, 1).unwrap()), [29; 512], "no longer held");
}

#[test]
fn a_crash_forgets_what_was_not_flushed() {
    let inner = ram();
    let disk = Volatile::new(inner.clone());
    assert!(disk.geometry().volatile_write_cache);
    write(&disk, 0, &[1; 1024]).unwrap();
    flush(&disk).unwrap();
    write(&disk, 0, &[2; 1536]).unwrap();
    let fua = Operation::Write { slba: 3, data: pieces(&[3; 512], 100), fua: true };
    super::run(&disk, fua).unwrap();
    assert_eq!(disk.unflushed(), 3);
    assert_eq!(bytes(&read(&disk, 0, 4).unwrap()), [[2; 512], [2; 512], [2; 512], [3; 512]].concat());
    disk.crash(|block| block == 1).unwrap();
    assert_eq!(bytes(&read(&disk, 0, 4).unwrap()), [[1; 512], [2; 512], [0; 512], [3; 512]].concat());
    assert_eq!(bytes(&read(&*inner, 0, 4).unwrap()), [[1; 512], [2; 512], [0; 512], [3; 512]].concat());
}

#[test]
fn a_flush_that_fails_keeps_its_blocks() {
    let inner = Arc::new(Faulty::new(ram()));
    let disk = Volatile::new(inner.clone());
    write(&disk, 5, &[1; 512]).unwrap();
    inner.fail_nth(1, Status::WRITE_FAULT);
    assert_eq!(flush(&disk).unwrap_err(), Status::WRITE_FAULT);
    assert_eq!(disk.unflushed(), 1);
    flush(&disk).unwrap();
    assert_eq!((disk.unflushed(), bytes(&read(&*inner, 5, 1).unwrap())), (0, vec![1; 512]));
}
