use crate::array::Array;
use crate::conv2d::{flat_plane, squeezed};

/// Options of a transposed convolution over `N` axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose<const N: usize> {
    /// Steps between what neighbouring inputs give, in output elements.
    pub stride: [usize; N],
    /// Output elements left out at either end of each axis.
    pub padding: [usize; N],
    /// Output elements added at the far end of each axis.
    pub output_padding: [usize; N],
    /// Steps between neighbouring elements of the kernel, in output elements.
    pub dilation: [usize; N],
    /// Input channel `c` gives to the output channels of group `c / (inputs / groups)` alone.
    pub groups: usize,
}

impl<const N: usize> Default for ConvTranspose<N> {
    fn default() -> Self {
        Self { stride: [1; N], padding: [0; N], output_padding: [0; N], dilation: [1; N], groups: 1 }
    }
}

/// The adjoint of [`conv2d`](crate::conv2d()) in its input: `torch.nn.functional.conv_transpose2d` of `x[n][c][h][w]` with
/// `weight[c][o / groups][kh][kw]` and, if there is one, `bias[o]`.
///
/// Every input element adds itself times the kernel to the output, at its index times the stride less the padding; what
/// falls outside is dropped. The output has `(h - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1` rows,
/// and likewise columns. Linear in all three: on absolute values it gives what its rounding errors are relative to.
pub fn conv_transpose2d(x: &Array, weight: &Array, bias: Option<&Array>, options: ConvTranspose<2>) -> Array {
    let ConvTranspose { stride, padding, output_padding, dilation, groups } = options;
    let &[batch, channels, height, width] = x.shape.as_slice() else { panic!("x of shape {:?}", x.shape) };
    let &[inputs, group_outputs, kernel_h, kernel_w] = weight.shape.as_slice() else {
        panic!("weight of shape {:?}", weight.shape)
    };
    assert!(
        channels == inputs && inputs % groups == 0,
        "x {:?} and weight {:?} in {groups} groups",
        x.shape,
        weight.shape
    );
    let outputs = groups * group_outputs;
    let extent = |axis: usize, input: usize, kernel: usize| {
        let whole = (input - 1) * stride[axis] + dilation[axis] * (kernel - 1) + output_padding[axis] + 1;
        whole - 2 * padding[axis]
    };
    let (rows, cols) = (extent(0, height, kernel_h), extent(1, width, kernel_w));
    let shape = [batch, outputs, rows, cols];
    let mut output = match bias {
        Some(bias) => {
            assert_eq!(bias.shape, [outputs], "the bias of {outputs} channels");
            Array::from_fn(&shape, |at| bias.data[at[1]])
        }
        None => Array::from_fn(&shape, |_| 0.0),
    };
    for n in 0..batch {
        for c in 0..channels {
            let first = c / (inputs / groups) * group_outputs;
            for i in 0..height {
                for j in 0..width {
                    let value = x.data[((n * channels + c) * height + i) * width + j];
                    for o in 0..group_outputs {
                        for a in 0..kernel_h {
                            let row = (i * stride[0] + a * dilation[0]).checked_sub(padding[0]);
                            let Some(row) = row.filter(|&row| row < rows) else { continue };
                            for b in 0..kernel_w {
                                let col = (j * stride[1] + b * dilation[1]).checked_sub(padding[1]);
                                let Some(col) = col.filter(|&col| col < cols) else { continue };
                                let output_at = ((n * outputs + first + o) * rows + row) * cols + col;
                                let weight_at = ((c * group_outputs + o) * kernel_h + a) * kernel_w + b;
                                output.data[output_at] += value * weight.data[weight_at];
                            }
                        }
                    }
                }
            }
        }
    }
    output
}

