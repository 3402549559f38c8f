//! A peer that says what it may not: each mistake gets its code, and not one byte outside of a live region changes.

use super::*;

const SENTINEL: u8 = 0xA5;

/// A responder that has heard something valid, so that it may speak, with canaries around everything.
struct Victim {
    node: Node,
    /// Writable from afar, 100 bytes from tagged offset 1000.
    writable: Region,
    /// Readable from afar.
    readable: Region,
    /// Neither.
    private: Region,
    /// For another stream only.
    foreign: Region,
    /// Two receives of 50 bytes go here.
    inbox: Region,
    regions: Vec<Region>,
}

fn victim() -> Victim {
    let config = ConnectionConfig { ird: 2, ..Default::default() };
    let mut node = responder(&ConnectionConfig { ord: 2, ..config });
    node.input_all(&fpdu(&tagged(0, STag::new(1), 0, true), &[]));
    assert_eq!(node.qp.life(), Life::Open);
    let mut region = |access, stream| {
        let options = RegionOptions { access, addressing: crate::Addressing::At(1000), stream };
        node.domain.register(vec![SENTINEL; 100].into_boxed_slice(), options).unwrap()
    };
    let writable = region(Access::REMOTE_WRITE, None);
    let readable = region(Access::REMOTE_READ, Some(Qp::new(0, 1)));
    let private = region(Access::LOCAL_WRITE, None);
    let foreign = region(Access::all(), Some(Qp::new(5, 5)));
    let inbox = region(Access::LOCAL_WRITE, None);
    for (id, offset) in [(1, 10), (2, 60)] {
        node.receive(id, &[inbox.sge(offset, 20), inbox.sge(offset + 20, 10)]);
    }
    let regions = vec![writable, readable, private, foreign, inbox];
    Victim { node, writable, readable, private, foreign, inbox, regions }
}

impl Victim {
    fn untouched(&self) {
        for region in &self.regions {
            assert!(self.node.bytes(region).iter().all(|&byte| byte == SENTINEL), "{region:?} was written");
        }
    }

    /// Hears `bytes`, whole or in pieces, and is to answer with this code.
    fn refuses(mut self, bytes: &[u8], piece: usize, code: (u8, u8, u8), headers: (bool, bool)) -> Self {
        for chunk in bytes.chunks(piece) {
            self.node.input_all(chunk);
        }
        let code = ErrorCode::new(code.0, code.1, code.2);
        let said = terminate(&mut self.node);
        assert_eq!((said.code, said.layout), (code, crate::rdmap::Layout::Rfc));
        assert_eq!(said.segment.is_some(), headers.0, "{said:?}");
        assert_eq!(said.segment.is_some_and(|segment| segment.read().is_some()), headers.1);
        assert!(matches!(self.node.disconnected(), Disconnect::Terminated(t) if t.code == code));
        let ended = self.node.ended();
        assert_eq!(ended.len(), 2);
        assert!(ended.iter().all(|&(_, status)| status != Status::Success), "{ended:?}");
        // Nothing that comes later does anything.
        let late = fpdu(&tagged(0, self.writable.stag, 1000, true), b"late");
        self.node.input_all(&late);
        assert_eq!(self.node.drain(), [0; 0]);
        self
    }
}

/// Every mistake, with pieces of every size that matters.
fn refused(make: impl Fn(&Victim) -> Vec<u8>, code: (u8, u8, u8), headers: (bool, bool)) {
    for piece in [usize::MAX, 1, 7] {
        let victim = victim();
        let bytes = make(&victim);
        victim.refuses(&bytes, piece, code, headers).untouched();
    }
}

const DDP: (bool, bool) = (true, false);
const READ: (bool, bool) = (true, true);
const NONE: (bool, bool) = (false, false);

