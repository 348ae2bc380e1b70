//! Gives the sides of a product, and the weight of a convolution, the layout that the chosen kernel reads.

use kiln_gpu::DeviceProfile;

use super::Rewriter;
use crate::choices::{Question, Target};
use crate::error::Result;
use crate::graph::{Graph, Node, Value};
use crate::ops::{
    Conv2d, ConvGeometry, ConvTranspose2d, ConvTransposeWeight, ConvWeight, ConvWeightFlip, LhsLayout,
    Matmul, Op, PackHalfPanels, PackPanels, Pad, PadMode, Permute, Reshape, RhsLayout,
};
use crate::select::{self, Layout};
use crate::tensor::MAX_RANK;

/// Inserts a [`PackPanels`] or [`PackHalfPanels`] before each product and each convolution whose kernel reads panels, and a
/// [`Pad`] before each convolution whose kernel reads taps in rows. For a weight, `hoist_constants` then moves it to load
/// time.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn pack_weights<'a>(graph: &Graph, target: impl Into<Target<'a>>) -> Result<Graph> {
    let target = target.into();
    let profile = target.profile;
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    let constant = graph.constant_values();
    for node in graph.nodes() {
        match &node.op {
            Op::Matmul(matmul) => {
                pack(&mut rewriter, matmul, node, target, &constant)?;
            }
            Op::ConvWeightFlip(flip) if let Some(row) = row_of_taps(graph, node.output, profile)? => {
                let input = rewriter.value(node.inputs[0]);
                let op = ConvWeightFlip { row: Some(row), ..*flip };
                let flipped = rewriter.new.add_node(op.into(), vec![input], node.path.clone())?;
                rewriter.map[node.output.index()] = Some(flipped);
            }
            Op::Conv2d(conv) if conv.weight == ConvWeight::Plain => {
                pack_conv(&mut rewriter, conv, node, profile)?;
            }
            Op::ConvTranspose2d(conv) if conv.weight == ConvTransposeWeight::Plain => {
                pack_conv_transpose(&mut rewriter, conv, node, profile, constant[node.inputs[1].index()])?;
            }
            _ => rewriter.keep(node)?,
        }
    }
    Ok(rewriter.finish())
}

fn pack(
    rewriter: &mut Rewriter<'_>,
    matmul: &Matmul,
    node: &Node,
    target: Target<'_>,
    constants: &[bool],
) -> Result<()> {
    let (lhs, rhs) = (rewriter.old.desc(node.inputs[0]), rewriter.old.desc(node.inputs[1]));
    let geometry = matmul.geometry(lhs, rhs).map_err(|mismatch| mismatch.at(node.op.name(), &node.path))?;
    let constant = |side: usize| constants[node.inputs[side].index()];
    let layouts = select::matmul_layouts(target.profile, matmul, &geometry, constant(1));
    let question = || Question::about("layout", rewriter.old, constants, node);
    // Panels have a dimension more.
    let pack_right = !matmul.rhs.is_panels()
        && rhs.rank() < MAX_RANK
        && target.choose(question, &layouts) == Layout::Panels;
    let pack_left = (pack_right || matmul.rhs.is_panels())
        && lhs.rank() < MAX_RANK
        && select::wants_lhs_panels(target.profile, matmul, &geometry, constant(0));
    if !pack_left && !pack_right {
        return rewriter.keep(node);
    }
    let mut inputs: Vec<_> = node.inputs.iter().map(|&input| rewriter.value(input)).collect();
    let mut packed = *matmul;
    if pack_right {
        (inputs[1], packed.rhs) = pack_right_side(rewriter, matmul, geometry.cols, node, constant(1))?;
    }
    if pack_left {
        let pack = PackPanels { transposed: matmul.lhs == LhsLayout::RowMajor };
        inputs[0] = rewriter.new.add_node(pack.into(), vec![inputs[0]], node.path.clone())?;
        packed.lhs = LhsLayout::Panels { rows: geometry.rows };
    }
    let output = rewriter.new.add_node(packed.into(), inputs, node.path.clone())?;
    rewriter.map[node.output.index()] = Some(output);
    Ok(())
}

/// The right side of a product in panels of so many columns.
pub(super) fn pack_right_side(
    rewriter: &mut Rewriter<'_>,
    matmul: &Matmul,
    cols: usize,
    node: &Node,
    constant: bool,
) -> Result<(Value, RhsLayout)> {
    let source =
        source_of_halves(rewriter.old, node.inputs[1]).filter(|_| constant && matmul.rhs.is_halves());
    let side = rewriter.value(source.unwrap_or(node.inputs[1]));
    let (pack, rhs): (Op, _) = match matmul.rhs.is_halves() {
        true => (PackHalfPanels.into(), RhsLayout::HalfPanels { cols }),
        false => {
            let transposed = matmul.rhs == RhsLayout::Transposed;
            (PackPanels { transposed }.into(), RhsLayout::Panels { cols })
        }
    };
    Ok((rewriter.new.add_node(pack, vec![side], node.path.clone())?, rhs))
}

/// The numbers that halves were made of. At load, panels are made straight from them, and what else was made of them is left
/// out where nobody reads it.
pub(super) fn source_of_halves(graph: &Graph, packed: Value) -> Option<Value> {
    let node = graph.nodes().iter().find(|node| node.output == packed)?;
    matches!(node.op, Op::PackHalf(_)).then(|| node.inputs[0])
}

