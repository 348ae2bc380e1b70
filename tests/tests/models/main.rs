//! Whole models against the frameworks that they come from: one module a model.

mod bert;
mod cnn;
mod filters;
mod hed;
mod layers;
mod minilm;
mod support;
mod vgg;
mod vgg_memory;
mod wheel;