// test: IW-MEM-01, IW-MEM-02, IW-MEM-03, IW-MEM-04, IW-MEM-05, IW-MEM-06, IW-TRM-04, IW-TRM-05, IW-TRM-09, IW-RDM-03
#[test]
fn writes_that_are_not_allowed() {
    let write = |stag: STag, to: u64, len: usize| fpdu(&tagged(0, stag, to, true), &vec![0x11; len]);
    // Guesses: neighbours in index and key, nothing, everything.
    refused(|v| write(v.writable.stag.with_key(v.writable.stag.key() ^ 1), 1000, 4), (1, 1, 0), DDP);
    refused(|v| write(STag::new(v.writable.stag.value() ^ 0x100), 1000, 4), (1, 1, 0), DDP);
    refused(|_| write(STag::new(0), 1000, 4), (1, 1, 0), DDP);
    refused(|_| write(STag::new(u32::MAX), 1000, 4), (1, 1, 0), DDP);
    refused(|v| write(v.foreign.stag, 1000, 4), (1, 1, 2), DDP);
    refused(|v| write(v.private.stag, 1000, 4), (0, 1, 2), DDP);
    refused(|v| write(v.readable.stag, 1000, 4), (0, 1, 2), DDP);
    refused(|v| write(v.inbox.stag, 1000, 4), (0, 1, 2), DDP);
    // One byte before, one behind, one too long, far away, and around the end of all offsets.
    refused(|v| write(v.writable.stag, 999, 1), (1, 1, 1), DDP);
    refused(|v| write(v.writable.stag, 999, 101), (1, 1, 1), DDP);
    refused(|v| write(v.writable.stag, 1100, 1), (1, 1, 1), DDP);
    refused(|v| write(v.writable.stag, 1000, 101), (1, 1, 1), DDP);
    refused(|v| write(v.writable.stag, 0, 4), (1, 1, 1), DDP);
    refused(|v| write(v.writable.stag, u64::MAX - 4, 4), (1, 1, 1), DDP);
    refused(|v| write(v.writable.stag, u64::MAX - 3, 4), (1, 1, 3), DDP);
    refused(|v| write(v.writable.stag, u64::MAX, 30_000), (1, 1, 3), DDP);
    // After it was taken back.
    for piece in [usize::MAX, 3] {
        let mut victim = victim();
        victim.node.domain.invalidate(victim.writable.stag).unwrap();
        let bytes = write(victim.writable.stag, 1000, 4);
        victim.refuses(&bytes, piece, (1, 1, 0), DDP).untouched();
    }
}

/// What requests of this side may name by address stays out of a peer's reach, wherever it is.
// test: IW-MEM-09
#[test]
#[allow(
    unsafe_code,
    reason = "no request of this side names memory by address: there is nothing to vouch for"
)]
fn addresses_are_nothing_to_peers() {
    let canary = [SENTINEL; 64];
    let to = canary.as_ptr().expose_provenance() as u64;
    let trusting = || {
        let mut victim = victim();
        // SAFETY: see the reason above.
        unsafe { victim.node.domain.trust_addresses() };
        victim
    };
    for piece in [usize::MAX, 7] {
        let write = fpdu(&tagged(0, STag::LOCAL, to, true), &[0x11; 64]);
        trusting().refuses(&write, piece, (1, 1, 0), DDP).untouched();
        let source = Remote { stag: STag::LOCAL, to };
        let request = ReadRequest { sink: Remote { stag: STag::new(9), to: 0 }, len: 64, source };
        let read = fpdu(&untagged(1, 1, 1, 0, true), &request.encode());
        trusting().refuses(&read, piece, (0, 1, 0), READ).untouched();
    }
    assert_eq!(canary, [SENTINEL; 64]);
}

