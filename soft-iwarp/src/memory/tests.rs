//! The table of regions: names, rights and bounds.

use super::*;

const QP: Qp = Qp::new(3, 1);

fn domain() -> Domain {
    Domain::new(16, 1)
}

fn range(span: Span) -> Range<usize> {
    match span {
        Span::Slot(_, range) => range,
        Span::Address(_) => panic!("a region's bytes are known by their slot"),
    }
}

fn region(domain: &mut Domain, len: usize, options: RegionOptions) -> Region {
    domain.register(vec![0; len].into_boxed_slice(), options).unwrap()
}

// test: IW-MEM-01
#[test]
fn names_are_not_given_out_twice_in_a_row() {
    let mut domain = domain();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1000 {
        let region = region(&mut domain, 1, RegionOptions::default());
        assert!(seen.insert(region.stag) || seen.len() > 200, "{:?}", region.stag);
        assert_eq!(domain.check(region.stag, 0, 1, Access::empty(), QP).map(range), Ok(0..1));
        domain.deregister(region.stag).unwrap();
        assert_eq!(domain.check(region.stag, 0, 1, Access::empty(), QP).err(), Some(AccessError::Invalid));
        assert_eq!(domain.deregister(region.stag), Err(MemoryError::Unknown));
    }
    assert!(domain.is_empty());
}

// test: IW-MEM-02
#[test]
fn of_all_names_only_the_given_ones_work() {
    let mut domain = domain();
    let regions: Vec<_> = (0..16).map(|_| region(&mut domain, 1, RegionOptions::default()).stag).collect();
    assert_eq!(domain.allocate_window(), Err(MemoryError::TooMany));
    let mut chance = 1_u32;
    let guesses = (0..200_000).map(|_| {
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        STag::new(chance)
    });
    let near = regions.iter().flat_map(|stag| (0..32).map(|bit| STag::new(stag.value() ^ 1 << bit)));
    for guess in guesses.chain(near) {
        let found = domain.check(guess, 0, 1, Access::empty(), QP).is_ok();
        assert_eq!(found, regions.contains(&guess), "{guess:?}");
    }
}

// test: IW-MEM-03, IW-MEM-04, IW-MEM-05, IW-MEM-06
#[test]
fn checks_in_order() {
    let mut domain = domain();
    let options = RegionOptions::new(Access::REMOTE_READ).only(QP).addressed(Addressing::At(1 << 63));
    let it = region(&mut domain, 1000, options);
    let base = 1 << 63;
    let check = |to, len, need, qp| domain.check(it.stag, to, len, need, qp).map(range);
    assert_eq!(check(base, 1000, Access::REMOTE_READ, QP), Ok(0..1000));
    assert_eq!(check(base + 999, 1, Access::REMOTE_READ, QP), Ok(999..1000));
    assert_eq!(check(base + 1000, 0, Access::REMOTE_READ, QP), Ok(1000..1000));
    for (to, len) in
        [(base - 1, 1), (base - 1, 1001), (base, 1001), (base + 1000, 1), (0, 1), (base, u32::MAX)]
    {
        assert_eq!(check(to, len, Access::REMOTE_READ, QP), Err(AccessError::Bounds));
    }
    assert_eq!(check(u64::MAX, 1, Access::REMOTE_READ, QP), Err(AccessError::Wrap));
    assert_eq!(check(base, 1, Access::REMOTE_WRITE, QP), Err(AccessError::Rights));
    assert_eq!(check(u64::MAX, 1, Access::all(), Qp::new(3, 2)), Err(AccessError::Stream));
    domain.invalidate(it.stag).unwrap();
    assert_eq!(domain.check(it.stag, base, 1, Access::REMOTE_READ, QP).err(), Some(AccessError::Invalid));
    assert_eq!(domain.deregister(it.stag).unwrap().map(|bytes| bytes.len()), Some(1000));
}

#[test]
fn offsets_that_wrap_are_refused() {
    let mut domain = domain();
    for (base, fits) in [(u64::MAX - 10, true), (u64::MAX - 9, false), (u64::MAX, false)] {
        let options = RegionOptions::default().addressed(Addressing::At(base));
        assert_eq!(domain.register(vec![0; 10].into(), options).is_ok(), fits);
    }
    let it = region(&mut domain, 10, RegionOptions::default().addressed(Addressing::Virtual));
    assert_eq!(it.base, domain.bytes(it.stag).unwrap().as_ptr() as u64);
}

// test: IW-INV-03
#[test]
fn peers_invalidate_what_they_may() {
    let mut domain = domain();
    let may = region(&mut domain, 1, RegionOptions::new(Access::REMOTE_INVALIDATE).only(QP)).stag;
    let not = region(&mut domain, 1, RegionOptions::new(Access::REMOTE_WRITE)).stag;
    assert_eq!(domain.invalidate_remotely(not, QP), Err(AccessError::Rights));
    assert_eq!(domain.invalidate_remotely(may, Qp::new(4, 1)), Err(AccessError::Stream));
    assert_eq!(domain.invalidate_remotely(may.with_key(may.key() ^ 1), QP), Err(AccessError::Invalid));
    assert_eq!(domain.invalidate_remotely(may, QP), Ok(()));
    assert_eq!(domain.invalidate_remotely(may, QP), Err(AccessError::Invalid));
    assert!(domain.check(not, 0, 1, Access::REMOTE_WRITE, QP).is_ok());
}