/// How many numbers the taps of a channel take in the only convolution that reads a weight, if its kernel reads taps in
/// rows: what makes the weight may then make them so.
fn row_of_taps(graph: &Graph, weight: Value, profile: &DeviceProfile) -> Result<Option<usize>> {
    let mut readers = graph.nodes().iter().filter(|node| node.inputs.contains(&weight));
    let (Some(node), None) = (readers.next(), readers.next()) else { return Ok(None) };
    let Op::Conv2d(conv) = &node.op else { return Ok(None) };
    if conv.weight != ConvWeight::Plain || node.inputs[0] == weight || graph.ends().any(|end| end == weight) {
        return Ok(None);
    }
    let geometry = conv
        .geometry(graph.desc(node.inputs[0]), graph.desc(weight))
        .map_err(|mismatch| mismatch.at(node.op.name(), &node.path))?;
    let [.., row] = ConvWeight::taps_shape(&geometry);
    Ok(select::conv2d_by_taps(profile, &geometry).map(|_| row))
}

/// The weight of a convolution as its kernel reads it.
fn pack_conv(rewriter: &mut Rewriter<'_>, conv: &Conv2d, node: &Node, profile: &DeviceProfile) -> Result<()> {
    let (input, weight) = (rewriter.old.desc(node.inputs[0]), rewriter.old.desc(node.inputs[1]));
    let geometry =
        conv.geometry(input, weight).map_err(|mismatch| mismatch.at(node.op.name(), &node.path))?;
    let mut inputs: Vec<_> = node.inputs.iter().map(|&input| rewriter.value(input)).collect();
    // What flipped the weight may have made rows of its taps already.
    let by_taps = rewriter.new.desc(inputs[1]) != weight;
    let mut add = |op: Op, inputs: Vec<_>| rewriter.new.add_node(op, inputs, node.path.clone());
    let weight = if select::conv2d_by_taps(profile, &geometry).is_some() {
        if !by_taps {
            inputs[1] = in_taps(&mut add, inputs[1], &geometry)?;
        }
        ConvWeight::Taps { kernel: geometry.kernel() }
    } else if select::wants_conv_panels(profile, &geometry) {
        inputs[1] = in_conv_panels(&mut add, inputs[1], &geometry)?;
        ConvWeight::Panels { out_channels: geometry.out_channels, kernel: geometry.kernel() }
    } else {
        return rewriter.keep(node);
    };
    let output = add(Conv2d { weight, ..*conv }.into(), inputs)?;
    rewriter.map[node.output.index()] = Some(output);
    Ok(())
}

/// Adds a node to a graph.
type Add<'a> = dyn FnMut(Op, Vec<Value>) -> Result<Value> + 'a;

/// The taps of a channel in a row, padded to whole vectors.
fn in_taps(add: &mut Add<'_>, weight: Value, geometry: &ConvGeometry) -> Result<Value> {
    let [out_channels, group_in, rows, padded] = ConvWeight::taps_shape(geometry);
    let taps = geometry.kernel().iter().product::<usize>();
    let flat = add(Reshape { shape: vec![out_channels, group_in, rows, taps] }.into(), vec![weight])?;
    let sides = vec![[0; 2], [0; 2], [0; 2], [0, padded - taps]];
    add(Pad { sides, mode: PadMode::Constant(0.0) }.into(), vec![flat])
}

/// The right sides of a batch of products, one for each group, in panels.
fn in_conv_panels(add: &mut Add<'_>, weight: Value, geometry: &ConvGeometry) -> Result<Value> {
    let matrices = Reshape { shape: vec![geometry.groups, geometry.group_out(), geometry.depth()] };
    let matrices = add(matrices.into(), vec![weight])?;
    add(PackPanels { transposed: true }.into(), vec![matrices])
}

/// The weight of a transposed convolution lies by input channels: its output channels become columns, a matrix a group,
/// and the input channels of a tap neighbours.
fn pack_conv_transpose(
    rewriter: &mut Rewriter<'_>,
    conv: &ConvTranspose2d,
    node: &Node,
    profile: &DeviceProfile,
    constant: bool,
) -> Result<()> {
    let (input, weight) = (rewriter.old.desc(node.inputs[0]), rewriter.old.desc(node.inputs[1]));
    let geometry =
        conv.geometry(input, weight).map_err(|mismatch| mismatch.at(node.op.name(), &node.path))?;
    if !select::wants_conv_transpose_panels(profile, &geometry, constant) {
        return rewriter.keep(node);
    }
    let (groups, group_in, group_out) = (geometry.groups, geometry.group_in(), geometry.group_out());
    let [kernel_h, kernel_w] = geometry.kernel();
    let mut inputs: Vec<_> = node.inputs.iter().map(|&input| rewriter.value(input)).collect();
    let mut add = |op: Op, inputs: Vec<_>| rewriter.new.add_node(op, inputs, node.path.clone());
    let grouped = Reshape { shape: vec![groups, group_in, group_out, kernel_h, kernel_w] };
    let grouped = add(grouped.into(), vec![inputs[1]])?;
    let by_taps = add(Permute { dims: vec![0, 3, 4, 1, 2] }.into(), vec![grouped])?;
    let matrices = Reshape { shape: vec![groups, kernel_h * kernel_w * group_in, group_out] };
    let matrices = add(matrices.into(), vec![by_taps])?;
    inputs[1] = add(PackPanels { transposed: false }.into(), vec![matrices])?;
    let layout =
        ConvTransposeWeight::Panels { out_channels: geometry.out_channels, kernel: [kernel_h, kernel_w] };
    let output = add(ConvTranspose2d { weight: layout, ..*conv }.into(), inputs)?;
    rewriter.map[node.output.index()] = Some(output);
    Ok(())
}
