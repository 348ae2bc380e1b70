use crate::array::Array;

/// The numbers of IEEE 754 half precision in words of two, the one in the low bits first; `shape` is that of the numbers.
pub fn unpack_half(words: &[u32], shape: &[usize]) -> Array {
    let numbers = words.iter().flat_map(|word| [number(*word as u16), number((word >> 16) as u16)]);
    Array::new(shape, numbers.collect())
}

fn number(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, digits) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => digits * 2f64.powi(-24),
        31 if digits == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + digits / 1024.0) * 2f64.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack_half;

    #[test]
    fn what_is_unpacked_packs_to_the_same() {
        let finite: Vec<u32> = (0..65536u32).filter(|bits| bits & 0x7fff <= 0x7c00).collect();
        let words: Vec<u32> = finite.iter().map(|low| low | 0x3c00 << 16).collect();
        let numbers = unpack_half(&words, &[2 * words.len()]);
        assert_eq!(pack_half(&numbers), words);
        assert!(numbers.data.iter().skip(1).step_by(2).all(|&x| x == 1.0));
        assert_eq!(unpack_half(&[0xfbff_0001], &[2]).data, [2f64.powi(-24), -65504.0]);
        assert!(unpack_half(&[0x7e00_7c01], &[2]).data.iter().all(|x| x.is_nan()));
    }
}
