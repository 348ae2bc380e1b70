//! What a training step reads and changes.

use std::collections::BTreeMap;

use kiln_engine::Tensor;

/// All that has to be kept so that training goes on as if it had never stopped: the same tensors and the same step give
/// the same next step, bit for bit.
///
/// Tensors are f32. Those of the network (parameters and running statistics) have PyTorch's names, such as `conv1.weight`
/// and `bn1.running_mean`; those of the optimizer are called `optimizer.<state>.<parameter>`, with PyTorch's word for the
/// state: `optimizer.momentum_buffer.conv1.weight`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// How many steps have been made.
    pub step: u64,
    /// The tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
}

/// What the names of the optimizer's tensors begin with.
pub const OPTIMIZER: &str = "optimizer.";
