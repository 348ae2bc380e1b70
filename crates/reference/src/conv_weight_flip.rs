use crate::array::Array;

/// The weight with which a convolution of stride 1 does what a transposed one does with `weight[c][o][kh][kw]`, where `c`
/// counts the channels of all groups and `o` those of one: channels change places and taps are mirrored,
/// `flipped[g O + o][i][a][b] = weight[g I + i][o][kh - 1 - a][kw - 1 - b]`.
pub fn conv_weight_flip(weight: &Array, groups: usize) -> Array {
    let &[inputs, outputs, kernel_h, kernel_w] = weight.shape.as_slice() else {
        panic!("weight of shape {:?}", weight.shape)
    };
    assert_eq!(inputs % groups, 0, "{inputs} channels in {groups} groups");
    let group_in = inputs / groups;
    Array::from_fn(&[groups * outputs, group_in, kernel_h, kernel_w], |at| {
        let group = at[0] / outputs;
        weight.at(&[group * group_in + at[1], at[0] % outputs, kernel_h - 1 - at[2], kernel_w - 1 - at[3]])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conv, ConvTranspose, conv_transpose2d, conv2d};

    #[test]
    fn a_transposed_convolution_of_stride_one_is_a_convolution() {
        let number = |seed: usize, at: &[usize]| {
            let flat = at.iter().fold(seed, |flat, index| flat * 7 + index);
            ((flat * 2_654_435_761) % 1000) as f64 / 500.0 - 1.0
        };
        let x = Array::from_fn(&[2, 6, 4, 5], |at| number(1, at));
        let weight = Array::from_fn(&[6, 2, 3, 2], |at| number(2, at));
        let options =
            ConvTranspose { padding: [1, 0], dilation: [2, 1], groups: 3, ..ConvTranspose::default() };
        let expected = conv_transpose2d(&x, &weight, None, options);
        let padding = [[3, 3], [1, 1]];
        let options = Conv { padding, dilation: [2, 1], groups: 3, ..Conv::default() };
        let got = conv2d(&x, &conv_weight_flip(&weight, 3), None, options);
        assert_eq!(got.shape, expected.shape);
        for (a, b) in got.data.iter().zip(&expected.data) {
            assert!((a - b).abs() < 1e-12, "{a} and {b}");
        }
    }

    #[test]
    fn twice_is_nothing() {
        let weight =
            Array::from_fn(&[4, 3, 2, 2], |at| (at[0] * 100 + at[1] * 10 + at[2] * 2 + at[3]) as f64);
        assert_eq!(conv_weight_flip(&conv_weight_flip(&weight, 2), 2).data, weight.data);
    }
}
