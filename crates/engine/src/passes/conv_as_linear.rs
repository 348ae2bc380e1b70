//! Makes a linear layer of a convolution whose only window covers its input.

use super::Rewriter;
use crate::error::Result;
use crate::graph::{Graph, Node};
use crate::ops::{Conv2d, ConvWeight, Matmul, Op, Reshape, RhsLayout};

/// Turns each such [`Conv2d`] into a [`Matmul`] of the same numbers in the same order: nothing moves, only shapes
/// change. So a fully connected layer runs the same kernel however it is written, and its weight, which may exceed what
/// a device can bind, can be split over its rows.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn conv_as_linear(graph: &Graph) -> Result<Graph> {
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    for node in graph.nodes() {
        match &node.op {
            Op::Conv2d(conv) if conv.weight == ConvWeight::Plain => rewrite(&mut rewriter, conv, node)?,
            _ => rewriter.keep(node)?,
        }
    }
    Ok(rewriter.finish())
}

fn rewrite(rewriter: &mut Rewriter<'_>, conv: &Conv2d, node: &Node) -> Result<()> {
    let (input, weight) = (rewriter.old.desc(node.inputs[0]), rewriter.old.desc(node.inputs[1]));
    let geometry =
        conv.geometry(input, weight).map_err(|mismatch| mismatch.at(node.op.name(), &node.path))?;
    if !geometry.is_linear() {
        return rewriter.keep(node);
    }
    let (rows, cols, depth) = (geometry.batch, geometry.out_channels, geometry.depth());
    let mut inputs: Vec<_> = node.inputs.iter().map(|&input| rewriter.value(input)).collect();
    let mut add = |op: Op, inputs: Vec<_>| rewriter.new.add_node(op, inputs, node.path.clone());
    inputs[0] = add(Reshape { shape: vec![rows, depth] }.into(), vec![inputs[0]])?;
    inputs[1] = add(Reshape { shape: vec![cols, depth] }.into(), vec![inputs[1]])?;
    if conv.epilogue.residual
        && let Some(residual) = inputs.last_mut()
    {
        *residual = add(Reshape { shape: vec![rows, cols] }.into(), vec![*residual])?;
    }
    let product = Matmul { epilogue: conv.epilogue, ..Matmul::with_rhs(RhsLayout::Transposed) };
    let product = add(product.into(), inputs)?;
    let output = add(Reshape { shape: geometry.output_shape().to_vec() }.into(), vec![product])?;
    rewriter.map[node.output.index()] = Some(output);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::ConvOptions;
    use crate::passes::fuse_epilogue;
    use crate::{DType, GraphBuilder, Padding};

    #[test]
    fn a_fully_connected_convolution_becomes_a_product() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[2, 5, 7, 7], DType::F32);
        let (weight, bias) = (g.constant("weight", &[4, 5, 7, 7]), g.constant("bias", &[4]));
        let residual = g.input("residual", &[2, 4, 1, 1], DType::F32);
        let y = g.conv2d(x, weight, Some(bias), ConvOptions::default())?;
        let y = g.relu(y)?;
        let y = g.add(y, residual)?;
        g.output("y", y);
        let graph = conv_as_linear(&fuse_epilogue(&g.finish())?)?;
        graph.check()?;
        let names: Vec<&str> = graph.nodes().iter().map(|node| node.op.name()).collect();
        assert_eq!(names, ["reshape", "reshape", "reshape", "matmul", "reshape"], "{graph}");
        assert_eq!(graph.desc(graph.outputs()[0].1).shape, [2, 4, 1, 1]);
        Ok(())
    }

    #[test]
    fn any_other_convolution_stays() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[2, 5, 7, 7], DType::F32);
        let weight = g.constant("weight", &[4, 5, 7, 7]);
        let y = g.conv2d(x, weight, None, ConvOptions { padding: Padding::all(1), ..Default::default() })?;
        g.output("y", y);
        let graph = g.finish();
        assert_eq!(conv_as_linear(&graph)?, graph);
        Ok(())
    }
}
