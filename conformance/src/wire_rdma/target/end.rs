//! Ends, at any moment.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use nvmf_soft_iwarp::Access;

use crate::{
    Context as _, Verdict, check_eq,
    wire_rdma::{
        Target,
        mpa::{PATIENCE, admin_request, frame},
        peer::Heard,
        queue::{Queue, none, rw, sgl, with_region},
    },
    wire_tcp::bytes::{READ, Sqe, WRITE},
};

/// A connection cut with a reset instead of an end.
fn reset(stream: TcpStream) -> Verdict {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).doing("to linger not")?;
    drop(stream);
    Ok(())
}

pub(super) fn any_moment(target: &Target) -> Verdict {
    let whole = frame(16, 0, &admin_request());
    for cut in [0, 1, 16, 19, 20, 24, 40, whole.len()] {
        for hard in [false, true] {
            let mut stream = TcpStream::connect(target.address).doing("to connect")?;
            stream.write_all(&whole[..cut]).doing("to send")?;
            if hard {
                reset(stream)?;
            }
        }
    }
    // After the reply, before the first message.
    let mut stream = TcpStream::connect(target.address).doing("to connect")?;
    stream.set_read_timeout(Some(PATIENCE)).doing("a timeout")?;
    stream.write_all(&whole).doing("to send")?;
    stream.read_exact(&mut [0; 20]).doing("the reply")?;
    reset(stream)?;
    // Another protocol.
    let mut stream = TcpStream::connect(target.address).doing("to connect")?;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").doing("to send")?;
    // In the middle of commands: some are answered, data is under way in both directions.
    for _ in 0..4 {
        let (_admin, mut io) = Queue::io(target, 4)?;
        let len = 128 * 1024;
        for n in 0..8 {
            let (opcode, access) = [(READ, Access::REMOTE_WRITE), (WRITE, Access::REMOTE_READ)][n % 2];
            let sqe = rw(target, opcode, 0, len, io.cid());
            let region = io.peer.expose(vec![0; len], access)?;
            io.send(with_region(sqe, sgl::KEYED, region), &[])?;
        }
    }
    // And in good order.
    let mut queue = Queue::admin(target)?;
    queue.peer.disconnect()?;
    queue.peer.end()?;
    Queue::admin(target)?.alive()
}

pub(super) fn overrun(target: &Target) -> Verdict {
    let mut admin = Queue::admin(target)?;
    // Asynchronous Event Requests are kept up to a limit, and answered at once beyond it: the queue overruns if the target
    // keeps as many as the queue has entries, or does not answer in time.
    for _ in 0..4 * usize::from(admin.crqsize) {
        let request = none(Sqe::new(0x0c, admin.cid()));
        if admin.peer.send(&request.0).is_err() {
            break;
        }
    }
    loop {
        match admin.peer.hear_for(Duration::from_millis(500))? {
            Some(Heard::Message(bytes, _)) => check_eq!(bytes.len(), 16, "a response capsule"),
            Some(Heard::End(_)) => return Ok(()),
            None => return admin.alive(),
        }
    }
}
