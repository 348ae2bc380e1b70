//! Sessions on the present adapter: whole graphs, passes, splits, variables.

mod passes;
mod session;
mod splits;
mod weight_600mb;
