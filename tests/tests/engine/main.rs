//! Sessions on the present adapter: whole graphs, passes, splits, variables.

mod decoder_layer;
mod optimizers;
mod passes;
mod session;
mod splits;
mod tune;
mod updates;
mod views;
mod weight_600mb;
