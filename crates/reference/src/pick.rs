use crate::array::Array;

/// `output[n] = x[n][index[n]]`, as `torch.gather` along the last of two dimensions, one element a row. An index past the
/// last column gives NaN.
pub fn pick(x: &Array, index: &[u32]) -> Array {
    assert_eq!(x.shape[0], index.len(), "an index for each row");
    Array::from_fn(&x.shape[..1], |at| match index[at[0]] as usize {
        col if col < x.shape[1] => x.at(&[at[0], col]),
        _ => f64::NAN,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_each_row() {
        let x = Array::new(&[3, 2], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let made = pick(&x, &[1, 0, 2]);
        assert_eq!(made.data[..2], [2.0, 3.0]);
        assert!(made.data[2].is_nan());
    }
}
