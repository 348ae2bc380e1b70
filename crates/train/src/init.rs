//! Parameters before the first step: PyTorch's rules, with numbers of our own.

use kiln_engine::Tensor;
use kiln_models::cnn::{Architecture, Init};

use crate::TrainError;
use crate::random::{Purpose, Random};
use crate::state::State;

/// The state before the first step: each tensor of the network by the rule that its layer has in PyTorch (`reset_parameters`
/// of the module of that name). The numbers depend on the seed, the tensor's place in the network and the element alone.
///
/// # Errors
/// Where a tensor is larger than memory can hold.
pub fn initial(architecture: &Architecture, seed: u64) -> Result<State, TrainError> {
    let mut state = State::default();
    for (place, spec) in architecture.tensors().into_iter().enumerate() {
        let count = spec.shape.iter().product();
        let data = match spec.init {
            Init::Ones => vec![1.0; count],
            Init::Zeros => vec![0.0; count],
            Init::Constant(number) => vec![number; count],
            Init::Uniform(bound) => {
                let mut random = Random::new(seed, Purpose::Initial, 0, place as u32);
                let bound = f64::from(bound);
                (0..count).map(|_| random.between(-bound, bound) as f32).collect()
            }
        };
        state.tensors.insert(spec.name, Tensor::f32(spec.shape, data)?);
    }
    Ok(state)
}
