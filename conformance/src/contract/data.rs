//! Data: where it travels by its size, that every byte arrives, and what a completion says besides.

use nvmf_transport::{ControllerEvent, Data, Gather, QueueKind, QueueSettings, RequestData};
use nvmf_wire::{Cqe, Sgl};

use super::{flush, has_pattern, pattern, read, write};
use crate::{
    Context as _, Fixture, Stop, Verdict, check, check_eq, expect,
    world::{Both, Request, World, options},
};

/// Sends a pattern and collects it at the controller; whether it came within the capsule.
fn send(world: &mut World, queue: Both, len: usize, salt: u8) -> Result<bool, Stop> {
    let mut data = world.buffer(len)?;
    pattern(&mut data, salt);
    world.submit(queue.host, write(), Data::ToController(data), 1)?;
    let request = world.request()?;
    let in_capsule = match &request.data {
        Ok(RequestData::InCapsule(bytes)) => {
            check_eq!(bytes.len(), len);
            check!(has_pattern(bytes, 0, salt), "{len} bytes in the capsule are not those sent");
            check!(matches!(request.sqe.sgl.parse(), Ok(Sgl::InCapsule { .. })), "{:?}", request.sqe.sgl);
            true
        }
        Ok(RequestData::Remote { len: described }) => {
            check_eq!(*described as usize, len);
            fetch_all(world, &request, len, salt)?;
            false
        }
        other => return Err(Stop::failed(format!("{len} bytes arrive as {other:?}"))),
    };
    world.succeed(&request)?;
    check_eq!(world.done()?.cookie, 1);
    Ok(in_capsule)
}

fn fetch_all(world: &mut World, request: &Request, len: usize, salt: u8) -> Verdict {
    let into = world.controller_buffer(len)?;
    world.controller().fetch(request.id, 0, into).doing("to fetch")?;
    let data =
        expect!(world.controller_event()?, ControllerEvent::Fetched { data, outcome: Ok(()), .. } => data);
    check!(has_pattern(&data, 0, salt), "{len} bytes fetched are not those sent");
    Ok(())
}

/// Around the in-capsule limit: what fits travels in the capsule, what does not is fetched.
pub fn in_capsule_limit(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    let limit = world.io_in_capsule as usize;
    let mut sizes = vec![1, 4, 511, 512, 513, 4096, limit + 1, limit + 4, limit + 512, 2 * limit + 4096];
    sizes.extend(
        [limit.saturating_sub(4), limit.saturating_sub(1), limit].into_iter().filter(|&size| size > 0),
    );
    for (salt, len) in (0..).zip(sizes) {
        check_eq!(send(&mut world, queue, len, salt)?, len <= limit, "{len} bytes with a limit of {limit}");
    }
    Ok(())
}

/// Until Connect is answered an I/O queue has the admin queue's limit, so that Connect's data fits; then its own.
pub fn in_capsule_before_connect(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let admin = fixture.controller().limits().max_in_capsule.admin;
    let kind = QueueKind::Io(3);
    let queue = world.connect(&options(kind, 8))?;
    // Connect brings 1024 bytes (NVMe-oF 1.1 §3.3).
    check_eq!(send(&mut world, queue, 1024, 1)?, admin >= 1024);
    world.configure(queue, QueueSettings { kind, depth: 8, sq_flow_control: true })?;
    check!(!send(&mut world, queue, 1024, 2)?, "in the capsule, where the controller said it takes none");
    Ok(())
}

/// The admin queue's limit is the transport's own.
pub fn in_capsule_admin(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let limit = fixture.controller().limits().max_in_capsule.admin as usize;
    let kind = QueueKind::Admin;
    let queue = world.connect(&options(kind, 32))?;
    world.configure(queue, QueueSettings { kind, depth: 32, sq_flow_control: true })?;
    let sizes = [4, limit.saturating_sub(4).max(1), limit, limit + 4];
    for (salt, len) in (0..).zip(sizes.into_iter().filter(|&len| len > 0)) {
        check_eq!(send(&mut world, queue, len, salt)?, len <= limit, "{len} bytes with a limit of {limit}");
    }
    Ok(())
}

/// Read data of every shape of gather list arrives whole and in order.
pub fn gather_lists(fixture: &dyn Fixture) -> Verdict {
    for sq_flow_control in [true, false] {
        let mut world = World::new(fixture)?;
        let queue = world.open(8, sq_flow_control)?;
        let shapes: [&[usize]; 6] =
            [&[4096], &[1, 4095], &[512; 16], &[3, 5, 7, 11, 4070], &[100_000, 1, 31_071], &[1; 300]];
        for (salt, shape) in (0..).zip(shapes) {
            let len = shape.iter().sum();
            let mut whole = world.controller_buffer(len)?;
            pattern(&mut whole, salt);
            let whole = whole.freeze();
            let mut at = 0;
            let gather: Gather = shape
                .iter()
                .map(|&part| {
                    at += part;
                    whole.slice(at - part..at)
                })
                .collect();
            let room = world.buffer(len)?;
            world.submit(queue.host, read(), Data::FromController(room), 1)?;
            let request = world.request()?;
            check!(matches!(request.data, Ok(RequestData::Remote { len: wanted }) if wanted as usize == len));
            world.respond(&request, gather)?;
            let done = world.done()?;
            check_eq!(done.transferred as usize, len);
            let bytes = done.data.into_buffer().doing("the buffer")?;
            check!(has_pattern(&bytes, 0, salt), "{shape:?} arrived as something else");
        }
    }
    Ok(())
}

