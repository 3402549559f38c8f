//! Every fuzz body on a stable toolchain: the checked-in regressions, then a seeded search for a bounded time.
//!
//! `NVMF_FUZZ_SECONDS` is the time per body (default 1), `NVMF_FUZZ_SEED` what every choice follows from (default 1). A failing
//! input is printed as hex; as a file in `src/fuzzing/regressions/<body>/` it is tried first from then on.
//! `NVMF_FUZZ_REPLAY=<hex>` tries that input alone, with every body whose test runs.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its inputs has failed")]

use std::{fs, path::Path, time::Duration};

use nvmf_conformance::fuzzing::{Budget, TARGETS, Target, replay, search, target};

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")),
        Err(_) => default,
    }
}

fn run(name: &str) {
    let target = target(name).expect("a body of that name");
    if let Ok(hex) = std::env::var("NVMF_FUZZ_REPLAY") {
        return replay(target, &hex);
    }
    for (file, hex) in regressions(target) {
        println!("regression {file}");
        replay(target, &hex);
    }
    let budget = Budget {
        time: Duration::from_secs(number("NVMF_FUZZ_SECONDS", 1)),
        seed: number("NVMF_FUZZ_SEED", 1),
    };
    let tried = search(target, budget);
    println!("{name}: {tried} inputs from seed {}", budget.seed);
    assert!(tried > 0);
}

fn regressions(target: &Target) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fuzzing/regressions").join(target.name);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| (file.display().to_string(), fs::read_to_string(file).unwrap())).collect()
}

macro_rules! bodies {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )*

        #[test]
        fn every_body_has_a_test_and_every_folder_a_body() {
            let tested = [$(stringify!($name)),*];
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), tested);
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fuzzing/regressions");
            for entry in fs::read_dir(folder).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(tested.contains(&name.as_str()), "regressions of {name}, which is no body");
            }
        }
    };
}

bodies! {
    wire_structures
    pdu
    controller_conn
    host_conn
    pair
    controller_session
    host_association
    iwarp
}

#[test]
fn a_body_that_fails_is_found_and_its_input_made_short() {
    fn body(data: &[u8]) {
        assert!(!data.contains(&0xa7), "found");
    }
    let target = Target { name: "sample", body, seeds: Vec::new, longest: 64 };
    let budget = Budget { time: Duration::from_secs(20), seed: 1 };
    let failure = std::panic::catch_unwind(|| search(&target, budget)).unwrap_err();
    assert_eq!(failure.downcast_ref::<&str>(), Some(&"found"));
    replay(&target, "# nothing of it\n00 01\n02");
    std::panic::catch_unwind(|| replay(&target, "00a7")).unwrap_err();
}
