//! The fuzz body `pair` of the conformance crate under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nvmf_conformance::fuzzing::run("pair", data));
