//! Commands for the controller under test, biased to boundary values, and the data that goes with them.
//!
//! Every [`UNIT`] of what is written says where it belongs, so that what is read can be held to its place.

use nvmf_controller::backend::BlockSize;
use nvmf_transport::Gather;
use nvmf_wire::{
    AdminOpcode, Cid, Cqe, DataDirection, IoOpcode, Sgl, SglDescriptor, Sqe,
    admin::{Abort, async_event_request, keep_alive},
    fabrics::{Disconnect, PropertyGet, PropertySet},
    feature::{Fid, GetFeatures, SetFeatures},
    identify::{Cns, Identify},
    io::{DatasetAttributes, DatasetManagement, DatasetRange, Rw},
    log::{GetLogPage, Lid},
    property::{Cc, PropertyOffset},
    zerocopy::{FromBytes, IntoBytes},
};

use super::Choices;

/// Namespaces and their block sizes; the last one has faults.
pub(super) const NAMESPACES: [(u32, BlockSize); 3] =
    [(1, BlockSize::B512), (2, BlockSize::B4096), (7, BlockSize::B512)];
/// The size of every namespace in bytes.
pub(super) const CAPACITY: u64 = 1 << 20;
/// The longest transfer the transport takes.
pub(super) const TRANSFER: u32 = 256 * 1024;
/// Tags of written data are this many bytes apart.
const UNIT: usize = 512;

/// A command for an admin queue.
pub(super) fn admin(choices: &mut Choices<'_>) -> Sqe {
    let nsid = nsid(choices);
    let mut len = choices.pick(&[4096, 4096, 512, 16, 1024]);
    let mut sqe = match choices.u8() % 16 {
        0..4 => {
            let other = choices.u8();
            let cns = choices.pick(&[
                Cns::NAMESPACE,
                Cns::CONTROLLER,
                Cns::ACTIVE_NAMESPACES,
                Cns::NAMESPACE_DESCRIPTORS,
                Cns::COMMAND_SET_NAMESPACE,
                Cns::COMMAND_SET_CONTROLLER,
                Cns::CONTROLLERS,
                Cns(other),
            ]);
            Identify { cntid: choices.u16(), ..Identify::new(cns, nsid) }.to_sqe()
        }
        4..7 => {
            len = choices.length(TRANSFER as usize) as u32;
            let other = choices.u8();
            let lid = choices.pick(&[
                Lid::ERROR_INFORMATION,
                Lid::SMART_HEALTH,
                Lid::FIRMWARE_SLOT,
                Lid::CHANGED_NAMESPACE_LIST,
                Lid::COMMAND_EFFECTS,
                Lid::DISCOVERY,
                Lid::SUPPORTED_LOG_PAGES,
                Lid(other),
            ]);
            let offset = u64::from(choices.word()) << choices.pick(&[0, 0, 2, 32]);
            let mut page = GetLogPage::new(lid, if choices.yes() { len } else { choices.word() })
                .with_offset(offset)
                .with_rae(choices.yes());
            page.nsid = choices.pick(&[0, u32::MAX, nsid]);
            page.lsp = choices.u8() & 0x7f;
            page.to_sqe()
        }
        7 | 8 => {
            let mut get = GetFeatures::new(fid(choices));
            (get.sel.0, get.nsid) = (choices.u8() % 8, nsid);
            get.to_sqe()
        }
        9 | 10 => {
            let mut set = SetFeatures::new(fid(choices), choices.word());
            (set.save, set.nsid, set.cdw12) = (choices.yes(), nsid, choices.word());
            set.to_sqe()
        }
        11 => async_event_request(),
        12 => keep_alive(),
        13 => Abort { sqid: u16::from(choices.u8() % 3), cid: Cid(choices.u16() % 64) }.to_sqe(),
        14 => PropertyGet {
            offset: PropertyOffset(choices.pick(&[0, 8, 0x14, 0x1c, 0x20, 0x68, 3])),
            wide: choices.yes(),
        }
        .to_sqe(),
        _ => {
            let value = match choices.u8() % 16 {
                0 => 0,
                1 => u64::from(Cc::ENABLE_NVM.0) | u64::from(choices.u8() % 4) << 14,
                2 => choices.u64(),
                _ => Cc::ENABLE_NVM.0.into(),
            };
            let offset = PropertyOffset(choices.pick(&[0x14, 0x14, 0x14, 0, 0x1c, 0x20]));
            PropertySet { value, wide: choices.once_in(8), offset }.to_sqe()
        }
    };
    if sqe.data_direction() != DataDirection::None && sqe.sgl == SglDescriptor::default() {
        sqe = sqe.with_sgl(SglDescriptor::transport(len));
    }
    sqe
}

