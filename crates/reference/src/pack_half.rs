use crate::array::Array;

/// Words of two numbers each, rounded to IEEE 754 half precision, the first in the low bits: `torch.Tensor.half`. To nearest,
/// ties to even; what rounds beyond 65504 is infinite.
pub fn pack_half(x: &Array) -> Vec<u32> {
    x.data.chunks(2).map(|pair| u32::from(half(pair[0])) | u32::from(half(pair[1])) << 16).collect()
}

/// The bits of the half nearest to a number.
fn half(x: f64) -> u16 {
    if x.is_nan() {
        return 0x7e00;
    }
    let sign = u16::from(x.is_sign_negative()) << 15;
    // The exponent of the numbers around it, of which the subnormal ones share the least.
    let exponent = (-14..16).rev().find(|&e| 2f64.powi(e) <= x.abs()).unwrap_or(-14);
    let steps = (x.abs() / 2f64.powi(exponent - 10)).round_ties_even();
    if steps * 2f64.powi(exponent - 10) > 65504.0 {
        return sign | 0x7c00;
    }
    // 1024 steps make the digit before the point, which is not stored; 2048 carry into the exponent.
    sign | ((((exponent + 14) as u16) << 10) + steps as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_the_tables_of_the_standard() {
        for (x, expected) in [
            (0.0, 0x0000),
            (-0.0, 0x8000),
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (0.333251953125, 0x3555),
            (65504.0, 0x7bff),
            (65519.9, 0x7bff),
            (65520.0, 0x7c00),
            (1e30, 0x7c00),
            (f64::NEG_INFINITY, 0xfc00),
            // The least normal, the greatest subnormal, the least subnormal, and what rounds to it or to nothing.
            (2f64.powi(-14), 0x0400),
            (2f64.powi(-14) - 2f64.powi(-24), 0x03ff),
            (2f64.powi(-24), 0x0001),
            (1.01 * 2f64.powi(-25), 0x0001),
            (2f64.powi(-25), 0x0000),
            (-1.5 * 2f64.powi(-24), 0x8002),
            // Ties go to the even one, and a carry to the next exponent.
            (1.0 + 2f64.powi(-11), 0x3c00),
            (1.0 + 3.0 * 2f64.powi(-11), 0x3c02),
            (2.0 - 2f64.powi(-12), 0x4000),
        ] {
            assert_eq!(half(x), expected, "{x}: {:#06x}", half(x));
        }
        assert_eq!(half(f64::NAN), 0x7e00);
        assert_eq!(pack_half(&Array::new(&[2], vec![1.0, -2.0])), [0xc000_3c00]);
    }
}
