//! Load generator, raw-socket floors and reports.
