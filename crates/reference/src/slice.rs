use crate::array::Array;

/// The part of `x` whose index along axis `dim` lies in `start..end`, as `torch.narrow`.
pub fn slice(x: &Array, dim: usize, start: usize, end: usize) -> Array {
    assert!(start <= end && end <= x.shape[dim], "{start}..{end} of axis {dim} in shape {:?}", x.shape);
    let mut shape = x.shape.clone();
    shape[dim] = end - start;
    Array::from_fn(&shape, |at| {
        let mut source = at.to_vec();
        source[dim] += start;
        x.at(&source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = Array::new(&[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(slice(&x, 0, 1, 2).data, [4.0, 5.0, 6.0]);
        let columns = slice(&x, 1, 1, 3);
        assert_eq!(columns.shape, [2, 2]);
        assert_eq!(columns.data, [2.0, 3.0, 5.0, 6.0]);
    }
}
