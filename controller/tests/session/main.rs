//! The session of an engine, driven by a scripted one in simulated time: every rule of the controller that a host can see.

#![allow(clippy::unwrap_used, reason = "what a test cannot have it fails for")]

mod admin;
mod connect;
mod discovery;
mod events;
mod fake;
mod features;
mod hostile;
mod identify;
mod io;
mod lifecycle;
mod log_pages;
mod memory;
mod rig;
mod timers;
