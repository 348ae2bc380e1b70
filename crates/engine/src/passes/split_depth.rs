//! Cuts products and convolutions that are too deep for one invocation of a software adapter.

use kiln_gpu::DeviceProfile;

use super::Rewriter;
use crate::error::{Mismatch, Result};
use crate::graph::{Graph, Node};
use crate::ops::{
    Binary, Conv2d, ConvTranspose2d, ConvTransposeWeight, ConvWeight, Epilogue, LhsLayout, Matmul, Op,
    RhsLayout, Slice, Unary,
};
use crate::select::SOFTWARE_ITERATIONS;

/// Loops of an invocation for one part: a power of two well below [`SOFTWARE_ITERATIONS`].
const PART: u64 = 32_768;

/// Rewrites each product and each convolution whose depth exceeds what one invocation may loop over into a chain over
/// parts of the depth, each adding the one before. Only software adapters have such a limit; elsewhere the graph stays as
/// it is. A convolution in groups stays too: its channels do not lie together by parts.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn split_depth(graph: &Graph, profile: &DeviceProfile) -> Result<Graph> {
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    for node in graph.nodes() {
        let cut = if profile.kind.is_software() { cut(graph, node)? } else { None };
        match cut {
            Some(cut) => split(&mut rewriter, node, &cut)?,
            None => rewriter.keep(node)?,
        }
    }
    Ok(rewriter.finish())
}

/// Where an op's sum is cut.
struct Cut {
    /// The op with another epilogue than its own.
    op: Box<dyn Fn(Epilogue) -> Op>,
    epilogue: Epilogue,
    /// The dimension of the sum, in each of the two inputs.
    dims: [usize; 2],
    /// Its extent in the first.
    extent: usize,
    /// How many of it are one in the second.
    packed: usize,
    /// Loops of an invocation that makes one element.
    iterations: u64,
}

impl Cut {
    /// The extent of a part.
    fn part(&self) -> usize {
        let part = (PART * self.extent as u64 / self.iterations) as usize;
        (part / self.packed * self.packed).max(self.packed)
    }
}

/// How to cut the sum of an op that may be cut and must.
fn cut(graph: &Graph, node: &Node) -> Result<Option<Cut>> {
    let [first, second, ..] = node.inputs.as_slice() else { return Ok(None) };
    let (lhs, rhs) = (graph.desc(*first), graph.desc(*second));
    let malformed = |mismatch: Mismatch| mismatch.at(node.op.name(), &node.path);
    let cut = match node.op.clone() {
        Op::Matmul(op) => {
            let lhs_dim = match op.lhs {
                LhsLayout::RowMajor => lhs.rank() - 1,
                LhsLayout::Transposed => lhs.rank() - 2,
                LhsLayout::Panels { .. } => return Ok(None),
            };
            let rhs_dim = match op.rhs {
                RhsLayout::RowMajor => rhs.rank() - 2,
                RhsLayout::Transposed | RhsLayout::TransposedHalves => rhs.rank() - 1,
                RhsLayout::Panels { .. } | RhsLayout::HalfPanels { .. } => return Ok(None),
            };
            let depth = op.geometry(lhs, rhs).map_err(malformed)?.depth;
            Cut {
                op: Box::new(move |epilogue| Matmul { epilogue, ..op }.into()),
                epilogue: op.epilogue,
                dims: [lhs_dim, rhs_dim],
                extent: depth,
                packed: if op.rhs.is_halves() { 2 } else { 1 },
                iterations: depth as u64,
            }
        }
        Op::Conv2d(op) if op.weight == ConvWeight::Plain && op.options.groups == 1 => {
            let geometry = op.geometry(lhs, rhs).map_err(malformed)?;
            Cut {
                op: Box::new(move |epilogue| Conv2d { epilogue, ..op }.into()),
                epilogue: op.epilogue,
                dims: [1, 1],
                extent: geometry.in_channels,
                packed: 1,
                iterations: geometry.iterations(),
            }
        }
        Op::ConvTranspose2d(op) if op.weight == ConvTransposeWeight::Plain && op.options.groups == 1 => {
            let geometry = op.geometry(lhs, rhs).map_err(malformed)?;
            Cut {
                op: Box::new(move |epilogue| ConvTranspose2d { epilogue, ..op }.into()),
                epilogue: op.epilogue,
                dims: [1, 0],
                extent: geometry.in_channels,
                packed: 1,
                iterations: geometry.iterations(),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(cut).filter(|cut| cut.iterations > SOFTWARE_ITERATIONS && cut.part() < cut.extent))
}

fn split(rewriter: &mut Rewriter<'_>, node: &Node, cut: &Cut) -> Result<()> {
    let &Cut { epilogue, dims, extent, packed, .. } = cut;
    let part = cut.part();
    let inputs: Vec<_> = node.inputs.iter().map(|&input| rewriter.value(input)).collect();
    let mut add = |op: Op, inputs: Vec<_>| rewriter.new.add_node(op, inputs, node.path.clone());
    let mut rest = inputs[2..].iter().copied();
    let mut sum = None;
    for start in (0..extent).step_by(part) {
        let end = (start + part).min(extent);
        let left = add(Slice { dim: dims[0], start, end }.into(), vec![inputs[0]])?;
        let right = Slice { dim: dims[1], start: start / packed, end: end / packed };
        let right = add(right.into(), vec![inputs[1]])?;
        // The bias is a term like any other. What comes after it belongs to the whole sum.
        let bias = if epilogue.bias && sum.is_none() { rest.next() } else { None };
        let own = Epilogue { bias: bias.is_some(), residual: sum.is_some(), ..Epilogue::default() };
        sum = Some(add((cut.op)(own), [left, right].into_iter().chain(bias).chain(sum).collect())?);
    }
    // A sum beyond the limit has at least one part.
    let Some(mut result) = sum else { return rewriter.keep(node) };
    if let Some(activation) = epilogue.activation {
        result = add(Unary::Activation(activation).into(), vec![result])?;
    }
    if epilogue.residual
        && let Some(residual) = rest.next()
    {
        result = add(Binary::Add.into(), vec![result, residual])?;
    }
    rewriter.map[node.output.index()] = Some(result);
    Ok(())
}
