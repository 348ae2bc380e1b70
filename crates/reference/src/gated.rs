use crate::array::Array;
use crate::unary::Unary;

/// `output[..][d] = f(x[..][d]) * x[..][n + d]` for the halves of `2 n` of the last dimension: the gated linear units of
/// Shazeer (2020), "GLU Variants Improve Transformer".
pub fn gated(function: Unary, x: &Array) -> Array {
    let mut shape = x.shape.clone();
    let last = shape.last_mut().expect("gated needs a dimension");
    let width = *last / 2;
    assert_eq!(*last, 2 * width, "two halves");
    *last = width;
    let rows = x.data.chunks(2 * width);
    let data = rows.flat_map(|row| (0..width).map(|d| function.apply(row[d]) * row[width + d]));
    Array::new(&shape, data.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = Array::new(&[2, 4], vec![2.0, -3.0, 5.0, 7.0, 1.0, 4.0, -1.0, 0.5]);
        let output = gated(Unary::Relu, &x);
        assert_eq!(output.shape, [2, 2]);
        assert_eq!(output.data, [10.0, 0.0, -1.0, 2.0]);
    }
}