/// [`conv_transpose2d`] over the one axis of `x[n][c][l]` with `weight[c][o / groups][k]`:
/// `torch.nn.functional.conv_transpose1d`.
pub fn conv_transpose1d(x: &Array, weight: &Array, bias: Option<&Array>, options: ConvTranspose<1>) -> Array {
    let ConvTranspose { stride, padding, output_padding, dilation, groups } = options;
    let options = ConvTranspose {
        stride: [1, stride[0]],
        padding: [0, padding[0]],
        output_padding: [0, output_padding[0]],
        dilation: [1, dilation[0]],
        groups,
    };
    squeezed(&conv_transpose2d(&flat_plane(x), &flat_plane(weight), bias, options))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conv, conv2d};

    fn line(values: &[f64]) -> Array {
        Array::new(&[1, 1, values.len()], values.to_vec())
    }

    fn transposed(x: &[f64], weight: &[f64], options: ConvTranspose<1>) -> Vec<f64> {
        conv_transpose1d(&line(x), &line(weight), None, options).data
    }

    #[test]
    fn each_input_lays_down_the_kernel() {
        let plain = ConvTranspose::default();
        // 1 10 100 and, one to the right, 2 20 200.
        assert_eq!(transposed(&[1.0, 2.0], &[1.0, 10.0, 100.0], plain), [1.0, 12.0, 120.0, 200.0]);
        let strided = ConvTranspose { stride: [2], ..plain };
        assert_eq!(transposed(&[1.0, 2.0], &[1.0, 10.0, 100.0], strided), [1.0, 10.0, 102.0, 20.0, 200.0]);
        let apart = ConvTranspose { stride: [3], ..plain };
        assert_eq!(transposed(&[1.0, 2.0], &[1.0, 10.0], apart), [1.0, 10.0, 0.0, 2.0, 20.0]);
        let dilated = ConvTranspose { dilation: [3], ..plain };
        assert_eq!(transposed(&[1.0, 2.0], &[1.0, 10.0], dilated), [1.0, 2.0, 0.0, 10.0, 20.0]);
    }

    #[test]
    fn padding_takes_from_both_ends_and_output_padding_adds_at_the_far_one() {
        let padded = ConvTranspose { stride: [2], padding: [1], ..ConvTranspose::default() };
        assert_eq!(transposed(&[1.0, 2.0], &[1.0, 10.0, 100.0], padded), [10.0, 102.0, 20.0]);
        let longer = ConvTranspose { output_padding: [1], ..padded };
        assert_eq!(transposed(&[1.0, 2.0], &[1.0, 10.0, 100.0], longer), [10.0, 102.0, 20.0, 200.0]);
        let beyond = ConvTranspose { stride: [2], output_padding: [1], ..ConvTranspose::default() };
        assert_eq!(transposed(&[1.0, 2.0], &[1.0, 10.0], beyond), [1.0, 10.0, 2.0, 20.0, 0.0]);
    }

    #[test]
    fn by_hand_in_a_plane() {
        let x = Array::new(&[1, 1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let weight = Array::new(&[1, 1, 2, 2], vec![1.0, 10.0, 100.0, 1000.0]);
        let output = conv_transpose2d(&x, &weight, None, ConvTranspose::default());
        assert_eq!(output.shape, [1, 1, 3, 3]);
        assert_eq!(output.data, [1.0, 12.0, 20.0, 103.0, 1234.0, 2040.0, 300.0, 3400.0, 4000.0]);
    }

    #[test]
    fn groups_and_bias() {
        let x = Array::new(&[1, 4, 1, 1], vec![1.0, 2.0, 3.0, 4.0]);
        // Two inputs and three outputs a group.
        let weight = Array::new(&[4, 3, 1, 1], (1..=12).map(f64::from).collect());
        let bias = Array::new(&[6], vec![0.5, 0.0, 0.0, 0.0, 0.0, -0.5]);
        let options = ConvTranspose { groups: 2, ..ConvTranspose::default() };
        let output = conv_transpose2d(&x, &weight, Some(&bias), options);
        // 1*1 + 2*4, 1*2 + 2*5, 1*3 + 2*6; 3*7 + 4*10, 3*8 + 4*11, 3*9 + 4*12.
        assert_eq!(output.data, [9.5, 12.0, 15.0, 61.0, 68.0, 74.5]);
    }

    /// `<conv x, y> = <x, conv_transpose y>`, with all options at once.
    #[test]
    fn it_is_the_adjoint_of_conv2d() {
        let numbers = |shape: &[usize], step: usize| {
            let mut n = 0;
            Array::from_fn(shape, |_| {
                n += 1;
                ((n * step) % 19) as f64 - 9.0
            })
        };
        let x = numbers(&[2, 4, 9, 8], 7);
        let weight = numbers(&[6, 2, 3, 2], 5);
        let (stride, dilation, padding) = ([2, 3], [2, 1], [1, 1]);
        let conv = Conv { stride, padding: padding.map(|padding| [padding; 2]), dilation, groups: 2 };
        let forward = conv2d(&x, &weight, None, conv);
        assert_eq!(forward.shape, [2, 6, 4, 3]);
        let y = numbers(&forward.shape, 11);
        let back = conv_transpose2d(
            &y,
            &weight,
            None,
            // Along the second axis, `conv2d` leaves two elements over.
            ConvTranspose { stride, padding, output_padding: [0, 2], dilation, groups: 2 },
        );
        let dot = |a: &Array, b: &Array| a.data.iter().zip(&b.data).map(|(a, b)| a * b).sum::<f64>();
        assert_eq!(back.shape, x.shape);
        assert_eq!(dot(&forward, &y), dot(&x, &back));
    }
}