// test: IW-MEM-08
#[test]
fn windows_show_no_more_than_their_parent() {
    let mut domain = domain();
    let parent = region(&mut domain, 100, RegionOptions::new(Access::LOCAL_WRITE));
    let readonly = region(&mut domain, 100, RegionOptions::new(Access::REMOTE_READ));
    let window = domain.allocate_window().unwrap();
    let write = RegionOptions::new(Access::REMOTE_WRITE);
    assert_eq!(domain.check(window, 0, 0, Access::empty(), QP).err(), Some(AccessError::Invalid));
    for range in [0..101, 100..101, Range { start: 50, end: 49 }, u64::MAX..u64::MAX] {
        assert_eq!(domain.bind(window, parent.stag, range, write), Err(MemoryError::OutOfRange));
    }
    assert_eq!(domain.bind(window, readonly.stag, 0..1, write), Err(MemoryError::Access));
    assert_eq!(domain.bind(window, window, 0..1, write), Err(MemoryError::Unknown));
    assert_eq!(domain.bind(parent.stag, parent.stag, 0..1, write), Err(MemoryError::Unknown));
    let shown = domain.bind(window, parent.stag, 10..30, write).unwrap();
    assert_eq!(domain.bind(window, parent.stag, 0..1, write), Err(MemoryError::Bound));
    assert_eq!((shown.base, shown.len), (0, 20));
    let span = domain.check(window, 5, 15, Access::REMOTE_WRITE, QP).unwrap();
    domain.write(&span).fill(7);
    assert!(domain.check(window, 5, 16, Access::REMOTE_WRITE, QP).is_err());
    let bytes = domain.bytes(parent.stag).unwrap();
    assert!(bytes.iter().enumerate().all(|(i, &byte)| (byte == 7) == (15..30).contains(&i)));
    // The parent stays as long as a window shows it.
    assert_eq!(domain.deregister(parent.stag), Err(MemoryError::InUse));
    domain.invalidate(window).unwrap();
    assert!(domain.deregister(parent.stag).is_ok());
    assert_eq!(domain.deregister(window), Ok(None));
    assert_eq!(domain.deregister(readonly.stag).map(|bytes| bytes.is_some()), Ok(true));
    assert_eq!(domain.len(), 0);
}

#[test]
#[allow(unsafe_code, reason = "registers memory by address")]
fn borrowed_memory_stays_with_its_owner() {
    let mut domain = domain();
    let mut bytes = vec![1_u8; 64];
    let start = NonNull::new(bytes.as_mut_ptr()).unwrap();
    // SAFETY: `bytes` outlives the registration and is not used before that has ended.
    let region = unsafe { domain.register_raw(start, 64, RegionOptions::new(Access::REMOTE_WRITE)) }.unwrap();
    assert_eq!(domain.bytes(region.stag), None);
    assert_eq!(domain.bytes_mut(region.stag), None);
    let span = domain.check(region.stag, 8, 8, Access::REMOTE_WRITE, QP).unwrap();
    domain.write(&span).fill(9);
    assert_eq!(domain.read(&span), [9; 8]);
    assert_eq!(domain.deregister(region.stag), Ok(None));
    assert_eq!(bytes[7..17], [1, 9, 9, 9, 9, 9, 9, 9, 9, 1]);
}

// test: IW-MEM-09
#[test]
fn addresses_are_for_trusted_requests_alone() {
    let mut domain = domain();
    let mut memory = *b"0123456789";
    let at = memory.as_mut_ptr().expose_provenance() as u64;
    let check = |domain: &Domain, to, len, need| domain.check(STag::LOCAL, to, len, need, QP);
    assert_eq!(check(&domain, at, 10, Access::empty()), Err(AccessError::Invalid));
    // SAFETY: what the test names below is `memory`, which outlives the domain's use of it and is not used meanwhile.
    #[allow(unsafe_code, reason = "the promise is what is tested")]
    unsafe {
        domain.trust_addresses();
    }
    for remote in [Access::REMOTE_READ, Access::REMOTE_WRITE, Access::LOCAL_WRITE | Access::REMOTE_WRITE] {
        assert_eq!(check(&domain, at, 10, remote), Err(AccessError::Invalid));
    }
    assert_eq!(domain.invalidate_remotely(STag::LOCAL, QP), Err(AccessError::Invalid));
    assert_eq!(check(&domain, 0, 1, Access::empty()), Err(AccessError::Wrap));
    assert_eq!(check(&domain, u64::MAX, 2, Access::empty()), Err(AccessError::Wrap));
    let span = check(&domain, at + 2, 3, Access::LOCAL_WRITE).unwrap();
    domain.write(&span).copy_from_slice(b"abc");
    assert_eq!(domain.read(&span), b"abc");
    assert_eq!(memory, *b"01abc56789");
}

// test: IW-MEM-09
#[test]
fn no_region_is_called_as_all_memory_is() {
    let mut domain = Domain::new(1 << 16, 7);
    // The slot and generation whose name would be index 0.
    let zero = domain.scramble.reveal(0);
    let slot = zero & ((1 << domain.slot_bits) - 1);
    while domain.slots.len() <= slot as usize {
        domain.allocate_window().unwrap();
    }
    domain.slots[slot as usize].entry = None;
    domain.free.push(slot);
    domain.slots[slot as usize].generation = (zero >> domain.slot_bits).wrapping_sub(1);
    let stag = domain.allocate_window().unwrap();
    assert_ne!(stag.index(), STag::LOCAL.index());
    assert!(domain.slot(stag).is_some());
}
