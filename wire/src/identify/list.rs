//! Lists of namespaces and of controllers (NVMe Base 2.0 §4.4).

use zerocopy::little_endian::{U16, U32};

wire_struct! {
    /// Namespace List: up to 1024 identifiers, ascending; a 0 ends a shorter one (CNS 02h, 07h, 10h, 1Ah).
    pub struct NamespaceList[4096] {
        /// The identifiers.
        pub nsids: [U32; 1024],
    }
}

impl NamespaceList {
    /// The most identifiers a list holds.
    pub const CAPACITY: usize = 1024;

    /// The identifiers greater than `after` among `nsids`, which are ascending: what the command with that NSID returns.
    pub fn after(after: u32, nsids: impl IntoIterator<Item = u32>) -> Self {
        let mut list = Self::zeroed();
        let listed = nsids.into_iter().filter(|&nsid| nsid > after);
        list.nsids.iter_mut().zip(listed).for_each(|(slot, nsid)| *slot = U32::new(nsid));
        list
    }

    /// The identifiers, up to the first 0.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.nsids.iter().map(|nsid| nsid.get()).take_while(|&nsid| nsid != 0)
    }
}

wire_struct! {
    /// Controller List: up to 2047 identifiers, ascending (CNS 12h, 13h).
    pub struct ControllerList[4096] {
        /// Number of Identifiers.
        pub count: U16,
        /// The identifiers.
        pub cntlids: [U16; 2047],
    }
}

impl ControllerList {
    /// The most identifiers a list holds.
    pub const CAPACITY: usize = 2047;

    /// The identifiers from `from` on among `cntlids`, which are ascending: what the command with that CNTID returns.
    pub fn from(from: u16, cntlids: impl IntoIterator<Item = u16>) -> Self {
        let mut list = Self::zeroed();
        let mut count = 0;
        let listed = cntlids.into_iter().filter(|&cntlid| cntlid >= from);
        for (slot, cntlid) in list.cntlids.iter_mut().zip(listed) {
            *slot = U16::new(cntlid);
            count += 1;
        }
        list.count = U16::new(count);
        list
    }

    /// The identifiers; a count beyond the list's capacity is cut.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.cntlids.iter().take(usize::from(self.count.get())).map(|cntlid| cntlid.get())
    }
}
