//! Training against PyTorch (`assets/goldens/train/make.py`) and against what people work out by hand.

mod curves;
mod gradients;
mod hundred_steps;
mod runs;
mod support;
mod worked_examples;
mod xor;
