//! Convolutions that people work out by hand, in courses and papers: the numbers are theirs.

use kiln_engine::ops::{AveragePadding, ConvOptions, PoolOptions};
use kiln_engine::{DType, EngineError, GraphBuilder, Origin, Padding, Tensor, Value};
use kiln_gpu::Gpu;
use kiln_reference::Array;
use kiln_tests::compare::assert_close;
use kiln_tests::graph::{every_source, f32_tensor};
use kiln_tests::tolerance::{EXACT, Tolerance};
use kiln_tests::{data, device};

/// A matrix as an image of one channel.
fn image<const H: usize, const W: usize>(rows: [[i32; W]; H]) -> Tensor {
    f32_tensor(&[1, 1, H, W], rows.iter().flatten().map(|&x| x as f32).collect())
}

/// A row of numbers as a sequence of one channel.
fn sequence(values: &[i32]) -> Tensor {
    f32_tensor(&[1, 1, values.len()], values.iter().map(|&x| x as f32).collect())
}

/// Small integers: exact whatever the order of the sums.
#[track_caller]
fn gives(
    gpu: &Gpu,
    operands: &[Tensor],
    build: impl Fn(&mut GraphBuilder, &[Value]) -> Result<Value, EngineError>,
    expected: &Tensor,
) {
    let expected = kiln_tests::graph::array(expected);
    every_source(gpu, operands, build, |source, made| {
        assert_eq!(made.shape(), expected.shape, "{source}");
        assert_close(source, made.as_f32().expect("f32"), &expected, &EXACT.bounds(&expected));
    });
}

#[test]
fn a_window_of_ones_over_a_matrix() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [image([[1, 2, 3, 1], [4, 5, 6, 1], [7, 8, 9, 1]]), image([[1, 1], [1, 1]])];
    let expected = image([[12, 16, 11], [24, 28, 17]]);
    gives(gpu, &operands, |g, v| g.conv2d(v[0], v[1], None, ConvOptions::default()), &expected);
}

#[test]
fn a_cross_over_a_binary_image() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [
        image([[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]),
        image([[1, 0, 1], [0, 1, 0], [1, 0, 1]]),
    ];
    let expected = image([[4, 3, 4], [2, 4, 3], [2, 3, 4]]);
    gives(gpu, &operands, |g, v| g.conv2d(v[0], v[1], None, ConvOptions::default()), &expected);
}

/// The kernel is laid on the sequence as it is written, not mirrored.
#[test]
fn a_sequence() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [sequence(&[2, 1, 1, 7, -1, 2, 3, 1]), sequence(&[3, 2, -1])];
    let expected = sequence(&[7, -2, 18, 17, -2, 11]);
    gives(gpu, &operands, |g, v| g.conv1d(v[0], v[1], None, ConvOptions::default()), &expected);
}

/// Numbers in the weights of a graph.
fn parameters(graph: &kiln_engine::Graph) -> usize {
    let is_weight = |origin: &Origin| matches!(origin, Origin::Constant(_));
    graph.values().iter().filter(|info| is_weight(&info.origin)).map(|info| info.desc.elements()).sum()
}

#[test]
fn ten_filters_have_760_parameters() -> Result<(), EngineError> {
    let mut g = GraphBuilder::new("layer");
    let x = g.input("x", &[1, 3, 32, 32], DType::F32);
    let (weight, bias) = (g.constant("weight", &[10, 3, 5, 5]), g.constant("bias", &[10]));
    let y =
        g.conv2d(x, weight, Some(bias), ConvOptions { padding: Padding::all(2), ..Default::default() })?;
    assert_eq!(g.desc(y).shape, [1, 10, 32, 32]);
    assert_eq!(parameters(&g.finish()), 760);
    Ok(())
}

/// Each filter of a grouped layer sees half of the channels, and a weight for all of them is refused.
#[test]
fn groups_save_weights() -> Result<(), EngineError> {
    let weights = |groups: usize, channels: usize| -> Result<usize, EngineError> {
        let mut g = GraphBuilder::new("layer");
        let x = g.input("x", &[1, 64, 14, 14], DType::F32);
        let weight = g.constant("weight", &[128, channels, 3, 3]);
        let y = g.conv2d(x, weight, None, ConvOptions { groups, ..Default::default() })?;
        assert_eq!(g.desc(y).shape, [1, 128, 12, 12]);
        Ok(parameters(&g.finish()))
    };
    assert_eq!(weights(2, 32)?, 36_864);
    assert_eq!(weights(1, 64)?, 73_728);
    assert_eq!(
        weights(2, 64).map_err(|e| e.to_string()),
        Err("conv2d \"layer\": weight: expected [out, 32, kh, kw], as 64 channels / 2 groups ask, got \
             f32[128, 64, 3, 3]"
            .to_owned())
    );
    Ok(())
}

