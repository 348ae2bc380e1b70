use crate::array::{Array, flat};
use crate::pad::{Pad, pad};

/// The gradient of [`pad`](crate::pad) by an `x` of the given shape, from that of its result: an element takes what the
/// places get that it was copied to. Linear.
pub fn pad_grad(shape: &[usize], grad: &Array, sides: &[[usize; 2]], mode: Pad) -> Array {
    // Padding moves the numbers of the places; what is a constant comes from no place.
    let places = Array::from_fn(shape, |at| flat(shape, at) as f64);
    let constant = matches!(mode, Pad::Constant(_));
    let sources = pad(&places, sides, if constant { Pad::Constant(f64::INFINITY) } else { mode });
    assert_eq!(sources.shape, grad.shape, "the gradient of {shape:?} padded by {sides:?}");
    let mut gradient = places.map(|_| 0.0);
    for (source, grad) in sources.data.iter().zip(&grad.data).filter(|(source, _)| source.is_finite()) {
        gradient.data[*source as usize] += grad;
    }
    gradient
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let grad = Array::new(&[6], vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0]);
        let of = |mode| pad_grad(&[3], &grad, &[[2, 1]], mode).data;
        assert_eq!(of(Pad::Constant(9.0)), [4.0, 8.0, 16.0]);
        // 2 1 | 0 1 2 | 1
        assert_eq!(of(Pad::Reflect), [4.0, 42.0, 17.0]);
        assert_eq!(of(Pad::Replicate), [7.0, 8.0, 48.0]);
    }
}
