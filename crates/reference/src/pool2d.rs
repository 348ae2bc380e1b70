use crate::array::Array;
use crate::conv2d::{flat_plane, squeezed};

/// Options of a pooling over `N` axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool<const N: usize> {
    /// Elements of the window along each axis.
    pub kernel: [usize; N],
    /// Steps between neighbouring windows, in input elements.
    pub stride: [usize; N],
    /// Cells before and after each axis that hold nothing.
    pub padding: [[usize; 2]; N],
    /// Steps between neighbouring elements of a window, in input elements.
    pub dilation: [usize; N],
    /// Whether a last window may reach past the padding, as long as it starts in the input or before it.
    pub ceil_mode: bool,
}

impl<const N: usize> Pool<N> {
    /// Windows side by side, without padding: PyTorch's default.
    pub fn new(kernel: [usize; N]) -> Self {
        Self { kernel, stride: kernel, padding: [[0; 2]; N], dilation: [1; N], ceil_mode: false }
    }

    /// Where each window of an axis starts, counted from the first element of the padding.
    fn starts(&self, axis: usize, extent: usize) -> Vec<usize> {
        let [before, after] = self.padding[axis];
        let padded = before + extent + after;
        let (stride, reach) = (self.stride[axis], self.dilation[axis] * (self.kernel[axis] - 1));
        let mut starts: Vec<usize> = (0..padded).step_by(stride).filter(|s| s + reach < padded).collect();
        if self.ceil_mode {
            // One more, if it reaches past the end by less than a stride and does not start behind the input.
            let next = starts.len() * stride;
            starts.extend(
                Some(next).filter(|next| next + reach + 1 < padded + stride && *next < before + extent),
            );
        }
        assert!(!starts.is_empty(), "a window of {self:?} should fit on {extent}");
        starts
    }

    /// The positions in the input that the window starting at `start` sees, along an axis.
    fn seen(&self, axis: usize, extent: usize, start: usize) -> Vec<usize> {
        (0..self.kernel[axis])
            .filter_map(|tap| (start + tap * self.dilation[axis]).checked_sub(self.padding[axis][0]))
            .filter(|&position| position < extent)
            .collect()
    }
}

impl Pool<1> {
    /// The same over the second axis of planes of one row.
    fn of_rows(self) -> Pool<2> {
        Pool {
            kernel: [1, self.kernel[0]],
            stride: [1, self.stride[0]],
            padding: [[0, 0], self.padding[0]],
            dilation: [1, self.dilation[0]],
            ceil_mode: self.ceil_mode,
        }
    }
}

/// The greatest element of each window of `x[n][c][h][w]`, as `torch.nn.functional.max_pool2d`. Padding is never the
/// greatest, NaN always is; a window that sees nothing but padding gives minus infinity.
pub fn max_pool2d(x: &Array, pool: Pool<2>) -> Array {
    over_windows(x, pool, |plane, window| greatest(plane, window).0)
}

/// Where in its plane the greatest element of each window lies, `h * width + w`, as `max_pool2d` with
/// `return_indices`: the first of equals, and the last NaN. 2^32 - 1 for a window that sees nothing but padding.
pub fn max_pool2d_indices(x: &Array, pool: Pool<2>) -> Array {
    over_windows(x, pool, |plane, window| {
        greatest(plane, window).1.map_or(f64::from(u32::MAX), |at| at as f64)
    })
}

/// The mean of each window of `x[n][c][h][w]`, as `torch.nn.functional.avg_pool2d`: the sum over the elements it sees,
/// divided by how many these are, or with `include_padding` by how many of the window's places lie in the padded
/// input. A window that sees nothing but padding gives 0. Linear in `x`. Without dilation.
pub fn avg_pool2d(x: &Array, pool: Pool<2>, include_padding: bool) -> Array {
    assert_eq!(pool.dilation, [1, 1], "an average has no dilation");
    over_windows(x, pool, |plane, window| {
        let sum: f64 = window.cells.iter().map(|&at| plane[at]).sum();
        let count = if include_padding { window.places } else { window.cells.len() };
        if window.cells.is_empty() { 0.0 } else { sum / count as f64 }
    })
}

/// [`max_pool2d`] over the one axis of `x[n][c][l]`.
pub fn max_pool1d(x: &Array, pool: Pool<1>) -> Array {
    squeezed(&max_pool2d(&flat_plane(x), pool.of_rows()))
}

/// [`max_pool2d_indices`] over the one axis of `x[n][c][l]`.
pub fn max_pool1d_indices(x: &Array, pool: Pool<1>) -> Array {
    squeezed(&max_pool2d_indices(&flat_plane(x), pool.of_rows()))
}

