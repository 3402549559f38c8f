//! Those who offer verbs.
