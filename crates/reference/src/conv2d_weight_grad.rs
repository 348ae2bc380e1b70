use crate::array::Array;
use crate::conv2d::Conv;

/// `gradient[o][c][a][b] = sum_{n,i,j} grad[n][o][i][j] x[n][c'][i s_0 + a d_0 - p_0][j s_1 + b d_1 - p_1]`, where `c'`
/// is the `c`-th channel of the group of `o` and `x` is 0 outside its plane: the derivative of [`conv2d`](crate::conv2d())
/// of `x[n][c][h][w]` by its weight, whose window has the extents `kernel`, where `grad[n][o][i][j]` is that by its
/// output. `torch.nn.grad.conv2d_weight`.
///
/// Linear in both: on absolute values it gives what its rounding errors are relative to.
pub fn conv2d_weight_grad(x: &Array, grad: &Array, kernel: [usize; 2], options: Conv<2>) -> Array {
    let Conv { stride, padding, dilation, groups } = options;
    let &[batch, channels, height, width] = x.shape.as_slice() else { panic!("x of shape {:?}", x.shape) };
    let &[images, outputs, rows, cols] = grad.shape.as_slice() else {
        panic!("gradient of shape {:?}", grad.shape)
    };
    assert!(
        batch == images && channels % groups == 0 && outputs % groups == 0,
        "x {:?} and gradient {:?} in {groups} groups",
        x.shape,
        grad.shape
    );
    let (depth, group_outputs) = (channels / groups, outputs / groups);
    Array::from_fn(&[outputs, depth, kernel[0], kernel[1]], |at| {
        let &[o, c, a, b] = at else { unreachable!("the gradient has four dimensions") };
        let channel = o / group_outputs * depth + c;
        let mut sum = 0.0;
        for n in 0..batch {
            for i in 0..rows {
                let row = (i * stride[0] + a * dilation[0]).checked_sub(padding[0][0]);
                let Some(row) = row.filter(|&row| row < height) else { continue };
                for j in 0..cols {
                    let col = (j * stride[1] + b * dilation[1]).checked_sub(padding[1][0]);
                    let Some(col) = col.filter(|&col| col < width) else { continue };
                    sum += grad.data[((n * outputs + o) * rows + i) * cols + j]
                        * x.data[((n * channels + channel) * height + row) * width + col];
                }
            }
        }
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv2d;

    fn plane(rows: &[&[f64]]) -> Array {
        Array::new(&[1, 1, rows.len(), rows[0].len()], rows.concat())
    }

    #[test]
    fn by_hand() {
        let x = plane(&[&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0], &[7.0, 8.0, 9.0]]);
        let grad = plane(&[&[1.0, 10.0], &[100.0, 1000.0]]);
        let gradient = conv2d_weight_grad(&x, &grad, [2, 2], Conv::default());
        assert_eq!(gradient.data, [5421.0, 6532.0, 8754.0, 9865.0]);
        let one = plane(&[&[2.0]]);
        let padded = Conv { padding: [[1, 0], [0, 1]], ..Conv::default() };
        // The window's one place, at the row above and the column behind.
        assert_eq!(conv2d_weight_grad(&one, &one, [2, 2], padded).data, [0.0, 0.0, 4.0, 0.0]);
    }

    /// The output is linear in the weight: its inner product with any gradient is that of the weight with the
    /// weight's gradient.
    #[test]
    fn it_is_the_adjoint_of_the_convolution_in_its_weight() {
        let number = |seed: usize, at: &[usize]| {
            let flat = at.iter().fold(seed, |flat, index| flat * 7 + index);
            ((flat * 2_654_435_761) % 1000) as f64 / 500.0 - 1.0
        };
        for (x, weight, options) in [
            ([2, 3, 5, 6], [4, 3, 3, 2], Conv::default()),
            ([1, 4, 7, 9], [6, 2, 3, 3], Conv { groups: 2, padding: [[1, 2], [0, 3]], ..Conv::default() }),
            (
                [3, 2, 9, 8],
                [2, 1, 2, 3],
                Conv { groups: 2, stride: [2, 3], dilation: [3, 2], ..Conv::default() },
            ),
            (
                [1, 1, 3, 3],
                [1, 1, 2, 2],
                Conv { padding: [[4, 4], [5, 4]], stride: [1, 2], ..Conv::default() },
            ),
        ] {
            let kernel = [weight[2], weight[3]];
            let x = Array::from_fn(&x, |at| number(1, at));
            let weight = Array::from_fn(&weight, |at| number(2, at));
            let output = conv2d(&x, &weight, None, options);
            let grad = Array::from_fn(&output.shape, |at| number(3, at));
            let gradient = conv2d_weight_grad(&x, &grad, kernel, options);
            assert_eq!(gradient.shape, weight.shape);
            let inner = |a: &Array, b: &Array| a.data.iter().zip(&b.data).map(|(a, b)| a * b).sum::<f64>();
            let (left, right) = (inner(&output, &grad), inner(&weight, &gradient));
            assert!((left - right).abs() < 1e-9, "{left} and {right} with {options:?}");
        }
    }
}
