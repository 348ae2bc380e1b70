use crate::adaptive_pool2d::windows;
use crate::array::Array;
use crate::pool2d::{greatest, to_planes};

/// The gradient of [`adaptive_avg_pool2d`](crate::adaptive_avg_pool2d) by an `x` of the given shape `[n][c][h][w]`, from
/// that of its result: each window's in equal shares to its elements. Linear.
pub fn adaptive_avg_pool2d_grad(shape: &[usize], grad: &Array) -> Array {
    let x = Array::from_fn(shape, |_| 0.0);
    let extents = [grad.shape[2], grad.shape[3]];
    to_planes(&x, grad, extents, windows(&x, extents), |_, window, grad, gradient| {
        for &at in &window.cells {
            gradient[at] += grad / window.places as f64;
        }
    })
}

/// The gradient of [`adaptive_max_pool2d`](crate::adaptive_max_pool2d) by `x[n][c][h][w]`: each window's goes to its
/// greatest element, the first of equals and the last NaN. Linear in `grad`.
pub fn adaptive_max_pool2d_grad(x: &Array, grad: &Array) -> Array {
    let extents = [grad.shape[2], grad.shape[3]];
    to_planes(x, grad, extents, windows(x, extents), |plane, window, grad, gradient| {
        if let Some(at) = greatest(plane, window).1 {
            gradient[at] += grad;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let grad = Array::new(&[1, 1, 1, 3], vec![2.0, 6.0, 4.0]);
        // 0..2, 1..4, 3..5
        assert_eq!(adaptive_avg_pool2d_grad(&[1, 1, 1, 5], &grad).data, [1.0, 3.0, 2.0, 4.0, 2.0]);
        let x = Array::new(&[1, 1, 1, 5], vec![1.0, 3.0, 3.0, 0.0, 0.0]);
        assert_eq!(adaptive_max_pool2d_grad(&x, &grad).data, [0.0, 8.0, 0.0, 4.0, 0.0]);
    }
}
