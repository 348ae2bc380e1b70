use crate::array::Array;

/// `output` has axis `axes[i]` of `x` as its axis `i`, as `torch.permute`.
pub fn permute(x: &Array, axes: &[usize]) -> Array {
    assert_eq!(axes.len(), x.rank(), "axes {axes:?} of shape {:?}", x.shape);
    let shape: Vec<usize> = axes.iter().map(|&axis| x.shape[axis]).collect();
    Array::from_fn(&shape, |at| {
        let mut source = vec![usize::MAX; x.rank()];
        for (&axis, &index) in axes.iter().zip(at) {
            source[axis] = index;
        }
        x.at(&source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = Array::from_fn(&[2, 3, 4], |at| (100 * at[0] + 10 * at[1] + at[2]) as f64);
        let output = permute(&x, &[2, 0, 1]);
        assert_eq!(output.shape, [4, 2, 3]);
        assert_eq!(output.at(&[3, 1, 2]), 123.0);
        assert_eq!(output.data[..7], [0.0, 10.0, 20.0, 100.0, 110.0, 120.0, 1.0]);
    }
}
