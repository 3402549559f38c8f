//! Late completions and the threads that make them.

use std::{
    sync::{Arc, Barrier, mpsc},
    thread,
    time::Duration,
};

use nvmf_transport::{Gather, Wake};
use nvmf_wire::Status;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::AsFd,
};

use crate::backend::{Finish, Finished, Kept, workers::Workers};

fn readable(wake: &Wake, seconds: i64) -> bool {
    let timeout = Timespec { tv_sec: seconds, tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)], Some(&timeout)).unwrap() > 0
}

fn drain(finished: &Finished) -> Vec<Finish> {
    let mut into = Vec::new();
    finished.drain(&mut into);
    into
}

#[test]
fn a_kept_ticket_finishes_once_and_wakes_once_per_batch() {
    let wake = Wake::new().unwrap();
    let finished = Finished::new(wake.clone());
    let (one, two) = (finished.ticket(1).keep(), finished.ticket(2).keep());
    let _unused = finished.ticket(3);
    assert!(!readable(&wake, 0) && drain(&finished).is_empty());
    two.finish(Ok(Gather::new()));
    one.finish(Err(Status::WRITE_FAULT));
    assert!(readable(&wake, 0));
    wake.clear();
    let ended = drain(&finished);
    assert_eq!(ended.iter().map(|finish| finish.tag).collect::<Vec<_>>(), [2, 1]);
    assert!(
        ended[0].outcome.is_ok()
            && ended[1].outcome.as_ref().is_err_and(|status| status.is(Status::WRITE_FAULT))
    );
    assert!(!readable(&wake, 0) && drain(&finished).is_empty());
}

#[test]
fn a_dropped_ticket_is_an_internal_error() {
    let finished = Finished::new(Wake::new().unwrap());
    drop(finished.ticket(7).keep());
    let ended = drain(&finished);
    assert_eq!(ended.len(), 1);
    assert!(
        ended[0].tag == 7 && ended[0].outcome.as_ref().is_err_and(|status| status.is(Status::INTERNAL_ERROR))
    );
}

#[test]
fn draining_appends_to_what_is_there() {
    let finished = Finished::new(Wake::new().unwrap());
    let mut into = Vec::new();
    for tag in 0..3 {
        finished.ticket(tag).keep().finish(Ok(Gather::new()));
        finished.drain(&mut into);
    }
    assert_eq!(into.iter().map(|finish| finish.tag).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn no_wake_up_is_lost() {
    const EACH: u64 = 20_000;
    let wake = Wake::new().unwrap();
    let finished = Finished::new(wake.clone());
    thread::scope(|scope| {
        for thread in 0..3 {
            let finished = &finished;
            scope.spawn(move || {
                for n in 0..EACH {
                    finished.ticket(thread * EACH + n).keep().finish(Ok(Gather::new()));
                }
            });
        }
        let mut seen = 0;
        let mut ended = Vec::new();
        while seen < 3 * EACH {
            assert!(readable(&wake, 20), "asleep with {seen} of {} seen", 3 * EACH);
            wake.clear();
            finished.drain(&mut ended);
            seen += ended.drain(..).count() as u64;
        }
        assert_eq!(seen, 3 * EACH);
    });
}

#[test]
fn queued_jobs_run_before_the_workers_go() {
    let (sender, receiver) = mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let workers = Workers::new("test", 2, move |n: u32| sender.lock().unwrap().send(n).unwrap());
    for n in 0..100 {
        assert!(workers.submit(n).is_ok());
    }
    drop(workers);
    let mut seen: Vec<u32> = receiver.iter().collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
}

#[test]
fn two_jobs_at_once_get_two_threads_even_if_one_was_idle() {
    for round in 0..30 {
        let (sender, receiver) = mpsc::channel();
        let meet = Arc::new(Barrier::new(2));
        let sender = std::sync::Mutex::new(sender);
        let workers = Workers::new("test", 2, move |wait: bool| {
            if wait {
                meet.wait();
            }
            sender.lock().unwrap().send(wait).unwrap();
        });
        assert!(workers.submit(false).is_ok());
        let ended = || receiver.recv_timeout(Duration::from_secs(20)).is_ok();
        assert!(ended(), "round {round}");
        // Time for the one thread to become idle; nothing else comes.
        assert!(receiver.recv_timeout(Duration::from_millis(3)).is_err());
        // These two can only end together.
        assert!(workers.submit(true).is_ok() && workers.submit(true).is_ok());
        if !(ended() && ended()) {
            std::mem::forget(workers);
            panic!("round {round}: the second job waits for the first");
        }
    }
}

#[test]
fn a_panic_ends_one_operation_and_no_thread() {
    let wake = Wake::new().unwrap();
    let finished = Finished::new(wake.clone());
    let workers = Workers::new("test", 1, |(ticket, bad): (Kept, bool)| {
        assert!(!bad, "asked for");
        ticket.finish(Ok(Gather::new()));
    });
    for bad in [true, false] {
        assert!(workers.submit((finished.ticket(u64::from(bad)).keep(), bad)).is_ok());
    }
    drop(workers);
    let ended = drain(&finished);
    assert_eq!(ended.len(), 2);
    assert!(ended[0].outcome.as_ref().is_err_and(|status| status.is(Status::INTERNAL_ERROR)));
    assert!(ended[1].tag == 0 && ended[1].outcome.is_ok());
}