/// A 3x3 window dilated by 3 sees 7x7: nine of its elements, the corners among them.
#[test]
fn a_dilated_window_spans_seven() {
    let Some(gpu) = device::gpu() else { return };
    let dilated = ConvOptions { dilation: [3, 3], ..Default::default() };
    // Every element its own power of two: the sum tells which were seen.
    let places: Vec<(usize, usize)> = (0..7).flat_map(|row| (0..7).map(move |col| (row, col))).collect();
    let seen: Vec<(usize, usize)> =
        places.iter().copied().filter(|(row, col)| row % 3 == 0 && col % 3 == 0).collect();
    assert_eq!(seen.len(), 9);
    let mut bit = 1;
    let mut expected = 0;
    let mut plane = [[1 << 20; 7]; 7];
    for &(row, col) in &seen {
        plane[row][col] = bit;
        expected += bit;
        bit *= 2;
    }
    let operands = [image(plane), image([[1; 3]; 3])];
    gives(gpu, &operands, |g, v| g.conv2d(v[0], v[1], None, dilated), &image([[expected]]));

    let mut g = GraphBuilder::new("layer");
    let (x, weight) = (g.input("x", &[1, 1, 6, 7], DType::F32), g.constant("weight", &[1, 1, 3, 3]));
    let refused = g.conv2d(x, weight, None, dilated).expect_err("seven rows do not fit in six");
    assert_eq!(
        refused.to_string(),
        "conv2d \"layer\": kernel height: expected at most the input's 6, got 7 (3 dilated by 3)"
    );
}

/// Two layers find a plus of 255s anywhere on an 8x8 image: 3x3 with a plus of ones and a bias that only 5 * 255 gets
/// over, then 6x6 of tens.
#[test]
fn a_plus_is_found_wherever_it_is() {
    let Some(gpu) = device::gpu() else { return };
    const ARMS: [(usize, usize); 5] = [(0, 1), (1, 0), (1, 1), (1, 2), (2, 1)];
    let noise = |n: usize| -> Vec<f32> {
        data::indices(&format!("plus{n}"), 64, 255).into_iter().map(|x| x as f32).collect()
    };
    let mut images: Vec<(Vec<f32>, bool)> = Vec::new();
    for place in 0..36 {
        let at = |(row, col): (usize, usize)| (place / 6 + row) * 8 + place % 6 + col;
        for background in [vec![0.0; 64], noise(place)] {
            let mut with = background;
            ARMS.into_iter().for_each(|arm| with[at(arm)] = 255.0);
            // One step short of a plus, in each of its arms in turn.
            let mut without = with.clone();
            without[at(ARMS[place % 5])] = 254.0;
            images.extend([(with, true), (without, false)]);
        }
    }
    images.extend([
        (vec![0.0; 64], false),
        (noise(99), false),
        (vec![254.0; 64], false),
        (vec![255.0; 64], true),
    ]);

    let count = images.len();
    let pixels: Vec<f32> = images.iter().flat_map(|(image, _)| image.iter().copied()).collect();
    let operands = [
        f32_tensor(&[count, 1, 8, 8], pixels),
        image([[0, 1, 0], [1, 1, 1], [0, 1, 0]]),
        f32_tensor(&[1], vec![-1274.0]),
        image([[10; 6]; 6]),
        f32_tensor(&[1], vec![-5.0]),
    ];
    let build = |g: &mut GraphBuilder, v: &[Value]| -> Result<Value, EngineError> {
        let hits = g.conv2d(v[0], v[1], Some(v[2]), ConvOptions::default())?;
        let hits = g.relu(hits)?;
        let sum = g.conv2d(hits, v[3], Some(v[4]), ConvOptions::default())?;
        g.sigmoid(sum)
    };
    every_source(gpu, &operands, build, |source, made| {
        assert_eq!(made.shape(), [count, 1, 1, 1], "{source}: one number an image");
        for (i, (&score, (_, has_plus))) in made.as_f32().expect("f32").iter().zip(&images).enumerate() {
            assert!(
                if *has_plus { score >= 0.99 } else { score <= 0.01 },
                "{source}: image {i} scores {score}"
            );
        }
    });
}

#[test]
fn a_moving_average_counts_its_padding() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [sequence(&[4, 9, 3, 0, 3, 9, 7, 3, 7, 3])];
    let options = PoolOptions { stride: [1], padding: Padding::all(1), ..PoolOptions::new([3]) };
    let expected = [4.3333, 5.3333, 4.0, 2.0, 4.0, 6.3333, 6.3333, 5.6667, 4.3333, 3.3333];
    let expected = Array::new(&[1, 1, 10], expected.to_vec());
    // Written with four decimals.
    let bounds = Tolerance { epsilons: 0.0, absolute: 0.5e-4 }.bounds(&expected);
    every_source(
        gpu,
        &operands,
        |g, v| g.avg_pool1d(v[0], options, AveragePadding::Include),
        |source, made| {
            assert_eq!(made.shape(), [1, 1, 10]);
            assert_close(source, made.as_f32().expect("f32"), &expected, &bounds);
        },
    );
}
