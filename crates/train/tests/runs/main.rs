//! Runs from start to end, interrupted and killed, with a learner that needs no device.

mod kill;
mod resume;
mod support;
mod sweep;
mod whole;
