use crate::array::{Array, coordinate, count, flat};

/// The sum over the axes `dims`, as `torch.sum`. A reduced axis stays with extent one where `keep_dim`.
pub fn sum(x: &Array, dims: &[usize], keep_dim: bool) -> Array {
    reduce(x, dims, keep_dim, |group| group.iter().sum())
}

/// The mean over the axes `dims`, as `torch.mean`.
pub fn mean(x: &Array, dims: &[usize], keep_dim: bool) -> Array {
    reduce(x, dims, keep_dim, |group| group.iter().sum::<f64>() / group.len() as f64)
}

/// The greatest element over the axes `dims`, as `torch.amax`: NaN where one is NaN.
pub fn max(x: &Array, dims: &[usize], keep_dim: bool) -> Array {
    reduce(x, dims, keep_dim, |group| group[first_greatest(group)])
}

/// The place of the first greatest element (of the first NaN, if there is one), counted in row-major order over the
/// reduced axes alone, as `torch.argmax` counts over one axis or all. The numbers are whole.
pub fn argmax(x: &Array, dims: &[usize], keep_dim: bool) -> Array {
    reduce(x, dims, keep_dim, |group| first_greatest(group) as f64)
}

fn first_greatest(group: &[f64]) -> usize {
    assert!(!group.is_empty(), "the greatest of nothing");
    let mut best = 0;
    for (i, &value) in group.iter().enumerate() {
        if value.is_nan() {
            return i;
        }
        if value > group[best] {
            best = i;
        }
    }
    best
}

/// Applies `f` to each group of elements that differ in the reduced axes only, in row-major order.
fn reduce(x: &Array, dims: &[usize], keep_dim: bool, f: impl Fn(&[f64]) -> f64) -> Array {
    assert!(dims.iter().all(|&dim| dim < x.rank()), "axes {dims:?} of shape {:?}", x.shape);
    let kept: Vec<usize> = x
        .shape
        .iter()
        .enumerate()
        .map(|(axis, &extent)| if dims.contains(&axis) { 1 } else { extent })
        .collect();
    let mut groups = vec![Vec::new(); count(&kept)];
    for (i, &value) in x.data.iter().enumerate() {
        let mut at = coordinate(&x.shape, i);
        for &dim in dims {
            at[dim] = 0;
        }
        groups[flat(&kept, &at)].push(value);
    }
    let shape: Vec<usize> = if keep_dim {
        kept
    } else {
        (0..x.rank()).filter(|axis| !dims.contains(axis)).map(|axis| x.shape[axis]).collect()
    };
    Array::new(&shape, groups.iter().map(|group| f(group)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x() -> Array {
        Array::new(&[2, 2, 3], vec![1.0, 7.0, 3.0, 4.0, 5.0, 6.0, -1.0, -2.0, -3.0, -1.0, -5.0, -6.0])
    }

    #[test]
    fn over_one_axis() {
        assert_eq!(sum(&x(), &[2], false).data, [11.0, 15.0, -6.0, -12.0]);
        assert_eq!(sum(&x(), &[1], false).data, [5.0, 12.0, 9.0, -2.0, -7.0, -9.0]);
        assert_eq!(mean(&x(), &[2], true).shape, [2, 2, 1]);
        assert_eq!(max(&x(), &[0], false).data, [1.0, 7.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(argmax(&x(), &[1], false).data, [1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn over_several_axes() {
        assert_eq!(mean(&x(), &[0, 1, 2], false), Array::new(&[], vec![8.0 / 12.0]));
        assert_eq!(sum(&x(), &[0, 2], false).data, [5.0, 3.0]);
        assert_eq!(max(&x(), &[1, 2], true), Array::new(&[2, 1, 1], vec![7.0, -1.0]));
        // The axes count in the tensor's own order, however they are listed.
        assert_eq!(argmax(&x(), &[2, 0], false).data, [1.0, 2.0]);
    }

    #[test]
    fn the_first_of_equals_and_nan_win() {
        let ties = Array::new(&[4], vec![1.0, 2.0, 2.0, 0.0]);
        assert_eq!(argmax(&ties, &[0], false).data, [1.0]);
        let nan = Array::new(&[4], vec![1.0, f64::NAN, 9.0, f64::NAN]);
        assert_eq!(argmax(&nan, &[0], false).data, [1.0]);
        assert!(max(&nan, &[0], false).data[0].is_nan());
    }
}
