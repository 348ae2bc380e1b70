use crate::array::Array;
use crate::upsample2d::{between, nearest};

/// The gradient of [`upsample_nearest2d`](crate::upsample_nearest2d) by an `x` of the given shape `[n][c][h][w]`, from that
/// of its result: each place's goes to the element that is copied there. Linear.
pub fn upsample_nearest2d_grad(shape: &[usize], grad: &Array) -> Array {
    from_places(shape, grad, |place, input, output| [(nearest(place, input, output), 1.0)])
}

/// The gradient of [`upsample_bilinear2d`](crate::upsample_bilinear2d) by an `x` of the given shape `[n][c][h][w]`: each
/// place's goes to the four elements around it, by the shares that they have in it, and where that is none not even NaN. Linear.
pub fn upsample_bilinear2d_grad(shape: &[usize], grad: &Array, align_corners: bool) -> Array {
    from_places(shape, grad, |place, input, output| between(place, input, output, align_corners))
}

/// `sources` gives the elements of an axis, of extent `input`, that a place among `output` is made of, and their shares.
fn from_places<const N: usize>(
    shape: &[usize],
    grad: &Array,
    sources: impl Fn(usize, usize, usize) -> [(usize, f64); N],
) -> Array {
    let &[_, channels, height, width] = shape else { panic!("x of shape {shape:?}") };
    let &[_, _, rows, cols] = grad.shape.as_slice() else { panic!("a gradient of shape {:?}", grad.shape) };
    let mut gradient = Array::from_fn(shape, |_| 0.0);
    for (flat, grad) in grad.data.iter().enumerate() {
        let (plane, row, col) = (flat / (rows * cols), flat / cols % rows, flat % cols);
        assert!(plane < shape[0] * channels, "a gradient of as many planes as {shape:?} has");
        for (ih, share_h) in sources(row, height, rows) {
            for (iw, share_w) in sources(col, width, cols) {
                let share = share_h * share_w;
                gradient.data[(plane * height + ih) * width + iw] +=
                    if share > 0.0 { share * grad } else { 0.0 };
            }
        }
    }
    gradient
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let grad = Array::new(&[1, 1, 1, 4], vec![1.0, 2.0, 4.0, 8.0]);
        assert_eq!(upsample_nearest2d_grad(&[1, 1, 1, 2], &grad).data, [3.0, 12.0]);
        // Places lie at 0, 1/4, 3/4 and 1.
        assert_eq!(upsample_bilinear2d_grad(&[1, 1, 1, 2], &grad, false).data, [3.5, 11.5]);
        let grad = Array::new(&[1, 1, 1, 3], vec![1.0, 2.0, 4.0]);
        assert_eq!(upsample_bilinear2d_grad(&[1, 1, 1, 2], &grad, true).data, [2.0, 5.0]);
        // What is left out takes nothing.
        assert_eq!(upsample_nearest2d_grad(&[1, 1, 1, 6], &grad).data, [1.0, 0.0, 2.0, 0.0, 4.0, 0.0]);
    }
}
