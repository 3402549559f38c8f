//! Queues of an association: Disconnect, SQ heads, order of completions, many at a time (NVMe-oF 1.1 §2.4, §3.6, §4.3).

use nvmf_controller::backend::faulty::Order;
use nvmf_sim::Rng;
use nvmf_transport::{Data, QueueId};
use nvmf_wire::{
    Nqn, Status,
    fabrics::Disconnect,
    io::{Rw, flush},
};

use super::{Who, check_status};
use crate::{
    Fixture, Verdict, check, check_eq,
    site::{LARGE, MAX_QUEUES, SMALL, Sent, Site},
};

/// Disconnect ends its I/O queue and no other; the number is free again.
pub fn disconnect(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (associated, first) = site.usual_io()?;
    let second = site.io_queue(&associated, 2, 32)?;
    check_status!(site.status(first, Disconnect::default().to_sqe())?, Status::SUCCESS);
    site.closed(first)?;
    check_status!(site.status(second, flush(SMALL))?, Status::SUCCESS);
    let again = site.io_queue(&associated, 1, 32)?;
    check_status!(site.status(again, flush(SMALL))?, Status::SUCCESS);
    Ok(())
}

/// Disconnect with commands outstanding: the queue ends all the same, and every command ends once.
pub fn disconnect_busy(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (associated, io) = site.usual_io()?;
    site.backend.hold();
    let mut outstanding = Vec::new();
    for slba in 0..8 {
        let room = site.room(512)?;
        outstanding.push(site.send(io, Rw::new(slba, 1).read(SMALL), room)?);
    }
    site.until("the reads to reach the namespace", |site| site.backend.held() == 8)?;
    let sent = site.send(io, Disconnect::default().to_sqe(), Data::None)?;
    site.until("the end of the queue", |site| !site.is_open(io) || site.has_ended(sent))?;
    site.backend.release(Order::Arrival);
    site.closed(io)?;
    check!(outstanding.iter().all(|&sent| site.has_ended(sent)));
    let again = site.io_queue(&associated, 1, 32)?;
    check_status!(site.status(again, flush(SMALL))?, Status::SUCCESS);
    Ok(())
}

/// The admin queue cannot be disconnected; a format that does not exist is told.
pub fn disconnect_wrong(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (associated, io) = site.usual_io()?;
    let status = site.status(associated.admin, Disconnect::default().to_sqe())?;
    check_status!(status, Status::DISCONNECT_INVALID_QUEUE_TYPE, "on the admin queue");
    let status = site.status(io, Disconnect { recfmt: 1 }.to_sqe())?;
    check_status!(status, Status::CONNECT_INCOMPATIBLE_FORMAT, "record format 1");
    check_status!(site.status(io, flush(SMALL))?, Status::SUCCESS);
    check!(site.csts(associated.admin)?.rdy());
    Ok(())
}

/// With flow control every completion tells how many commands were taken, modulo the size of the queue.
pub fn submission_queue_head(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let associated = site.usual()?;
    let depth = 8;
    let io = site.io_queue(&associated, 1, depth)?;
    // Connect was the first command.
    for taken in 2..40 {
        let answer = site.call(io, flush(SMALL), Data::None)?;
        check!(answer.sqhd_valid);
        check_eq!(answer.cqe.sqhd(), taken % depth, "after {taken} commands");
    }
    // Errors and data count as well.
    let answer = site.call(io, flush(99), Data::None)?;
    check_eq!((answer.status().is_success(), answer.cqe.sqhd()), (false, 40 % depth));
    let room = site.room(512)?;
    let answer = site.call(io, Rw::new(0, 1).read(SMALL), room)?;
    check_eq!((answer.status().is_success(), answer.cqe.sqhd()), (true, 41 % depth));
    Ok(())
}

/// Completions come when their commands are done, whatever the order of submission.
pub fn out_of_order(fixture: &dyn Fixture) -> Verdict {
    for (order, sq_flow_control) in
        [(Order::Reverse, true), (Order::Shuffled(7), false), (Order::Arrival, true)]
    {
        let mut site = Site::new(fixture)?;
        let associated = site.usual()?;
        let io = site.io_queue_at(0, &associated, 1, 16, sq_flow_control)?;
        site.backend.hold();
        let mut sent: Vec<Sent> = Vec::new();
        for slba in 0..15 {
            let room = site.room(512)?;
            sent.push(site.send(io, Rw::new(slba, 1).read(SMALL), room)?);
        }
        site.until("the reads to reach the namespace", |site| site.backend.held() == 15)?;
        site.take_order(&sent);
        site.backend.release(order);
        let all = sent.clone();
        site.until("all completions", move |site| all.iter().all(|&sent| site.has_ended(sent)))?;
        let seen = site.take_order(&sent);
        match order {
            Order::Reverse => check_eq!(seen, (0..15).rev().collect::<Vec<_>>()),
            Order::Arrival => check_eq!(seen, (0..15).collect::<Vec<_>>()),
            Order::Shuffled(_) => check!(seen.len() == 15 && !seen.is_sorted(), "{seen:?}"),
        }
        for sent in sent {
            check_status!(site.answer(sent)?.status(), Status::SUCCESS);
        }
    }
    Ok(())
}

