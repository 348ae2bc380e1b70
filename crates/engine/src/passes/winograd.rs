//! Winograd's convolution in place of the direct one, where it wins.

use super::Rewriter;
use crate::choices::{Question, Target};
use crate::error::Result;
use crate::graph::{Graph, Node, Value};
use crate::lower::piece_limit;
use crate::ops::{
    Conv2d, ConvGeometry, ConvWeight, Matmul, Op, Pool2d, PoolOptions, Pooling, WinogradInput,
    WinogradOutput, WinogradWeight,
};
use crate::select;
use crate::tensor::{DType, TensorDesc};
use crate::window::Padding;
use crate::winograd::{self, WinogradTile};

/// Makes three steps of each 3x3 convolution without stride, dilation and groups that takes less time so: the transform of
/// the image, a batch of products with the transformed weight, and the transform back, with the convolution's epilogue
/// and the 2x2 max pool behind it, if that is all that reads it. For a weight that is constant `hoist_constants` moves
/// the transform to load time.
///
/// The sums are others than those of a direct convolution, and less exact; a NaN or an infinity reaches all outputs of the
/// tiles that hold it.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn winograd<'a>(graph: &Graph, target: impl Into<Target<'a>>) -> Result<Graph> {
    let target = target.into();
    let (uses, constants) = (graph.uses(), graph.constant_values());
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    for node in graph.nodes() {
        // A pool that its convolution has taken in.
        if rewriter.map[node.output.index()].is_some() {
            continue;
        }
        let way = match &node.op {
            Op::Conv2d(conv) if conv.weight == ConvWeight::Plain => {
                way(graph, target, &constants, conv, node)?
            }
            _ => None,
        };
        let Some((conv, geometry, tile)) = way else {
            rewriter.keep(node)?;
            continue;
        };
        let pool = graph.nodes().iter().find(|reader| reader.inputs.contains(&node.output));
        let pool = pool.filter(|reader| uses[node.output.index()] == 1 && is_pool(&reader.op, &geometry));
        let output = rewrite(&mut rewriter, target, conv, &geometry, tile, node, pool.is_some())?;
        rewriter.map[pool.unwrap_or(node).output.index()] = Some(output);
    }
    Ok(rewriter.finish())
}

/// The tile that a convolution shall be made by, if not directly.
fn way<'a>(
    graph: &Graph,
    target: Target<'_>,
    constants: &[bool],
    conv: &'a Conv2d,
    node: &Node,
) -> Result<Option<(&'a Conv2d, ConvGeometry, WinogradTile)>> {
    let (input, weight) = (graph.desc(node.inputs[0]), graph.desc(node.inputs[1]));
    let geometry =
        conv.geometry(input, weight).map_err(|mismatch| mismatch.at(node.op.name(), &node.path))?;
    if !winograd::fits(&geometry) || is_cut(graph, target, constants, &geometry) {
        return Ok(None);
    }
    let constant = constants[node.inputs[1].index()];
    let ways = select::convolutions(target.profile, &geometry, constant);
    let (_, tile) = target.choose(|| Question::about("algorithm", graph, constants, node), &ways);
    Ok(tile.map(|tile| (conv, geometry, tile)))
}

/// Whether the image or the products might be cut into pieces, although they fit, because a larger tensor with as many rows
/// is: their parts could not be bound.
fn is_cut(graph: &Graph, target: Target<'_>, constants: &[bool], geometry: &ConvGeometry) -> bool {
    let limit = piece_limit(target.profile);
    let alignment = u64::from(target.profile.limits.storage_alignment);
    let aligned = |elements: usize| ((elements * DType::BYTES) as u64).is_multiple_of(alignment);
    let image = |channels: usize, [height, width]: [usize; 2]| channels * height * width;
    let images = aligned(image(geometry.in_channels, geometry.axes.map(|axis| axis.input)))
        && aligned(image(geometry.out_channels, geometry.output()));
    let cut = |desc: &TensorDesc| {
        let places = WinogradTile::ALL.iter().any(|tile| tile.places() == desc.rows());
        desc.bytes() > limit && (places || desc.rows() == geometry.batch && !images)
    };
    let values = graph.values().iter().zip(constants);
    values.filter(|(_, constant)| !**constant).any(|(value, _)| cut(&value.desc))
}

