use crate::array::{Array, coordinate, count};

/// `output[..][row][col] = sum_k a[..][row][k] * b[..][k][col]`, as `torch.matmul` for ranks of two and more.
///
/// `transpose_a` reads `a` as `[..][k][row]`, `transpose_b` reads `b` as `[..][col][k]`. Leading dimensions are
/// batches and broadcast: aligned at the right, an extent of one (or a missing one) is repeated.
pub fn matmul(a: &Array, b: &Array, transpose_a: bool, transpose_b: bool) -> Array {
    assert!(a.rank() >= 2 && b.rank() >= 2, "matmul of shapes {:?} and {:?}", a.shape, b.shape);
    let (a_batch, a_tail) = a.shape.split_at(a.rank() - 2);
    let (b_batch, b_tail) = b.shape.split_at(b.rank() - 2);
    let (rows, inner) = if transpose_a { (a_tail[1], a_tail[0]) } else { (a_tail[0], a_tail[1]) };
    let (b_inner, cols) = if transpose_b { (b_tail[1], b_tail[0]) } else { (b_tail[0], b_tail[1]) };
    assert_eq!(inner, b_inner, "inner extents of {:?} and {:?}", a.shape, b.shape);

    let rank = a_batch.len().max(b_batch.len());
    let extent = |batch: &[usize], axis: usize| match (axis + batch.len()).checked_sub(rank) {
        Some(own) => batch[own],
        None => 1,
    };
    let batch: Vec<usize> = (0..rank)
        .map(|axis| match (extent(a_batch, axis), extent(b_batch, axis)) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => panic!("batches of {:?} and {:?} do not broadcast", a.shape, b.shape),
        })
        .collect();
    let matrix = |own: &[usize], at: &[usize]| {
        let mut index = 0;
        for (axis, &extent) in own.iter().enumerate() {
            let here = if extent == 1 { 0 } else { at[rank - own.len() + axis] };
            index = index * extent + here;
        }
        index
    };

    let mut data = Vec::with_capacity(count(&batch) * rows * cols);
    for n in 0..count(&batch) {
        let at = coordinate(&batch, n);
        let a = &a.data[matrix(a_batch, &at) * rows * inner..][..rows * inner];
        let b = &b.data[matrix(b_batch, &at) * inner * cols..][..inner * cols];
        for row in 0..rows {
            for col in 0..cols {
                let mut total = 0.0;
                for k in 0..inner {
                    let left = if transpose_a { a[k * rows + row] } else { a[row * inner + k] };
                    let right = if transpose_b { b[col * inner + k] } else { b[k * cols + col] };
                    total += left * right;
                }
                data.push(total);
            }
        }
    }
    Array::new(&[batch, vec![rows, cols]].concat(), data)
}

/// `output[..][o] = sum_i x[..][i] * weight[o][i] + bias[o]`, as `torch.nn.functional.linear`.
pub fn linear(x: &Array, weight: &Array, bias: Option<&Array>) -> Array {
    assert_eq!(weight.rank(), 2, "weight of shape {:?}", weight.shape);
    let (outputs, inputs) = (weight.shape[0], weight.shape[1]);
    assert_eq!(x.shape.last(), Some(&inputs), "x {:?} on weight {:?}", x.shape, weight.shape);
    let mut data = Vec::new();
    for row in x.data.chunks(inputs) {
        for o in 0..outputs {
            let mut total = 0.0;
            for (x_i, weight_i) in row.iter().zip(&weight.data[o * inputs..(o + 1) * inputs]) {
                total += x_i * weight_i;
            }
            data.push(total + bias.map_or(0.0, |bias| bias.data[o]));
        }
    }
    let mut shape = x.shape.clone();
    *shape.last_mut().expect("x should have a last dimension") = outputs;
    Array::new(&shape, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a() -> Array {
        Array::new(&[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    }

    fn b() -> Array {
        Array::new(&[3, 2], vec![7.0, 8.0, 9.0, 10.0, 11.0, 12.0])
    }

    #[test]
    fn by_hand() {
        assert_eq!(matmul(&a(), &b(), false, false).data, [58.0, 64.0, 139.0, 154.0]);
    }

    #[test]
    fn transposes_read_the_same_matrix() {
        let a_t = Array::from_fn(&[3, 2], |at| a().at(&[at[1], at[0]]));
        let b_t = Array::from_fn(&[2, 3], |at| b().at(&[at[1], at[0]]));
        let expected = matmul(&a(), &b(), false, false);
        assert_eq!(matmul(&a_t, &b(), true, false), expected);
        assert_eq!(matmul(&a(), &b_t, false, true), expected);
        assert_eq!(matmul(&a_t, &b_t, true, true), expected);
    }

    #[test]
    fn batches_broadcast() {
        let batch = Array::new(&[2, 1, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let shared = Array::new(&[2, 2], vec![1.0, 10.0, 100.0, 1000.0]);
        let output = matmul(&batch, &shared, false, false);
        assert_eq!(output.shape, [2, 1, 2]);
        assert_eq!(output.data, [201.0, 2010.0, 403.0, 4030.0]);
    }

    #[test]
    fn linear_by_hand() {
        let bias = Array::new(&[2], vec![0.5, -0.5]);
        let weight = Array::new(&[2, 3], vec![1.0, 0.0, -1.0, 2.0, 1.0, 0.0]);
        assert_eq!(linear(&a(), &weight, Some(&bias)).data, [-1.5, 3.5, -1.5, 12.5]);
        assert_eq!(linear(&a(), &weight, None).data, [-2.0, 4.0, -2.0, 13.0]);
    }
}
