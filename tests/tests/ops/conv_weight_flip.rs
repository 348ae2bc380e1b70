//! The weight of a transposed convolution as that of a convolution: a move, exact to the bit.

use kiln_engine::ops::ConvWeightFlip;
use kiln_tests::compare::assert_same_bits;
use kiln_tests::device;
use kiln_tests::graph::{array, every_source, seeded};

#[test]
fn channels_change_places_and_taps_are_mirrored() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, groups) in [
        ([1, 1, 1, 1], 1),
        ([5, 7, 3, 3], 1),
        ([20, 50, 5, 5], 1),
        ([6, 4, 2, 5], 3),
        ([9, 1, 3, 2], 9),
        ([4, 3, 1, 1], 2),
    ] {
        let operands = [seeded("weight", &shape)];
        let expected = kiln_reference::conv_weight_flip(&array(&operands[0]), groups);
        let bits: Vec<u32> = expected.data.iter().map(|&x| (x as f32).to_bits()).collect();
        every_source(
            gpu,
            &operands,
            |g, v| g.apply(ConvWeightFlip { groups, row: None }, v),
            |source, made| {
                assert_eq!(made.shape(), expected.shape, "{shape:?} {source}: the shape");
                let got = made.as_f32().expect("a move should give f32");
                let got: Vec<u32> = got.iter().map(|x| x.to_bits()).collect();
                assert_same_bits(format!("{shape:?} {source}"), &got, &bits, &expected.shape);
            },
        );
        // The same in rows, with zeros after the taps.
        let taps = shape[2] * shape[3];
        let rows: Vec<u32> = bits.chunks(taps).flat_map(|taps| [taps, &[0; 3]].concat()).collect();
        every_source(
            gpu,
            &operands,
            |g, v| g.apply(ConvWeightFlip { groups, row: Some(taps + 3) }, v),
            |source, made| {
                let got = made.as_f32().expect("a move should give f32");
                let got: Vec<u32> = got.iter().map(|x| x.to_bits()).collect();
                let shape = [expected.shape[0], expected.shape[1], 1, taps + 3];
                assert_same_bits(format!("{shape:?} {source}, in rows"), &got, &rows, &shape);
            },
        );
    }
}
