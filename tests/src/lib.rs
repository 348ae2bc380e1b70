//! The harness that every Kiln test stands on.
//!
//! - [`device`]: the one device of a test process, and the rule for machines without one.
//! - [`report`]: which adapter ran and which tests skipped, for the closing line of `cargo xtask test`.
//! - [`data`]: seeded numbers, the same in Rust and in NumPy.
//! - [`compare`] and [`tolerance`]: element by element against `f64`, with bounds that are derived.
//! - [`guard`] and [`kernel`]: one kernel alone, its bindings longer than its tensors, alarms on both ends.
//! - [`graph`]: one op alone, through the engine; [`gradient`]: its derivatives.
//! - [`sweep`]: the sizes where kernels go wrong.
//! - [`golden`]: files that another program made, in the repository and outside.
//! - [`chroma`]: a real Chroma server.
//! - [`browser`]: a page as a user meets it.
//! - [`t5`]: directories with whole T5 models, seeded.
//!
//! A harness that cannot fail proves nothing: each comparator has tests that must fail, and
//! `tests/shaders/broken.rs` runs kernels that are wrong on purpose.
//!
//! Environment: `KILN_ADAPTER` (index, name or `none`), `KILN_TEST_DATA` (a folder of large files),
//! `KILN_TEST_CHROMA` (a folder with the server that [`chroma`] starts),
//! `KILN_TEST_LOG` (a file that [`report`] appends to), `KILN_SCREENSHOTS` (a folder for
//! what [`browser`] has seen), and in the test binary `sweep` `KILN_SWEEP` (how many generated
//! configurations it runs).

pub mod browser;
pub mod chroma;
pub mod compare;
pub mod data;
pub mod device;
pub mod golden;
pub mod gradient;
pub mod graph;
pub mod guard;
pub mod kernel;
pub mod report;
pub mod sweep;
pub mod t5;
pub mod tolerance;
