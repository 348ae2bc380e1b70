//! Cuts the long sums of a weight's gradient in parts, where few outputs would leave a device idle.

use kiln_gpu::DeviceProfile;

use super::Rewriter;
use crate::error::Result;
use crate::graph::{Graph, Node};
use crate::ops::{Conv2dWeightGrad, Op, Reduce, Reduction, Reshape};
use crate::select;

/// Gives each [`Conv2dWeightGrad`] as many parts as the device needs, and adds them up.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn split_weight_grad(graph: &Graph, profile: &DeviceProfile) -> Result<Graph> {
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    for node in graph.nodes() {
        match &node.op {
            Op::Conv2dWeightGrad(op) if op.parts == 1 => split(&mut rewriter, op, node, profile)?,
            _ => rewriter.keep(node)?,
        }
    }
    Ok(rewriter.finish())
}

fn split(
    rewriter: &mut Rewriter<'_>,
    op: &Conv2dWeightGrad,
    node: &Node,
    profile: &DeviceProfile,
) -> Result<()> {
    let (input, grad) = (rewriter.old.desc(node.inputs[0]), rewriter.old.desc(node.inputs[1]));
    let geometry = op.geometry(input, grad).map_err(|mismatch| mismatch.at(node.op.name(), &node.path))?;
    let parts = select::weight_grad_parts(profile, &geometry);
    if parts == 1 {
        return rewriter.keep(node);
    }
    let shape = &rewriter.old.desc(node.output).shape;
    let stacked = Reshape { shape: [&[parts], shape.as_slice()].concat() };
    let inputs = node.inputs.iter().map(|&input| rewriter.value(input)).collect();
    let mut add = |op: Op, inputs: Vec<_>| rewriter.new.add_node(op, inputs, node.path.clone());
    let made = add(Conv2dWeightGrad { parts, ..*op }.into(), inputs)?;
    let made = add(stacked.into(), vec![made])?;
    let sum = Reduce { reduction: Reduction::Sum, dims: vec![0], keep_dim: false };
    let output = add(sum.into(), vec![made])?;
    rewriter.map[node.output.index()] = Some(output);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::ConvOptions;
    use crate::{DType, GraphBuilder};
    use kiln_gpu::{Gpu, Limits};

    fn names(batch: usize, channels: [usize; 2], extent: usize) -> Result<Vec<&'static str>> {
        let gpu = Gpu::noop(Limits::BASELINE).expect("a device that computes nothing should open");
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[batch, channels[0], extent, extent], DType::F32);
        let grad = g.input("grad", &[batch, channels[1], extent - 2, extent - 2], DType::F32);
        let gradient = g.apply(Conv2dWeightGrad::new([3, 3], ConvOptions::default()), &[x, grad])?;
        g.output("gradient", gradient);
        let graph = split_weight_grad(&g.finish(), gpu.profile())?;
        graph.check()?;
        assert_eq!(graph.desc(graph.outputs()[0].1).shape, [channels[1], channels[0], 3, 3]);
        Ok(graph.nodes().iter().map(|node| node.op.name()).collect())
    }

    #[test]
    fn long_sums_of_few_outputs_are_cut() -> Result<()> {
        assert_eq!(names(100, [1, 20], 28)?, ["conv2d_weight_grad", "reshape", "reduce"]);
        assert_eq!(names(2, [512, 2048], 4)?, ["conv2d_weight_grad"]);
        Ok(())
    }
}