/// Several fetches of one request at a time fill the right buffers.
pub fn parallel_fetches(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    let most = usize::from(fixture.controller().limits().max_fetches).min(8);
    let (part, parts) = (24_576, 3 * most);
    let mut data = world.buffer(part * parts)?;
    pattern(&mut data, 8);
    world.submit(queue.host, write(), Data::ToController(data), 1)?;
    let request = world.request()?;
    let (mut asked, mut got) = (0, 0);
    while got < parts {
        while asked < parts && asked - got < most {
            let into = world.controller_buffer(part)?;
            world.controller().fetch(request.id, (asked * part) as u32, into).doing("to fetch")?;
            asked += 1;
        }
        match world.controller_event()? {
            ControllerEvent::Fetched { offset, data, outcome: Ok(()), .. } => {
                check!(has_pattern(&data, offset as usize, 8), "the part at {offset} is not what was sent");
                got += 1;
            }
            other => return Err(Stop::failed(format!("{other:?}"))),
        }
    }
    world.succeed(&request)?;
    world.done().map(drop)
}

/// Every bit of a completion that means something arrives, with data and without, folded or not.
pub fn completion_fields(fixture: &dyn Fixture) -> Verdict {
    for sq_flow_control in [true, false] {
        let mut world = World::new(fixture)?;
        let queue = world.open(8, sq_flow_control)?;
        for (result, sqhd) in
            [(0, 0), (0, 7), (u64::MAX, 3), (0x0102_0304_0506_0708, 1), (1 << 32, 2), (1, 5)]
        {
            for len in [0, 4096] {
                let data = if len > 0 { Data::FromController(world.buffer(len)?) } else { Data::None };
                world.submit(queue.host, if len > 0 { read() } else { flush() }, data, 1)?;
                let request = world.request()?;
                let data = if len > 0 { world.controller_buffer(len)?.into() } else { Gather::new() };
                let cqe = Cqe::success(request.sqe.cid()).with_u64(result).with_sqhd(sqhd);
                world.controller().respond(request.id, cqe, data).doing("to respond")?;
                let done = world.done()?;
                check_eq!(done.cqe.u64(), result, "with {len} bytes of data, flow control {sq_flow_control}");
                check!(
                    done.sqhd_valid || !sq_flow_control,
                    "flow control needs the head in every completion"
                );
                check!(!done.sqhd_valid || done.cqe.sqhd() == sqhd, "{:?}", done.cqe);
                check!(done.cqe.status().is_success());
                check_eq!(done.transferred as usize, len);
            }
        }
    }
    Ok(())
}

/// A command without data says so, and its SGL describes none.
pub fn no_data(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    world.submit(queue.host, flush(), Data::None, 1)?;
    let request = world.request()?;
    check!(matches!(request.data, Ok(RequestData::None)), "{:?}", request.data);
    check!(request.sqe.sgl.parse().is_ok_and(|sgl| sgl.length() == 0), "{:?}", request.sqe.sgl);
    // Fabrics uses SGLs for everything (NVMe-oF 1.1 §2.1).
    check_eq!(request.sqe.psdt(), nvmf_wire::sqe::Psdt::SGL_METADATA_BUFFER);
    world.succeed(&request)?;
    check!(matches!(world.done()?.data, Data::None));
    Ok(())
}

/// The fields a host filled in reach the controller as they are.
pub fn command_fields(fixture: &dyn Fixture) -> Verdict {
    let mut world = World::new(fixture)?;
    let queue = world.open(8, true)?;
    let mut sqe = flush().with_nsid(0x8182_8384);
    for (dword, value) in [&mut sqe.cdw2, &mut sqe.cdw3, &mut sqe.cdw10, &mut sqe.cdw11, &mut sqe.cdw12]
        .into_iter()
        .chain([&mut sqe.cdw13, &mut sqe.cdw14, &mut sqe.cdw15])
        .zip(0u32..)
    {
        dword.set(0xf00d_0000 | value);
    }
    let cid = world.submit(queue.host, sqe, Data::None, 1)?;
    let seen = world.request()?.sqe;
    let expected = sqe.with_cid(cid).with_psdt(seen.psdt()).with_sgl(seen.sgl);
    check_eq!(seen, expected);
    Ok(())
}