/// A command for an I/O queue.
pub(super) fn io(choices: &mut Choices<'_>) -> Sqe {
    let nsid = nsid(choices);
    let size = block_size(nsid).unwrap_or(512);
    let blocks = CAPACITY / u64::from(size);
    let most = if choices.yes() { 16 } else { (TRANSFER / size) as usize };
    let count = choices.length(most).max(1) as u32;
    let slba = match choices.u8() % 12 {
        0 => blocks.wrapping_sub(u64::from(choices.u8())),
        1 => choices.u64(),
        2 => u64::from(choices.u8()) * 128,
        3 => blocks - u64::from(count),
        _ => choices.below((blocks - u64::from(count)) as usize + 1) as u64,
    };
    let other = choices.u8();
    let opcode = choices.pick(&[
        IoOpcode::READ,
        IoOpcode::WRITE,
        IoOpcode::READ,
        IoOpcode::WRITE,
        IoOpcode::FLUSH,
        IoOpcode::WRITE_ZEROES,
        IoOpcode::DATASET_MANAGEMENT,
        IoOpcode::COMPARE,
        IoOpcode::VERIFY,
        IoOpcode(other),
    ]);
    let mut rw = Rw::new(slba, count).with_fua(choices.once_in(4)).with_deallocate(choices.yes());
    if choices.once_in(16) {
        (rw.prinfo, rw.directive_type) = (choices.u8() % 16, choices.u8() % 16);
    }
    let (sqe, len) = match opcode {
        IoOpcode::DATASET_MANAGEMENT => {
            let ranges = std::num::NonZeroU16::MIN.saturating_add(choices.length(255) as u16);
            let attributes = DatasetAttributes(0).with_deallocate(!choices.once_in(4));
            let dsm = DatasetManagement { ranges, attributes };
            (dsm.to_sqe(nsid), dsm.data_length() as u32)
        }
        IoOpcode::FLUSH | IoOpcode::WRITE_ZEROES | IoOpcode::VERIFY => (rw.to_sqe(opcode, nsid), 0),
        _ => (rw.to_sqe(opcode, nsid), count * size),
    };
    sqe.with_sgl(SglDescriptor::transport(len))
}

/// The command and its in-capsule data, sometimes with another descriptor, length or fuse than fits it.
pub(super) fn perhaps_odd(choices: &mut Choices<'_>, mut sqe: Sqe) -> (Sqe, Vec<u8>) {
    let length = sqe.sgl.length();
    let mut in_capsule = Vec::new();
    match choices.u8() % 16 {
        0 => sqe = sqe.with_sgl(SglDescriptor::transport(choices.word())),
        1 => {
            let near = length.wrapping_add(choices.u32() % 9).wrapping_sub(4);
            sqe = sqe.with_sgl(SglDescriptor::transport(near));
        }
        2 => sqe.flags = choices.u8(),
        3 => sqe.sgl.identifier = choices.u8(),
        4..8 if sqe.data_direction() == DataDirection::HostToController && length <= 4096 => {
            in_capsule = payload(&sqe, 0, length as usize);
            sqe = sqe.with_sgl(SglDescriptor::in_capsule(0, length));
        }
        8 => sqe = sqe.with_sgl(SglDescriptor::in_capsule(u64::from(choices.word()), choices.word())),
        _ => {}
    }
    (sqe, in_capsule)
}

/// Any 64 bytes, or some fields of them at an edge, with any in-capsule data.
pub(super) fn anything(choices: &mut Choices<'_>) -> (Sqe, Vec<u8>) {
    let mut bytes = [0; 64];
    bytes.iter_mut().zip(choices.bytes(64)).for_each(|(to, from)| *to = *from);
    let mut sqe = Sqe::read_from_bytes(&bytes).unwrap_or_default();
    if choices.yes() {
        sqe = Sqe::with_opcode(choices.pick(&[sqe.opcode, 0x7f, AdminOpcode::IDENTIFY.0, 0x0c]));
        (sqe.nsid, sqe.cdw10, sqe.cdw11) =
            (choices.word().into(), choices.word().into(), choices.word().into());
        sqe = sqe.with_sgl(SglDescriptor::transport(choices.word()));
    }
    if choices.once_in(8) {
        sqe = Disconnect { recfmt: u16::from(choices.once_in(4)) }.to_sqe();
    }
    let len = choices.length(9000);
    let in_capsule = if choices.once_in(4) { payload(&sqe, 0, len) } else { Vec::new() };
    (sqe, in_capsule)
}

