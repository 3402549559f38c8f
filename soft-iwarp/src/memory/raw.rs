//! The bytes of registered memory: the one place of this crate that turns addresses into slices.
#![allow(
    unsafe_code,
    reason = "registered memory is known by address, and its owner may keep a handle to it"
)]

use std::{fmt, ptr::NonNull};

/// A registered range of memory.
///
/// What keeps this sound: the range stays valid until the value is dropped, and during any call that can reach it no other
/// reference to it is used, except shared ones if it is never written. Whoever makes a value promises that; the borrow of
/// the value then stands for the borrow of the bytes.
pub(crate) struct Memory {
    start: NonNull<u8>,
    len: usize,
    /// Whether the range is a `Box<[u8]>` that this value owns.
    owned: bool,
}

// SAFETY: the bytes are plain; whoever registered the range promised for every thread that the owner of this value may be on.
unsafe impl Send for Memory {}

impl Memory {
    /// Memory that this value owns.
    pub(crate) fn owned(bytes: Box<[u8]>) -> Self {
        let len = bytes.len();
        let start = NonNull::from(Box::leak(bytes)).cast();
        Self { start, len, owned: true }
    }

    /// Memory that somebody else owns.
    ///
    /// # Safety
    ///
    /// What the type says: `len` initialised bytes from `start` stay valid until the value is dropped, `len` is at most
    /// `isize::MAX`, and during every call that reaches the value nobody else uses a reference to them, or writes them, on
    /// any thread; shared references may be used if [`bytes_mut`](Self::bytes_mut) is never called.
    pub(crate) const unsafe fn borrowed(start: NonNull<u8>, len: usize) -> Self {
        Self { start, len, owned: false }
    }

    pub(crate) const fn is_owned(&self) -> bool {
        self.owned
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn address(&self) -> u64 {
        self.start.addr().get() as u64
    }

    /// The bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: valid and initialised as promised; nobody writes during this call, and `&mut self` is needed to write here.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The bytes, to be written.
    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: valid as promised; nobody else uses a reference during this call, and `&mut self` excludes all made here.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Gives memory back that this value owns.
    pub(crate) fn into_owned(mut self) -> Option<Box<[u8]>> {
        self.take()
    }

    fn take(&mut self) -> Option<Box<[u8]>> {
        if !std::mem::take(&mut self.owned) {
            return None;
        }
        let slice = NonNull::slice_from_raw_parts(self.start, self.len);
        self.len = 0;
        // SAFETY: the range came from a box of this length, and is taken once: `owned` is false from here on.
        Some(unsafe { Box::from_raw(slice.as_ptr()) })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// A range that is known by its address alone: not null, and its end does not wrap around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressSpan {
    start: usize,
    len: usize,
}

impl AddressSpan {
    /// `len` bytes from the address `start`.
    #[inline]
    pub(super) fn new(start: u64, len: u32) -> Option<Self> {
        let (start, len) = (usize::try_from(start).ok()?, usize::try_from(len).ok()?);
        (start != 0 && start.checked_add(len).is_some() && isize::try_from(len).is_ok())
            .then_some(Self { start, len })
    }

    /// The bytes.
    ///
    /// # Safety
    ///
    /// They are initialised and stay valid as long as the slice is used, and nobody writes them meanwhile. Their address was
    /// exposed.
    #[inline]
    pub(super) unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: promised by the caller; neither null nor too long, see `new`.
        unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(self.start), self.len) }
    }

    /// The bytes, to be written.
    ///
    /// # Safety
    ///
    /// As of [`bytes`](Self::bytes), and nobody else reads them meanwhile.
    #[inline]
    pub(super) unsafe fn bytes_mut<'a>(self) -> &'a mut [u8] {
        // SAFETY: promised by the caller; neither null nor too long, see `new`.
        unsafe { std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(self.start), self.len) }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("len", &self.len).field("owned", &self.owned).finish()
    }
}
