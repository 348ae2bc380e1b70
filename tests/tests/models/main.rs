//! Whole models against the frameworks that they come from: one module a model.

mod bert;
mod minilm;
mod support;
mod wheel;
