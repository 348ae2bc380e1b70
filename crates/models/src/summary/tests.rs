use kiln_engine::ops::{AveragePadding, ConvOptions, ConvTransposeOptions, PadMode, PoolOptions};
use kiln_engine::{EngineError, GraphBuilder, Padding};

use super::*;

type Result<T = ()> = std::result::Result<T, EngineError>;

/// A stack of convolutions on a picture of one channel, each with its options.
fn stack(side: [usize; 2], layers: &[(usize, ConvOptions<2>)]) -> Result<Summary> {
    let mut g = GraphBuilder::new("net");
    let mut x = g.input("x", &[1, 1, side[0], side[1]], DType::F32);
    for (index, &(kernel, options)) in layers.iter().enumerate() {
        x = g.scope(format!("block1/conv{}", index + 1), |g| {
            let weight = g.constant(&format!("{index}"), &[1, 1, kernel, kernel]);
            g.conv2d(x, weight, None, options)
        })?;
    }
    g.output("y", x);
    Ok(summarize(&g.finish()))
}

fn fields(summary: &Summary) -> Vec<(usize, f64)> {
    let field = |layer: &Layer| {
        let (size, jump) = (layer.receptive_field.as_ref()?, layer.jump.as_ref()?);
        assert!(size[0] == size[1] && jump[0] == jump[1]);
        Some((size[0], jump[0]))
    };
    summary.layers.iter().filter_map(field).collect()
}

fn strided(stride: usize) -> (usize, ConvOptions<2>) {
    (3, ConvOptions { stride: [stride; 2], ..Default::default() })
}

#[test]
fn receptive_fields_grow_as_the_textbooks_say() -> Result {
    assert_eq!(
        fields(&stack([32; 2], &[strided(1), strided(1), strided(1)])?),
        [(3, 1.0), (5, 1.0), (7, 1.0)]
    );
    assert_eq!(
        fields(&stack([32; 2], &[strided(1), strided(2), strided(2)])?),
        [(3, 1.0), (5, 2.0), (9, 4.0)]
    );
    let dilated = ConvOptions { dilation: [3; 2], padding: Padding::all(3), ..Default::default() };
    assert_eq!(fields(&stack([32; 2], &[(3, dilated)])?), [(7, 1.0)]);
    Ok(())
}

#[test]
fn axes_are_told_apart() -> Result {
    let options = ConvOptions { stride: [1, 2], dilation: [2, 1], ..Default::default() };
    let summary = stack([9, 12], &[(3, options)])?;
    let layer = &summary.layers[0];
    assert_eq!(layer.receptive_field, Some(vec![5, 3]));
    assert_eq!(layer.jump, Some(vec![1.0, 2.0]));
    assert_eq!(layer.window, "3x3 stride 1x2 dilation 2x1");
    assert_eq!(
        summary.notes,
        [
            "conv2d \"block1/conv1\": kernel 3x3 with stride 1x2 on 9x12 leaves a remainder of 1 in the width; \
          output would be floor((12-3)/2)+1 = 5"
        ]
    );
    Ok(())
}

#[test]
fn what_a_window_leaves_over_is_noted() -> Result {
    assert_eq!(
        stack([7; 2], &[strided(3)])?.notes,
        [
            "conv2d \"block1/conv1\": kernel 3x3 with stride 3 on 7x7 leaves a remainder of 1; output would be \
          floor((7-3)/3)+1 = 2"
        ]
    );
    assert!(stack([7; 2], &[strided(1), strided(2)])?.notes.is_empty());
    let padded =
        ConvOptions { stride: [4; 2], padding: Padding::all(1), dilation: [2; 2], ..Default::default() };
    assert_eq!(
        stack([9, 8], &[(3, padded)])?.notes,
        [
            "conv2d \"block1/conv1\": kernel 3x3 with stride 4 on 9x8 leaves a remainder of 2 in the height; output \
          would be floor((9+2*1-2*(3-1)-1)/4)+1 = 2, and a remainder of 1 in the width; output would be \
          floor((8+2*1-2*(3-1)-1)/4)+1 = 2"
        ]
    );
    Ok(())
}

