use crate::array::{Array, coordinate, flat};
use crate::local_response_norm::{LocalResponseNorm, squares, window};

/// The gradient of [`local_response_norm`](crate::local_response_norm) by `x`, from that of its result. An element counts in
/// its own result as a factor, and by its square in the base of every window that sees it:
/// `d y_c / d x_e = [c = e] base_c^-beta - 2 beta alpha / size x_c x_e base_c^(-beta - 1)`.
pub fn local_response_norm_grad(x: &Array, grad: &Array, options: &LocalResponseNorm) -> Array {
    contributions(x, grad, options, |own, pull, _| own - pull)
}

/// What the rounding errors of [`local_response_norm_grad`] are relative to, to first order: each of its terms, times the
/// relative error of the power, and for those of other windows of the quotient by the base too, with some roundings for
/// products and sums.
pub fn local_response_norm_grad_terms(x: &Array, grad: &Array, options: &LocalResponseNorm) -> Array {
    contributions(x, grad, options, |own, pull, squares| {
        let power = options.power_error(squares);
        own.abs() * (2.0 + power) + pull.abs() * (8.0 + power + options.base_error(squares))
    })
}

/// Sums what each window hands on to each element it sees: `join` of its own factor (0 for another element), of the pull by
/// the window's base, and of the window's sum of squares.
fn contributions(
    x: &Array,
    grad: &Array,
    options: &LocalResponseNorm,
    join: impl Fn(f64, f64, f64) -> f64,
) -> Array {
    assert_eq!(x.shape, grad.shape, "an element and its result have one place");
    let mut gradient = x.map(|_| 0.0);
    for (flat_c, (&x_c, &grad)) in x.data.iter().zip(&grad.data).enumerate() {
        let at = coordinate(&x.shape, flat_c);
        let squares = squares(x, options, &at);
        let base = options.base(squares);
        let power = base.powf(-options.beta);
        let factor = 2.0 * options.beta * options.alpha / options.size as f64;
        for seen in window(x, options, &at) {
            let flat_e = flat(&x.shape, &seen);
            let own = if flat_e == flat_c { grad * power } else { 0.0 };
            gradient.data[flat_e] += join(own, factor * grad * x_c * x.data[flat_e] * power / base, squares);
        }
    }
    gradient
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = Array::new(&[1, 2, 1], vec![1.0, 2.0]);
        let grad = Array::new(&[1, 2, 1], vec![1.0, 10.0]);
        // Windows of the channel before and the channel itself: y = (1 / (k + 1), 2 / (k + 5)) with k = 3.
        let options = LocalResponseNorm { size: 2, alpha: 2.0, beta: 1.0, k: 3.0 };
        let gradient = local_response_norm_grad(&x, &grad, &options);
        // dy1/dx1 = 1/4 - 2/16, dy2/dx1 = -4/64; dy2/dx2 = 1/8 - 8/64.
        assert_eq!(gradient.data, [1.0 / 4.0 - 2.0 / 16.0 - 10.0 * 4.0 / 64.0, 0.0]);
    }
}
