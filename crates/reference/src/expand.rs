//! A tensor repeated along dimensions.

use crate::Array;

/// `torch.Tensor.expand`: `x` repeated to a shape that it broadcasts to, aligned at the last dimension.
pub fn expand(x: &Array, shape: &[usize]) -> Array {
    let missing = shape.len() - x.rank();
    Array::from_fn(shape, |at| {
        let own: Vec<usize> =
            at[missing..].iter().zip(&x.shape).map(|(&i, &extent)| if extent == 1 { 0 } else { i }).collect();
        x.at(&own)
    })
}
