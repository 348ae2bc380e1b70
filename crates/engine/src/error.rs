//! What can go wrong between a graph and its results.

use kiln_gpu::GpuError;

use crate::tensor::TensorDesc;

/// An op's inputs do not fit together: what was looked at, what was expected, what came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {expected}, got {got}")]
pub struct Mismatch {
    /// The property that was checked, such as `rhs depth`.
    pub what: String,
    /// What the op needs.
    pub expected: String,
    /// What it was given.
    pub got: String,
}

impl Mismatch {
    pub(crate) fn new(what: impl ToString, expected: impl ToString, got: impl ToString) -> Self {
        Self { what: what.to_string(), expected: expected.to_string(), got: got.to_string() }
    }

    /// The error of an op at a layer path.
    pub(crate) fn at(self, op: &'static str, path: &str) -> EngineError {
        EngineError::Op { op, path: path.to_owned(), mismatch: self }
    }
}

/// A weight could not be read; the text names the file or tensor and says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WeightError(pub String);

/// Every failure of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// An op was given shapes, types or options that it cannot work with.
    #[error("{op} \"{path}\": {mismatch}")]
    Op {
        /// The op's name, such as `matmul`.
        op: &'static str,
        /// The layer path, such as `minilm/layer0/query`.
        path: String,
        /// What did not fit.
        mismatch: Mismatch,
    },
    /// Host data does not have as many elements as its shape says.
    #[error("a tensor of shape {shape:?} holds {expected} elements, but {got} were given")]
    Elements {
        /// The shape named.
        shape: Vec<usize>,
        /// The product of its dimensions.
        expected: usize,
        /// Elements in the data.
        got: usize,
    },
    /// A graph is malformed.
    #[error("graph \"{graph}\": {problem}")]
    Graph {
        /// The graph's name.
        graph: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A plan breaks one of its own rules: a defect of Kiln, never of the input.
    #[error("plan \"{plan}\", step {step} ({path}): {problem}")]
    Plan {
        /// The plan's name.
        plan: String,
        /// Index of the step.
        step: usize,
        /// Layer path of the step.
        path: String,
        /// The broken rule.
        problem: String,
    },
    /// One row of a tensor is larger than anything the device can bind.
    #[error("\"{path}\": one row of {desc} is {row_bytes} bytes, but the device binds at most {limit}")]
    RowTooLarge {
        /// The value's path or name.
        path: String,
        /// Its description.
        desc: TensorDesc,
        /// Bytes of one index of the first dimension.
        row_bytes: u64,
        /// The device's limit in bytes.
        limit: u64,
    },
    /// A tensor is split over buffers in a way that this op cannot follow.
    #[error(
        "{op} \"{path}\": {desc} exceeds the device's limit of {limit} bytes a binding, and {op} cannot work on it in parts ({why})"
    )]
    CannotSplit {
        /// The op's name.
        op: &'static str,
        /// The layer path.
        path: String,
        /// The tensor that is split.
        desc: TensorDesc,
        /// The device's limit in bytes.
        limit: u64,
        /// Which rule of splitting is broken.
        why: &'static str,
    },
    /// A run was given an input that the graph does not know, or lacks one.
    #[error("plan \"{plan}\": input \"{name}\": expected {expected}, got {got}")]
    Input {
        /// The plan's name.
        plan: String,
        /// The input's name.
        name: String,
        /// What the graph declares.
        expected: String,
        /// What was given.
        got: String,
    },
    /// A tensor holds another element type than was asked for.
    #[error("expected a tensor of {expected}, got {got}")]
    DType {
        /// The type asked for.
        expected: crate::DType,
        /// What the tensor is.
        got: TensorDesc,
    },
    /// A weight is missing, misshapen or unreadable.
    #[error("weight \"{name}\": {problem}")]
    Weight {
        /// The tensor's name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A variable is unknown, or declared differently by two graphs.
    #[error("variable \"{name}\": expected {expected}, got {got}")]
    Variable {
        /// The variable's name.
        name: String,
        /// What the session holds.
        expected: String,
        /// What was asked for.
        got: String,
    },
    /// The device failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

/// The engine's result type.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;
