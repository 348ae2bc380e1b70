//! Which rows of an image a part of the output needs.

use std::ops::Range;

/// A kernel on one axis of an image, padded so that each `stride`-th pixel gives an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// Pixels of the image.
    pub(super) input: usize,
    /// Pixels between neighbouring outputs.
    pub(super) stride: usize,
    /// Pixels that the kernel sees before its anchor.
    pub(super) before: usize,
    /// Pixels that it sees behind; never fewer than before.
    pub(super) after: usize,
}

/// Some rows of the output, and what they are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Band {
    /// The rows of the output.
    pub(super) outputs: Range<usize>,
    /// The rows of the image that they need.
    pub(super) rows: Range<usize>,
    /// Rows of padding above these.
    pub(super) top: usize,
    /// Rows of padding below.
    pub(super) bottom: usize,
}

impl Reach {
    /// `kernel`, `stride`, `dilation` and `input` are positive.
    pub(super) fn new(kernel: usize, stride: usize, dilation: usize, input: usize) -> Reach {
        let before = dilation.saturating_mul((kernel - 1) / 2);
        Reach { input, stride, before, after: dilation.saturating_mul(kernel / 2) }
    }

    /// Pixels that the kernel sees.
    fn span(self) -> usize {
        self.before.saturating_add(self.after).saturating_add(1)
    }

    /// Pixels with the padding.
    pub(super) fn padded(self) -> usize {
        self.input.saturating_add(self.span() - 1)
    }

    pub(super) fn outputs(self) -> usize {
        self.input.div_ceil(self.stride)
    }

    fn band(self, outputs: Range<usize>) -> Band {
        let start = outputs.start * self.stride;
        let end = (outputs.end - 1) * self.stride + self.after + 1;
        let rows = start.saturating_sub(self.before)..end.min(self.input);
        let (top, bottom) = (self.before.saturating_sub(start), end.saturating_sub(self.input));
        Band { outputs, rows, top, bottom }
    }

    /// Rows, padding included, that `outputs` rows of the output need.
    fn needs(self, outputs: usize) -> usize {
        (outputs - 1).saturating_mul(self.stride).saturating_add(self.span())
    }

    /// Outputs that a band has at least where there are several: then each holds all the rows that padding mirrors.
    fn least_outputs(self) -> usize {
        self.outputs().min(self.span().saturating_mul(2))
    }

    /// Rows, padding included, that the device has to hold at least.
    pub(super) fn least_band(self) -> usize {
        self.needs(self.least_outputs())
    }

    /// Bands of about one size, as few as have at most `most` rows each, padding included. That is no fewer than the
    /// [least](Reach::least_band).
    pub(super) fn bands(self, most: usize) -> Vec<Band> {
        let outputs = self.outputs();
        let each = (most - self.span()) / self.stride + 1;
        let count = outputs.div_ceil(each);
        let cut = |band: usize| outputs * band / count;
        (0..count).map(|band| self.band(cut(band)..cut(band + 1))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_kernel_sees_more_behind_its_anchor() {
        let reach = |kernel, dilation| {
            let reach = Reach::new(kernel, 1, dilation, 10);
            (reach.before, reach.after)
        };
        assert_eq!([reach(1, 1), reach(2, 1), reach(3, 1), reach(4, 1)], [(0, 0), (0, 1), (1, 1), (1, 2)]);
        assert_eq!([reach(3, 3), reach(4, 2)], [(3, 3), (2, 4)]);
    }

    #[test]
    fn one_band_holds_everything() {
        let bands = Reach::new(3, 1, 1, 10).bands(12);
        assert_eq!(bands, [Band { outputs: 0..10, rows: 0..10, top: 1, bottom: 1 }]);
        // With stride 2, the last window's anchor is row 8: nothing is missing below.
        let bands = Reach::new(3, 2, 1, 10).bands(12);
        assert_eq!(bands, [Band { outputs: 0..5, rows: 0..10, top: 1, bottom: 0 }]);
        // A kernel larger than the image.
        let bands = Reach::new(9, 1, 1, 2).bands(10);
        assert_eq!(bands, [Band { outputs: 0..2, rows: 0..2, top: 4, bottom: 4 }]);
        assert_eq!(Reach::new(9, 1, 1, 2).least_band(), 10);
    }

    #[test]
    fn bands_cover_the_output_once_and_see_what_they_need() {
        for kernel in [1, 2, 3, 4, 5, 7] {
            for (stride, dilation, input) in [(1, 1, 97), (2, 1, 97), (3, 2, 100), (1, 3, 101), (5, 1, 64)] {
                let reach = Reach::new(kernel, stride, dilation, input);
                for most in [reach.least_band(), reach.least_band() + 3, 1000] {
                    let bands = reach.bands(most);
                    let mut next = 0;
                    for band in &bands {
                        assert_eq!(band.outputs.start, next);
                        next = band.outputs.end;
                        let padded = band.top + band.rows.len() + band.bottom;
                        assert_eq!(padded, reach.needs(band.outputs.len()));
                        assert!(padded <= most, "{reach:?} {most}: {band:?}");
                        assert!(band.rows.end <= input && !band.rows.is_empty());
                        // What is mirrored is there, or, in a band of its own, all there is.
                        let is_alone = bands.len() == 1;
                        assert!(
                            is_alone || band.rows.len() > band.top.max(band.bottom),
                            "{reach:?} {band:?}"
                        );
                    }
                    assert_eq!(next, reach.outputs());
                }
            }
        }
    }
}
