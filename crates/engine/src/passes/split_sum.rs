//! Makes long sums of few outputs in parts, where they would leave a GPU idle.

use super::Rewriter;
use crate::choices::{Question, Target};
use crate::error::{Mismatch, Result};
use crate::graph::{Graph, Node};
use crate::lower::piece_limit;
use crate::ops::{Conv2d, Epilogue, JoinParts, Matmul, Op, RhsLayout, SplitSum, Summed};
use crate::select;
use crate::tensor::{MAX_RANK, TensorDesc};

/// Gives each product and each convolution as many parts of its depth as fill a GPU, and joins them in a fixed order, with
/// the epilogue. A software adapter's few cores are never idle: there the graph stays as it is.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn split_sum<'a>(graph: &Graph, target: impl Into<Target<'a>>) -> Result<Graph> {
    let target = target.into();
    let constants = graph.constant_values();
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    for node in graph.nodes() {
        match way(graph, target, &constants, node)? {
            Some((split, join)) => {
                let inputs: Vec<_> = node.inputs.iter().map(|&input| rewriter.value(input)).collect();
                let made = rewriter.new.add_node(split.into(), inputs[..2].to_vec(), node.path.clone())?;
                let joined = std::iter::once(made).chain(inputs[2..].iter().copied()).collect();
                let output = rewriter.new.add_node(join.into(), joined, node.path.clone())?;
                rewriter.map[node.output.index()] = Some(output);
            }
            None => rewriter.keep(node)?,
        }
    }
    Ok(rewriter.finish())
}

/// The two steps that shall stand for a node, if not itself.
fn way(
    graph: &Graph,
    target: Target<'_>,
    constants: &[bool],
    node: &Node,
) -> Result<Option<(SplitSum, JoinParts)>> {
    let [first, second, ..] = node.inputs.as_slice() else { return Ok(None) };
    let (first, second) = (graph.desc(*first), graph.desc(*second));
    let output = graph.desc(node.output);
    let malformed = |mismatch: Mismatch| mismatch.at(node.op.name(), &node.path);
    let (of, epilogue, bias_dim, ways) = match node.op {
        Op::Matmul(op) => {
            let ways =
                select::matmul_parts(target.profile, &op, &op.geometry(first, second).map_err(malformed)?);
            let plain = Summed::Matmul(Matmul { epilogue: Epilogue::default(), ..op });
            // One that lies by depth has no pieces that give columns.
            let ways = if op.rhs == RhsLayout::RowMajor && may_be_cut(graph, target, second) {
                vec![]
            } else {
                ways
            };
            (plain, op.epilogue, output.rank() - 1, ways)
        }
        Op::Conv2d(op) => {
            let ways =
                select::conv2d_parts(target.profile, &op, &op.geometry(first, second).map_err(malformed)?);
            let plain = Summed::Conv2d(Conv2d { epilogue: Epilogue::default(), ..op });
            (plain, op.epilogue, 1, ways)
        }
        _ => return Ok(None),
    };
    // The parts are two dimensions more, and the first input is needed as a whole.
    if ways.is_empty() || output.rank() + 2 > MAX_RANK || may_be_cut(graph, target, first) {
        return Ok(None);
    }
    let (_, parts) = target.choose(|| Question::about("parts", graph, constants, node), &ways);
    Ok((parts > 1).then_some((SplitSum { of, parts }, JoinParts { bias_dim, epilogue })))
}

fn exceeds(target: Target<'_>, desc: &TensorDesc) -> bool {
    desc.bytes() > piece_limit(target.profile)
}

/// Whether a value may lie in pieces: because it is too large, or because another one with as many rows is.
fn may_be_cut(graph: &Graph, target: Target<'_>, desc: &TensorDesc) -> bool {
    let alike = |other: &TensorDesc| other.rows() == desc.rows() && exceeds(target, other);
    graph.values().iter().any(|value| alike(&value.desc))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, DType, GraphBuilder};
    use kiln_gpu::{DeviceKind, DeviceProfile, Limits};

    fn names(kind: DeviceKind, rows: usize, depth: usize, cols: usize) -> Result<Vec<&'static str>> {
        let profile = DeviceProfile::made_up(
            kind,
            Limits { max_binding: 1 << 30, max_buffer: 1 << 30, ..Limits::BASELINE },
        );
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[rows, depth], DType::F32);
        let (weight, bias) = (g.constant("weight", &[cols, depth]), g.constant("bias", &[cols]));
        let y = g.linear(x, weight, Some(bias))?;
        let y = g.activation(Activation::Relu, y)?;
        g.output("y", y);
        let graph = split_sum(&super::super::fuse_epilogue(&g.finish())?, &profile)?;
        graph.check()?;
        assert_eq!(graph.desc(graph.outputs()[0].1).shape, [rows, cols]);
        Ok(graph.nodes().iter().map(|node| node.op.name()).collect())
    }

    #[test]
    fn long_sums_of_few_outputs_are_split_on_gpus() -> Result<()> {
        // The first linear layer of VGG-16 for eight images; then for one, for too many, and of no depth that parts divide.
        let discrete = |rows, depth, cols| names(DeviceKind::Discrete, rows, depth, cols);
        assert_eq!(discrete(8, 25_088, 4096)?, ["split_sum", "join_parts"]);
        assert_eq!(discrete(1, 25_088, 4096)?, ["matmul"]);
        assert_eq!(discrete(4096, 25_088, 4096)?, ["matmul"]);
        assert_eq!(discrete(8, 25_087, 4096)?, ["matmul"]);
        assert_eq!(names(DeviceKind::Cpu, 8, 25_088, 4096)?, ["matmul"]);
        Ok(())
    }
}
