use crate::array::Array;

/// The gradient of [`segment_mean`](crate::segment_mean) over `rows` rows: each row gets that of its segment's mean, divided
/// by the segment's rows, and 0 where it is in none.
pub fn segment_mean_grad(grad: &Array, offsets: &[u32], rows: usize) -> Array {
    let width = grad.shape[1];
    let mut output = Array::new(&[rows, width], vec![0.0; rows * width]);
    for (s, bounds) in offsets.windows(2).enumerate() {
        let (start, end) = (bounds[0] as usize, bounds[1] as usize);
        for t in start..end {
            for d in 0..width {
                output.data[t * width + d] = grad.data[s * width + d] / (end - start) as f64;
            }
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let grad = Array::new(&[3, 1], vec![6.0, 5.0, 4.0]);
        assert_eq!(segment_mean_grad(&grad, &[1, 4, 4, 5], 6).data, [0.0, 2.0, 2.0, 2.0, 4.0, 0.0]);
    }
}
