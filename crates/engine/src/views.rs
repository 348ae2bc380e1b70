//! Strided views of tensors, merged to the fewest dimensions and packed as the kernels want them.

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
