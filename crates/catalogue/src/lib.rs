//! Joins, validates, lints and reflects Kiln's WGSL, and generates the Rust that drives it.
//!
//! [`compile`] takes the folder `shaders/` and gives a [`Catalogue`]: every variant row of every shader, parsed and
//! validated by naga, held to the project's own rules, and translated to SPIR-V, MSL and HLSL. What is wrong comes
//! back as [`Diagnostic`]s at the real file and line. [`Catalogue::rust`] is the source that `kiln-kernels` includes.
//!
//! The form of a shader file and of its header is described in `shaders/README.md`.

mod catalogue;
mod check;
mod diagnostic;
mod generate;
mod header;
mod join;
mod lint;
mod reflect;
#[cfg(test)]
mod testing;
mod translate;

pub use catalogue::{Catalogue, CatalogueError, Shader, Variant, compile};
pub use diagnostic::Diagnostic;
