use crate::array::{Array, coordinate, count};

/// `a + b`, broadcast.
pub fn add(a: &Array, b: &Array) -> Array {
    binary(a, b, |a, b| a + b)
}

/// `a - b`, broadcast.
pub fn sub(a: &Array, b: &Array) -> Array {
    binary(a, b, |a, b| a - b)
}

/// `a * b`, broadcast.
pub fn mul(a: &Array, b: &Array) -> Array {
    binary(a, b, |a, b| a * b)
}

/// `a / b`, broadcast, as IEEE 754 divides.
pub fn div(a: &Array, b: &Array) -> Array {
    binary(a, b, |a, b| a / b)
}

/// The greater of `a` and `b`, broadcast; NaN where either is NaN, as `torch.maximum`.
pub fn maximum(a: &Array, b: &Array) -> Array {
    binary(a, b, |a, b| if a > b || a.is_nan() { a } else { b })
}

/// The lesser of `a` and `b`, broadcast; NaN where either is NaN, as `torch.minimum`.
pub fn minimum(a: &Array, b: &Array) -> Array {
    binary(a, b, |a, b| if a < b || a.is_nan() { a } else { b })
}

/// 1 where `a` is greater than `b`, else 0, broadcast: `torch.gt`.
pub fn greater(a: &Array, b: &Array) -> Array {
    binary(a, b, |a, b| f64::from(u8::from(a > b)))
}

/// 1 where `a` equals `b`, else 0, broadcast: `torch.eq`.
pub fn equal(a: &Array, b: &Array) -> Array {
    binary(a, b, |a, b| f64::from(u8::from(a == b)))
}

/// Shapes align at the right; an extent of one, or a missing one, repeats.
fn binary(a: &Array, b: &Array, f: impl Fn(f64, f64) -> f64) -> Array {
    let shape = broadcast(&a.shape, &b.shape);
    let mut data = Vec::with_capacity(count(&shape));
    for flat in 0..count(&shape) {
        let at = coordinate(&shape, flat);
        data.push(f(repeated(a, &at), repeated(b, &at)));
    }
    Array::new(&shape, data)
}

/// The common shape of two that broadcast.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let mut shape = vec![1; rank];
    for operand in [a, b] {
        for (axis, &extent) in operand.iter().enumerate() {
            let common = &mut shape[rank - operand.len() + axis];
            assert!(*common == 1 || extent == 1 || *common == extent, "{a:?} and {b:?} do not broadcast");
            if extent != 1 {
                *common = extent;
            }
        }
    }
    shape
}

/// The element of `operand` that stands at `at` of a shape it broadcasts to.
pub(crate) fn repeated(operand: &Array, at: &[usize]) -> f64 {
    let skipped = at.len() - operand.rank();
    let own: Vec<usize> = operand
        .shape
        .iter()
        .zip(&at[skipped..])
        .map(|(&extent, &i)| if extent == 1 { 0 } else { i })
        .collect();
    operand.at(&own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_broadcast() {
        let column = Array::new(&[2, 1], vec![10.0, 20.0]);
        let row = Array::new(&[3], vec![1.0, 2.0, 4.0]);
        assert_eq!(add(&column, &row).shape, [2, 3]);
        assert_eq!(add(&column, &row).data, [11.0, 12.0, 14.0, 21.0, 22.0, 24.0]);
        assert_eq!(sub(&column, &row).data, [9.0, 8.0, 6.0, 19.0, 18.0, 16.0]);
        assert_eq!(mul(&row, &column).data, [10.0, 20.0, 40.0, 20.0, 40.0, 80.0]);
        assert_eq!(div(&column, &row).data, [10.0, 5.0, 2.5, 20.0, 10.0, 5.0]);
        let scalar = Array::new(&[], vec![3.0]);
        assert_eq!(maximum(&row, &scalar).data, [3.0, 3.0, 4.0]);
        assert_eq!(minimum(&row, &scalar).data, [1.0, 2.0, 3.0]);
    }

    #[test]
    fn an_empty_extent_meets_one() {
        assert_eq!(broadcast(&[0, 3], &[1, 3]), [0, 3]);
    }

    #[test]
    fn nan_on_either_side_wins() {
        let left = Array::new(&[2], vec![f64::NAN, 1.0]);
        let right = Array::new(&[2], vec![1.0, f64::NAN]);
        for op in [maximum, minimum, add, sub, mul, div] {
            assert!(op(&left, &right).data.iter().all(|x| x.is_nan()));
        }
    }

    #[test]
    #[should_panic(expected = "do not broadcast")]
    fn extents_must_fit() {
        add(&Array::new(&[2], vec![0.0; 2]), &Array::new(&[3], vec![0.0; 3]));
    }
}
