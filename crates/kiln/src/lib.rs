//! Kiln runs neural networks on any GPU that `wgpu` reaches: Vulkan, Metal, DX12, or a software Vulkan driver
//! where there is no GPU. This crate is the library's front door; the `kiln` command is built on it.
//!
//! # A graph
//!
//! A [`GraphBuilder`] infers shapes as ops are added, a [`Session`] loads the graph on a device and runs it as
//! often as needed.
//!
//! ```
//! use kiln::{AdapterChoice, DType, Gpu, GraphBuilder, NoWeights, Session, Tensor};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # if std::env::var("KILN_ADAPTER").as_deref() == Ok("none") { return Ok(()); }
//! let mut graph = GraphBuilder::new("example");
//! let x = graph.input("x", &[2, 3], DType::F32);
//! let weight = graph.literal(&[2, 3], &[1.0, 0.0, -1.0, 0.5, 0.5, 0.5])?;
//! let product = graph.matmul_nt(x, weight)?;
//! let y = graph.relu(product)?;
//! graph.output("y", y);
//!
//! let gpu = Gpu::open(&AdapterChoice::Strongest)?;
//! let mut session = Session::new(&gpu);
//! let plan = session.load(&graph.finish(), &NoWeights)?;
//! let x = Tensor::f32([2, 3], vec![1.0, 2.0, 3.0, 6.0, 5.0, 4.0])?;
//! let outputs = session.run(plan, &[("x", &x)])?;
//! assert_eq!(outputs["y"].as_f32()?, [0.0, 3.0, 2.0, 7.5]);
//! # Ok(())
//! # }
//! ```
//!
//! # A model
//!
//! ```no_run
//! use kiln::models::{ModelStore, SentenceEncoder, StoreConfig};
//! use kiln::{AdapterChoice, Gpu};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = ModelStore::new(StoreConfig::from_env()).fetch("all-MiniLM-L6-v2", &mut |_| {})?;
//! let mut encoder = SentenceEncoder::load(&Gpu::open(&AdapterChoice::Strongest)?, &dir)?;
//! let embeddings = encoder.encode(&["Clay goes in.", "Stone comes out."], &mut |_| {})?;
//! assert_eq!(embeddings[0].len(), encoder.dim());
//! # Ok(())
//! # }
//! ```
//!
//! # A question
//!
//! [`docqa`] loads documents, splits them into passages, embeds these into a store and answers questions from
//! it; `kiln ask` does just that.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use std::path::Path;
//!
//! use kiln::docqa::answer::{Answerer, AskOptions, ask};
//! use kiln::docqa::index::{Index, IndexOptions};
//! use kiln::docqa::similarity::GpuSimilarity;
//! use kiln::models::SentenceEncoder;
//! use kiln::{AdapterChoice, Gpu};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gpu = Gpu::open(&AdapterChoice::Strongest)?;
//! let mut encoder = SentenceEncoder::load(&gpu, Path::new("all-MiniLM-L6-v2"))?;
//! let mut index = Index::open_or_build(
//!     &["paper.pdf".into()],
//!     &IndexOptions::default(),
//!     &mut encoder,
//!     Path::new("cache"),
//!     Box::new(GpuSimilarity::new(&gpu)),
//!     &mut |_progress| ControlFlow::Continue(()),
//! )?;
//! let answer = ask(
//!     &mut index,
//!     &mut encoder,
//!     &mut Answerer::Extractive,
//!     "What is a receptive field?",
//!     &AskOptions::default(),
//!     &mut |_text| ControlFlow::Continue(()),
//! )?;
//! println!("{} ({:.2} s)", answer.answer, answer.processing_time);
//! for source in &answer.sources {
//!     println!("{}, page {:?}: {}", source.source, source.page, source.text);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The programs in `crates/kiln/examples` are short enough to start from.

pub use kiln_docqa as docqa;
pub use kiln_engine as engine;
pub use kiln_gpu as gpu;
pub use kiln_models as models;
pub use kiln_serve as serve;
pub use kiln_train as train;

pub use kiln_engine::{DType, EngineError, GraphBuilder, NoWeights, Session, Tensor, WeightSource};
pub use kiln_gpu::{AdapterChoice, Gpu, GpuError};

/// The README's program is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
