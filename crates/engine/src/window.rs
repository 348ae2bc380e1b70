//! Windows that slide over an axis: the one formula for the sizes that convolution and pooling make.

use crate::error::Mismatch;

/// What surrounds the input of a convolution or pooling of `N` spatial axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Padding<const N: usize> {
    /// Nothing: only whole windows of the input count.
    Valid,
    /// As much as gives `ceil(input / stride)` outputs, the odd element behind the input: Keras's `padding="same"`.
    Same,
    /// So many elements before and after the input, for each axis.
    Sides([[usize; 2]; N]),
}

impl<const N: usize> Padding<N> {
    /// `n` elements on every side.
    pub const fn all(n: usize) -> Self {
        Self::Sides([[n; 2]; N])
    }

    /// Before and after each axis as many elements as its entry says: PyTorch's `padding=(h, w)`.
    pub const fn axes(n: [usize; N]) -> Self {
        let mut sides = [[0; 2]; N];
        let mut axis = 0;
        while axis < N {
            sides[axis] = [n[axis]; 2];
            axis += 1;
        }
        Self::Sides(sides)
    }
}

impl Padding<1> {
    /// The same padding of the second of two axes, the first of which has the extent 1.
    pub(crate) const fn as_row(self) -> Padding<2> {
        match self {
            Padding::Valid => Padding::Valid,
            Padding::Same => Padding::Same,
            Padding::Sides([sides]) => Padding::Sides([[0; 2], sides]),
        }
    }
}

/// Below this, kernels may add any two sizes of an axis in i32.
const LIMIT: usize = 1 << 30;

/// A window on one axis, resolved against the input's extent.
///
/// Made by [`Axis::pair`], which holds that all sizes are positive and below 2^30, as are the window's span and the
/// padded input, and that at least one window fits; or by [`Axis::pair_ceil`], where the first may reach past the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Axis {
    /// Extent of the input.
    pub input: usize,
    /// Taps of the window.
    pub kernel: usize,
    /// Distance between neighbouring windows.
    pub stride: usize,
    /// Distance between neighbouring taps.
    pub dilation: usize,
    /// Padding in front of the input.
    pub before: usize,
    /// Padding behind the input.
    pub after: usize,
}

impl Axis {
    /// Resolves both axes, `[height, width]`, of an image.
    ///
    /// # Errors
    /// A [`Mismatch`] where a size is zero, or the window is larger than the padded input.
    pub fn pair(
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: Padding<2>,
        dilation: [usize; 2],
        input: [usize; 2],
    ) -> Result<[Self; 2], Mismatch> {
        let [height, width] = Self::resolve_pair(kernel, stride, padding, dilation, input)?;
        Ok([height.fitting("height", 0)?, width.fitting("width", 0)?])
    }

    /// The same for [`output_ceil`](Self::output_ceil): a window larger than the padded input will do where it reaches
    /// past its end by less than a stride, as in PyTorch.
    ///
    /// # Errors
    /// A [`Mismatch`] where a size is zero, or the window is larger than that.
    pub fn pair_ceil(
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: Padding<2>,
        dilation: [usize; 2],
        input: [usize; 2],
    ) -> Result<[Self; 2], Mismatch> {
        let [height, width] = Self::resolve_pair(kernel, stride, padding, dilation, input)?;
        Ok([height.fitting("height", height.stride - 1)?, width.fitting("width", width.stride - 1)?])
    }

    /// How many taps of all windows together meet the input rather than the padding.
    pub fn taps_inside(&self) -> usize {
        let outputs = self.output();
        let met = |tap: usize| {
            let ahead = tap * self.dilation;
            // Windows that begin early enough for the tap to lie before some place, places counted from the padding's start.
            let before = |place: usize| place.saturating_sub(ahead).div_ceil(self.stride).min(outputs);
            before(self.before + self.input) - before(self.before)
        };
        (0..self.kernel).map(met).sum()
    }

    fn resolve_pair(
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: Padding<2>,
        dilation: [usize; 2],
        input: [usize; 2],
    ) -> Result<[Self; 2], Mismatch> {
        let axis = |name: &str, i: usize| {
            Self::resolve(name, kernel[i], stride[i], dilation[i], input[i], |span| match padding {
                Padding::Valid => [0, 0],
                Padding::Same => same(input[i], stride[i], span),
                Padding::Sides(sides) => sides[i],
            })
        };
        Ok([axis("height", 0)?, axis("width", 1)?])
    }

