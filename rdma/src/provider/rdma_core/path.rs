//! The data path: posting, polling, arming.

use nvmf_transport::{Error, ErrorKind, Stage};

use super::{
    engine::{Engine, POLL_BATCH, translate},
    error,
};
use crate::{
    ffi,
    verbs::{Completion, ConnId, RecvRequest, SendOp, SendRequest, Sge},
};

fn not_connected() -> Error {
    Error::new(Stage::Transfer, ErrorKind::Io, "the RDMA connection has no queue pair")
}

fn element(sge: &Sge) -> ffi::ibv_sge {
    ffi::ibv_sge { addr: sge.address, length: sge.length, lkey: sge.key }
}

impl Engine {
    /// # Safety
    /// As `Verbs::post_recv`.
    pub(super) unsafe fn post_recv(&mut self, conn: ConnId, requests: &[RecvRequest]) -> Result<(), Error> {
        if requests.is_empty() {
            return Ok(());
        }
        let qp = self.conns.look(conn).and_then(|conn| conn.qp).ok_or_else(not_connected)?.qp;
        self.elements.clear();
        self.recv_requests.clear();
        for request in requests {
            self.elements.extend(request.sges.iter().map(element));
            self.recv_requests.push(ffi::ibv_recv_wr {
                wr_id: request.id,
                next: std::ptr::null_mut(),
                sg_list: std::ptr::null_mut(),
                num_sge: request.sges.len() as i32,
            });
        }
        // Neither vector moves any more: now its members can be pointed to.
        let chain = self.recv_requests.as_mut_ptr();
        let mut first = 0;
        for index in 0..requests.len() {
            // SAFETY: `index` and, where it is used, `index + 1` are within the vector; `first` is within or at the end of the
            // elements, of which each request has as many as it says.
            unsafe {
                let request = chain.add(index);
                (*request).sg_list = self.elements.as_mut_ptr().add(first);
                first += (*request).num_sge as usize;
                if index + 1 < requests.len() {
                    (*request).next = chain.add(index + 1);
                }
            }
        }
        let mut failed = std::ptr::null_mut();
        // SAFETY: the queue pair is live, the chain is complete; of the memory the caller vouches.
        let code = unsafe { ffi::post_recv(qp, chain, &mut failed) };
        if code == 0 {
            Ok(())
        } else {
            Err(error::os(Stage::Transfer, "cannot post a receive", error::of_code(code)))
        }
    }

    /// # Safety
    /// As `Verbs::post_send`.
    pub(super) unsafe fn post_send(&mut self, conn: ConnId, requests: &[SendRequest]) -> Result<(), Error> {
        if requests.is_empty() {
            return Ok(());
        }
        let qp = self.conns.look(conn).and_then(|conn| conn.qp).ok_or_else(not_connected)?.qp;
        self.elements.clear();
        self.send_requests.clear();
        for request in requests {
            self.elements.extend(request.sges.iter().map(element));
            self.send_requests.push(send_request(request));
        }
        // As for receives.
        let chain = self.send_requests.as_mut_ptr();
        let mut first = 0;
        for index in 0..requests.len() {
            // SAFETY: as for receives.
            unsafe {
                let request = chain.add(index);
                (*request).sg_list = self.elements.as_mut_ptr().add(first);
                first += (*request).num_sge as usize;
                if index + 1 < requests.len() {
                    (*request).next = chain.add(index + 1);
                }
            }
        }
        let mut failed = std::ptr::null_mut();
        // SAFETY: the queue pair is live, the chain is complete; of the memory the caller vouches.
        let code = unsafe { ffi::post_send(qp, chain, &mut failed) };
        if code == 0 {
            Ok(())
        } else {
            Err(error::os(Stage::Transfer, "cannot post a send", error::of_code(code)))
        }
    }

