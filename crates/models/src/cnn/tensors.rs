//! The tensors that a network consists of.

/// A tensor of a network, and what it is before training: PyTorch's own rule for the module.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    /// The name, as in PyTorch's state dicts: `conv1.weight`, `bn1.running_mean`.
    pub name: String,
    /// The shape, also as in PyTorch.
    pub shape: Vec<usize>,
    /// What it starts as.
    pub init: Init,
    /// Whether training learns it; false for running statistics.
    pub trainable: bool,
}

/// What a tensor is filled with before training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Numbers drawn evenly from `-bound` to `bound`.
    Uniform(f32),
    /// The same number everywhere: slopes of a `prelu`.
    Constant(f32),
    /// 1 everywhere.
    Ones,
    /// 0 everywhere.
    Zeros,
}