/// All of the region, and not a byte more.
// test: IW-MEM-04, IW-RDM-04
#[test]
fn writes_at_the_bounds_are_allowed() {
    for (to, len) in [(1000, 100), (1000, 1), (1099, 1), (1050, 50)] {
        let mut victim = victim();
        victim.node.input_all(&fpdu(&tagged(0, victim.writable.stag, to, true), &vec![0x11; len]));
        assert_eq!(victim.node.qp.life(), Life::Open);
        let at = (to - 1000) as usize;
        for (i, &byte) in victim.node.bytes(&victim.writable).iter().enumerate() {
            assert_eq!(byte == 0x11, (at..at + len).contains(&i));
        }
    }
    // Of nothing, to anywhere.
    for stag in [STag::new(0), STag::new(77)] {
        let mut victim = victim();
        victim.node.input_all(&fpdu(&tagged(0, stag, u64::MAX, true), &[]));
        assert_eq!(victim.node.qp.life(), Life::Open);
        victim.untouched();
    }
}

// test: IW-RDM-13, IW-RDM-14, IW-RDM-15, IW-TRM-06
#[test]
fn reads_that_are_not_allowed() {
    let ask = |msn, source: STag, to: u64, len: u32| {
        let source = Remote { stag: source, to };
        let request = ReadRequest { sink: Remote { stag: STag::new(9), to: 0 }, len, source };
        fpdu(&untagged(1, 1, msn, 0, true), &request.encode())
    };
    refused(|_| ask(1, STag::new(0xdead), 1000, 4), (0, 1, 0), READ);
    refused(|v| ask(1, v.private.stag, 1000, 4), (0, 1, 2), READ);
    refused(|v| ask(1, v.writable.stag, 1000, 4), (0, 1, 2), READ);
    refused(|v| ask(1, v.foreign.stag, 1000, 4), (0, 1, 3), READ);
    refused(|v| ask(1, v.readable.stag, 999, 1), (0, 1, 1), READ);
    refused(|v| ask(1, v.readable.stag, 1001, 100), (0, 1, 1), READ);
    refused(|v| ask(1, v.readable.stag, 1000, u32::MAX), (0, 1, 1), READ);
    refused(|v| ask(1, v.readable.stag, u64::MAX, 2), (0, 1, 4), READ);
    // Numbers, lengths, and more than fit the depth.
    refused(|v| ask(0, v.readable.stag, 1000, 4), (1, 2, 3), DDP);
    refused(|v| ask(2, v.readable.stag, 1000, 4), (1, 2, 3), DDP);
    refused(|v| (1..=3).flat_map(|msn| ask(msn, v.readable.stag, 1000, 4)).collect(), (1, 2, 2), DDP);
    refused(|_| fpdu(&untagged(1, 1, 1, 0, true), &[0; 27]), (0, 2, 0xFF), DDP);
    refused(|_| fpdu(&untagged(1, 1, 1, 0, true), &[]), (0, 2, 0xFF), DDP);
    refused(|_| fpdu(&untagged(1, 1, 1, 0, true), &[0; 29]), (1, 2, 5), DDP);
    refused(|_| fpdu(&untagged(1, 1, 1, 0, true), &[0; 1000]), (1, 2, 5), DDP);
    refused(|_| fpdu(&untagged(1, 1, 1, 0, false), &[0; 28]), (1, 2, 5), DDP);
    refused(|_| fpdu(&untagged(1, 1, 1, 4, true), &[0; 28]), (1, 2, 4), DDP);
}

/// Of nothing from nowhere, it is answered; its STags are not looked at.
// test: IW-RDM-16
#[test]
fn a_read_of_nothing_is_answered() {
    let mut victim = victim();
    let sink = Remote { stag: STag::new(1), to: 1 };
    let request = ReadRequest { sink, len: 0, source: Remote { stag: STag::new(0xbad), to: u64::MAX } };
    victim.node.input_all(&fpdu(&untagged(1, 1, 1, 0, true), &request.encode()));
    assert_eq!(parse(&victim.node.drain()), [(tagged(2, sink.stag, sink.to, true), vec![])]);
}

