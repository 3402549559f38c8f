//! Tests of the values of the interface. The behaviour of engines is the `conformance` crate's.

use std::{collections::HashSet, sync::Arc, time::Duration};

use nvmf_wire::Cid;
use proptest::prelude::*;

use super::*;

fn buffer(len: usize) -> Buffer {
    Pages.allocate(len).unwrap()
}

#[test]
fn a_buffer_is_zeroed_and_page_aligned() {
    let buffer = buffer(10_000);
    assert_eq!(buffer.len(), 10_000);
    assert_eq!(buffer.as_ptr() as usize % 4096, 0);
    assert!(buffer.iter().all(|&byte| byte == 0));
}

#[test]
fn an_impossible_allocation_is_an_error() {
    assert_eq!(Pages.allocate(usize::MAX / 2).unwrap_err().kind(), ErrorKind::Resources);
}

#[test]
fn split_parts_are_disjoint_and_join_again() {
    let mut head = buffer(100);
    let mut tail = head.split_off(40);
    head.fill(1);
    tail.fill(2);
    assert_eq!((head.len(), tail.len()), (40, 60));
    let (tail, head) = tail.unsplit(head).unwrap_err();
    let whole = head.unsplit(tail).unwrap();
    assert!(whole[..40].iter().all(|&b| b == 1) && whole[40..].iter().all(|&b| b == 2));
}

#[test]
fn buffers_of_different_regions_do_not_join() {
    assert!(buffer(8).unsplit(buffer(8)).is_err());
}

#[test]
fn a_shared_view_cannot_be_written_until_it_is_alone() {
    let view = buffer(16).freeze();
    let other = view.slice(4..8);
    let view = view.try_into_buffer().unwrap_err();
    drop(other);
    let mut writable = view.try_into_buffer().unwrap();
    writable[0] = 7;
    assert_eq!(writable[0], 7);
}

