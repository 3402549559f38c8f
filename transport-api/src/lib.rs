//! The transport interface of nvmf: engines, buffers, limits, selection
