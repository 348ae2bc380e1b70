use crate::array::Array;

/// The options of [`local_response_norm`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the formula is the documentation")]
pub struct LocalResponseNorm {
    pub size: usize,
    pub alpha: f64,
    pub beta: f64,
    pub k: f64,
}

/// `output[n][c][..] = x[n][c][..] / (k + alpha / size * sum_d x[n][d][..]^2)^beta`, the sum over the `size` channels
/// from `c - size / 2` on, without those that do not exist, as `torch.nn.functional.local_response_norm`.
pub fn local_response_norm(x: &Array, options: &LocalResponseNorm) -> Array {
    windows(x, options, |value, squares| value / options.base(squares).powf(options.beta))
}

/// What the rounding errors of [`local_response_norm`] are relative to, to first order. The result times: the error of
/// the base (its own terms over it), beta times; the error of its power, which WGSL gives that of `exp2(y * log2(x))`:
/// `3 + 2|p|` for the exponential of `p = beta * log2(base)`, and `ln 2` times the error of `p`, which is that of the
/// logarithm (3 ULP, or `2^-21`, four epsilons, near 1) and of the product; a rounding or two.
pub fn local_response_norm_terms(x: &Array, options: &LocalResponseNorm) -> Array {
    windows(x, options, |value, squares| {
        let base = options.base(squares);
        (value / base.powf(options.beta)).abs() * (2.0 + options.power_error(squares))
    })
}

impl LocalResponseNorm {
    /// What is taken to a power, from the sum of a window's squares.
    pub(crate) fn base(&self, squares: f64) -> f64 {
        self.k + self.alpha / self.size as f64 * squares
    }

    /// The relative error of the base, in units of the machine epsilon.
    pub(crate) fn base_error(&self, squares: f64) -> f64 {
        4.0 * (self.k.abs() + (self.alpha / self.size as f64).abs() * squares) / self.base(squares).abs()
    }

    /// The relative error of its power, in units of the machine epsilon.
    pub(crate) fn power_error(&self, squares: f64) -> f64 {
        let base = self.base(squares);
        let power = (self.beta * base.log2()).abs();
        let near_one = if (0.5..=2.0).contains(&base) { 4.0 } else { 0.0 };
        let logarithm = self.beta.abs() * near_one + 4.0 * power;
        self.beta.abs() * self.base_error(squares) + 3.0 + 2.0 * power + 0.7 * logarithm
    }
}

fn windows(x: &Array, options: &LocalResponseNorm, element: impl Fn(f64, f64) -> f64) -> Array {
    Array::from_fn(&x.shape, |at| element(x.at(at), squares(x, options, at)))
}

/// The sum of the squares that the window of the element `at` sees.
pub(crate) fn squares(x: &Array, options: &LocalResponseNorm, at: &[usize]) -> f64 {
    window(x, options, at).map(|neighbour| x.at(&neighbour).powi(2)).sum()
}

/// The elements in the window of the element `at`.
pub(crate) fn window(
    x: &Array,
    options: &LocalResponseNorm,
    at: &[usize],
) -> impl Iterator<Item = Vec<usize>> {
    let (at, before, channels) = (at.to_vec(), options.size / 2, x.shape[1]);
    // From c - size / 2 on, counted without going below 0.
    let seen =
        (0..options.size).filter_map(move |step| (at[1] + step).checked_sub(before).map(|c| (at.clone(), c)));
    seen.filter(move |(_, channel)| *channel < channels).map(|(mut at, channel)| {
        at[1] = channel;
        at
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = Array::new(&[1, 4, 1], vec![1.0, 2.0, 3.0, 4.0]);
        let options = |size| LocalResponseNorm { size, alpha: size as f64, beta: 1.0, k: 2.0 };
        // Windows of three: 1+4, 1+4+9, 4+9+16, 9+16.
        let output = local_response_norm(&x, &options(3));
        assert_eq!(output.data, [1.0 / 7.0, 2.0 / 16.0, 3.0 / 31.0, 4.0 / 27.0]);
        // Of two: the channel before and the channel itself.
        let output = local_response_norm(&x, &options(2));
        assert_eq!(output.data, [1.0 / 3.0, 2.0 / 7.0, 3.0 / 15.0, 4.0 / 27.0]);
        // Wider than all channels.
        let output = local_response_norm(&x, &options(9));
        assert_eq!(output.data, [1.0 / 32.0, 2.0 / 32.0, 3.0 / 32.0, 4.0 / 32.0]);
    }
}
