//! A host's connection against a controller that says anything: PDUs in and out of order, with damaged bytes, cut anywhere,
//! while its user submits, configures and closes at any moment.
//!
//! In a `tame` run the controller obeys the protocol; then the connection must not find fault with it, and every command ends
//! as the controller said.

use std::{num::NonZeroU32, time::Duration};

use nvmf_tcp::pdu::{HostTerms, Negotiated};
use nvmf_transport::Close;

use super::{
    Choices, Target,
    controller_voice::ControllerVoice,
    driver::stride,
    host_side::{HostSide, settings},
    pdu, seeds,
};

pub(super) const TARGET: Target =
    Target { name: "host_conn", body, seeds: || seeds::random(24, 1500), longest: 3000 };

/// The body.
pub(super) fn body(data: &[u8]) {
    let choices = &mut Choices::new(data);
    let tame = choices.yes();
    let terms = HostTerms {
        alignment: pdu::alignment(choices),
        header_digest: if tame { pdu::offer(choices) } else { pdu::policy(choices) },
        data_digest: if tame { pdu::offer(choices) } else { pdu::policy(choices) },
        max_r2t: NonZeroU32::MIN.saturating_add(choices.below(4) as u32),
    };
    let given = (!tame && choices.once_in(8)).then(|| Negotiated {
        digests: pdu::digests(choices),
        host_alignment: pdu::alignment(choices),
        controller_alignment: pdu::alignment(choices),
        max_r2t: terms.max_r2t,
        max_h2c_data: choices.pick(&[4096, 65_536]),
    });
    let depth = choices.pick(&[2, 3, 17, 64]);
    let mut side = HostSide::new(choices, terms, given, depth);
    let mut controller = ControllerVoice::new(choices, tame, terms);
    if let Some(negotiated) = given {
        controller.agree(negotiated);
    }
    while choices.more() && !side.driven.finished() {
        match choices.u8() % 16 {
            0..4 => drop(side.submit(choices)),
            4..10 => controller.speak(choices, &mut side),
            10 if !tame => controller.misbehave(choices, &mut side),
            11 if !tame => disturb(choices, &mut side),
            12 => side.driven.refuse_output(),
            13 if choices.once_in(4) => {
                let depth = choices.u16() % 80;
                side.configure(settings(choices, depth));
            }
            _ => {}
        }
        let most = stride(choices);
        controller.hear(&mut side, most);
        let most = stride(choices);
        side.driven.receive(most);
        side.look(controller.sure());
        controller.judge(&mut side);
        controller.check_owed(&side);
        assert!(!tame || !side.driven.finished(), "a connection ends although its controller obeys");
    }
    if tame {
        wind_up(&mut controller, &mut side);
    }
    side.driven.run_out();
    if side.driven.open() {
        side.driven.close(Close::Now);
    }
    side.look(controller.sure());
    assert!(side.closed, "no Closed");
    side.end();
}

/// What can happen at any moment on this side.
fn disturb(choices: &mut Choices<'_>, side: &mut HostSide) {
    match choices.u8() % 6 {
        0 => side.driven.close(Close::AfterFlush),
        1 if choices.once_in(4) => side.driven.close(Close::Now),
        2 if choices.once_in(4) => side.driven.end_of_stream(),
        _ => side.driven.pass(Duration::from_millis(u64::from(choices.u16()))),
    }
}

/// A controller that obeys answers everything.
fn wind_up(controller: &mut ControllerVoice, side: &mut HostSide) {
    let nothing = &mut Choices::new(&[]);
    for _ in 0..100_000 {
        controller.hear(side, usize::MAX);
        while side.driven.receive(usize::MAX) {}
        side.look(controller.sure());
        controller.judge(side);
        if side.outstanding() == 0 {
            return assert!(controller.open.is_empty() && !side.driven.finished());
        }
        controller.speak(nothing, side);
    }
    panic!("commands to a controller that obeys never end");
}
