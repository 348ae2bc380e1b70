use crate::array::Array;
use crate::pool2d::{Pool, greatest, to_planes, windows};

/// The gradient of [`max_pool2d`](crate::max_pool2d) by `x[n][c][h][w]`, from that of its result: each window's goes to its
/// greatest element, the first of equals and the last NaN, and where an element is the greatest of several windows they add
/// up. A window that sees nothing but padding hands on nothing. Linear in `grad`.
pub fn max_pool2d_grad(x: &Array, grad: &Array, pool: Pool<2>) -> Array {
    let (extents, window) = windows(x, pool);
    to_planes(x, grad, extents, window, |plane, window, grad, gradient| {
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
        let x = Array::new(&[1, 1, 2, 4], vec![1.0, 3.0, 0.0, 0.0, 2.0, 3.0, 0.0, 0.0]);
        let grad = Array::new(&[1, 1, 1, 2], vec![5.0, 7.0]);
        // Both windows have ties: the first in row-major order is taken.
        let gradient = max_pool2d_grad(&x, &grad, Pool::new([2, 2]));
        assert_eq!(gradient.data, [0.0, 5.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn overlapping_windows_add_up() {
        let x = Array::new(&[1, 1, 1, 5], vec![0.0, 1.0, 4.0, 2.0, 3.0]);
        let pool = Pool { stride: [1, 1], ..Pool::new([1, 3]) };
        let grad = Array::new(&[1, 1, 1, 3], vec![1.0, 10.0, 100.0]);
        assert_eq!(max_pool2d_grad(&x, &grad, pool).data, [0.0, 0.0, 111.0, 0.0, 0.0]);
    }

    #[test]
    fn the_last_nan_takes_it() {
        let x = Array::new(&[1, 1, 1, 4], vec![f64::NAN, 9.0, f64::NAN, 1.0]);
        let grad = Array::new(&[1, 1, 1, 1], vec![2.0]);
        assert_eq!(max_pool2d_grad(&x, &grad, Pool::new([1, 4])).data, [0.0, 0.0, 2.0, 0.0]);
    }
}