#[test]
fn weights_are_counted_once_and_with_their_bias() -> Result {
    let mut g = GraphBuilder::new("net");
    let x = g.input("x", &[1, 3, 32, 32], DType::F32);
    // Ten filters of 5x5 on three channels: the course's 760 parameters.
    let (weight, bias) = (g.constant("w", &[10, 3, 5, 5]), g.constant("b", &[10]));
    let y = g.scope("conv", |g| {
        let options = ConvOptions { padding: Padding::all(2), ..Default::default() };
        let y = g.conv2d(x, weight, Some(bias), options)?;
        g.relu(y)
    })?;
    let flat = g.scope("flatten", |g| g.reshape(y, &[1, 10 * 32 * 32]))?;
    let (weight, bias) = (g.constant("fc.w", &[4, 10 * 32 * 32]), g.constant("fc.b", &[4]));
    let once = g.scope("fc", |g| g.linear(flat, weight, Some(bias)))?;
    let twice = g.scope("again", |g| g.linear(flat, weight, Some(bias)))?;
    let sum = g.scope("sum", |g| g.add(once, twice))?;
    g.output("y", sum);
    let summary = summarize(&g.finish());
    let rows: Vec<(usize, &str, &str, u64, u64)> = summary
        .layers
        .iter()
        .map(|layer| (layer.index, &*layer.name, &*layer.kind, layer.parameters, layer.multiply_adds))
        .collect();
    let linear = 4 * 10 * 32 * 32;
    assert_eq!(
        rows,
        [
            (1, "conv", "conv2d", 760, 10 * 32 * 32 * 75),
            (2, "conv", "relu", 0, 0),
            (3, "fc", "linear", linear + 4, linear),
            (4, "again", "linear", 0, linear),
            (5, "sum", "add", 0, 0),
        ]
    );
    assert_eq!(summary.totals.parameters, 760 + linear + 4);
    assert_eq!(summary.layers[0].output_bytes, 4 * 10 * 32 * 32);
    assert_eq!(summary.layers[0].weight_bytes, 4 * 760);
    // A layer that is connected to everything sees all of it, padding included.
    assert_eq!(summary.layers[2].receptive_field, Some(vec![36, 36]));
    assert_eq!(summary.layers[2].jump, None);
    Ok(())
}

#[test]
fn lines_are_convolved_too() -> Result {
    let mut g = GraphBuilder::new("net");
    let x = g.input("x", &[1, 2, 20], DType::F32);
    let weight = g.constant("w", &[4, 2, 3]);
    let y =
        g.scope("conv", |g| g.conv1d(x, weight, None, ConvOptions { stride: [2], ..Default::default() }))?;
    g.output("y", y);
    let summary = summarize(&g.finish());
    let [layer] = &summary.layers[..] else { panic!("{summary:?}") };
    assert_eq!((layer.kind.as_str(), layer.output_shape.as_slice()), ("conv1d", &[1, 4, 9][..]));
    assert_eq!((layer.receptive_field.clone(), layer.jump.clone()), (Some(vec![3]), Some(vec![2.0])));
    assert_eq!((layer.window.as_str(), layer.parameters, layer.multiply_adds), ("3 stride 2", 24, 9 * 24));
    Ok(())
}

#[test]
fn a_sum_sees_what_both_sides_see() -> Result {
    let mut g = GraphBuilder::new("net");
    let x = g.input("x", &[1, 1, 16, 16], DType::F32);
    let weight = g.constant("w", &[1, 1, 5, 5]);
    let options = ConvOptions { padding: Padding::all(2), ..Default::default() };
    let y = g.scope("conv", |g| g.conv2d(x, weight, None, options))?;
    let sum = g.scope("residual", |g| g.add(x, y))?;
    let pooled = g.scope("pool", |g| g.max_pool2d(sum, PoolOptions::new([2; 2])))?;
    let aside = g.scope("aside", |g| g.relu(sum))?;
    g.output("y", pooled);
    g.output("z", aside);
    let summary = summarize(&g.finish());
    assert_eq!(fields(&summary), [(5, 1.0), (5, 1.0), (6, 2.0), (5, 1.0)]);
    // What lies beside the way to the pool is not needed for it.
    let extents = summary.layers.iter().map(|layer| layer.last_pool_extent.clone());
    assert!(extents.eq([Some(vec![6; 2]), Some(vec![6; 2]), Some(vec![2; 2]), None]));
    Ok(())
}

#[test]
fn running_statistics_are_no_parameters() -> Result {
    let mut g = GraphBuilder::new("net");
    let x = g.input("x", &[1, 5, 8, 8], DType::F32);
    let parts = ["mean", "variance", "weight", "bias"].map(|part| g.constant(part, &[5]));
    let y = g.scope("norm", |g| g.batch_norm(x, parts[0], parts[1], parts[2], parts[3], 1e-5))?;
    g.output("y", y);
    let summary = summarize(&g.finish());
    let layer = &summary.layers[0];
    assert_eq!((layer.kind.as_str(), layer.parameters, layer.weight_bytes), ("batch_norm", 10, 4 * 20));
    assert_eq!((layer.receptive_field.clone(), layer.jump.clone()), (Some(vec![1; 2]), Some(vec![1.0; 2])));
    Ok(())
}