/// A region that is taken back while its data is on its way: the peer is told what it asked for.
// test: IW-RDM-15
#[test]
fn a_source_that_goes_away() {
    let mut victim = victim();
    let big = victim.node.register(100_000, Access::REMOTE_READ);
    let request = ReadRequest { sink: Remote::default(), len: 100_000, source: big.remote(0) };
    victim.node.qp.send_ahead = 4000;
    victim.node.input_all(&fpdu(&untagged(1, 1, 1, 0, true), &request.encode()));
    assert!(!victim.node.output(10_000).is_empty());
    victim.node.domain.invalidate(big.stag).unwrap();
    let said = {
        let mut bytes = victim.node.drain();
        // The rest of an FPDU may come first.
        while Header::parse(bytes.get(2..).unwrap_or_default()).is_none_or(|h| h.is_err() || bytes[3] != 0x47)
        {
            bytes.remove(0);
        }
        parse(&bytes)
    };
    assert_eq!(said.len(), 1);
    let terminate = Terminate::parse(&said[0].1).unwrap();
    assert!(matches!(victim.node.disconnected(), Disconnect::Terminated(_)));
    assert!(terminate.code == ErrorCode::new(0, 1, 0) || terminate.code == ErrorCode::new(0, 0, 0));
}

// test: IW-DDP-08, IW-DDP-10, IW-DDP-11, IW-DDP-12, IW-RDM-05, IW-RDM-06, IW-TRM-07
#[test]
fn sends_that_are_not_allowed() {
    let send = |msn, offset, last, len: usize| fpdu(&untagged(3, 0, msn, offset, last), &vec![0x11; len]);
    refused(|_| send(0, 0, true, 0), (1, 2, 3), DDP);
    refused(|_| send(2, 0, true, 4), (1, 2, 3), DDP);
    refused(|_| send(u32::MAX, 0, true, 4), (1, 2, 3), DDP);
    refused(|_| send(1, 4, true, 4), (1, 2, 4), DDP);
    refused(|_| send(1, u32::MAX, true, 4), (1, 2, 4), DDP);
    refused(|_| send(1, 0, true, 31), (1, 2, 5), DDP);
    refused(|_| send(1, 0, true, 60_000), (1, 2, 5), DDP);
    for queue in [3, 4, 0xFFFF_FFFF] {
        refused(|_| fpdu(&untagged(3, queue, 1, 0, true), b"x"), (1, 2, 1), DDP);
    }
    // Opcodes where they do not belong.
    for (opcode, queue) in
        [(0, 0), (1, 0), (2, 0), (7, 0), (3, 1), (7, 1), (3, 2), (1, 2), (8, 0), (9, 0), (10, 1), (15, 0)]
    {
        refused(|_| fpdu(&untagged(opcode, queue, 1, 0, true), &[0; 28]), (0, 2, 6), DDP);
    }
    for opcode in [1, 3, 4, 5, 6, 7, 8, 11] {
        refused(|v| fpdu(&tagged(opcode, v.writable.stag, 1000, true), b"x"), (0, 2, 6), DDP);
    }
    // An answer nobody asked for.
    refused(|v| fpdu(&tagged(2, v.writable.stag, 1000, true), b"x"), (0, 2, 6), DDP);
    // A message that goes on elsewhere or with another number, or gets too long on its way: what came before is in the receive.
    for (second, code) in [
        (send(1, 9, true, 1), (1, 2, 4)),
        (send(2, 10, true, 1), (1, 2, 3)),
        (send(1, 10, true, 21), (1, 2, 5)),
        (send(1, 0, true, 1), (1, 2, 4)),
    ] {
        let victim = victim();
        let bytes = [send(1, 0, false, 10), second].concat();
        let victim = victim.refuses(&bytes, usize::MAX, code, DDP);
        let inbox = victim.node.bytes(&victim.inbox);
        assert_eq!(inbox[10..20], [0x11; 10]);
        assert!(inbox[..10].iter().chain(&inbox[20..]).all(|&byte| byte == SENTINEL));
    }
}