/// Whether an op is the maximum over whole 2x2 windows of stride 2.
fn is_pool(op: &Op, geometry: &ConvGeometry) -> bool {
    let Op::Pool2d(Pool2d { pooling: Pooling::Max, options }) = op else { return false };
    let PoolOptions { kernel, stride, padding, dilation, ceil_mode } = *options;
    let even = geometry.output().iter().all(|extent| extent.is_multiple_of(2));
    let unpadded =
        padding == Padding::Valid || padding == Padding::all(0) || padding == Padding::Same && even;
    let fits = geometry.output().iter().all(|&extent| extent >= 2);
    kernel == [2; 2] && stride == [2; 2] && dilation == [1; 2] && unpadded && (!ceil_mode || even) && fits
}

fn rewrite(
    rewriter: &mut Rewriter<'_>,
    target: Target<'_>,
    conv: &Conv2d,
    geometry: &ConvGeometry,
    tile: WinogradTile,
    node: &Node,
    pool: bool,
) -> Result<Value> {
    let panels = target.profile.kind.is_software();
    let input = WinogradInput { tile, padding: conv.options.padding, panels };
    let layout = input
        .layout(rewriter.old.desc(node.inputs[0]))
        .map_err(|mismatch| mismatch.at(node.op.name(), &node.path))?;
    let inputs: Vec<_> = node.inputs.iter().map(|&input| rewriter.value(input)).collect();
    let mut add = |op: Op, inputs: Vec<_>| rewriter.new.add_node(op, inputs, node.path.clone());
    let image = add(input.into(), vec![inputs[0]])?;
    let weight = add(WinogradWeight { tile }.into(), vec![inputs[1]])?;
    let products = add(Matmul::with_rhs(layout).into(), vec![weight, image])?;
    let output = WinogradOutput {
        tile,
        batch: geometry.batch,
        extents: geometry.output(),
        pool,
        epilogue: conv.epilogue,
    };
    add(output.into(), [&[products], &inputs[2..]].concat())
}

#[cfg(test)]
mod tests {
    use kiln_gpu::{DeviceKind, DeviceProfile, Limits};

    use super::*;
    use crate::GraphBuilder;
    use crate::choices::Choices;
    use crate::ops::ConvOptions;
    use crate::passes::fuse_epilogue;

    const SAME: ConvOptions<2> =
        ConvOptions { stride: [1; 2], padding: Padding::all(1), dilation: [1; 2], groups: 1 };

    fn profile(kind: DeviceKind) -> DeviceProfile {
        DeviceProfile::made_up(kind, Limits::BASELINE)
    }

    /// The ops of a graph of one convolution and what `rest` makes of it, compiled as far as this pass.
    fn ops(
        kind: DeviceKind,
        x: [usize; 4],
        options: ConvOptions<2>,
        rest: impl Fn(&mut GraphBuilder, Value) -> Result<Value>,
    ) -> Result<Vec<String>> {
        let mut g = GraphBuilder::new("g");
        let image = g.input("x", &x, DType::F32);
        let (weight, bias) =
            (g.constant("weight", &[64, x[1] / options.groups, 3, 3]), g.constant("bias", &[64]));
        let y = g.conv2d(image, weight, Some(bias), options)?;
        let y = g.relu(y)?;
        let y = rest(&mut g, y)?;
        g.output("y", y);
        let graph = g.finish();
        let made = winograd(&fuse_epilogue(&graph)?, &profile(kind))?;
        made.check()?;
        assert_eq!(made.desc(made.outputs()[0].1), graph.desc(graph.outputs()[0].1));
        Ok(made.nodes().iter().map(|node| node.op.name().to_owned()).collect())
    }

    const STEPS: [&str; 4] = ["winograd_input", "winograd_weight", "matmul", "winograd_output"];