/// A queue of the smallest size, and one of the largest, full.
pub fn extreme_depths(fixture: &dyn Fixture) -> Verdict {
    for sq_flow_control in [true, false] {
        let mut site = Site::new(fixture)?;
        let associated = site.usual()?;
        let largest = site.cap(associated.admin)?.mqes() + 1;
        for (qid, depth) in [(1, 2), (2, largest)] {
            let io = site.io_queue_at(0, &associated, qid, depth, sq_flow_control)?;
            let outstanding = if sq_flow_control { depth - 1 } else { depth };
            for round in 0..3 {
                let mut sent = Vec::new();
                for n in 0..outstanding {
                    let room = site.room(4096)?;
                    sent.push(site.send(io, Rw::new(u64::from(n), 1).read(LARGE), room)?);
                }
                for sent in sent {
                    check_status!(
                        site.answer(sent)?.status(),
                        Status::SUCCESS,
                        "depth {depth}, round {round}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// The host goes away in the middle of everything: the target forgets it and serves the others.
pub fn host_vanishes(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let (gone, io) = site.usual_io()?;
    let (_, other_io) = {
        let other = site.usual()?;
        let io = site.io_queue_at(1, &other, 1, 32, true)?;
        (other, io)
    };
    site.backend.hold();
    for slba in 0..8 {
        let room = site.room(512)?;
        site.send(io, Rw::new(slba, 1).read(SMALL), room)?;
        let data = site.out(&[7; 65_536])?;
        site.send(io, Rw::new(slba * 128, 128).write(SMALL), data)?;
    }
    site.until("something to be under way", |site| site.backend.held() >= 8)?;
    site.host().close(io, nvmf_transport::Close::Now);
    site.leave(&gone)?;
    site.backend.release(Order::Arrival);
    check_status!(site.status(other_io, flush(SMALL))?, Status::SUCCESS);
    site.until("the target to forget the queue", |site| site.server.statistics().queues == 2)?;
    check_eq!(site.server.statistics().associations, 1);
    Ok(())
}

/// What one writes, another reads: associations, queues and sessions at once, with every byte checked.
pub fn many(fixture: &dyn Fixture) -> Verdict {
    let mut site = Site::new(fixture)?;
    let mut rng = Rng::new(0xfeed);
    let mut queues: Vec<QueueId> = Vec::new();
    for n in 0..3u8 {
        let who = Who { id: [n + 1; 16], host: Nqn::from_uuid([n + 1; 16]), ..Who::default() };
        let associated = site.associate(&who)?;
        for qid in 1..=MAX_QUEUES {
            let engine = usize::from(qid % 2);
            queues.push(site.io_queue_at(engine, &associated, qid, 16, qid != 3)?);
        }
    }
    // Each queue has a region of its own, and a salt per round.
    let region = 64u64;
    for round in 0..4u8 {
        let mut written = Vec::new();
        for (n, &queue) in (0u64..).zip(&queues) {
            let blocks = 1 + rng.below(region) as u32;
            let mut bytes = vec![0; blocks as usize * 512];
            rng.fill(&mut bytes);
            let data = site.out(&bytes)?;
            let rw = Rw::new(n * region, blocks);
            let sent = site.send(queue, rw.write(SMALL), data)?;
            written.push((sent, rw, bytes));
        }
        let mut reads = Vec::new();
        for (n, (sent, rw, bytes)) in written.into_iter().enumerate() {
            check_status!(site.answer(sent)?.status(), Status::SUCCESS, "round {round}, write {n}");
            // Read by another queue, of another association.
            let other = queues[(n + 5) % queues.len()];
            let room = site.room(bytes.len())?;
            reads.push((site.send(other, rw.read(SMALL), room)?, bytes));
        }
        for (n, (sent, bytes)) in reads.into_iter().enumerate() {
            let answer = site.answer(sent)?;
            check_status!(answer.status(), Status::SUCCESS, "round {round}, read {n}");
            check!(answer.bytes() == bytes, "round {round}, read {n}: other bytes than were written");
        }
    }
    Ok(())
}
