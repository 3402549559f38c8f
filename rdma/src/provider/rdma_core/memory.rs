//! Memory that devices know: page-aligned regions, each registered with every device there is when it is allocated.

use std::{any::Any, ptr::NonNull, sync::Arc};

use nvmf_transport::{Buffer, Error, Memory, Region, Registration};
use smallvec::SmallVec;

use super::context::{Context, Registered, Stack};

/// The keys of a region, device by device; what it holds on each of them is given up when it is dropped.
pub(super) struct Registrations(SmallVec<[(Arc<Context>, Registered); 2]>);

impl Registrations {
    /// The keys of a region on one device.
    pub(super) fn of(region: &Region, context: u32) -> Option<Registered> {
        let any: &dyn Any = region.registration()?;
        let list = &any.downcast_ref::<Self>()?.0;
        list.iter().find(|(of, _)| of.id == context).map(|(_, keys)| *keys)
    }
}

impl Registration for Registrations {}

impl Drop for Registrations {
    fn drop(&mut self) {
        for (context, keys) in &self.0 {
            context.deregister(keys.slot);
        }
    }
}

/// Allocates such memory.
pub(super) struct DeviceMemory {
    pub(super) stack: &'static Stack,
    /// The devices to register with: those that were there when an engine was opened.
    pub(super) contexts: Vec<Arc<Context>>,
}

impl Memory for DeviceMemory {
    fn allocate(&self, len: usize) -> Result<Buffer, Error> {
        let mut failed = None;
        let region = Region::allocate(len)?.registered(|start: NonNull<u8>, len| {
            let mut list = Registrations(SmallVec::new());
            for context in self.contexts.iter().filter(|context| context.is_alive()) {
                match context.register(start, len.max(1)) {
                    Ok(keys) => list.0.push((context.clone(), keys)),
                    // It went between the question and the call.
                    Err(_) if !context.is_alive() => {}
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            Box::new(list)
        });
        match failed {
            None => Ok(region.into_buffer()),
            Some(error) => Err(error),
        }
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        self.contexts.clear();
        self.stack.settle_gone();
    }
}