/// [`avg_pool2d`] over the one axis of `x[n][c][l]`.
pub fn avg_pool1d(x: &Array, pool: Pool<1>, include_padding: bool) -> Array {
    squeezed(&avg_pool2d(&flat_plane(x), pool.of_rows(), include_padding))
}

/// What one window sees of its plane.
pub(crate) struct Window {
    /// Positions in the plane, in row-major order.
    pub(crate) cells: Vec<usize>,
    /// The window's places within the padded plane.
    pub(crate) places: usize,
}

/// The greatest element of a window and where it lies.
pub(crate) fn greatest(plane: &[f64], window: &Window) -> (f64, Option<usize>) {
    let mut best = (f64::NEG_INFINITY, window.cells.first().copied());
    for &at in &window.cells {
        if plane[at] > best.0 || plane[at].is_nan() {
            best = (plane[at], Some(at));
        }
    }
    best
}

fn over_windows(x: &Array, pool: Pool<2>, f: impl Fn(&[f64], &Window) -> f64) -> Array {
    let (extents, window) = windows(x, pool);
    over_planes(x, extents, window, f)
}

/// How many windows there are along each axis of `x[n][c][h][w]`, and the one at a place among them.
pub(crate) fn windows(x: &Array, pool: Pool<2>) -> ([usize; 2], impl Fn(usize, usize) -> Window) {
    let &[_, _, height, width] = x.shape.as_slice() else { panic!("x of shape {:?}", x.shape) };
    let extents = [height, width];
    let padded = [0, 1].map(|axis| pool.padding[axis][0] + extents[axis] + pool.padding[axis][1]);
    let starts = [0, 1].map(|axis| pool.starts(axis, extents[axis]));
    let counts = [starts[0].len(), starts[1].len()];
    let window = move |oh: usize, ow: usize| {
        let start = [starts[0][oh], starts[1][ow]];
        let [rows, cols] = [0, 1].map(|axis| pool.seen(axis, extents[axis], start[axis]));
        let [high, wide] = [0, 1].map(|axis| pool.kernel[axis].min(padded[axis] - start[axis]));
        Window {
            cells: rows.iter().flat_map(|row| cols.iter().map(move |col| row * width + col)).collect(),
            places: high * wide,
        }
    };
    (counts, window)
}

/// Each plane of `x[n][c][h][w]` becomes one of `[rows, cols]` elements, `f` of the plane and the element's window.
pub(crate) fn over_planes(
    x: &Array,
    [rows, cols]: [usize; 2],
    window: impl Fn(usize, usize) -> Window,
    f: impl Fn(&[f64], &Window) -> f64,
) -> Array {
    let &[batch, channels, height, width] = x.shape.as_slice() else { panic!("x of shape {:?}", x.shape) };
    let windows: Vec<Window> =
        (0..rows).flat_map(|oh| (0..cols).map(move |ow| (oh, ow))).map(|(oh, ow)| window(oh, ow)).collect();
    let planes = x.data.chunks(height * width);
    let data =
        planes.flat_map(|plane| windows.iter().map(|window| f(plane, window)).collect::<Vec<_>>()).collect();
    Array::new(&[batch, channels, rows, cols], data)
}