    fn resolve(
        name: &str,
        kernel: usize,
        stride: usize,
        dilation: usize,
        input: usize,
        padding: impl FnOnce(usize) -> [usize; 2],
    ) -> Result<Self, Mismatch> {
        let too_large = |what: &str| Mismatch::new(format!("{what} {name}"), "less than 2^30", "more");
        let fits = |size: &usize| *size < LIMIT;
        for (what, size) in [("kernel", kernel), ("stride", stride), ("dilation", dilation), ("input", input)]
        {
            if size == 0 {
                return Err(Mismatch::new(format!("{what} {name}"), "at least 1", size));
            }
            if !fits(&size) {
                return Err(too_large(what));
            }
        }
        let span = dilation.checked_mul(kernel - 1).and_then(|reach| reach.checked_add(1)).filter(fits);
        let span = span.ok_or_else(|| too_large("dilated kernel"))?;
        let [before, after] = padding(span);
        let padded = input.checked_add(before).and_then(|sum| sum.checked_add(after)).filter(fits);
        padded.ok_or_else(|| too_large("padded input"))?;
        Ok(Self { input, kernel, stride, dilation, before, after })
    }

    /// The axis, if the first window reaches past the padded input by no more than `past`.
    fn fitting(self, name: &str, past: usize) -> Result<Self, Mismatch> {
        let Self { input, kernel, dilation, before, after, .. } = self;
        let (span, padded) = (self.span(), self.padded());
        if span <= padded + past {
            return Ok(self);
        }
        let part = |there: bool, text: String| if there { text } else { String::new() };
        let padding = part(padded > input, format!(", which is {input} padded by {before} and {after}"));
        let past = part(past > 0, format!(", and {past} more in ceil_mode"));
        let dilated = part(dilation > 1, format!(" ({kernel} dilated by {dilation})"));
        let expected = format!("at most the input's {padded}{padding}{past}");
        Err(Mismatch::new(format!("kernel {name}"), expected, format!("{span}{dilated}")))
    }

    /// Elements from the window's first tap to its last: `dilation (kernel - 1) + 1`.
    pub fn span(&self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }

    /// The input with its padding.
    pub fn padded(&self) -> usize {
        self.before + self.input + self.after
    }

    /// Windows that fit: `floor((padded - span) / stride) + 1`.
    pub fn output(&self) -> usize {
        (self.padded() + self.stride - self.span()) / self.stride
    }

    /// Windows with the last one allowed to reach past the padded input, as long as it starts within the input or the
    /// padding before it: PyTorch's `ceil_mode`.
    pub fn output_ceil(&self) -> usize {
        let next = self.output() * self.stride;
        self.output() + usize::from(self.remainder() > 0 && next < self.before + self.input)
    }

    /// Whether windows have so many neighbouring taps, no stride, and so much padding on either side.
    pub(crate) fn is_plain(&self, taps: usize, padding: usize) -> bool {
        (self.kernel, self.stride, self.dilation) == (taps, 1, 1) && [self.before, self.after] == [padding; 2]
    }

    /// Elements at the end of the padded input that no window reaches.
    pub fn remainder(&self) -> usize {
        (self.padded() + self.stride - self.span()) % self.stride
    }
}

