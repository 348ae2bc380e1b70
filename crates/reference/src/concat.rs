use crate::array::{Array, around};

/// The parts one after another along axis `dim`, as `torch.cat`. All other extents agree.
pub fn concat(parts: &[&Array], dim: usize) -> Array {
    let mut shape = parts.first().expect("concat of nothing").shape.clone();
    let (before, _, after) = around(&shape, dim);
    for part in parts {
        let others = |shape: &[usize]| [&shape[..dim], &shape[dim + 1..]].concat();
        assert_eq!(
            others(&part.shape),
            others(&shape),
            "concat of {:?} and {shape:?} along {dim}",
            part.shape
        );
    }
    let mut data = Vec::new();
    for outer in 0..before {
        for part in parts {
            let run = part.shape[dim] * after;
            data.extend_from_slice(&part.data[outer * run..(outer + 1) * run]);
        }
    }
    shape[dim] = parts.iter().map(|part| part.shape[dim]).sum();
    Array::new(&shape, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let a = Array::new(&[2, 1], vec![1.0, 2.0]);
        let b = Array::new(&[2, 2], vec![3.0, 4.0, 5.0, 6.0]);
        let columns = concat(&[&a, &b], 1);
        assert_eq!(columns.shape, [2, 3]);
        assert_eq!(columns.data, [1.0, 3.0, 4.0, 2.0, 5.0, 6.0]);
        let rows = concat(&[&b, &b], 0);
        assert_eq!(rows.shape, [4, 2]);
        assert_eq!(rows.data, [3.0, 4.0, 5.0, 6.0, 3.0, 4.0, 5.0, 6.0]);
    }
}
