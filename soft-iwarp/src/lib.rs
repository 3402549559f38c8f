//! iWARP in user space: MPA, DDP and RDMAP over any TCP socket, with the semantics of verbs.