/// The third message finds no receive, whatever its length.
// test: IW-DDP-10
#[test]
fn a_send_without_a_receive() {
    for len in [0, 1, 30, 20_000] {
        let mut victim = victim();
        for msn in 1..=2 {
            victim.node.input_all(&fpdu(&untagged(3, 0, msn, 0, true), &[0x11; 30]));
        }
        assert_eq!(victim.node.ended(), [(1, Status::Success), (2, Status::Success)]);
        victim.node.input_all(&fpdu(&untagged(3, 0, 3, 0, true), &vec![0; len]));
        assert_eq!(terminate(&mut victim.node).code, ErrorCode::new(1, 2, 2));
    }
}

/// The receive that was too short says so.
// test: IW-QP-04
#[test]
fn too_long_a_send_fails_its_receive() {
    let mut victim = victim();
    victim.node.input_all(&fpdu(&untagged(3, 0, 1, 0, true), &[0; 31]));
    assert_eq!(victim.node.ended(), [(1, Status::LocalLength), (2, Status::Flushed)]);
}

// test: IW-INV-02, IW-INV-03
#[test]
fn invalidations_that_are_not_allowed() {
    let send = |stag: STag, opcode: u8| {
        let place = Place::Untagged { ulp: stag.value(), queue: 0, msn: 1, offset: 0 };
        fpdu(&Header { last: true, rdmap: 0x40 | opcode, place }, &[])
    };
    for opcode in [4, 6] {
        refused(|_| send(STag::new(0xbad), opcode), (0, 1, 0), DDP);
        refused(|v| send(v.foreign.stag, opcode), (0, 1, 3), DDP);
        refused(|v| send(v.private.stag, opcode), (0, 1, 9), DDP);
        refused(|v| send(v.inbox.stag, opcode), (0, 1, 9), DDP);
        refused(|v| send(v.writable.stag.with_key(v.writable.stag.key() ^ 0x80), opcode), (0, 1, 0), DDP);
    }
}

// test: IW-FPD-03, IW-FPD-08, IW-FPD-11, IW-TRM-07, IW-DDP-04
#[test]
fn bytes_that_are_no_fpdu() {
    // Any bit, but those of the length field: these move the end of the FPDU.
    let good = fpdu(&untagged(3, 0, 1, 0, true), &[0x22; 13]);
    for bit in 16..good.len() * 8 {
        let flip = |_: &Victim| {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            bad
        };
        let victim = victim();
        let bytes = flip(&victim);
        victim.refuses(&bytes, usize::MAX, (2, 0, 2), NONE).untouched();
    }
    // In pieces the payload may have been placed, but is not delivered.
    for bit in 20 * 8..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let victim = victim();
        let victim = victim.refuses(&bad, 5, (2, 0, 2), NONE);
        let inbox = victim.node.bytes(&victim.inbox);
        assert!(inbox[..10].iter().chain(&inbox[23..]).all(|&byte| byte == SENTINEL));
    }
    for len in 0..18 {
        refused(
            |_| framed(&[0x41, 0x43, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0][..len.max(2)][..len]),
            (2, 0, 3),
            NONE,
        );
    }
    refused(|_| framed(&[0xC1, 0x40, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]), (2, 0, 3), NONE);
    for version in [0x40, 0x42, 0x43] {
        refused(|_| framed(&[version, 0x43, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]), (1, 2, 6), DDP);
        refused(|_| framed(&[version | 0x80, 0x40, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), (1, 1, 4), DDP);
    }
    for version in [0x03, 0x83, 0xC3] {
        refused(|_| framed(&[0x41, version, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]), (0, 2, 5), DDP);
    }
}

