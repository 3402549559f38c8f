//! A host's connection and a controller's, joined by a stream that cuts anywhere and, in half of the runs, flips bits.
//!
//! Without flips every command ends as the controller answered it, with all its data. With flips, and with both digests, no
//! wrong data ever comes with a success, in either direction, and both ends come to an end.

use std::num::NonZeroU32;

use nvmf_tcp::{
    conn::HostSetup,
    pdu::{ControllerTerms, DigestPolicy, HostTerms},
};
use nvmf_transport::Close;
use nvmf_wire::{FabricsType, Sqe, fabrics::Connect};

use super::{
    Choices, Target,
    controller_side::{ControllerSide, TRANSFER_MAX},
    driver::{Conn, Driven, PATIENCE, stride},
    host_side::{HostSide, Kind, is_digest_error, settings},
    pdu, seeds,
};

pub(super) const TARGET: Target =
    Target { name: "pair", body, seeds: || seeds::random(24, 1200), longest: 2500 };

/// The body.
pub(super) fn body(data: &[u8]) {
    let choices = &mut Choices::new(data);
    let flips = choices.yes();
    let mut pair = Pair::up(choices, flips);
    while choices.more() && pair.alive() {
        match choices.u8() % 16 {
            0..5 => drop(pair.host.submit(choices)),
            5..8 => pair.controller.respond(choices, true),
            8..11 => pair.controller.fetch(choices, true),
            11 if flips => pair.flip(choices),
            12 => pair.controller.abuse(choices),
            _ => {}
        }
        pair.step(choices);
    }
    pair.wind_up();
    pair.end();
}

struct Pair {
    host: HostSide,
    controller: ControllerSide,
    flips: bool,
}

/// One write of one end.
fn carry<A: Conn, B: Conn>(from: &mut Driven<A>, to: &mut Driven<B>, most: usize) -> bool {
    let bytes = from.transmit(most);
    to.arrive(&bytes);
    !bytes.is_empty()
}

impl Pair {
    /// Negotiated and past Connect, which settles the size of the queue.
    fn up(choices: &mut Choices<'_>, flips: bool) -> Self {
        let mut policy = || if flips { DigestPolicy::Required } else { pdu::offer(choices) };
        let (header, data) = (policy(), policy());
        let terms = HostTerms {
            alignment: pdu::alignment(choices),
            header_digest: header,
            data_digest: data,
            max_r2t: NonZeroU32::MIN.saturating_add(choices.below(4) as u32),
        };
        let granted = ControllerTerms {
            alignment: pdu::alignment(choices),
            header_digest: DigestPolicy::On,
            data_digest: DigestPolicy::On,
            max_h2c_data: choices.pick(&[4096, 4100, 8192, 128 * 1024]),
        };
        let mut controller = ControllerSide::new(choices, granted, None);
        controller.host_is_known = false;
        let depth = choices.pick(&[2, 3, 32, 64]).min(controller.driven.conn.setup().max_depth);
        let setup = HostSetup {
            queue: nvmf_transport::Queues::default().insert(()),
            depth,
            in_capsule: controller.driven.conn.setup().in_capsule,
            max_transfer: TRANSFER_MAX as u32,
            patience: PATIENCE,
        };
        let mut host = HostSide::with(choices, setup, terms, None);
        let settings = settings(choices, depth);

        let mut rush = |host: &mut HostSide, controller: &mut ControllerSide| {
            while carry(&mut host.driven, &mut controller.driven, usize::MAX)
                | carry(&mut controller.driven, &mut host.driven, usize::MAX)
            {
                while controller.driven.receive(stride(choices)) {}
                while host.driven.receive(stride(choices)) {}
                controller.look(true);
                host.look(true);
            }
        };
        rush(&mut host, &mut controller);
        let connect = Sqe::fabrics(FabricsType::CONNECT);
        assert!(host.submit_as(Kind::ToController, Connect::DATA_LENGTH, connect), "the queue is not up");
        rush(&mut host, &mut controller);
        controller.configure(settings);
        controller.respond(&mut Choices::new(&[]), true);
        rush(&mut host, &mut controller);
        host.configure(settings);
        let mut pair = Self { host, controller, flips };
        pair.judge();
        assert_eq!(pair.host.outstanding(), 0, "no answer to Connect");
        pair
    }

    fn alive(&self) -> bool {
        !self.host.driven.finished() && !self.controller.driven.finished()
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let most = stride(choices);
        carry(&mut self.host.driven, &mut self.controller.driven, most);
        self.controller.driven.receive(stride(choices));
        let most = stride(choices);
        carry(&mut self.controller.driven, &mut self.host.driven, most);
        self.host.driven.receive(stride(choices));
        self.look();
    }

    fn look(&mut self) {
        self.controller.look(true);
        self.host.look(true);
        self.judge();
    }

    fn flip(&mut self, choices: &mut Choices<'_>) {
        let bytes = match choices.yes() {
            true => self.host.driven.under_way(),
            false => self.controller.driven.under_way(),
        };
        for _ in 0..=choices.below(3) {
            if !bytes.is_empty() {
                let at = choices.below(bytes.len());
                bytes[at] ^= 1 << (choices.u8() % 8);
            }
        }
    }

    /// Every completion is the controller's answer, or says that the data was damaged.
    fn judge(&mut self) {
        for ended in self.host.ended.drain(..) {
            let at = self.controller.answers.iter().position(|answer| answer.name == ended.name);
            let answer =
                self.controller.answers.remove(at.expect("a completion nobody gave")).expect("it is there");
            let (said, heard) = (answer.cqe.status(), ended.cqe.status());
            if self.flips && heard != said {
                assert!(said.is_success() && is_digest_error(heard), "{said} became {heard}");
                continue;
            }
            assert_eq!((heard, ended.cqe.u64()), (said, answer.cqe.u64()));
            assert_eq!(ended.transferred, answer.len, "bytes were lost");
            assert_eq!(ended.sqhd_valid, !answer.folded);
        }
    }

    /// Both ends do all they can. Without flips that ends every command.
    fn wind_up(&mut self) {
        let nothing = &mut Choices::new(&[]);
        for _ in 0..100_000 {
            let mut moved = carry(&mut self.host.driven, &mut self.controller.driven, usize::MAX)
                | carry(&mut self.controller.driven, &mut self.host.driven, usize::MAX);
            moved |= self.controller.driven.receive(usize::MAX) | self.host.driven.receive(usize::MAX);
            let before = (self.controller.waiting(), self.controller.fetching());
            self.controller.fetch(nothing, true);
            self.controller.respond(nothing, true);
            self.look();
            moved |= before != (self.controller.waiting(), self.controller.fetching());
            if !moved {
                break;
            }
        }
        if !self.flips {
            assert!(self.alive(), "a connection ends although nothing was damaged");
            assert_eq!((self.host.outstanding(), self.controller.waiting()), (0, 0), "commands never end");
            return;
        }
        // Whoever has ended hangs up; if a damaged length made both wait for more, the host loses patience.
        if self.alive() {
            self.host.driven.close(Close::Now);
        }
        for _ in 0..2 {
            if self.host.driven.finished() {
                self.controller.driven.end_of_stream();
            }
            if self.controller.driven.finished() {
                self.host.driven.end_of_stream();
            }
        }
        self.look();
        assert!(self.host.closed && self.controller.closed, "one end lives on");
    }

    fn end(mut self) {
        self.host.driven.close(Close::Now);
        self.controller.driven.close(Close::Now);
        self.look();
        self.host.end();
        self.controller.end();
    }
}
