use crate::array::Array;

/// The squares of all elements of all arrays, summed: the square of the total norm of
/// `torch.nn.utils.clip_grad_norm_`.
pub fn sum_of_squares(arrays: &[&Array]) -> f64 {
    arrays.iter().flat_map(|array| &array.data).map(|x| x * x).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_four_twelve() {
        let (a, b) = (Array::new(&[2], vec![3.0, -4.0]), Array::new(&[], vec![12.0]));
        assert_eq!(sum_of_squares(&[&a, &b]), 169.0);
    }
}
