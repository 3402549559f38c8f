//! A list of views sent as one run of data.

use smallvec::SmallVec;

use crate::{Buffer, View};

/// Data for one response, gathered from where it lies. Two views need no allocation.
#[derive(Clone, Debug, Default)]
pub struct Gather {
    views: SmallVec<[View; 2]>,
    len: usize,
}

impl Gather {
    /// No data.
    #[inline]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a view. Empty views are left out.
    #[inline]
    pub fn push(&mut self, view: View) {
        if !view.is_empty() {
            self.len += view.len();
            self.views.push(view);
        }
    }

    /// The total number of bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no data.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The views, in order.
    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// Removes all views at once and leaves the list empty.
    pub fn clear(&mut self) {
        self.views.clear();
        self.len = 0;
    }

    /// The bytes of `range` as slices, in order. The part beyond the end is left out.
    pub fn slices(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = &[u8]> {
        let mut at = 0usize;
        self.views.iter().filter_map(move |view| {
            let start = range.start.saturating_sub(at).min(view.len());
            let end = range.end.saturating_sub(at).min(view.len());
            at += view.len();
            (start < end).then(|| &view[start..end])
        })
    }
}

impl From<View> for Gather {
    fn from(view: View) -> Self {
        let mut gather = Self::new();
        gather.push(view);
        gather
    }
}

impl From<Buffer> for Gather {
    fn from(buffer: Buffer) -> Self {
        buffer.freeze().into()
    }
}

impl IntoIterator for Gather {
    type Item = View;
    type IntoIter = smallvec::IntoIter<[View; 2]>;
    /// The views themselves, so that a sender can keep them without cloning.
    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        self.views.into_iter()
    }
}

impl FromIterator<View> for Gather {
    fn from_iter<I: IntoIterator<Item = View>>(views: I) -> Self {
        let mut gather = Self::new();
        views.into_iter().for_each(|view| gather.push(view));
        gather
    }
}
