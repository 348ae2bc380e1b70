//! What an epoch is judged by: plain sums, to be read at any time.

mod confusion;
mod running;

pub use confusion::Confusion;
pub use running::{Accuracy, RunningLoss};