/// Without CRCs nobody looks at the field.
// test: IW-FPD-04
#[test]
fn without_crc_the_field_does_not_count() {
    let config = ConnectionConfig { crc: mpa::CrcPolicy::WhenAsked, ..Default::default() };
    let mut node = Node::new(1, &QpConfig::default());
    let request = mpa::request(&offer(&config), b"");
    node.qp.accept(&config, &request, b"").unwrap();
    node.drain();
    node.receive(1, &[]);
    for piece in [1000, 3] {
        let mut bytes = fpdu(&tagged(0, STag::new(0), 0, true), &[]);
        let end = bytes.len();
        bytes[end - 4..].fill(0xFF);
        bytes.chunks(piece).for_each(|chunk| node.input_all(chunk));
    }
    node.post(2, Operation::SEND, &[]);
    let sent = node.drain();
    assert_eq!(sent[sent.len() - 4..], [0; 4]);
    assert_eq!(node.qp.life(), Life::Open);
}

/// Answers to a READ that are not the answer.
// test: IW-RDM-17, IW-RDM-18
#[test]
fn answers_that_do_not_fit() {
    for (stag, from, len, last, code) in [
        (1_u32, 0_u64, 10_usize, true, (1, 1, 0)),
        (0, 1, 99, true, (1, 1, 1)),
        (0, 0, 101, true, (1, 1, 1)),
        (0, 0, 99, true, (1, 1, 1)),
        (0, 0, 100, false, (1, 1, 1)),
        (0, u64::MAX, 1, false, (1, 1, 1)),
        (0, 0, 0, true, (1, 1, 1)),
    ] {
        let mut node = initiator(&ConnectionConfig::default());
        let sink = node.register(110, Access::LOCAL_WRITE | Access::REMOTE_WRITE);
        node.post(1, Operation::Read { remote: Remote::default() }, &[sink.sge(5, 100)]);
        node.drain();
        let stag = STag::new(sink.stag.value() ^ stag);
        node.input_all(&fpdu(&tagged(2, stag, 5_u64.wrapping_add(from), last), &vec![0x11; len]));
        assert_eq!(
            terminate(&mut node).code,
            ErrorCode::new(code.0, code.1, code.2),
            "{stag:?} {from} {len} {last}"
        );
        assert_eq!(node.ended(), [(1, Status::Flushed)]);
        assert_eq!(node.bytes(&sink), [0; 110]);
    }
    // In pieces it fits; afterwards nothing is awaited.
    let mut node = initiator(&ConnectionConfig::default());
    let sink = node.register(110, Access::LOCAL_WRITE | Access::REMOTE_WRITE);
    node.post(1, Operation::Read { remote: Remote::default() }, &[sink.sge(5, 100)]);
    node.drain();
    node.input_all(&fpdu(&tagged(2, sink.stag, 5, false), &[0x11; 60]));
    assert_eq!((node.drain(), node.ended()), (vec![], vec![]));
    node.input_all(&fpdu(&tagged(2, sink.stag, 65, true), &[0x22; 40]));
    assert_eq!(node.drain(), [0; 0]);
    assert_eq!(node.ended(), [(1, Status::Success)]);
    node.input_all(&fpdu(&tagged(2, sink.stag, 5, true), &[]));
    assert_eq!(terminate(&mut node).code, ErrorCode::new(0, 2, 6));
}

