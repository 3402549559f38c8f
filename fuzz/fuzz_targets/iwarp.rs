//! The fuzz body `iwarp` of the conformance crate under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nvmf_conformance::fuzzing::run("iwarp", data));
