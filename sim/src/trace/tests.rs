//! What a trace says is what happened.

use std::time::Duration;

use super::Trace;
use crate::{Network, SimTransport, tests::Pair};

const PAUSE: Duration = Duration::from_micros(100);

#[test]
fn a_trace_tells_the_story() {
    let network = Network::new(1);
    let (host, controller) = SimTransport::new(&network).shared();
    let trace = Trace::new(8);
    let (host, controller) = (trace.host(host), trace.controller(controller));
    let mut pair = Pair::over(&network, &*host, &*controller);
    let queue = pair.connect();
    pair.read(queue, 4096, 0);
    pair.run(PAUSE);
    pair.answer_reads();
    pair.run(PAUSE);
    let text = trace.to_string();
    for line in [
        "command 0.1 cookie 0 cid 0020 opcode 02 nsid 1",
        "controller 1: command 0.1 cid 0020 opcode 02 nsid 1 dwords [0, 0, 0, 0, 0, 0], data: 4096 bytes with the host: ok",
        "host 0: completion 0.1 cookie 0 cid 0020 Successful Completion (00h/00h), result 0, sqhd 0, 4096 bytes: ok",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let records = trace.records();
    assert!(records.iter().any(|record| record.role == "controller"));
    for (line, record) in trace.json().lines().zip(&records) {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["at"], record.at);
        assert_eq!(value["role"], record.role);
        assert!(value["what"].is_string());
    }
    (1..9).for_each(|cookie| pair.read(queue, 4096, cookie));
    assert_eq!((trace.records().len(), trace.lost() > 0), (8, true), "the ring is bounded");
}
