//! The session of an engine, driven by a scripted one in simulated time: every rule of the controller that a host can see.

#![allow(clippy::unwrap_used, reason = "what a test cannot have it fails for")]

mod admin;
mod connect;
mod discovery;
mod events;
mod hostile;
mod io;
mod lifecycle;
mod rig;
mod timers;
