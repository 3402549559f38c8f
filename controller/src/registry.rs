//! The controllers of one subsystem by their identifier, allocated as hosts connect (the dynamic controller model).

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
};

use crate::association::Association;

/// Associations by CNTLID.
#[derive(Debug)]
pub(crate) struct Registry {
    range: RangeInclusive<u16>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    by_cntlid: BTreeMap<u16, Arc<Association>>,
    /// Where the search for a free identifier starts, so that one is not reused as long as others are left.
    next: u16,
}

impl Registry {
    pub(crate) fn new(range: RangeInclusive<u16>) -> Self {
        let next = *range.start();
        Self { range, inner: Mutex::new(Inner { by_cntlid: BTreeMap::new(), next }) }
    }

    /// Makes an association with a free identifier; `None` if there is none.
    pub(crate) fn insert(&self, make: impl FnOnce(u16) -> Association) -> Option<Arc<Association>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, end) = (*self.range.start(), *self.range.end());
        let next = inner.next.clamp(start, end);
        let cntlid = (next..=end).chain(start..next).find(|id| !inner.by_cntlid.contains_key(id))?;
        inner.next = if cntlid == end { start } else { cntlid + 1 };
        let association = Arc::new(make(cntlid));
        inner.by_cntlid.insert(cntlid, Arc::clone(&association));
        Some(association)
    }

    pub(crate) fn find(&self, cntlid: u16) -> Option<Arc<Association>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).by_cntlid.get(&cntlid).cloned()
    }

    /// Takes an association out; nothing happens if it is out already.
    pub(crate) fn remove(&self, association: &Association) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let here = inner.by_cntlid.get(&association.cntlid);
        if here.is_some_and(|here| std::ptr::eq(Arc::as_ptr(here), association)) {
            inner.by_cntlid.remove(&association.cntlid);
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Association>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).by_cntlid.values().cloned().collect()
    }
}
