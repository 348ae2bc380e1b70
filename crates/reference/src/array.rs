/// A dense row-major array of `f64`: the last dimension is contiguous.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The extents, outermost first. An empty list is a scalar, with one element.
    pub shape: Vec<usize>,
    /// The elements, as many as the product of the extents.
    pub data: Vec<f64>,
}

impl Array {
    /// An array of `shape` over `data`; panics where the lengths differ.
    pub fn new(shape: &[usize], data: Vec<f64>) -> Self {
        assert_eq!(count(shape), data.len(), "shape {shape:?} does not hold {} elements", data.len());
        Self { shape: shape.to_vec(), data }
    }

    /// An array of `shape` from single-precision data, each value converted exactly.
    pub fn from_f32(shape: &[usize], data: &[f32]) -> Self {
        Self::new(shape, data.iter().map(|&x| f64::from(x)).collect())
    }

    /// An array whose element at each coordinate is `element(coordinate)`.
    pub fn from_fn(shape: &[usize], mut element: impl FnMut(&[usize]) -> f64) -> Self {
        let data = (0..count(shape)).map(|flat| element(&coordinate(shape, flat))).collect();
        Self { shape: shape.to_vec(), data }
    }

    /// The element at `at`, one index a dimension; panics outside the shape.
    pub fn at(&self, at: &[usize]) -> f64 {
        self.data[flat(&self.shape, at)]
    }

    /// The same shape with `f` applied to each element.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self { shape: self.shape.clone(), data: self.data.iter().map(|&x| f(x)).collect() }
    }

    /// The absolute values: a linear op on these gives `sum|terms|` of the op on the values themselves.
    pub fn abs(&self) -> Self {
        self.map(f64::abs)
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
}

/// Number of elements of a shape.
pub(crate) fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// The coordinate of the element at `flat` in row-major order.
pub(crate) fn coordinate(shape: &[usize], mut flat: usize) -> Vec<usize> {
    let mut at = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        at[axis] = flat % shape[axis];
        flat /= shape[axis];
    }
    at
}

/// The row-major position of the coordinate `at`.
pub(crate) fn flat(shape: &[usize], at: &[usize]) -> usize {
    assert_eq!(shape.len(), at.len(), "coordinate {at:?} is of another rank than shape {shape:?}");
    let mut flat = 0;
    for (axis, (&extent, &index)) in shape.iter().zip(at).enumerate() {
        assert!(index < extent, "index {index} of axis {axis} is outside shape {shape:?}");
        flat = flat * extent + index;
    }
    flat
}

/// Splits a shape at `axis` into (elements before, extent, elements after).
pub(crate) fn around(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    assert!(axis < shape.len(), "axis {axis} is outside shape {shape:?}");
    (count(&shape[..axis]), shape[axis], count(&shape[axis + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_row_major() {
        let array = Array::from_fn(&[2, 3], |at| (10 * at[0] + at[1]) as f64);
        assert_eq!(array.data, [0.0, 1.0, 2.0, 10.0, 11.0, 12.0]);
        assert_eq!(array.at(&[1, 2]), 12.0);
        for i in 0..6 {
            assert_eq!(flat(&[2, 3], &coordinate(&[2, 3], i)), i);
        }
    }

    #[test]
    fn a_scalar_has_one_element() {
        assert_eq!(Array::from_fn(&[], |_| 5.0).data, [5.0]);
    }

    #[test]
    #[should_panic(expected = "does not hold")]
    fn lengths_must_agree() {
        Array::new(&[2, 2], vec![0.0; 3]);
    }
}
