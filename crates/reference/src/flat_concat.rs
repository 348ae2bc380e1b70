use crate::array::Array;

/// The parts one after another in one vector, each from a multiple of `alignment` elements on, with zeros between and after
/// them.
pub fn flat_concat(parts: &[&Array], alignment: usize) -> Array {
    let mut data = Vec::new();
    for part in parts {
        data.extend_from_slice(&part.data);
        while !data.len().is_multiple_of(alignment) {
            data.push(0.0);
        }
    }
    Array::new(&[data.len()], data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let a = Array::new(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let b = Array::new(&[1], vec![5.0]);
        let flat = flat_concat(&[&b, &a, &b], 4);
        assert_eq!(flat.data, [5.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 0.0, 0.0]);
        assert_eq!(flat.shape, [12]);
    }
}
