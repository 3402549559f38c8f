//! What the connection manager carries.

use crate::{
    Stop, Verdict, check, check_eq,
    wire_rdma::{
        Target,
        mpa::{self, Reply, admin_request, ask, rejected, request},
        queue::Queue,
    },
};

pub(super) fn length(target: &Target) -> Verdict {
    let good = admin_request();
    for said in [&good[..0], &good[..1], &good[..31], &[&good[..], &[0]].concat(), &[0; 56]] {
        check_eq!(rejected(target.address, 16, said)?, 1, "{} bytes", said.len());
    }
    Ok(())
}

pub(super) fn format(target: &Target) -> Verdict {
    for recfmt in [1u16, 7, 0xffff] {
        let mut said = admin_request();
        said[..2].copy_from_slice(&recfmt.to_le_bytes());
        check_eq!(rejected(target.address, 16, &said)?, 2, "RECFMT {recfmt}");
    }
    Ok(())
}

pub(super) fn queue_id(target: &Target) -> Verdict {
    check_eq!(rejected(target.address, 16, &request(0xffff, 32, 31, 0))?, 3);
    Ok(())
}

pub(super) fn submission_size(target: &Target) -> Verdict {
    for hsqsize in [0, 0xffff] {
        check_eq!(rejected(target.address, 16, &request(0, 0xffff, hsqsize, 0))?, 4, "HSQSIZE {hsqsize}");
    }
    Ok(())
}

pub(super) fn receive_size(target: &Target) -> Verdict {
    for hrqsize in [0, 1, 30] {
        check_eq!(rejected(target.address, 16, &request(0, hrqsize, 31, 0))?, 5, "HRQSIZE {hrqsize}");
    }
    Ok(())
}

pub(super) fn no_reads(target: &Target) -> Verdict {
    check_eq!(rejected(target.address, 0, &admin_request())?, 7);
    Ok(())
}

pub(super) fn controller_id(target: &Target) -> Verdict {
    for cntlid in [0xfff0, 0xffff] {
        check_eq!(rejected(target.address, 16, &request(1, 32, 31, cntlid))?, 9, "CNTLID {cntlid:#x}");
    }
    Ok(())
}

pub(super) fn good(target: &Target) -> Verdict {
    let mut said = admin_request();
    said[10..].fill(0xa5);
    match ask(target.address, 1, &said)? {
        Reply::Accepted(_, answer) => {
            check_eq!(answer.len(), 32, "private data of an accept");
            check!(answer[4..].iter().all(|&byte| byte == 0), "reserved bytes are set: {answer:02x?}");
        }
        Reply::Rejected(answer) => return Err(Stop::failed(format!("turned down with {answer:02x?}"))),
    }
    // The smallest queue there is.
    match ask(target.address, 1, &mpa::request(0, 2, 1, 0))? {
        Reply::Accepted(..) => {}
        Reply::Rejected(answer) => return Err(Stop::failed(format!("two entries: {answer:02x?}"))),
    }
    Queue::transport(target, 0, 1).map(drop)
}
