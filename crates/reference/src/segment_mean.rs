use crate::array::Array;

/// `output[s][d]` is the mean of `x[t][d]` over `t` in `offsets[s]..offsets[s + 1]`; an empty segment gives zeros.
/// Mean pooling over packed sequences.
pub fn segment_mean(x: &Array, offsets: &[u32]) -> Array {
    assert_eq!(x.rank(), 2, "x of shape {:?}", x.shape);
    let width = x.shape[1];
    let segments = offsets.len().checked_sub(1).expect("offsets should start with 0");
    let mut data = vec![0.0; segments * width];
    for s in 0..segments {
        let (start, end) = (offsets[s] as usize, offsets[s + 1] as usize);
        assert!(start <= end && end <= x.shape[0], "segment {start}..{end} of {} rows", x.shape[0]);
        for d in 0..width {
            for t in start..end {
                data[s * width + d] += x.data[t * width + d];
            }
            if start < end {
                data[s * width + d] /= (end - start) as f64;
            }
        }
    }
    Array::new(&[segments, width], data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = Array::new(&[4, 2], vec![1.0, 10.0, 3.0, 30.0, 5.0, 50.0, 9.0, 90.0]);
        let output = segment_mean(&x, &[0, 2, 2, 3]);
        assert_eq!(output.shape, [3, 2]);
        assert_eq!(output.data, [2.0, 20.0, 0.0, 0.0, 5.0, 50.0]);
    }
}
