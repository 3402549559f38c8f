//! Commands: every field at its bits, and back.

use super::sparse;
use crate::admin::{Abort, async_event_request, keep_alive};
use crate::fabrics::*;
use crate::feature::{Fid, GetFeatures, Select, SetFeatures};
use crate::identify::{Cns, CommandSet, Identify};
use crate::io::{DatasetAttributes, DatasetManagement, DatasetRange, Rw, flush};
use crate::log::{GetLogPage, Lid};
use crate::property::PropertyOffset;
use crate::{Cid, Cqe, IoOpcode, Sqe, Status};
use core::num::NonZeroU16;
use zerocopy::little_endian::U32;

type Case<T> = (fn(&mut T), &'static str);

/// Each `(change, bytes)`: the bytes of the command that the change alone sets; parsing gives the change back.
fn each<T: Copy + PartialEq + core::fmt::Debug>(
    base: T,
    to_sqe: fn(T) -> Sqe,
    parse: fn(&Sqe) -> T,
    cases: &[Case<T>],
) {
    let plain = to_sqe(base);
    assert_eq!(parse(&plain), base);
    for (change, bytes) in cases {
        let mut changed = base;
        change(&mut changed);
        let sqe = to_sqe(changed);
        assert_eq!(parse(&sqe), changed);
        assert_eq!(sparse(&difference(&plain, &sqe)), *bytes, "{changed:?}");
    }
}

fn difference(a: &Sqe, b: &Sqe) -> Sqe {
    use zerocopy::{FromBytes, IntoBytes};
    let mut bytes = [0; 64];
    for ((to, a), b) in bytes.iter_mut().zip(a.as_bytes()).zip(b.as_bytes()) {
        *to = a ^ b;
    }
    Sqe::read_from_bytes(&bytes).unwrap()
}

#[test]
fn connect() {
    assert_eq!(sparse(&Connect::default().to_sqe()), "0:7f 1:40 4:01 33:04 39:01");
    each(
        Connect::default(),
        Connect::to_sqe,
        Connect::parse,
        &[
            (|c| c.recfmt = 0xABCD, "40:cd 41:ab"),
            (|c| c.qid = 0xABCD, "42:cd 43:ab"),
            (|c| c.sqsize = 0xABCD, "44:cd 45:ab"),
            (|c| c.cattr = ConnectAttributes(0xFF), "46:ff"),
            (|c| c.kato = 0x1234_5678, "48:78 49:56 50:34 51:12"),
        ],
    );
    assert_eq!(Connect { sqsize: u16::MAX, ..Connect::default() }.entries(), 65536);
}

#[test]
fn property_get() {
    let cap = PropertyGet::new(PropertyOffset::CAP);
    assert_eq!(sparse(&cap.to_sqe()), "0:7f 1:40 4:04 40:01");
    let csts = PropertyGet::new(PropertyOffset::CSTS);
    assert_eq!(sparse(&csts.to_sqe()), "0:7f 1:40 4:04 44:1c");
    each(
        cap,
        PropertyGet::to_sqe,
        |sqe| PropertyGet::parse(sqe).unwrap(),
        &[
            (|p| p.wide = false, "40:01"),
            (|p| p.offset = PropertyOffset(0x1234_5678), "44:78 45:56 46:34 47:12"),
        ],
    );
}

#[test]
fn property_set() {
    let cc = PropertySet::new(PropertyOffset::CC, 0x0046_0001);
    assert_eq!(sparse(&cc.to_sqe()), "0:7f 1:40 44:14 48:01 50:46");
    each(
        PropertySet { wide: true, ..cc },
        PropertySet::to_sqe,
        |sqe| PropertySet::parse(sqe).unwrap(),
        &[
            (|p| p.offset = PropertyOffset(0x14 ^ 0xFFFF_FFFF), "44:ff 45:ff 46:ff 47:ff"),
            (|p| p.value ^= 0x0102_0304_0506_0708, "48:08 49:07 50:06 51:05 52:04 53:03 54:02 55:01"),
        ],
    );
    let mut narrow = cc.to_sqe();
    narrow.cdw13 = U32::new(7);
    assert_eq!(PropertySet::parse(&narrow).unwrap().value, cc.value, "the upper half is reserved");
}

#[test]
fn a_property_has_4_or_8_bytes() {
    for size in 2..8 {
        let mut sqe = PropertyGet::new(PropertyOffset::CAP).to_sqe();
        sqe.cdw10 = U32::new(size);
        assert_eq!(PropertyGet::parse(&sqe), Err(Status::INVALID_FIELD));
        assert_eq!(PropertySet::parse(&sqe), Err(Status::INVALID_FIELD));
    }
    for (offset, size) in
        [("CAP", 8), ("VS", 4), ("CC", 4), ("CSTS", 4), ("NSSR", 4), ("NSSD", 4), ("CRTO", 4)]
    {
        let known = PropertyOffset::KNOWN.iter().find(|known| known.name() == Some(offset)).unwrap();
        assert_eq!(known.size(), Some(size), "{offset}");
    }
    assert_eq!(PropertyOffset(0x04).size(), None);
}

#[test]
fn disconnect() {
    assert_eq!(sparse(&Disconnect::default().to_sqe()), "0:7f 1:40 4:08");
    each(
        Disconnect::default(),
        Disconnect::to_sqe,
        Disconnect::parse,
        &[(|d| d.recfmt = 0xABCD, "40:cd 41:ab")],
    );
}

#[test]
fn authentication() {
    let message = Authentication::in_band(0x0102);
    assert_eq!(sparse(&message.to_send()), "0:7f 1:40 4:05 41:01 42:01 43:e9 44:02 45:01");
    assert_eq!(sparse(&message.to_receive()), "0:7f 1:40 4:06 41:01 42:01 43:e9 44:02 45:01");
    each(
        Authentication::default(),
        Authentication::to_send,
        Authentication::parse,
        &[
            (|a| a.spsp0 = 0xFF, "41:ff"),
            (|a| a.spsp1 = 0xFF, "42:ff"),
            (|a| a.secp = 0xFF, "43:ff"),
            (|a| a.length = u32::MAX, "44:ff 45:ff 46:ff 47:ff"),
        ],
    );
}

#[test]
fn identify() {
    assert_eq!(sparse(&Identify::new(Cns::CONTROLLER, 0).to_sqe()), "0:06 1:40 40:01");
    each(
        Identify::new(Cns::NAMESPACE, 0),
        Identify::to_sqe,
        Identify::parse,
        &[
            (|i| i.nsid = 0x1234_5678, "4:78 5:56 6:34 7:12"),
            (|i| i.cns = Cns(0xFF), "40:ff"),
            (|i| i.cntid = 0xABCD, "42:cd 43:ab"),
            (|i| i.cns_specific = 0xABCD, "44:cd 45:ab"),
            (|i| i.csi = CommandSet(0xFF), "47:ff"),
            (|i| i.uuid_index = 0x7F, "56:7f"),
        ],
    );
    assert_eq!(Identify::new(Cns::NAMESPACE, 1).with_csi(CommandSet::ZONED).csi, CommandSet::ZONED);
}

#[test]
fn get_log_page() {
    assert_eq!(sparse(&GetLogPage::new(Lid::DISCOVERY, 1024).to_sqe()), "0:02 1:40 40:70 42:ff");
    each(
        GetLogPage::new(Lid(0), 4),
        GetLogPage::to_sqe,
        GetLogPage::parse,
        &[
            (|l| l.nsid = u32::MAX, "4:ff 5:ff 6:ff 7:ff"),
            (|l| l.lid = Lid(0xFF), "40:ff"),
            (|l| l.lsp = 0x7F, "41:7f"),
            (|l| l.rae = true, "41:80"),
            (|l| l.numd = 0x1234_5678, "42:78 43:56 44:34 45:12"),
            (|l| l.lsi = 0xABCD, "46:cd 47:ab"),
            (|l| l.offset = 0x0102_0304_0506_0708, "48:08 49:07 50:06 51:05 52:04 53:03 54:02 55:01"),
            (|l| l.uuid_index = 0x7F, "56:7f"),
            (|l| l.index_offset = true, "58:80"),
            (|l| l.csi = CommandSet(0xFF), "59:ff"),
        ],
    );
    for (asked, got) in [(0, 4), (1, 4), (4, 4), (5, 8), (4096, 4096), (u32::MAX, 1 << 32)] {
        assert_eq!(GetLogPage::new(Lid::DISCOVERY, asked).length(), got);
    }
    let chained = GetLogPage::new(Lid(1), 4).with_offset(8).with_nsid(9).with_rae(true);
    assert_eq!((chained.offset, chained.nsid, chained.rae), (8, 9, true));
}

#[test]
fn features() {
    assert_eq!(sparse(&GetFeatures::new(Fid::KEEP_ALIVE_TIMER).to_sqe()), "0:0a 1:40 40:0f");
    each(
        GetFeatures::new(Fid(0)),
        GetFeatures::to_sqe,
        GetFeatures::parse,
        &[
            (|f| f.nsid = u32::MAX, "4:ff 5:ff 6:ff 7:ff"),
            (|f| f.fid = Fid(0xFF), "40:ff"),
            (|f| f.sel = Select(7), "41:07"),
            (|f| f.cdw11 = 0x1234_5678, "44:78 45:56 46:34 47:12"),
            (|f| f.uuid_index = 0x7F, "56:7f"),
        ],
    );
    assert_eq!(sparse(&SetFeatures::new(Fid::NUMBER_OF_QUEUES, 3).to_sqe()), "0:09 1:40 40:07 44:03");
    each(
        SetFeatures::new(Fid(0), 0),
        SetFeatures::to_sqe,
        SetFeatures::parse,
        &[
            (|f| f.nsid = u32::MAX, "4:ff 5:ff 6:ff 7:ff"),
            (|f| f.fid = Fid(0xFF), "40:ff"),
            (|f| f.save = true, "43:80"),
            (|f| f.cdw11 = 0x1234_5678, "44:78 45:56 46:34 47:12"),
            (|f| f.cdw12 = 0x1234_5678, "48:78 49:56 50:34 51:12"),
            (|f| f.uuid_index = 0x7F, "56:7f"),
        ],
    );
}

#[test]
fn logical_blocks() {
    each(
        Rw::new(0, 1),
        |rw| rw.write(0),
        Rw::parse,
        &[
            (|rw| rw.extended_tag = 0x0102_0304_0506_0708, "8:08 9:07 10:06 11:05 12:04 13:03 14:02 15:01"),
            (|rw| rw.slba = 0x0102_0304_0506_0708, "40:08 41:07 42:06 43:05 44:04 45:03 46:02 47:01"),
            (|rw| rw.blocks = 65536, "48:ff 49:ff"),
            (|rw| rw.blocks = 0x0102, "48:01 49:01"),
            (|rw| rw.directive_type = 0xF, "50:f0"),
            (|rw| rw.storage_tag_check = true, "51:01"),
            (|rw| rw.deallocate = true, "51:02"),
            (|rw| rw.prinfo = 0xF, "51:3c"),
            (|rw| rw.fua = true, "51:40"),
            (|rw| rw.limited_retry = true, "51:80"),
            (|rw| rw.dataset_hints = 0xFF, "52:ff"),
            (|rw| rw.directive_specific = 0xABCD, "54:cd 55:ab"),
            (|rw| rw.reference_tag = 0x1234_5678, "56:78 57:56 58:34 59:12"),
            (|rw| rw.application_tag = 0xABCD, "60:cd 61:ab"),
            (|rw| rw.application_tag_mask = 0xABCD, "62:cd 63:ab"),
        ],
    );
}

#[test]
fn commands_of_logical_blocks() {
    let rw = Rw::new(0x10, 8);
    for (sqe, opcode) in [
        (rw.read(1), IoOpcode::READ),
        (rw.write(1), IoOpcode::WRITE),
        (rw.compare(1), IoOpcode::COMPARE),
        (rw.verify(1), IoOpcode::VERIFY),
        (rw.write_zeroes(1), IoOpcode::WRITE_ZEROES),
        (rw.write_uncorrectable(1), IoOpcode::WRITE_UNCORRECTABLE),
    ] {
        assert_eq!(sparse(&sqe), std::format!("0:{:02x} 1:40 4:01 40:10 48:07", opcode.0));
    }
    assert_eq!(sparse(&flush(0x0102)), "0:00 1:40 4:02 5:01".trim_start_matches("0:00 "));
    assert!(rw.with_fua(true).fua && rw.with_deallocate(true).deallocate);
}

#[test]
fn block_counts_never_wrap() {
    for (asked, got) in [(0, 1), (1, 1), (65535, 65535), (65536, 65536), (65537, 65536), (u32::MAX, 65536)] {
        assert_eq!(Rw::new(0, asked).blocks, got);
        let set = Rw { blocks: asked, ..Rw::new(0, 1) };
        assert_eq!(Rw::parse(&set.read(1)).blocks, got);
    }
    assert_eq!(Rw::new(u64::MAX, 1).end(), None);
    assert!(!Rw::new(u64::MAX, 1).is_within(u64::MAX));
    assert_eq!(Rw::new(u64::MAX - 1, 1).end(), Some(u64::MAX));
    assert!(Rw::new(0, 8).is_within(8) && !Rw::new(1, 8).is_within(8));
}

#[test]
fn dataset_management() {
    let one = DatasetManagement::deallocate(1).unwrap();
    assert_eq!(sparse(&one.to_sqe(3)), "0:09 1:40 4:03 44:04");
    each(
        one,
        |d| d.to_sqe(0),
        DatasetManagement::parse,
        &[
            (|d| d.ranges = NonZeroU16::new(256).unwrap(), "40:ff"),
            (|d| d.attributes = DatasetAttributes(0xFFFF_FFFB), "44:ff 45:ff 46:ff 47:ff"),
        ],
    );
    assert_eq!(DatasetManagement::deallocate(0), None);
    assert_eq!(DatasetManagement::deallocate(257), None);
    assert_eq!(DatasetManagement::deallocate(65537), None);
    assert_eq!(DatasetManagement::deallocate(256).unwrap().data_length(), 4096);
    let many = DatasetManagement { ranges: NonZeroU16::MAX, ..one };
    assert_eq!(DatasetManagement::parse(&many.to_sqe(1)).ranges.get(), 256);
    assert_eq!(sparse(&DatasetRange::new(0x0102, 0x0304)), "4:04 5:03 8:02 9:01");
}

#[test]
fn without_fields() {
    assert_eq!(sparse(&keep_alive()), "0:18 1:40");
    assert_eq!(sparse(&async_event_request()), "0:0c 1:40");
}

#[test]
fn abort() {
    each(
        Abort { sqid: 0, cid: Cid(0) },
        Abort::to_sqe,
        Abort::parse,
        &[(|a| a.sqid = 0xABCD, "40:cd 41:ab"), (|a| a.cid = Cid(0xABCD), "42:cd 43:ab")],
    );
    assert!(Abort::was_aborted(&Cqe::success(Cid(1))));
    assert!(!Abort::was_aborted(&Cqe::success(Cid(1)).with_dw0(1)));
}
