//! A controller's connection against a host that says anything: PDUs in and out of order, with damaged bytes, cut anywhere,
//! while its user answers, fetches, configures and closes at any moment.
//!
//! In a `tame` run the host obeys the protocol; then the connection must not find fault with it.

use std::{num::NonZeroU32, time::Duration};

use nvmf_tcp::pdu::{ControllerTerms, Negotiated};
use nvmf_transport::{Close, QueueKind, QueueSettings};

use super::{
    Choices, Target, controller_side::ControllerSide, driver::stride, host_voice::HostVoice, pdu, seeds,
};

pub(super) const TARGET: Target =
    Target { name: "controller_conn", body, seeds: || seeds::random(24, 1500), longest: 3000 };

/// The body.
pub(super) fn body(data: &[u8]) {
    let choices = &mut Choices::new(data);
    let tame = choices.yes();
    let terms = ControllerTerms {
        alignment: pdu::alignment(choices),
        header_digest: if tame { pdu::offer(choices) } else { pdu::policy(choices) },
        data_digest: if tame { pdu::offer(choices) } else { pdu::policy(choices) },
        max_h2c_data: choices.pick(&[4096, 8192, 128 * 1024]),
    };
    let given = (!tame && choices.once_in(8)).then(|| Negotiated {
        digests: pdu::digests(choices),
        host_alignment: pdu::alignment(choices),
        controller_alignment: pdu::alignment(choices),
        max_r2t: NonZeroU32::MIN.saturating_add(choices.below(4) as u32),
        max_h2c_data: choices.pick(&[4096, 65_536]),
    });
    let mut host = HostVoice::new(choices, tame);
    let mut side = ControllerSide::new(choices, terms, given);
    if let Some(negotiated) = given {
        host.agree(negotiated);
    }
    if tame {
        host.icreq(&mut side);
        side.driven.receive(usize::MAX);
        host.hear(&mut side, usize::MAX);
        side.configure(settings(choices, side.driven.conn.setup().max_depth));
    }
    while choices.more() && !side.driven.finished() {
        match choices.u8() % 24 {
            0..8 => host.command(choices, &mut side),
            8..12 => host.data(choices, &mut side),
            12..14 => side.respond(choices, tame),
            14..16 => side.fetch(choices, tame),
            16 if !tame => host.misbehave(choices, &mut side),
            17 if !tame => disturb(choices, &mut side),
            18 => side.abuse(choices),
            19 => side.driven.refuse_output(),
            _ => {}
        }
        let most = stride(choices);
        side.driven.receive(most);
        side.look(host.sure());
        let most = stride(choices);
        host.hear(&mut side, most);
        assert!(!tame || !side.driven.finished(), "a connection ends although its host obeys");
    }
    if tame {
        wind_up(&mut host, &mut side);
    }
    side.driven.run_out();
    if side.driven.open() {
        side.driven.close(Close::Now);
    }
    side.look(host.sure());
    assert!(side.closed, "no Closed");
    side.end();
}

fn settings(choices: &mut Choices<'_>, most: u16) -> QueueSettings {
    let depth = choices.pick(&[2, 3, 32, 64, 128, 1024]).min(most);
    QueueSettings { kind: kind(choices), depth, sq_flow_control: choices.yes() }
}

fn kind(choices: &mut Choices<'_>) -> QueueKind {
    choices.pick(&[QueueKind::Admin, QueueKind::Io(1)])
}

/// What can happen at any moment on this side.
fn disturb(choices: &mut Choices<'_>, side: &mut ControllerSide) {
    match choices.u8() % 8 {
        0 | 1 => {
            let (kind, depth) = (kind(choices), choices.u16() % 200);
            side.configure(QueueSettings { kind, depth, sq_flow_control: choices.yes() });
        }
        2 => side.driven.close(Close::AfterFlush),
        3 if choices.once_in(4) => side.driven.close(Close::Now),
        4 if choices.once_in(4) => side.driven.end_of_stream(),
        5 => side.driven.pass(Duration::from_millis(u64::from(choices.u16()))),
        6 => side.respond(choices, false),
        _ => side.fetch(choices, false),
    }
}

/// A host that obeyed gets all its answers.
fn wind_up(host: &mut HostVoice, side: &mut ControllerSide) {
    let nothing = &mut Choices::new(&[]);
    for _ in 0..100_000 {
        if side.waiting() + side.fetching() + side.answers.len() + host.outstanding.len() == 0 {
            return;
        }
        while side.driven.receive(usize::MAX) {}
        side.look(host.sure());
        host.data(nothing, side);
        side.respond(nothing, true);
        host.hear(side, usize::MAX);
    }
    panic!("commands of a host that obeys are never answered");
}