#[test]
fn a_region_keeps_its_registration_until_freed() {
    struct Guard(Arc<()>);
    impl Registration for Guard {}
    let alive = Arc::new(());
    let region = Region::allocate(4096).unwrap().registered(|start, len| {
        assert_eq!((start.as_ptr() as usize % 4096, len), (0, 4096));
        Box::new(Guard(alive.clone()))
    });
    let buffer = region.into_buffer();
    let registration: &dyn std::any::Any = buffer.region().registration().unwrap();
    assert!(registration.downcast_ref::<Guard>().is_some_and(|guard| Arc::ptr_eq(&guard.0, &alive)));
    drop(buffer);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn a_pool_lends_its_capacity_and_takes_back_what_is_dropped() {
    let pool = Pool::new(Arc::new(Pages), 4096, 2);
    let first = pool.take().unwrap();
    let address = first.as_ptr();
    let second = pool.take().unwrap();
    assert!(pool.take().is_none());
    drop(first);
    let again = pool.take().unwrap();
    assert_eq!(again.as_ptr(), address);
    // The last view of a frozen buffer brings it back too, in whatever parts it was.
    let view = second.freeze();
    let part = view.slice(0..10);
    drop(view);
    assert!(pool.take().is_none());
    drop(part);
    assert!(pool.take().is_some());
}

#[test]
fn pooled_buffers_outlive_their_pool() {
    let pool = Pool::new(Arc::new(Pages), 64, 1);
    let mut taken = pool.take().unwrap();
    drop(pool);
    taken.fill(3);
}

#[test]
fn gather_slices_a_range_across_views() {
    let mut numbers = buffer(10);
    numbers.iter_mut().zip(0..).for_each(|(byte, n)| *byte = n);
    let view = numbers.freeze();
    let gather: Gather =
        [view.slice(0..3), view.slice(3..3), view.slice(3..7), view.slice(7..10)].into_iter().collect();
    assert_eq!((gather.len(), gather.views().len()), (10, 3));
    let collect = |range| gather.slices(range).flatten().copied().collect::<Vec<u8>>();
    assert_eq!(collect(0..10), (0..10).collect::<Vec<u8>>());
    assert_eq!(collect(2..8), (2..8).collect::<Vec<u8>>());
    assert_eq!(collect(9..50), [9]);
    assert_eq!(collect(4..4), [0u8; 0]);
}

#[test]
fn a_queue_name_never_means_another_queue() {
    let mut queues = Queues::default();
    let first = queues.insert('a');
    assert_eq!(queues.remove(first), Some('a'));
    let second = queues.insert('b');
    assert_eq!(first.slot(), second.slot());
    assert_eq!((queues.get(first), queues.get(second)), (None, Some(&'b')));
    assert_eq!(queues.remove(first), None);
    assert_eq!((queues.len(), queues.at_slot(second.slot())), (1, Some(second)));
}

#[test]
fn a_stale_cid_finds_nothing() {
    let mut slots = CommandSlots::new(2);
    let first = slots.insert(1).unwrap();
    let second = slots.insert(2).unwrap();
    assert_eq!(slots.insert(3), Err(3));
    assert_eq!(slots.remove(first), Some(1));
    assert_eq!(slots.remove(first), None);
    let third = slots.insert(3).unwrap();
    assert_ne!(third, first);
    assert_eq!((slots.get(first), slots.get(second), slots.get(third)), (None, Some(&2), Some(&3)));
    assert_eq!(slots.drain().count(), 2);
    assert!(slots.is_empty());
}

proptest! {
    #[test]
    fn cids_are_distinct_and_never_ffff(depth in prop_oneof![1u16..40, Just(255), Just(256), Just(32_768), Just(65_535)],
                                        rounds in 1usize..40) {
        let mut slots = CommandSlots::new(depth);
        for round in 0..rounds {
            let cids: Vec<Cid> = std::iter::from_fn(|| slots.insert(round).ok()).take(300).collect();
            prop_assert_eq!(cids.iter().collect::<HashSet<_>>().len(), cids.len());
            for cid in cids {
                prop_assert_ne!(cid.0, 0xffff);
                prop_assert_eq!(slots.remove(cid), Some(round));
            }
        }
    }

    #[test]
    fn any_cid_from_a_peer_is_harmless(depth in 1u16..300, cid: u16) {
        let mut slots = CommandSlots::new(depth);
        let real = slots.insert(()).unwrap();
        prop_assert_eq!(slots.remove(Cid(cid)).is_some(), Cid(cid) == real);
    }
}

mod selection {
    use super::*;

    struct Named(&'static str, Wire, Offer);
    impl Transport for Named {
        fn name(&self) -> &'static str {
            self.0
        }
        fn wire(&self) -> Wire {
            self.1
        }
        fn offer(&self, _: &Target) -> Offer {
            self.2.clone()
        }
        fn limits(&self) -> Limits {
            Limits::default()
        }
    }

    fn accept(preference: u8) -> Offer {
        Offer::Accept { preference, because: "it can".into() }
    }

    fn known() -> Transports<dyn Transport> {
        Transports::default()
            .with(Arc::new(Named("tcp", Wire::TCP, accept(50))) as _)
            .with(Arc::new(Named("offload", Wire::TCP, accept(90))) as _)
            .with(Arc::new(Named("verbs", Wire::RDMA, Offer::Decline { because: "no device".into() })) as _)
    }

    fn target(wire: Option<Wire>) -> Target {
        Target { wire, address: ([127, 0, 0, 1], 4420).into() }
    }

    fn names(policy: &Policy) -> Vec<&'static str> {
        known().select(&target(None), policy).unwrap().candidates.iter().map(|t| t.name()).collect()
    }

    #[test]
    fn the_most_preferred_comes_first_and_every_reason_is_kept() {
        let selection = known().select(&target(None), &Policy::Auto).unwrap();
        assert_eq!(selection.candidates[0].name(), "offload");
        assert_eq!(
            selection.verdicts.iter().map(|v| v.transport).collect::<Vec<_>>(),
            ["offload", "tcp", "verbs"]
        );
        assert_eq!(selection.verdicts[2].offer, Offer::Decline { because: "no device".into() });
    }

    #[test]
    fn policy_requires_and_excludes() {
        assert_eq!(names(&Policy::Require("tcp".into())), ["tcp"]);
        assert_eq!(names(&Policy::Exclude(vec!["offload".into()])), ["tcp"]);
        let refused = known().select(&target(None), &Policy::Require("verbs".into())).unwrap_err();
        assert!(refused.to_string().contains("verbs: no device"), "{refused}");
    }

    #[test]
    fn the_wire_asked_for_is_the_wire_spoken() {
        let refused = known().select(&target(Some(Wire::RDMA)), &Policy::Auto).unwrap_err();
        assert!(refused.to_string().contains("tcp: speaks nvme+tcp"), "{refused}");
    }
}

mod waiting {
    #![expect(clippy::disallowed_methods, reason = "tests of real waiting read the clock")]
    use std::{os::fd::AsFd, time::Instant};

    use super::*;

    #[test]
    fn a_wake_from_another_thread_ends_the_wait() {
        let wake = Wake::new().unwrap();
        let other = wake.clone();
        let thread = std::thread::spawn(move || other.wake());
        let start = Instant::now();
        Waiter::new(WaitPolicy::Block).idle(start, &[wake.as_fd()], Some(start + Duration::from_secs(20)));
        thread.join().unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
        wake.clear();
        let again = Instant::now();
        Waiter::new(WaitPolicy::Block).idle(again, &[wake.as_fd()], Some(again + Duration::from_millis(20)));
        assert!(again.elapsed() >= Duration::from_millis(15));
    }

    #[test]
    fn adaptive_waiting_spins_after_work_and_blocks_when_idle() {
        let wake = Wake::new().unwrap();
        let mut waiter = Waiter::new(WaitPolicy::Adaptive(Duration::from_secs(5)));
        let now = Instant::now();
        waiter.worked(now);
        waiter.idle(now, &[wake.as_fd()], Some(now + Duration::from_secs(20)));
        assert!(now.elapsed() < Duration::from_secs(10), "spinning returns at once");
        let later = now + Duration::from_secs(6);
        waiter.idle(later, &[wake.as_fd()], Some(later + Duration::from_millis(20)));
        assert!(now.elapsed() >= Duration::from_millis(15), "idle blocks until the timeout");
    }
}
