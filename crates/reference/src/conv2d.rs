use crate::array::Array;
use crate::reshape::reshape;

/// Options of a convolution over `N` axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv<const N: usize> {
    /// Steps between neighbouring outputs, in input elements.
    pub stride: [usize; N],
    /// Zeros before and after each axis.
    pub padding: [[usize; 2]; N],
    /// Steps between neighbouring elements of the kernel, in input elements.
    pub dilation: [usize; N],
    /// Output channel `o` reads the input channels of group `o / (outputs / groups)` alone.
    pub groups: usize,
}

impl<const N: usize> Default for Conv<N> {
    fn default() -> Self {
        Self { stride: [1; N], padding: [[0; 2]; N], dilation: [1; N], groups: 1 }
    }
}

/// `output[n][o][i][j] = bias[o] + sum_{c,a,b} x[n][c'][i s_0 + a d_0 - p_0][j s_1 + b d_1 - p_1] weight[o][c][a][b]`,
/// where `c'` is the `c`-th channel of the group of `o` and `x` is 0 outside its plane: `torch.nn.functional.conv2d` of
/// `x[n][c][h][w]` with `weight[o][c / groups][kh][kw]` and, if there is one, `bias[o]`. The kernel is not mirrored.
///
/// The output has `floor((h + before + after - dilation (kh - 1) - 1) / stride) + 1` rows, and likewise columns.
/// Linear in all three: on absolute values it gives what its rounding errors are relative to.
pub fn conv2d(x: &Array, weight: &Array, bias: Option<&Array>, options: Conv<2>) -> Array {
    let Conv { stride, padding, dilation, groups } = options;
    let &[batch, channels, height, width] = x.shape.as_slice() else { panic!("x of shape {:?}", x.shape) };
    let &[outputs, depth, kernel_h, kernel_w] = weight.shape.as_slice() else {
        panic!("weight of shape {:?}", weight.shape)
    };
    assert!(
        channels == groups * depth && outputs % groups == 0,
        "x {:?} and weight {:?} in {groups} groups",
        x.shape,
        weight.shape
    );
    if let Some(bias) = bias {
        assert_eq!(bias.shape, [outputs], "the bias of {outputs} channels");
    }
    let extent = |axis: usize, input: usize, kernel: usize| {
        let [before, after] = padding[axis];
        (before + input + after - dilation[axis] * (kernel - 1) - 1) / stride[axis] + 1
    };
    let (rows, cols) = (extent(0, height, kernel_h), extent(1, width, kernel_w));
    let mut data = Vec::with_capacity(batch * outputs * rows * cols);
    for n in 0..batch {
        for o in 0..outputs {
            let first = o / (outputs / groups) * depth;
            for i in 0..rows {
                for j in 0..cols {
                    let mut total = bias.map_or(0.0, |bias| bias.data[o]);
                    for c in 0..depth {
                        for a in 0..kernel_h {
                            let Some(row) = inside(i * stride[0] + a * dilation[0], padding[0], height)
                            else {
                                continue;
                            };
                            for b in 0..kernel_w {
                                let Some(col) = inside(j * stride[1] + b * dilation[1], padding[1], width)
                                else {
                                    continue;
                                };
                                let x_at = ((n * channels + first + c) * height + row) * width + col;
                                let weight_at = ((o * depth + c) * kernel_h + a) * kernel_w + b;
                                total += x.data[x_at] * weight.data[weight_at];
                            }
                        }
                    }
                    data.push(total);
                }
            }
        }
    }
    Array::new(&[batch, outputs, rows, cols], data)
}

/// The input's index of a position in the padded input; none in the padding.
fn inside(padded: usize, [before, _]: [usize; 2], extent: usize) -> Option<usize> {
    padded.checked_sub(before).filter(|&index| index < extent)
}

/// [`conv2d`] over the one axis of `x[n][c][l]` with `weight[o][c / groups][k]`: `torch.nn.functional.conv1d`.
pub fn conv1d(x: &Array, weight: &Array, bias: Option<&Array>, options: Conv<1>) -> Array {
    let Conv { stride, padding, dilation, groups } = options;
    let options =
        Conv { stride: [1, stride[0]], padding: [[0, 0], padding[0]], dilation: [1, dilation[0]], groups };
    squeezed(&conv2d(&flat_plane(x), &flat_plane(weight), bias, options))
}

/// `[a][b][c]` as planes of one row: `[a][b][1][c]`.
pub(crate) fn flat_plane(x: &Array) -> Array {
    let &[a, b, c] = x.shape.as_slice() else { panic!("expected three dimensions, not {:?}", x.shape) };
    reshape(x, &[a, b, 1, c])
}

