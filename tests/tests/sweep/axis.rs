//! One axis of a window, generated.

use std::ops::RangeInclusive;

use kiln_engine::Padding;
use proptest::sample::select;
use proptest::strategy::Strategy;

/// Extents of an input: primes, so that no tile divides them.
const PRIMES: [usize; 13] = [1, 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];

/// Window and input along one axis. A window fits, whatever the numbers it is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) input: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) padding: [usize; 2],
}

impl Axis {
    /// An axis along which nothing happens: the first of a sequence.
    pub(crate) const NONE: Self = Self { input: 1, kernel: 1, stride: 1, dilation: 1, padding: [0, 0] };

    pub(crate) fn span(&self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }

    /// The same with an input in which, padded by what is left of its padding, a window fits.
    fn fitting(self, padded: Padded) -> Self {
        let padding = if padded == Padded::BySides { self.padding } else { [0, 0] };
        let least = self.span().saturating_sub(padding[0] + padding[1]).max(1);
        let input = PRIMES.into_iter().find(|&prime| prime >= least.max(self.input));
        // Keras's `same` fits any input.
        let input = if padded == Padded::Same { self.input } else { input.unwrap_or(least) };
        Self { input, padding, ..self }
    }

    /// `same` spelled out, from Keras's definition: `ceil(input / stride)` outputs, the odd element behind the input.
    fn same(&self) -> [usize; 2] {
        let outputs = self.input.div_ceil(self.stride);
        let total = ((outputs - 1) * self.stride + self.span()).saturating_sub(self.input);
        [total / 2, total - total / 2]
    }
}

/// How the padding is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padded {
    Valid,
    BySides,
    Same,
}

/// Both axes and their padding as the engine takes it. `one` leaves the second alone: a sequence.
pub(crate) fn pairs(
    kernels: RangeInclusive<usize>,
    dilations: RangeInclusive<usize>,
) -> impl Strategy<Value = ([Axis; 2], Padded, bool)> {
    let axis = move || {
        let padding = [0..=4usize, 0..=4];
        (select(PRIMES.to_vec()), kernels.clone(), 1..=4usize, dilations.clone(), padding).prop_map(
            |(input, kernel, stride, dilation, padding)| Axis { input, kernel, stride, dilation, padding },
        )
    };
    let padded = select(vec![Padded::Valid, Padded::BySides, Padded::BySides, Padded::Same]);
    let one = proptest::bool::weighted(0.15);
    ([axis(), axis()], padded, one).prop_map(|(axes, padded, one)| {
        let [height, width] = axes.map(|axis| axis.fitting(padded));
        ([if one { Axis::NONE } else { height }, width], padded, one)
    })
}

/// The padding as the engine takes it.
pub(crate) fn padding(axes: &[Axis; 2], padded: Padded) -> Padding<2> {
    match padded {
        Padded::Valid => Padding::Valid,
        Padded::BySides => Padding::Sides(axes.map(|axis| axis.padding)),
        Padded::Same => Padding::Same,
    }
}

/// The same for a sequence.
pub(crate) fn padding_1d(axes: &[Axis; 2], padded: Padded) -> Padding<1> {
    match padding(axes, padded) {
        Padding::Valid => Padding::Valid,
        Padding::Sides([_, width]) => Padding::Sides([width]),
        Padding::Same => Padding::Same,
    }
}

/// The padding as the oracle takes it.
pub(crate) fn sides(axes: &[Axis; 2], padded: Padded) -> [[usize; 2]; 2] {
    axes.map(|axis| if padded == Padded::Same { axis.same() } else { axis.padding })
}
