//! An in-memory transport with virtual time, and decorators for any transport
