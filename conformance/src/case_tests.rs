//! A case that should fail the run does, and the registry is well-formed.

use std::{collections::BTreeSet, sync::Arc};

use nvmf_transport::{ControllerTransport, HostTransport, Target};

use super::*;
use crate::{Time, fixtures::Sim, wire_tcp};

/// A fixture that excludes one case.
struct Excluding(Sim);

impl Fixture for Excluding {
    fn host(&self) -> Arc<dyn HostTransport> {
        self.0.host()
    }

    fn controller(&self) -> Arc<dyn ControllerTransport> {
        self.0.controller()
    }

    fn listen_at(&self) -> Target {
        self.0.listen_at()
    }

    fn time(&self) -> Time {
        self.0.time()
    }

    fn nobody(&self) -> Target {
        self.0.nobody()
    }

    fn exclusions(&self) -> &'static [Exclusion] {
        &[Exclusion { case: "it", reason: "for a reason" }]
    }
}

fn outcome(run: fn(&dyn Fixture) -> Verdict, excluded: bool) -> Outcome {
    let case = Case { id: "it", title: "it holds", reference: "nowhere", run };
    let case: &'static Case = Box::leak(Box::new(case));
    let fixture: fn() -> Box<dyn Fixture> = match excluded {
        true => || Box::new(Excluding(Sim::immediate())),
        false => || Box::new(Sim::immediate()),
    };
    super::run(case, fixture)
}

#[test]
fn an_outcome_is_what_happened() {
    assert!(matches!(outcome(|_| Ok(()), false), Outcome::Passed));
    assert!(
        matches!(outcome(|_| Err(Stop::failed("no")), false), Outcome::Failed(what) if what.contains("no"))
    );
    assert!(matches!(outcome(|_| Err(Stop::skipped("not here")), false), Outcome::Skipped(_)));
    assert!(matches!(outcome(|_| panic!("oh"), false), Outcome::Failed(what) if what.contains("oh")));
}

#[test]
fn an_exclusion_excuses_a_failure_and_nothing_else() {
    assert!(matches!(
        outcome(|_| Err(Stop::failed("no")), true),
        Outcome::Excluded { reason: "for a reason", .. }
    ));
    let passes = outcome(|_| Ok(()), true);
    assert!(matches!(passes, Outcome::ExcludedButPasses(_)) && passes.is_failure());
    let panics = outcome(|_| panic!("oh"), true);
    assert!(matches!(panics, Outcome::Failed(_)) && panics.is_failure());
    assert!(!outcome(|_| Err(Stop::skipped("not here")), true).is_failure());
}

#[test]
fn every_case_has_a_name_of_its_own_and_says_where_it_is_written() {
    let mut names = BTreeSet::new();
    let wire = wire_tcp::target::CASES.iter().map(|case| (case.id, case.title, case.reference));
    let host = wire_tcp::host::CASES.iter().map(|case| (case.id, case.title, case.reference));
    let here = crate::cases().iter().map(|case| (case.id, case.title, case.reference));
    for (id, title, reference) in here.chain(wire).chain(host) {
        // The wire's names are those of the tables they come from, and need not differ from the association's.
        assert!(names.insert((id, title)), "{id} twice");
        assert!(!id.is_empty() && !title.is_empty() && !reference.is_empty(), "{id}");
    }
    let ids: BTreeSet<_> = crate::cases().iter().map(|case| case.id).collect();
    assert_eq!(ids.len(), crate::cases().len());
}

#[test]
fn exclusions_name_cases_that_exist() {
    for fixture in [Sim::immediate(), Sim::slow(), Sim::narrow(), Sim::decorated(), Sim::disordered()] {
        for exclusion in fixture.exclusions() {
            assert!(crate::cases().iter().any(|case| case.id == exclusion.case), "{exclusion:?}");
        }
    }
}
