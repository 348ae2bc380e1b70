//! Whole models against the frameworks that they come from: one module a model.

mod bert;
mod cnn;
mod filters;
mod hed;
mod layers;
mod memory;
mod minilm;
mod retrieval;
mod support;
mod t5;
mod t5_ahead;
mod t5_files;
mod t5_full;
mod t5_tokenizer;
mod vgg;
mod vgg_memory;
mod wheel;