/// Keras's padding for `ceil(input / stride)` outputs.
fn same(input: usize, stride: usize, span: usize) -> [usize; 2] {
    let reach = (input.div_ceil(stride) - 1).saturating_mul(stride).saturating_add(span);
    let total = reach.saturating_sub(input);
    [total / 2, total - total / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows counted one by one.
    fn brute_force(axis: &Axis) -> usize {
        (0..axis.padded())
            .step_by(axis.stride)
            .filter(|start| start + axis.dilation * (axis.kernel - 1) < axis.padded())
            .count()
    }

    /// The extents that PyTorch documents for pooling with `ceil_mode`, where it allows the padding.
    fn pytorch_ceil(axis: &Axis) -> usize {
        if axis.before.max(axis.after) * 2 > axis.span() {
            return axis.output_ceil();
        }
        let windows = (axis.padded() as f64 - axis.span() as f64) / axis.stride as f64;
        let windows = (windows.ceil() + 1.0) as usize;
        windows - usize::from((windows - 1) * axis.stride >= axis.before + axis.input)
    }

    #[test]
    fn taps_that_meet_the_input_are_counted() {
        for (input, kernel, before) in
            (1..=7).flat_map(|n| (1..=4).flat_map(move |k| (0..=4).map(move |p| (n, k, p))))
        {
            for (stride, dilation, after) in [(1, 1, 0), (1, 1, 4), (2, 1, 1), (3, 2, 3), (1, 3, 2)] {
                let axis = Axis { input, kernel, stride, dilation, before, after };
                if axis.span() > axis.padded() {
                    continue;
                }
                let met = |output: usize| {
                    let places = (0..kernel).map(|tap| output * stride + tap * dilation);
                    places.filter(|place| (before..before + input).contains(place)).count()
                };
                let expected: usize = (0..axis.output()).map(met).sum();
                assert_eq!(axis.taps_inside(), expected, "{axis:?}");
            }
        }
    }

    #[test]
    fn every_window_that_fits_is_counted() {
        for input in 1..=9 {
            for (kernel, stride, dilation) in
                (1..=4).flat_map(|k| (1..=4).flat_map(move |s| (1..=3).map(move |d| (k, s, d))))
            {
                for padding in [Padding::Valid, Padding::Same, Padding::all(2), Padding::Sides([[0, 3]; 2])] {
                    let (kernel, stride, dilation, input) =
                        ([kernel; 2], [stride; 2], [dilation; 2], [input; 2]);
                    let Ok([axis, _]) = Axis::pair_ceil(kernel, stride, padding, dilation, input) else {
                        continue;
                    };
                    let fits = Axis::pair(kernel, stride, padding, dilation, input).is_ok();
                    assert_eq!(fits, brute_force(&axis) > 0, "{axis:?}");
                    assert_eq!(axis.output(), brute_force(&axis), "{axis:?}");
                    if padding == Padding::Same {
                        assert_eq!(axis.output(), axis.input.div_ceil(axis.stride), "{axis:?}");
                        assert!(axis.before <= axis.after && axis.after <= axis.before + 1, "{axis:?}");
                    }
                    assert_eq!(axis.output_ceil(), pytorch_ceil(&axis), "{axis:?}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let pair = |kernel, stride, padding, dilation, input| {
            Axis::pair([kernel; 2], [stride; 2], padding, [dilation; 2], [input; 2])
                .map(|axes| axes.map(|axis| axis.output()))
                .map_err(|mismatch| mismatch.to_string())
        };
        assert_eq!(pair(3, 3, Padding::Valid, 1, 7), Ok([2, 2]));
        assert_eq!(pair(3, 1, Padding::all(1), 1, 7), Ok([7, 7]));
        assert_eq!(
            pair(7, 1, Padding::Valid, 1, 5),
            Err("kernel height: expected at most the input's 5, got 7".into())
        );
        assert_eq!(
            pair(3, 1, Padding::all(1), 3, 3),
            Err("kernel height: expected at most the input's 5, which is 3 padded by 1 and 1, got 7 \
                 (3 dilated by 3)"
                .into())
        );
        let ceil = Axis::pair_ceil([5; 2], [2; 2], Padding::Sides([[1, 0]; 2]), [1; 2], [2; 2]);
        assert_eq!(
            ceil.map_err(|mismatch| mismatch.to_string()),
            Err("kernel height: expected at most the input's 3, which is 2 padded by 1 and 0, and 1 more in ceil_mode, got 5"
                .into())
        );
        assert_eq!(pair(3, 0, Padding::Valid, 1, 5), Err("stride height: expected at least 1, got 0".into()));
        assert_eq!(
            pair(1 << 20, 1, Padding::Valid, 1 << 20, 5),
            Err("dilated kernel height: expected less than 2^30, got more".into())
        );
        // A window of one tap has a span of 1, whatever its dilation.
        for (kernel, stride, dilation, what) in
            [(1 << 30, 1, 1, "kernel"), (1, 1 << 32, 1, "stride"), (1, 1, usize::MAX, "dilation")]
        {
            assert_eq!(
                pair(kernel, stride, Padding::Valid, dilation, 5),
                Err(format!("{what} height: expected less than 2^30, got more"))
            );
        }
        assert_eq!(
            pair(1, 1, Padding::all(usize::MAX), 1, 5),
            Err("padded input height: expected less than 2^30, got more".into())
        );
    }
}
