use crate::array::{Array, around};

/// `output[..][indices[j]][..] += x[..][j][..]` for each `j`, into zeros of `extent` at axis `dim`: `torch.index_add`, and
/// the gradient of [`index_select`](crate::index_select). Indices of `extent` or more add nothing.
pub fn index_add(x: &Array, dim: usize, indices: &[u32], extent: usize) -> Array {
    let (before, count, after) = around(&x.shape, dim);
    assert_eq!(count, indices.len(), "an index for each of axis {dim} in shape {:?}", x.shape);
    let mut shape = x.shape.clone();
    shape[dim] = extent;
    let mut data = vec![0.0; before * extent * after];
    for outer in 0..before {
        for (j, &index) in indices.iter().enumerate() {
            let index = index as usize;
            if index < extent {
                for inner in 0..after {
                    data[(outer * extent + index) * after + inner] +=
                        x.data[(outer * count + j) * after + inner];
                }
            }
        }
    }
    Array::new(&shape, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = Array::new(&[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(
            index_add(&x, 0, &[2, 2], 4).data,
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 7.0, 9.0, 0.0, 0.0, 0.0]
        );
        let columns = index_add(&x, 1, &[1, 0, 1], 2);
        assert_eq!(columns.shape, [2, 2]);
        assert_eq!(columns.data, [2.0, 4.0, 5.0, 10.0]);
        assert_eq!(index_add(&x, 1, &[7, 0, 2], 2).data, [2.0, 0.0, 5.0, 0.0]);
    }
}
