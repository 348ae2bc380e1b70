//! Cuts products that are too deep for one invocation of a software adapter.

use kiln_gpu::DeviceProfile;

use super::Rewriter;
use crate::error::Result;
use crate::graph::{Graph, Node};
use crate::ops::{Binary, Epilogue, Matmul, Op, RhsLayout, Slice, Unary};
use crate::select::SOFTWARE_ITERATIONS;

/// Depth of a part: a power of two well below [`SOFTWARE_ITERATIONS`].
const PART: usize = 32_768;

/// Rewrites each product whose depth exceeds what one invocation may loop over into a chain of products over parts of
/// the depth, each adding the one before. Only software adapters have such a limit; elsewhere the graph stays as it is.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn split_depth(graph: &Graph, profile: &DeviceProfile) -> Result<Graph> {
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    for node in graph.nodes() {
        match &node.op {
            Op::Matmul(matmul) if profile.kind.is_software() => split(&mut rewriter, matmul, node)?,
            _ => rewriter.keep(node)?,
        }
    }
    Ok(rewriter.finish())
}

fn split(rewriter: &mut Rewriter<'_>, matmul: &Matmul, node: &Node) -> Result<()> {
    let (lhs, rhs) = (rewriter.old.desc(node.inputs[0]), rewriter.old.desc(node.inputs[1]));
    let geometry = matmul.geometry(lhs, rhs).map_err(|mismatch| mismatch.at(node.op.name(), &node.path))?;
    let rhs_dim = match matmul.rhs {
        RhsLayout::RowMajor => rhs.rank() - 2,
        RhsLayout::Transposed => rhs.rank() - 1,
        RhsLayout::Panels { .. } => return rewriter.keep(node),
    };
    if geometry.depth as u64 <= SOFTWARE_ITERATIONS {
        return rewriter.keep(node);
    }
    let lhs_dim = lhs.rank() - if matmul.transpose_lhs { 2 } else { 1 };
    let inputs: Vec<_> = node.inputs.iter().map(|&input| rewriter.value(input)).collect();
    let mut add = |op: Op, inputs: Vec<_>| rewriter.new.add_node(op, inputs, node.path.clone());
    let mut sum = None;
    for start in (0..geometry.depth).step_by(PART) {
        let end = (start + PART).min(geometry.depth);
        let left = add(Slice { dim: lhs_dim, start, end }.into(), vec![inputs[0]])?;
        let right = add(Slice { dim: rhs_dim, start, end }.into(), vec![inputs[1]])?;
        let epilogue = Epilogue { residual: sum.is_some(), ..Epilogue::default() };
        let part = Matmul { epilogue, ..*matmul };
        sum = Some(add(part.into(), [left, right].into_iter().chain(sum).collect())?);
    }
    // The epilogue belongs to the whole sum. A depth beyond the limit has at least one part.
    let Some(mut result) = sum else { return rewriter.keep(node) };
    let mut rest = inputs[2..].iter().copied();
    if matmul.epilogue.bias
        && let Some(bias) = rest.next()
    {
        result = add(Binary::Add.into(), vec![result, bias])?;
    }
    if let Some(activation) = matmul.epilogue.activation {
        result = add(Unary::Activation(activation).into(), vec![result])?;
    }
    if matmul.epilogue.residual
        && let Some(residual) = rest.next()
    {
        result = add(Binary::Add.into(), vec![result, residual])?;
    }
    rewriter.map[node.output.index()] = Some(result);
    Ok(())
}
