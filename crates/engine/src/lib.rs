//! Graphs, passes, plans and sessions: from ops to kernels on a device.
//!
//! `GraphBuilder -> Graph -> passes -> Plan -> Recording -> Session::run`: each arrow is a function, and each stage
//! plain data that can be printed and checked.
//!
//! - [`GraphBuilder`] builds a [`Graph`] and infers shapes; a mistake names its layer.
//! - [`passes`] rewrite it without changing its results; [`compile`] applies them in order.
//! - [`Plan`] holds kernels, parameters and memory slots, and knows no device.
//! - [`Session`] owns buffers, loads weights from a [`WeightSource`], and runs plans.

mod autodiff;
mod builder;
mod choices;
mod compile;
mod device;
mod epilogue;
mod error;
mod graph;
mod lower;
pub mod ops;
mod optimizer;
pub mod passes;
mod patches;
pub mod plan;
mod planes;
mod row_weight;
mod select;
mod session;
mod spans;
mod strided_copy;
mod tensor;
mod tune;
pub mod updates;
mod views;
mod weights;
mod window;
mod winograd;
mod work;

pub use builder::{BatchNormTraining, CrossEntropyOptions, GraphBuilder, LossReduction, MultiMarginOptions};
pub use choices::{Choices, Target};
pub use compile::compile;
pub use device::{Device, Tuner};
pub use error::{EngineError, Mismatch, Result};
pub use graph::{Graph, Node, Origin, Update, Value, ValueInfo};
pub use ops::{Activation, Attention, CachedAttention, Op, Scalar};
pub use optimizer::{AdamOptions, Optimizer, RmsPropOptions, SgdOptions};
pub use plan::Plan;
pub use session::{Outputs, Pending, PlanId, Session, SessionMemory, StepTime};
pub use tensor::{DType, MAX_RANK, Tensor, TensorDesc};
pub use tune::{Finding, TuneOptions, TuneProgress, kernels_fingerprint, tune};
pub use updates::{Assign, PutRows, Rule};
pub use weights::{NoWeights, WeightError, WeightSource};
pub use window::{Axis, Padding};
pub use winograd::WinogradTile;
pub use work::Work;
