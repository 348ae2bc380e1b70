//! The weight of Winograd's convolution.

use kiln_engine::WinogradTile;
use kiln_engine::ops::WinogradWeight;
use kiln_reference::Winograd;
use kiln_tests::device;
use kiln_tests::graph::{array, conforms, seeded};
use kiln_tests::tolerance::WINOGRAD_STEP;

#[test]
fn filters() {
    let Some(gpu) = device::gpu() else { return };
    for [outputs, channels] in [[1, 1], [5, 7], [8, 8], [64, 1], [13, 65]] {
        let operands = [seeded("weight", &[outputs, channels, 3, 3])];
        for tile in WinogradTile::ALL {
            let matrices = Winograd::new(tile.outputs());
            let weight = array(&operands[0]);
            let expected = kiln_reference::winograd_weight(&weight, &matrices);
            let terms = kiln_reference::winograd_weight(&weight.abs(), &matrices.abs());
            conforms(
                gpu,
                format!("{outputs} by {channels}, {tile:?}"),
                &operands,
                |g, v| g.apply(WinogradWeight { tile }, v),
                &expected,
                &WINOGRAD_STEP.bounds(&terms),
            );
        }
    }
}
