use crate::array::Array;
use crate::pool2d::{Pool, to_planes, windows};

/// The gradient of [`avg_pool2d`](crate::avg_pool2d) by an `x` of the given shape `[n][c][h][w]`, from that of its result:
/// each window's goes in equal shares to the elements that it sees, a share being what it divides by. Linear.
pub fn avg_pool2d_grad(shape: &[usize], grad: &Array, pool: Pool<2>, include_padding: bool) -> Array {
    assert_eq!(pool.dilation, [1, 1], "an average has no dilation");
    let x = Array::from_fn(shape, |_| 0.0);
    let (extents, window) = windows(&x, pool);
    to_planes(&x, grad, extents, window, |_, window, grad, gradient| {
        let count = if include_padding { window.places } else { window.cells.len() };
        for &at in &window.cells {
            gradient[at] += grad / count as f64;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let pool = Pool { stride: [1, 2], padding: [[0, 0], [1, 1]], ..Pool::new([1, 3]) };
        let grad = Array::new(&[1, 1, 1, 3], vec![6.0, 12.0, 18.0]);
        // Windows see 0..2, 1..4 and 3..5 of five.
        let counted = avg_pool2d_grad(&[1, 1, 1, 5], &grad, pool, true);
        assert_eq!(counted.data, [2.0, 6.0, 4.0, 10.0, 6.0]);
        let seen = avg_pool2d_grad(&[1, 1, 1, 5], &grad, pool, false);
        assert_eq!(seen.data, [3.0, 7.0, 4.0, 13.0, 9.0]);
    }
}
