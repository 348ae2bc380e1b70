//! Images as patches of neighbours that one invocation each makes: the gradients of pooling gather for a patch at once
//! what the windows over it hand on.

use crate::lower::Block;
use crate::select::looped;
use crate::window::Axis;

/// A block of `[n][channels][height][width]`, each plane cut into patches of the same size, the last ones reaching past its
/// end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patches {
    /// Patches of the block.
    pub(crate) count: u32,
    /// Patches below each other in a plane.
    pub(crate) col_groups: u32,
    /// Patches side by side in a plane.
    pub(crate) row_groups: u32,
    rows: u32,
    cols: u32,
}

impl Patches {
    /// Cuts planes of `[height, width]` into patches of so many rows and columns.
    pub(crate) fn new(block: &Block, [height, width]: [u32; 2], [rows, cols]: [u32; 2]) -> Self {
        let (col_groups, row_groups) = (height.div_ceil(rows), width.div_ceil(cols));
        let count = block.elements / (height * width) * col_groups * row_groups;
        Self { count, col_groups, row_groups, rows, cols }
    }

    /// The loop iterations of an invocation that walks over all windows that reach over its patch, of which each axis has
    /// `windows`.
    pub(crate) fn window_iterations(&self, axes: &[Axis; 2], windows: [u32; 2]) -> u64 {
        let [high, wide] = [(self.rows, 0), (self.cols, 1)].map(|(places, axis)| {
            let reach = places as usize - 1 + axes[axis].span();
            reach.div_ceil(axes[axis].stride).min(windows[axis] as usize) as u64
        });
        looped(high, looped(wide, 0))
    }

    /// The same for windows that share the plane evenly, of which at most `longest` reach over an element.
    pub(crate) fn shared_iterations(&self, longest: [usize; 2], windows: [u32; 2]) -> u64 {
        let [high, wide] = [(self.rows, 0), (self.cols, 1)].map(|(places, axis)| {
            (places as usize).saturating_mul(longest[axis]).min(windows[axis] as usize) as u64
        });
        looped(high, looped(wide, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::{Bound, Storage};
    use crate::window::Padding;

    fn patches(size: [u32; 2], patch: [u32; 2]) -> Patches {
        let output = Bound { storage: Storage(0), offset: 0, bytes: 0 };
        Patches::new(&Block { rows: 0..2, elements: 6 * size[0] * size[1], output }, size, patch)
    }

    #[test]
    fn patches_cover_each_plane() {
        let cut = patches([5, 17], [2, 8]);
        assert_eq!((cut.count, cut.col_groups, cut.row_groups), (6 * 9, 3, 3));
        assert_eq!(patches([5, 17], [1, 1]).count, 6 * 85);
    }

    /// No patch, wherever it lies, has more windows over it than are allowed for.
    #[test]
    fn windows_over_a_patch_are_counted() {
        for (kernel, stride, dilation) in
            (1..5).flat_map(|k| (1..5).flat_map(move |s| (1..4).map(move |d| (k, s, d))))
        {
            let axes = Axis::pair([1, kernel], [1, stride], Padding::Valid, [1, dilation], [1, 40]);
            let Ok([height, width]) = axes else { continue };
            let windows = width.output();
            for cols in [1, 2, 8] {
                let over = |low: usize| {
                    let reaches = |o: &usize| o * stride < low + cols && o * stride + width.span() > low;
                    (0..windows).filter(reaches).count() as u64
                };
                let most = (0..40).step_by(cols).map(over).max().unwrap_or(0);
                let counted = patches([1, 40], [1, cols as u32])
                    .window_iterations(&[height, width], [1, windows as u32]);
                assert!(
                    looped(1, looped(most, 0)) <= counted,
                    "{kernel} {stride} {dilation}, {cols} columns"
                );
            }
        }
    }
}
