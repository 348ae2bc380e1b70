//! Pictures of a run.

mod canvas;
mod chart;
mod confusion;
mod curves;
mod reconstructions;

pub(crate) use chart::{Chart, Line, Panel, Point, Scale};
pub use confusion::confusion;
pub use curves::curves;
pub use reconstructions::reconstructions;