/// A refused READ is known by its error; everything else is flushed. Nothing is said any more.
// test: IW-TRM-10, IW-TRM-11
#[test]
fn a_terminate_of_the_peer() {
    for layout in 0..2 {
        let mut node = initiator(&ConnectionConfig::default());
        let sink = node.register(110, Access::LOCAL_WRITE | Access::REMOTE_WRITE);
        node.post(1, Operation::Read { remote: Remote::default() }, &[sink.sge(5, 100)]);
        node.post(2, Operation::SEND, &[]);
        node.receive(3, &[]);
        node.drain();
        let mut payload = if layout == 0 { vec![0x01, 0, 0xE0, 0] } else { vec![0x10, 0, 0x07, 0] };
        payload.extend([0, 0x2e, 0x41, 0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
        payload.extend([0; 28]);
        node.input_all(&fpdu(&untagged(7, 2, 1, 0, true), &payload));
        assert!(
            matches!(node.disconnected(), Disconnect::TerminatedByPeer(t) if t.code == ErrorCode::new(0, 1, 0))
        );
        assert_eq!(node.ended(), [(1, Status::RemoteAccess), (2, Status::Flushed), (3, Status::Flushed)]);
        assert_eq!((node.drain(), node.qp.life()), (vec![], Life::Draining));
    }
    // Longer than any, or too short to say anything.
    for (len, own) in [(0, false), (3, false), (52, false), (53, true), (1400, true)] {
        let mut node = initiator(&ConnectionConfig::default());
        node.input_all(&fpdu(&untagged(7, 2, 1, 0, true), &vec![0; len]));
        assert_eq!(!node.drain().is_empty(), own, "{len}");
        assert_eq!(node.qp.life(), Life::Draining);
    }
}

/// Receives into memory that is gone: not the peer's fault, and it is told so.
// test: IW-QP-05
#[test]
fn a_receive_without_memory() {
    for len in [5, 30_000] {
        let mut node = responder(&ConnectionConfig::default());
        let region = node.register(100_000, Access::LOCAL_WRITE);
        node.receive(1, &[region.sge(0, 100_000)]);
        node.domain.deregister(region.stag).unwrap();
        node.input_all(&fpdu(&untagged(3, 0, 1, 0, true), &vec![0; len]));
        assert_eq!(terminate(&mut node).code, ErrorCode::new(0, 0, 0));
        // Without a right to be written likewise.
        let mut node = responder(&ConnectionConfig::default());
        let region = node.register(100_000, Access::REMOTE_WRITE);
        node.receive(1, &[region.sge(0, 100_000)]);
        node.input_all(&fpdu(&untagged(3, 0, 1, 0, true), &vec![1; len]));
        assert_eq!(terminate(&mut node).code, ErrorCode::new(0, 0, 0));
        assert!(node.bytes(&region).iter().all(|&byte| byte == 0));
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(150))]

    /// Anything at all, well framed or not: no panic, nothing outside of what was lent, bounded output.
    // test: IW-MEM-06, IW-FPD-09
    #[test]
    fn anything(
        messages in proptest::collection::vec(
            (0..16_u8, proptest::bool::weighted(0.7), 0..4_u32, 0..4_u32, 0..120_u32, 900..1200_u64, 0..6_usize,
             proptest::collection::vec(proptest::num::u8::ANY, 0..60), proptest::bool::weighted(0.05)),
            1..20,
        ),
        piece in 1..200_usize,
    ) {
        let mut victim = victim();
        for (opcode, untag, queue, msn, offset, to, target, payload, broken) in messages {
            let stag = victim.regions.get(target).map_or(STag::new(99), |region| region.stag);
            let last = offset % 3 != 0;
            let header = match untag {
                true => Header {
                    last,
                    rdmap: 0x40 | opcode,
                    place: Place::Untagged { ulp: stag.value(), queue, msn, offset: if offset < 60 { 0 } else { offset } },
                },
                false => tagged(opcode, stag, to, last),
            };
            let mut bytes = fpdu(&header, &payload);
            if broken {
                let at = usize::from(opcode) * 3 % bytes.len();
                bytes[at] ^= 0x10;
            }
            bytes.chunks(piece).for_each(|chunk| victim.node.input_all(chunk));
            let said = victim.node.drain();
            assert!(said.len() < 10_000);
            parse(&said);
        }
        for region in [victim.readable, victim.private, victim.foreign] {
            assert!(victim.node.bytes(&region).iter().all(|&byte| byte == SENTINEL));
        }
        // Receives cover bytes 10 to 90 of the inbox.
        let inbox = victim.node.bytes(&victim.inbox);
        assert!(inbox[..10].iter().chain(&inbox[90..]).all(|&byte| byte == SENTINEL));
    }
}
