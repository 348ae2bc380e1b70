use crate::array::Array;

/// `output[n][c] = 1` where `c = labels[n]`, else 0, as `torch.nn.functional.one_hot`. A label that is no class makes its
/// row NaN.
pub fn one_hot(labels_shape: &[usize], labels: &[u32], classes: usize) -> Array {
    let mut shape = labels_shape.to_vec();
    shape.push(classes);
    let element = |label: u32, c: usize| match label as usize {
        label if label >= classes => f64::NAN,
        label => f64::from(u8::from(label == c)),
    };
    let data = labels.iter().flat_map(|&label| (0..classes).map(move |c| element(label, c)));
    Array::new(&shape, data.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_one_at_each_label() {
        let made = one_hot(&[3], &[2, 0, 3], 3);
        assert_eq!(made.shape, [3, 3]);
        assert_eq!(made.data[..6], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        assert!(made.data[6..].iter().all(|x| x.is_nan()));
    }
}
