use crate::array::Array;

/// The same elements in row-major order under another shape of as many, as `torch.reshape`.
pub fn reshape(x: &Array, shape: &[usize]) -> Array {
    Array::new(shape, x.data.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = Array::new(&[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(reshape(&x, &[3, 2]).at(&[1, 1]), 4.0);
    }
}
