//! One suite of cases that every transport must pass
