//! The session of an engine, driven by a scripted one in simulated time: every rule of the controller that a host can see.

mod admin;
mod connect;
mod discovery;
mod events;
mod io;
mod lifecycle;
mod rig;
mod timers;
