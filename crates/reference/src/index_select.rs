use crate::array::{Array, around};

/// `output[..][i][..] = x[..][indices[i]][..]`, the indices standing at axis `dim`, as `torch.index_select`.
pub fn index_select(x: &Array, dim: usize, indices: &[u32]) -> Array {
    let (before, extent, after) = around(&x.shape, dim);
    let mut data = Vec::new();
    for outer in 0..before {
        for &index in indices {
            let index = index as usize;
            assert!(index < extent, "index {index} of axis {dim} in shape {:?}", x.shape);
            let start = (outer * extent + index) * after;
            data.extend_from_slice(&x.data[start..start + after]);
        }
    }
    let mut shape = x.shape.clone();
    shape[dim] = indices.len();
    Array::new(&shape, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = Array::new(&[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(index_select(&x, 0, &[1, 1]).data, [4.0, 5.0, 6.0, 4.0, 5.0, 6.0]);
        let columns = index_select(&x, 1, &[2, 0]);
        assert_eq!(columns.shape, [2, 2]);
        assert_eq!(columns.data, [3.0, 1.0, 6.0, 4.0]);
    }
}