    #[test]
    fn a_convolution_becomes_three_steps() -> Result<()> {
        let alone = |_: &mut GraphBuilder, y| Ok(y);
        assert_eq!(ops(DeviceKind::Cpu, [1, 64, 56, 56], SAME, alone)?, STEPS);
        // The table of a GPU, few channels, a stride, a dilation, groups.
        assert_eq!(ops(DeviceKind::Discrete, [1, 64, 56, 56], SAME, alone)?, ["conv2d"]);
        assert_eq!(ops(DeviceKind::Cpu, [1, 3, 56, 56], SAME, alone)?, ["conv2d"]);
        for options in [
            ConvOptions { stride: [2, 1], ..SAME },
            ConvOptions { dilation: [1, 2], ..SAME },
            ConvOptions { groups: 2, ..SAME },
        ] {
            assert_eq!(ops(DeviceKind::Cpu, [1, 64, 56, 56], options, alone)?, ["conv2d"], "{options:?}");
        }
        Ok(())
    }

    #[test]
    fn a_pool_that_alone_reads_it_is_taken_in() -> Result<()> {
        let pooled = |extent: usize, options: PoolOptions<2>| {
            ops(DeviceKind::Cpu, [1, 64, extent, extent], SAME, |g, y| g.max_pool2d(y, options))
        };
        let two = PoolOptions::new([2; 2]);
        assert_eq!(pooled(56, two)?, STEPS);
        assert_eq!(pooled(57, two)?, STEPS);
        assert_eq!(pooled(56, PoolOptions { ceil_mode: true, ..two })?, STEPS);
        let apart = [&STEPS[..], &["max_pool2d"]].concat();
        assert_eq!(pooled(57, PoolOptions { ceil_mode: true, ..two })?, apart);
        assert_eq!(pooled(56, PoolOptions::new([3; 2]))?, apart);
        assert_eq!(pooled(56, PoolOptions { stride: [1; 2], ..two })?, apart);
        assert_eq!(pooled(56, PoolOptions { padding: Padding::all(1), ..two })?, apart);
        // Read elsewhere too: here by an output.
        let kept = ops(DeviceKind::Cpu, [1, 64, 56, 56], SAME, |g, y| {
            g.output("before", y);
            g.max_pool2d(y, two)
        })?;
        assert_eq!(kept, apart);
        Ok(())
    }

    #[test]
    fn a_choice_overrules_the_table() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[1, 64, 56, 56], DType::F32);
        let weight = g.constant("weight", &[64, 64, 3, 3]);
        let y = g.conv2d(x, weight, None, SAME)?;
        g.output("y", y);
        let graph = g.finish();
        let key = "conv2d algorithm: f32[1, 64, 56, 56] by constant f32[64, 64, 3, 3], padding 1";
        let names = |kind, choice| -> Result<Vec<&'static str>> {
            let (profile, choices) = (profile(kind), Choices::from_iter([(key, choice)]));
            let made = winograd(&graph, Target::new(&profile, &choices))?;
            Ok(made.nodes().iter().map(|node| node.op.name()).collect())
        };
        assert_eq!(names(DeviceKind::Cpu, "direct")?, ["conv2d"]);
        assert_eq!(names(DeviceKind::Discrete, "winograd2")?, STEPS);
        Ok(())
    }

    /// 36 images whose parts could not be bound, beside a tensor of as many rows that has to be cut.
    #[test]
    fn what_may_be_cut_stays() -> Result<()> {
        let made = |rows: usize| -> Result<bool> {
            let mut g = GraphBuilder::new("g");
            let x = g.input("x", &[1, 64, 30, 30], DType::F32);
            let weight = g.constant("weight", &[64, 64, 3, 3]);
            let y = g.conv2d(x, weight, None, SAME)?;
            g.output("y", y);
            let large = g.input("large", &[rows, 1 << 20], DType::F32);
            let large = g.relu(large)?;
            g.output("large", large);
            let graph = winograd(&g.finish(), &profile(DeviceKind::Cpu))?;
            Ok(graph.nodes().len() > 2)
        };
        assert!(made(20)? && made(35)?);
        assert!(!made(36)?, "places of tiles count as rows");
        Ok(())
    }
}
