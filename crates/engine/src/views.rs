//! Strided views of tensors, merged to the fewest dimensions and packed as the kernels want them.

/// The shape that two shapes broadcast to.
pub(crate) fn broadcast(lhs: &[usize], rhs: &[usize]) -> Option<Vec<usize>> {
    let rank = lhs.len().max(rhs.len());
    let extent =
        |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |own| shape[own]);
    (0..rank)
        .map(|axis| match (extent(lhs, axis), extent(rhs, axis)) {
            (a, b) if a == b => Some(a),
            (1, b) => Some(b),
            (a, 1) => Some(a),
            _ => None,
        })
        .collect()
}

/// Strides that repeat a tensor of `shape` over the broadcast shape `to` (aligned at the last dimension): 0 where
/// an extent of 1 is repeated. The shapes must be compatible.
pub(crate) fn broadcast_strides(shape: &[usize], to: &[usize]) -> Vec<usize> {
    let missing = to.len() - shape.len();
    let mut strides = vec![0; to.len()];
    let mut stride = 1;
    for axis in (0..shape.len()).rev() {
        strides[missing + axis] = if shape[axis] == 1 { 0 } else { stride };
        stride *= shape[axis];
    }
    strides
}

/// An index space with `N` sets of strides over it, the fastest dimension first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View<const N: usize> {
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: [Vec<usize>; N],
}

impl<const N: usize> View<N> {
    /// Drops extents of 1 and merges neighbours that every set of strides walks as one dimension.
    /// `shape` and `strides` come slowest first, as tensors have them.
    pub(crate) fn merged(shape: &[usize], strides: [&[usize]; N]) -> Self {
        let mut view = View { shape: vec![], strides: std::array::from_fn(|_| vec![]) };
        for axis in (0..shape.len()).rev() {
            if shape[axis] == 1 {
                continue;
            }
            let mergeable = view.shape.last().is_some_and(|&inner| {
                (0..N).all(|set| {
                    let last = view.strides[set].last().copied().unwrap_or(0);
                    strides[set][axis] == last * inner
                })
            });
            if mergeable {
                if let Some(inner) = view.shape.last_mut() {
                    *inner *= shape[axis];
                }
            } else {
                view.shape.push(shape[axis]);
                for (own, strides) in view.strides.iter_mut().zip(strides) {
                    own.push(strides[axis]);
                }
            }
        }
        view
    }

    pub(crate) fn rank(&self) -> u32 {
        self.shape.len() as u32
    }
}

/// Up to eight numbers as the two vectors of `lib/strided.wgsl`.
pub(crate) fn halves(values: &[usize]) -> ([u32; 4], [u32; 4]) {
    let at = |index: usize| values.get(index).map_or(0, |&value| value as u32);
    (std::array::from_fn(at), std::array::from_fn(|index| at(index + 4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast_as_in_pytorch() {
        type Row = (&'static [usize], &'static [usize], Option<&'static [usize]>);
        let table: &[Row] = &[
            (&[2, 3], &[2, 3], Some(&[2, 3])),
            (&[2, 3], &[3], Some(&[2, 3])),
            (&[2, 1], &[1, 3], Some(&[2, 3])),
            (&[], &[4], Some(&[4])),
            (&[5, 1, 3], &[4, 1], Some(&[5, 4, 3])),
            (&[2, 3], &[2], None),
            (&[2, 3], &[4, 3], None),
        ];
        for (lhs, rhs, expected) in table {
            assert_eq!(broadcast(lhs, rhs).as_deref(), *expected, "{lhs:?} with {rhs:?}");
        }
    }

    #[test]
    fn equal_shapes_become_one_dimension() {
        let strides = [12, 4, 1];
        let view = View::merged(&[2, 3, 4], [&strides, &strides]);
        assert_eq!(view, View { shape: vec![24], strides: [vec![1], vec![1]] });
    }

    #[test]
    fn a_bias_row_leaves_two() {
        let row = broadcast_strides(&[4], &[2, 3, 4]);
        assert_eq!(row, [0, 0, 1]);
        let view = View::merged(&[2, 3, 4], [&[12, 4, 1], &row]);
        assert_eq!(view, View { shape: vec![4, 6], strides: [vec![1, 4], vec![1, 0]] });
    }

    #[test]
    fn a_transpose_stays_two_dimensional_and_ones_vanish() {
        let view = View::merged(&[5, 1, 7], [&[1, 5, 5]]);
        assert_eq!(view, View { shape: vec![7, 5], strides: [vec![5, 1]] });
        assert_eq!(View::merged(&[1, 1], [&[1, 1]]), View { shape: vec![], strides: [vec![]] });
    }

    #[test]
    fn halves_hold_eight() {
        assert_eq!(halves(&[1, 2, 3, 4, 5]), ([1, 2, 3, 4], [5, 0, 0, 0]));
    }
}
