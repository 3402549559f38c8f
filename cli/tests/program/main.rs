//! The program as its users run it: built, started, talked to over loopback, and judged by what it prints and its exit codes.

#![expect(clippy::unwrap_used, reason = "in a test whatever is missing is a failure")]

mod configuration;
mod data;
mod failures;
mod manual;
mod measuring;
mod support;
mod wires;
