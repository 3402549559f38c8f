//! Two endpoints over sockets on 127.0.0.1.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use nvmf_soft_iwarp::{
    Access, Completed, ConnectionConfig, EndpointConfig, Event, Operation, SendRequest, Status,
};
use support::*;

fn pair() -> (Side, Side) {
    connected(&ConnectionConfig::default(), EndpointConfig::default(), EndpointConfig::default())
}

#[test]
fn send_write_and_read_of_every_size() {
    let (mut a, mut b) = pair();
    for (round, len) in
        [0_usize, 1, 3, 511, 512, 513, 4096, 16_384, 65_536, 131_072, 1_000_001].into_iter().enumerate()
    {
        let data = pattern(len, round as u8);
        let source = a.register(data.clone(), Access::REMOTE_READ);
        let sink = b.register(vec![0; len + 2], Access::LOCAL_WRITE | Access::REMOTE_WRITE);
        // Send into a receive that is longer.
        b.receive(1, &sink, 1, len as u32);
        let list = [source.sge(0, len as u32)];
        a.post(SendRequest::new(2, Operation::SEND, gather(&list)));
        let got = until(&mut a, &mut b, "a message", |_, b| b.completion());
        assert_success(got, 1, Completed::Receive, len as u32);
        assert_eq!(b.endpoint.bytes(sink.stag).unwrap()[1..=len], data);
        let sent = until(&mut a, &mut b, "a completion", |a, _| a.completion());
        assert_success(sent, 2, Completed::Send, len as u32);

        // Write, then a message that says so.
        b.endpoint.bytes_mut(sink.stag).unwrap().fill(0);
        b.receive(3, &sink, 0, 0);
        a.post(SendRequest::new(4, Operation::Write { remote: sink.remote(1) }, gather(&list)).unsignaled());
        a.post(SendRequest::new(5, Operation::SEND, gather(&[])));
        let got = until(&mut a, &mut b, "a message", |_, b| b.completion());
        assert_success(got, 3, Completed::Receive, 0);
        let bytes = b.endpoint.bytes(sink.stag).unwrap();
        assert_eq!(bytes[1..=len], data);
        assert_eq!((bytes[0], bytes[len + 1]), (0, 0));
        let sent = until(&mut a, &mut b, "a completion", |a, _| a.completion());
        assert_success(sent, 5, Completed::Send, 0);

        // Read it from the other side.
        b.endpoint.bytes_mut(sink.stag).unwrap().fill(0);
        let into = [sink.sge(1, len as u32)];
        b.post(SendRequest::new(6, Operation::Read { remote: source.remote(0) }, gather(&into)));
        let read = until(&mut a, &mut b, "a read", |_, b| b.completion());
        assert_success(read, 6, Completed::Read, len as u32);
        let bytes = b.endpoint.bytes(sink.stag).unwrap();
        assert_eq!(bytes[1..=len], data);
        assert_eq!((bytes[0], bytes[len + 1]), (0, 0));

        assert_eq!(a.endpoint.deregister(source.stag).unwrap().unwrap()[..], data);
        b.endpoint.deregister(sink.stag).unwrap();
        assert!(a.events.is_empty() && b.events.is_empty(), "{:?} {:?}", a.events, b.events);
    }
}

#[test]
fn disconnect_flushes_and_the_peer_hears_of_it() {
    let (mut a, mut b) = pair();
    let memory = a.register(vec![0; 64], Access::LOCAL_WRITE);
    a.receive(1, &memory, 0, 64);
    let memory = b.register(vec![0; 64], Access::LOCAL_WRITE);
    b.receive(2, &memory, 0, 64);
    a.endpoint.disconnect(a.qp);
    let last = |side: &mut Side| {
        side.take(|event| match event {
            Event::Disconnected { reason, .. } => Some(reason.to_string()),
            _ => None,
        })
    };
    let reason = until(&mut a, &mut b, "the end", |a, _| last(a));
    assert_eq!(reason, "disconnected by this side");
    let reason = until(&mut a, &mut b, "the end", |_, b| last(b));
    assert_eq!(reason, "disconnected by the peer");
    for (side, id) in [(&mut a, 1), (&mut b, 2)] {
        let flushed = side.completion().unwrap();
        assert_eq!((flushed.id, flushed.status), (id, Status::Flushed));
        side.endpoint.destroy_qp(side.qp);
    }
}
