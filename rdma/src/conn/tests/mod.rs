//! Connections in pairs over simulated verbs, and each violation by hand.