    pub(super) fn poll_cq(&mut self, into: &mut [Completion]) -> Result<usize, Error> {
        let mut count = 0;
        while count < into.len()
            && let Some(completion) = self.held.pop_front()
        {
            into[count] = completion;
            count += 1;
        }
        for step in 0..self.order.len() {
            let at = (self.turn + step) % self.order.len();
            let (device, queue) = self.order[at];
            let Some(Some(queues)) = self.devices.get_mut(device) else { continue };
            loop {
                let room = (into.len() - count).min(POLL_BATCH);
                if room == 0 {
                    // Whoever had no chance is first next time.
                    self.turn = at;
                    return Ok(count);
                }
                let (taken, operation) = queues.poll(queue, &mut self.wcs[..room])?;
                for wc in &self.wcs[..taken] {
                    if let Some(completion) = translate(wc, operation, queues, &self.conns) {
                        into[count] = completion;
                        count += 1;
                    }
                }
                if taken < room {
                    break;
                }
            }
        }
        Ok(count)
    }

    pub(super) fn arm(&mut self) -> Result<bool, Error> {
        let mut again = !self.held.is_empty();
        for device in self.devices.iter_mut().flatten() {
            again |= device.arm()?;
        }
        Ok(again)
    }
}

fn send_request(request: &SendRequest) -> ffi::ibv_send_wr {
    // SAFETY: all zero (null pointers, numbers) is valid.
    let mut wr: ffi::ibv_send_wr = unsafe { std::mem::zeroed() };
    wr.wr_id = request.id;
    wr.num_sge = request.sges.len() as i32;
    if request.signaled {
        wr.send_flags |= ffi::IBV_SEND_SIGNALED;
    }
    if request.inline {
        wr.send_flags |= ffi::IBV_SEND_INLINE;
    }
    let rdma = |address: u64, key: u32| ffi::ibv_send_wr__bindgen_ty_2 {
        rdma: ffi::ibv_send_wr__bindgen_ty_2__bindgen_ty_1 { remote_addr: address, rkey: key },
    };
    match request.op {
        SendOp::Send => wr.opcode = ffi::IBV_WR_SEND,
        SendOp::SendInvalidate { key } => {
            wr.opcode = ffi::IBV_WR_SEND_WITH_INV;
            wr.__bindgen_anon_1 = ffi::ibv_send_wr__bindgen_ty_1 { invalidate_rkey: key };
            // siw's library looks for the key where RDMA requests have theirs; nobody else looks there.
            wr.wr = rdma(0, key);
        }
        SendOp::Write(remote) => {
            wr.opcode = ffi::IBV_WR_RDMA_WRITE;
            wr.wr = rdma(remote.address, remote.key);
        }
        SendOp::Read(remote) => {
            wr.opcode = ffi::IBV_WR_RDMA_READ;
            wr.wr = rdma(remote.address, remote.key);
        }
    }
    wr
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::verbs::Remote;

    fn request(op: SendOp) -> SendRequest {
        SendRequest {
            id: 77,
            op,
            sges: smallvec![Sge { address: 1, length: 2, key: 3 }, Sge { address: 4, length: 5, key: 6 }],
            inline: false,
            signaled: true,
        }
    }

    #[test]
    fn send_with_invalidate_says_its_key_twice() {
        let wr = send_request(&request(SendOp::SendInvalidate { key: 0xA1B2_C3D4 }));
        // SAFETY: both members were written.
        let keys = unsafe { (wr.__bindgen_anon_1.invalidate_rkey, wr.wr.rdma.rkey) };
        assert_eq!((wr.opcode, keys), (ffi::IBV_WR_SEND_WITH_INV, (0xA1B2_C3D4, 0xA1B2_C3D4)));
    }

    #[test]
    fn requests_keep_what_they_say() {
        let remote = Remote { address: 0x1234_5678_9ABC_DEF0, key: 9 };
        for (op, opcode) in
            [(SendOp::Write(remote), ffi::IBV_WR_RDMA_WRITE), (SendOp::Read(remote), ffi::IBV_WR_RDMA_READ)]
        {
            let wr = send_request(&request(op));
            // SAFETY: the member was written.
            let target = unsafe { (wr.wr.rdma.remote_addr, wr.wr.rdma.rkey) };
            assert_eq!((wr.opcode, target), (opcode, (remote.address, remote.key)));
            assert_eq!((wr.wr_id, wr.num_sge, wr.send_flags), (77, 2, ffi::IBV_SEND_SIGNALED));
        }
        let mut inline = request(SendOp::Send);
        (inline.inline, inline.signaled) = (true, false);
        assert_eq!(send_request(&inline).send_flags, ffi::IBV_SEND_INLINE);
    }
}
