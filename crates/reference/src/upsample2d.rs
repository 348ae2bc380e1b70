use crate::array::Array;

/// `output[..][i][j] = x[..][floor(i h / out_h)][floor(j w / out_w)]`, as `torch.nn.functional.interpolate` with
/// `mode="nearest"` of `x[n][c][h][w]`.
///
/// PyTorch rounds the ratio of the extents to single precision before it multiplies, for tensors of any type, and where
/// the quotient is a whole number or nearly so, that decides which element is the nearest; so it does here.
pub fn upsample_nearest2d(x: &Array, output: [usize; 2]) -> Array {
    let &[batch, channels, height, width] = x.shape.as_slice() else { panic!("x of shape {:?}", x.shape) };
    Array::from_fn(&[batch, channels, output[0], output[1]], |at| {
        x.at(&[at[0], at[1], nearest(at[2], height, output[0]), nearest(at[3], width, output[1])])
    })
}

/// Bilinear interpolation of `x[n][c][h][w]`, as `torch.nn.functional.interpolate` with `mode="bilinear"`.
///
/// With `align_corners` the place `i` of an axis reads at `i (in - 1) / (out - 1)`, else, pixels being areas, at
/// `(i + 1/2) in / out - 1/2`, but not before the first element. Linear in `x`.
pub fn upsample_bilinear2d(x: &Array, output: [usize; 2], align_corners: bool) -> Array {
    let &[batch, channels, height, width] = x.shape.as_slice() else { panic!("x of shape {:?}", x.shape) };
    Array::from_fn(&[batch, channels, output[0], output[1]], |at| {
        let rows = between(at[2], height, output[0], align_corners);
        let cols = between(at[3], width, output[1], align_corners);
        let mut sum = 0.0;
        for (row, row_share) in rows {
            for (col, col_share) in cols {
                sum += row_share * (col_share * x.at(&[at[0], at[1], row, col]));
            }
        }
        sum
    })
}

/// Which of `input` elements of an axis is copied to a place among `output`.
pub(crate) fn nearest(place: usize, input: usize, output: usize) -> usize {
    let ratio = input as f32 / output as f32;
    ((place as f32 * ratio).floor() as usize).min(input - 1)
}

/// The two of `input` elements of an axis that a place among `output` lies between, and their shares in it.
pub(crate) fn between(place: usize, input: usize, output: usize, align_corners: bool) -> [(usize, f64); 2] {
    // As a quotient of integers, so that a whole number is one.
    let (above, below) = match align_corners {
        true if output == 1 => (0, 1),
        true => (place * (input - 1), output - 1),
        false => (((2 * place + 1) * input).saturating_sub(output), 2 * output),
    };
    let first = above / below;
    let share = (above % below) as f64 / below as f64;
    // An axis that keeps its extent is copied.
    let second = if input == output { first } else { (first + 1).min(input - 1) };
    [(first, 1.0 - share), (second, share)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(data: &[f64]) -> Array {
        Array::new(&[1, 1, 1, data.len()], data.to_vec())
    }

    #[test]
    fn nearest_by_hand() {
        let x = line(&[1.0, 2.0, 3.0]);
        assert_eq!(upsample_nearest2d(&x, [1, 6]).data, [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        assert_eq!(upsample_nearest2d(&x, [1, 5]).data, [1.0, 1.0, 2.0, 2.0, 3.0]);
        assert_eq!(upsample_nearest2d(&x, [2, 2]).data, [1.0, 2.0, 1.0, 2.0]);
        // In exact arithmetic place 41 of 82 would be the second of two elements; PyTorch takes the first.
        assert_eq!(upsample_nearest2d(&line(&[1.0, 2.0]), [1, 82]).data[41], 1.0);
    }

    #[test]
    fn bilinear_by_hand() {
        let x = line(&[0.0, 4.0]);
        assert_eq!(upsample_bilinear2d(&x, [1, 4], false).data, [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(upsample_bilinear2d(&x, [1, 5], true).data, [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(upsample_bilinear2d(&x, [3, 1], true).data, [0.0, 0.0, 0.0]);
        assert_eq!(upsample_bilinear2d(&x, [1, 1], false).data, [2.0]);
        let x = Array::new(&[1, 1, 2, 2], vec![0.0, 4.0, 8.0, 12.0]);
        assert_eq!(
            upsample_bilinear2d(&x, [3, 3], true).data,
            [0.0, 2.0, 4.0, 4.0, 6.0, 8.0, 8.0, 10.0, 12.0]
        );
    }
}