fn nsid(choices: &mut Choices<'_>) -> u32 {
    match choices.u8() % 8 {
        0 => choices.word(),
        at => NAMESPACES[usize::from(at) % NAMESPACES.len()].0,
    }
}

fn fid(choices: &mut Choices<'_>) -> Fid {
    let other = choices.u8();
    choices.pick(&[
        Fid::NUMBER_OF_QUEUES,
        Fid::ASYNC_EVENT_CONFIGURATION,
        Fid::KEEP_ALIVE_TIMER,
        Fid::VOLATILE_WRITE_CACHE,
        Fid::HOST_IDENTIFIER,
        Fid::HOST_BEHAVIOR_SUPPORT,
        Fid(other),
    ])
}

fn block_size(nsid: u32) -> Option<u32> {
    NAMESPACES.iter().find(|(known, _)| *known == nsid).map(|(_, size)| size.bytes())
}

/// Where the command's data lies in its namespace.
fn place(sqe: &Sqe) -> u64 {
    Rw::parse(sqe).slba.wrapping_mul(u64::from(block_size(sqe.nsid()).unwrap_or(512)))
}

/// The data a host has for a command, from `offset` on. What is written says where it belongs, every [`UNIT`].
pub(super) fn payload(sqe: &Sqe, offset: usize, len: usize) -> Vec<u8> {
    if sqe.opcode == IoOpcode::DATASET_MANAGEMENT.0 {
        let range = |at: usize| {
            let seed =
                u64::from(sqe.cid().0).wrapping_add(at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            DatasetRange::new(seed % 4096, (seed >> 12) as u32 % 600)
        };
        let all: Vec<u8> = (0..256).flat_map(|at| range(at).as_bytes().to_vec()).collect();
        return (offset..offset + len).map(|at| all.get(at).copied().unwrap_or_default()).collect();
    }
    let start = place(sqe);
    let mut bytes = vec![0x5a; len];
    for unit in offset / UNIT..(offset + len).div_ceil(UNIT) {
        for (at, byte) in tag(sqe.nsid(), start.wrapping_add((unit * UNIT) as u64)).into_iter().enumerate() {
            if let Some(to) = (unit * UNIT + at).checked_sub(offset).and_then(|at| bytes.get_mut(at)) {
                *to = byte;
            }
        }
    }
    bytes
}

fn tag(nsid: u32, byte: u64) -> [u8; 16] {
    let mut tag = [0xff; 16];
    tag[..4].copy_from_slice(&nsid.to_le_bytes());
    tag[4..12].copy_from_slice(&byte.to_le_bytes());
    tag
}

/// Holds an answer to its command. `io`: the command was one of an I/O queue.
pub(super) fn check_answer(sqe: &Sqe, cqe: Cqe, data: &Gather, io: bool) {
    let room = match sqe.sgl.parse() {
        Ok(Sgl::Transport { length }) if sqe.data_direction() == DataDirection::ControllerToHost => {
            length as usize
        }
        _ => 0,
    };
    assert!(data.len() <= room, "more data than the command has room for");
    if !io || sqe.opcode != IoOpcode::READ.0 || !cqe.status().is_success() {
        return;
    }
    let size = block_size(sqe.nsid()).expect("a namespace that there is");
    assert_eq!(data.len(), Rw::parse(sqe).blocks as usize * size as usize, "not all blocks");
    let bytes: Vec<u8> = data.slices(0..data.len()).flatten().copied().collect();
    for (at, unit) in bytes.chunks(UNIT).enumerate() {
        let wanted = tag(sqe.nsid(), place(sqe).wrapping_add((at * UNIT) as u64));
        let zero = unit.iter().all(|&byte| byte == 0);
        assert!(zero || unit.starts_with(&wanted), "a READ returned what was never written there");
    }
}
