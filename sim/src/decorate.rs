//! What every decorator passes on unchanged.

/// A transport that offers and limits exactly what its `inner` does.
macro_rules! transport_of_inner {
    ($decorator:ty) => {
        impl nvmf_transport::Transport for $decorator {
            fn name(&self) -> &'static str {
                self.inner.name()
            }

            fn wire(&self) -> nvmf_transport::Wire {
                self.inner.wire()
            }

            fn offer(&self, target: &nvmf_transport::Target) -> nvmf_transport::Offer {
                self.inner.offer(target)
            }

            fn limits(&self) -> nvmf_transport::Limits {
                self.inner.limits()
            }
        }
    };
}

/// The methods of an engine that say what it is rather than what it does, answered by its `inner`.
macro_rules! engine_of_inner {
    () => {
        fn transport(&self) -> &'static str {
            self.inner.transport()
        }

        fn memory(&self) -> std::sync::Arc<dyn nvmf_transport::Memory> {
            self.inner.memory()
        }

        fn wait_handle(&self) -> std::os::fd::BorrowedFd<'_> {
            self.inner.wait_handle()
        }

        fn limits(&self, queue: nvmf_transport::QueueId) -> Option<&nvmf_transport::Limits> {
            self.inner.limits(queue)
        }
    };
}

pub(crate) use {engine_of_inner, transport_of_inner};