/// The gradient of such planes by `x`: `hand_on` is given the plane, a window, the gradient of what was made of it, and the
/// plane's gradients, to which it adds.
pub(crate) fn to_planes(
    x: &Array,
    grad: &Array,
    [rows, cols]: [usize; 2],
    window: impl Fn(usize, usize) -> Window,
    hand_on: impl Fn(&[f64], &Window, f64, &mut [f64]),
) -> Array {
    let &[batch, channels, height, width] = x.shape.as_slice() else { panic!("x of shape {:?}", x.shape) };
    assert_eq!(grad.shape, [batch, channels, rows, cols], "the gradient of what was made of {:?}", x.shape);
    let mut gradient = x.map(|_| 0.0);
    let planes = x.data.chunks(height * width).zip(gradient.data.chunks_mut(height * width));
    for ((plane, gradient), grad) in planes.zip(grad.data.chunks(rows * cols)) {
        for (place, &grad) in grad.iter().enumerate() {
            hand_on(plane, &window(place / cols, place % cols), grad, gradient);
        }
    }
    gradient
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(height: usize, width: usize) -> Array {
        Array::from_fn(&[1, 1, height, width], |at| (at[2] * width + at[3] + 1) as f64)
    }

    #[test]
    fn by_hand() {
        let x = counting(4, 4);
        assert_eq!(max_pool2d(&x, Pool::new([2, 2])).data, [6.0, 8.0, 14.0, 16.0]);
        assert_eq!(max_pool2d_indices(&x, Pool::new([2, 2])).data, [5.0, 7.0, 13.0, 15.0]);
        assert_eq!(avg_pool2d(&x, Pool::new([2, 2]), true).data, [3.5, 5.5, 11.5, 13.5]);
        // Rows 0 and 2, columns 1 and 3.
        let dilated = Pool { dilation: [2, 2], stride: [1, 1], ..Pool::new([2, 2]) };
        assert_eq!(max_pool2d(&x, dilated).data, [11.0, 12.0, 15.0, 16.0]);
    }

    /// The worked example of a moving average: the ends are divided by three as well.
    #[test]
    fn an_average_of_three() {
        let x = Array::new(&[1, 1, 10], vec![4.0, 9.0, 3.0, 0.0, 3.0, 9.0, 7.0, 3.0, 7.0, 3.0]);
        let pool = Pool { stride: [1], padding: [[1, 1]], ..Pool::new([3]) };
        let thirds: Vec<f64> =
            avg_pool1d(&x, pool, true).data.iter().map(|mean| (3.0 * mean).round()).collect();
        assert_eq!(thirds, [13.0, 16.0, 12.0, 6.0, 12.0, 19.0, 19.0, 17.0, 13.0, 10.0]);
        assert_eq!(avg_pool1d(&x, pool, false).data[0], 6.5);
        assert_eq!(max_pool1d(&x, pool).data, [9.0, 9.0, 9.0, 3.0, 9.0, 9.0, 9.0, 7.0, 7.0, 7.0]);
    }

    /// Four rows of 6, kernel 3, stride 2, padding 1: of the last window's three places the padded input holds two, and
    /// one of these an element.
    #[test]
    fn a_window_past_the_padding_counts_what_the_padding_holds() {
        let x = Array::from_fn(&[1, 1, 4, 1], |_| 6.0);
        let pool = Pool { stride: [2, 1], padding: [[1, 1], [0, 0]], ceil_mode: true, ..Pool::new([3, 1]) };
        assert_eq!(avg_pool2d(&x, pool, true).data, [4.0, 6.0, 3.0]);
        assert_eq!(avg_pool2d(&x, pool, false).data, [6.0, 6.0, 6.0]);
    }

    #[test]
    fn ceil_mode_adds_a_window_that_starts_in_the_input() {
        let length =
            |extent, pool: Pool<1>| max_pool1d(&Array::from_fn(&[1, 1, extent], |_| 0.0), pool).data.len();
        let pool = Pool { stride: [2], ceil_mode: true, ..Pool::new([3]) };
        assert_eq!([length(5, pool), length(6, pool), length(7, pool)], [2, 3, 3]);
        // The next window would start at 6, behind the input.
        assert_eq!(length(5, Pool { stride: [6], ..Pool::new([2]) }), 1);
        assert_eq!(length(4, Pool { stride: [3], ceil_mode: true, ..Pool::new([2]) }), 2);
    }

    #[test]
    fn padding_never_wins_and_nan_always_does() {
        let pool = Pool { stride: [1, 1], padding: [[1, 1]; 2], ..Pool::new([2, 2]) };
        let x = Array::new(&[1, 1, 1, 3], vec![-5.0, -7.0, -6.0]);
        assert_eq!(max_pool2d(&x, pool).data, [-5.0, -5.0, -6.0, -6.0, -5.0, -5.0, -6.0, -6.0]);
        let nan = Array::new(&[1, 1, 1, 4], vec![f64::NAN, 9.0, f64::NAN, 1.0]);
        let whole = Pool::new([1, 4]);
        assert!(max_pool2d(&nan, whole).data[0].is_nan());
        assert_eq!(max_pool2d_indices(&nan, whole).data, [2.0]);
        let infinite = Array::new(&[1, 1, 1, 2], vec![f64::NEG_INFINITY; 2]);
        assert_eq!(max_pool2d_indices(&infinite, Pool::new([1, 2])).data, [0.0]);
    }

    #[test]
    fn a_window_that_sees_nothing() {
        // Taps at -1 and 2 of two elements.
        let pool = Pool { stride: [1, 1], padding: [[0, 0], [1, 1]], dilation: [1, 3], ..Pool::new([1, 2]) };
        let x = counting(1, 2);
        assert_eq!(max_pool2d(&x, pool).data, [f64::NEG_INFINITY]);
        assert_eq!(max_pool2d_indices(&x, pool).data, [4_294_967_295.0]);
    }
}