/// Planes of one row as lines: `[a][b][1][c]` as `[a][b][c]`.
pub(crate) fn squeezed(x: &Array) -> Array {
    let &[a, b, 1, c] = x.shape.as_slice() else { panic!("expected planes of one row, not {:?}", x.shape) };
    reshape(x, &[a, b, c])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(rows: &[&[f64]]) -> Array {
        Array::new(&[1, 1, rows.len(), rows[0].len()], rows.concat())
    }

    fn ones(shape: &[usize]) -> Array {
        Array::from_fn(shape, |_| 1.0)
    }

    #[test]
    fn by_hand() {
        let x = plane(&[&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0], &[7.0, 8.0, 9.0]]);
        let weight = plane(&[&[1.0, -1.0], &[10.0, 100.0]]);
        // 1 - 2 + 40 + 500, and so on: correlation, not the mirrored kernel of signal processing.
        assert_eq!(conv2d(&x, &weight, None, Conv::default()).data, [539.0, 649.0, 869.0, 979.0]);
        let bias = Array::new(&[1], vec![0.5]);
        assert_eq!(conv2d(&x, &weight, Some(&bias), Conv::default()).data, [539.5, 649.5, 869.5, 979.5]);
    }

    #[test]
    fn strides_and_dilations_are_per_axis() {
        let x = Array::from_fn(&[1, 1, 4, 5], |at| (10 * at[2] + at[3]) as f64);
        let weight = plane(&[&[1.0, 100.0]]);
        let output = conv2d(&x, &weight, None, Conv { stride: [3, 1], dilation: [1, 3], ..Conv::default() });
        assert_eq!(output.shape, [1, 1, 2, 2]);
        assert_eq!(output.data, [300.0, 401.0, 3330.0, 3431.0]);
        let output = conv2d(&x, &weight, None, Conv { stride: [2, 2], ..Conv::default() });
        assert_eq!(output.shape, [1, 1, 2, 2], "the last column is left over");
        assert_eq!(output.data, [100.0, 302.0, 2120.0, 2322.0]);
    }

    #[test]
    fn padding_is_zero_and_per_side() {
        let x = plane(&[&[1.0, 2.0], &[3.0, 4.0]]);
        let weight = plane(&[&[1.0, 10.0, 100.0]]);
        let padded = |padding| conv2d(&x, &weight, None, Conv { padding, ..Conv::default() });
        assert_eq!(padded([[0, 0], [1, 0]]).data, [210.0, 430.0]);
        assert_eq!(padded([[0, 0], [0, 1]]).data, [21.0, 43.0]);
        let below = padded([[0, 1], [2, 0]]);
        assert_eq!(below.shape, [1, 1, 3, 2]);
        assert_eq!(below.data, [100.0, 210.0, 300.0, 430.0, 0.0, 0.0]);
    }

    #[test]
    fn groups_see_their_own_channels() {
        let x = Array::new(&[1, 4, 1, 1], vec![1.0, 2.0, 3.0, 4.0]);
        let weight = Array::new(&[2, 2, 1, 1], vec![1.0, 10.0, 100.0, 1000.0]);
        let output = conv2d(&x, &weight, None, Conv { groups: 2, ..Conv::default() });
        assert_eq!(output.data, [21.0, 4300.0]);
        // Depthwise with two filters a channel: channels 0 and 1 of the output belong to channel 0 of the input.
        let weight = Array::new(&[8, 1, 1, 1], (1..=8).map(f64::from).collect());
        let output = conv2d(&x, &weight, None, Conv { groups: 4, ..Conv::default() });
        assert_eq!(output.data, [1.0, 2.0, 6.0, 8.0, 15.0, 18.0, 28.0, 32.0]);
    }

    #[test]
    fn images_of_a_batch_do_not_mix() {
        let x = Array::from_fn(&[2, 3, 2, 2], |at| if at[0] == 0 { 1.0 } else { 7.0 });
        let output = conv2d(&x, &ones(&[1, 3, 2, 2]), None, Conv::default());
        assert_eq!(output.shape, [2, 1, 1, 1]);
        assert_eq!(output.data, [12.0, 84.0]);
    }

    #[test]
    fn along_one_axis() {
        let x = Array::new(&[1, 1, 5], vec![1.0, 2.0, 3.0, 4.0, 5.0]);
        let weight = Array::new(&[1, 1, 2], vec![1.0, 10.0]);
        let options = Conv { stride: [2], padding: [[1, 0]], dilation: [2], groups: 1 };
        // On 0 1 2 3 4 5: 0 and 2, 2 and 4.
        let output = conv1d(&x, &weight, None, options);
        assert_eq!(output.shape, [1, 1, 2]);
        assert_eq!(output.data, [20.0, 42.0]);
    }

    #[test]
    fn a_nan_reaches_what_sees_it_and_no_more() {
        let x = plane(&[&[f64::NAN, 2.0, 3.0]]);
        let output = conv2d(&x, &plane(&[&[0.0, 1.0]]), None, Conv::default());
        assert!(output.data[0].is_nan());
        assert_eq!(output.data[1], 3.0);
    }
}