#[test]
fn upsampling_makes_jumps_smaller() -> Result {
    let mut g = GraphBuilder::new("net");
    let x = g.input("x", &[1, 1, 16, 16], DType::F32);
    let pooled = g.scope("pool", |g| g.avg_pool2d(x, PoolOptions::new([4; 2]), AveragePadding::Include))?;
    let near = g.scope("near", |g| g.upsample_nearest2d(pooled, [16; 2]))?;
    let weight = g.constant("w", &[1, 1, 4, 4]);
    let options = ConvTransposeOptions { stride: [2; 2], padding: [1; 2], ..Default::default() };
    let wide = g.scope("wide", |g| g.conv_transpose2d(pooled, weight, None, options))?;
    g.output("near", near);
    g.output("wide", wide);
    let summary = summarize(&g.finish());
    let names: Vec<&str> = summary.layers.iter().map(|layer| layer.kind.as_str()).collect();
    assert_eq!(names, ["avg_pool2d", "upsample_nearest2d", "conv_transpose2d"]);
    // Two inputs reach each output of the transposed convolution, whose kernel is twice its stride.
    assert_eq!(fields(&summary), [(4, 4.0), (4, 1.0), (8, 2.0)]);
    assert_eq!(summary.layers[2].multiply_adds, 16 * 16);
    assert_eq!(summary.layers[2].window, "4x4 stride 2 padding 1");
    assert_eq!(summary.last_pool.as_deref(), Some("pool"));
    assert_eq!(summary.layers[0].last_pool_extent, Some(vec![4, 4]));
    assert_eq!(summary.layers[1].last_pool_extent, Some(vec![1, 1]));
    Ok(())
}

#[test]
fn pools_round_up_where_they_are_told_to() -> Result {
    let notes = |ceil_mode: bool| -> Result<Vec<String>> {
        let mut g = GraphBuilder::new("net");
        let x = g.input("x", &[1, 1, 7, 6], DType::F32);
        let y =
            g.scope("pool", |g| g.max_pool2d(x, PoolOptions { ceil_mode, ..PoolOptions::new([2; 2]) }))?;
        g.output("y", y);
        Ok(summarize(&g.finish()).notes)
    };
    assert_eq!(
        notes(false)?,
        [
            "max_pool2d \"pool\": kernel 2x2 with stride 2 on 7x6 leaves a remainder of 1 in the height; output would \
          be floor((7-2)/2)+1 = 3"
        ]
    );
    assert!(notes(true)?.is_empty());
    Ok(())
}

#[test]
fn padding_resizing_and_global_pools_are_followed() -> Result {
    let mut g = GraphBuilder::new("net");
    let x = g.input("x", &[1, 1, 8, 8], DType::F32);
    let padded = g.scope("pad", |g| g.pad(x, &[[1, 1], [1, 1]], PadMode::Reflect))?;
    let weight = g.constant("w", &[1, 1, 3, 3]);
    let seen = g.scope("conv", |g| g.conv2d(padded, weight, None, ConvOptions::default()))?;
    // In between two elements nearly everywhere.
    let wide = g.scope("wide", |g| g.upsample_bilinear2d(seen, [16; 2], false))?;
    let third = g.scope("third", |g| g.adaptive_avg_pool2d(wide, [4; 2]))?;
    let all = g.scope("all", |g| g.global_max_pool2d(wide))?;
    g.output("third", third);
    g.output("all", all);
    let summary = summarize(&g.finish());
    let sizes: Vec<Option<Vec<usize>>> =
        summary.layers.iter().map(|layer| layer.receptive_field.clone()).collect();
    // Of 16 positions 4 are in a quarter: they lie between 4 of the 8, each of which sees 3. Of all, 8 and their
    // neighbours beyond the edge.
    assert_eq!(sizes, [1, 3, 4, 6, 12].map(|size| Some(vec![size; 2])));
    let jumps: Vec<Option<Vec<f64>>> = summary.layers.iter().map(|layer| layer.jump.clone()).collect();
    // What is alone has no neighbour.
    let alone = std::iter::once(None);
    assert!(
        jumps.into_iter().eq([1.0, 1.0, 0.5, 2.0].map(|jump| Some(vec![jump; 2])).into_iter().chain(alone))
    );
    assert_eq!(summary.last_pool, None, "neither has a window of its own");
    Ok(())
}
