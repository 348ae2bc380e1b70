//! The image of Winograd's convolution, in both layouts.

use kiln_engine::ops::WinogradInput;
use kiln_engine::{Padding, WinogradTile};
use kiln_reference::{Array, Winograd};
use kiln_tests::device;
use kiln_tests::graph::{array, conforms, seeded};
use kiln_tests::tolerance::WINOGRAD_STEP;

/// The columns of a matrix rounded up to `quantum` with zeros, and cut in panels of `width`.
fn in_panels(x: &Array, quantum: usize, width: Option<usize>) -> Array {
    let &[places, channels, tiles] = x.shape.as_slice() else { panic!("three dimensions") };
    let cols = tiles.next_multiple_of(quantum);
    let at = |place, c, t| if t < tiles { x.at(&[place, c, t]) } else { 0.0 };
    match width {
        None => Array::from_fn(&[places, channels, cols], |i| at(i[0], i[1], i[2])),
        Some(width) => Array::from_fn(&[places, cols.div_ceil(width), channels, width], |i| {
            at(i[0], i[2], width * i[1] + i[3])
        }),
    }
}

/// Images of one tile and of many, in whole vectors and not, rows of tiles that end within a vector, and paddings that
/// differ by side.
#[test]
fn tiles_of_images() {
    let Some(gpu) = device::gpu() else { return };
    let sides = |top, bottom, left, right| [[top, bottom], [left, right]];
    for (shape, padding) in [
        ([1, 1, 3, 3], sides(0, 0, 0, 0)),
        ([1, 4, 1, 1], sides(1, 1, 1, 1)),
        ([1, 3, 16, 16], sides(1, 1, 1, 1)),
        ([2, 5, 14, 28], sides(1, 1, 1, 1)),
        ([3, 8, 7, 7], sides(1, 1, 1, 1)),
        ([2, 2, 9, 38], sides(0, 2, 3, 0)),
        ([5, 1, 6, 6], sides(2, 2, 2, 2)),
        ([1, 17, 5, 4], sides(0, 0, 5, 1)),
        ([2, 3, 11, 13], sides(2, 1, 0, 1)),
    ] {
        let operands = [seeded("x", &shape)];
        for tile in WinogradTile::ALL {
            let matrices = Winograd::new(tile.outputs());
            let image = array(&operands[0]);
            let expected = kiln_reference::winograd_input(&image, padding, &matrices);
            let terms = kiln_reference::winograd_input(&image.abs(), padding, &matrices.abs());
            for panels in [false, true] {
                let layout = |x: &Array| in_panels(x, 8, panels.then_some(8));
                let op = WinogradInput { tile, padding: Padding::Sides(padding), panels };
                conforms(
                    gpu,
                    format!("{op:?} of {shape:?}"),
                    &operands,
                    |g, v| g.apply(op, v),
                    &layout(&expected),
                    &WINOGRAD_STEP.bounds(&layout(&terms)),
                );
            }
        }
    }
}
