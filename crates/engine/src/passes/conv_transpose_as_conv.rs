//! Makes a convolution of a transposed convolution without stride.

use super::Rewriter;
use crate::error::Result;
use crate::graph::{Graph, Node};
use crate::ops::{
    Conv2d, ConvOptions, ConvTranspose2d, ConvTransposeWeight, ConvWeight, ConvWeightFlip, Op, TransposedAxis,
};
use crate::window::Padding;

/// Turns each [`ConvTranspose2d`] of stride 1 into the [`Conv2d`] that it is, by the mirrored weight: the gradient of a
/// convolution by its image is one. Without a stride nothing is left out that the one would compute and the other not, and
/// convolutions have more kernels to choose from. Where more is taken away than a window reaches, it stays.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn conv_transpose_as_conv(graph: &Graph) -> Result<Graph> {
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    for node in graph.nodes() {
        match &node.op {
            Op::ConvTranspose2d(conv) if conv.weight == ConvTransposeWeight::Plain => {
                rewrite(&mut rewriter, conv, node)?;
            }
            _ => rewriter.keep(node)?,
        }
    }
    Ok(rewriter.finish())
}

fn rewrite(rewriter: &mut Rewriter<'_>, conv: &ConvTranspose2d, node: &Node) -> Result<()> {
    let (input, weight) = (rewriter.old.desc(node.inputs[0]), rewriter.old.desc(node.inputs[1]));
    let geometry =
        conv.geometry(input, weight).map_err(|mismatch| mismatch.at(node.op.name(), &node.path))?;
    let [Some(height), Some(width)] = geometry.axes.map(|axis| padding(&axis)) else {
        return rewriter.keep(node);
    };
    let mut inputs: Vec<_> = node.inputs.iter().map(|&input| rewriter.value(input)).collect();
    let mut add = |op: Op, inputs: Vec<_>| rewriter.new.add_node(op, inputs, node.path.clone());
    let groups = geometry.groups;
    inputs[1] = add(ConvWeightFlip { groups, row: None }.into(), vec![inputs[1]])?;
    let padding = Padding::Sides([height, width]);
    let options = ConvOptions { stride: [1, 1], padding, dilation: conv.options.dilation, groups };
    let plain = Conv2d { options, weight: ConvWeight::Plain, epilogue: conv.epilogue };
    let output = add(plain.into(), inputs)?;
    rewriter.map[node.output.index()] = Some(output);
    Ok(())
}

/// The padding with which a convolution gives the same outputs, if there is one.
fn padding(axis: &TransposedAxis) -> Option<[usize; 2]> {
    let reach = axis.dilation * (axis.kernel - 1);
    let before = reach.checked_sub(axis.padding)?;
    (axis.stride == 1).then_some([before, before + axis.output_padding])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::ConvTransposeOptions;
    use crate::{DType, GraphBuilder};

    fn names(options: ConvTransposeOptions<2>) -> Result<Vec<&'static str>> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[2, 6, 7, 8], DType::F32);
        let (weight, bias) = (g.constant("weight", &[6, 2, 3, 4]), g.constant("bias", &[2 * options.groups]));
        let y = g.conv_transpose2d(x, weight, Some(bias), options)?;
        let shape = g.desc(y).shape.clone();
        g.output("y", y);
        let graph = conv_transpose_as_conv(&g.finish())?;
        graph.check()?;
        assert_eq!(graph.desc(graph.outputs()[0].1).shape, shape, "{options:?}");
        Ok(graph.nodes().iter().map(|node| node.op.name()).collect())
    }

    #[test]
    fn without_stride_it_is_a_convolution() -> Result<()> {
        let plain = ConvTransposeOptions::default();
        for options in [
            plain,
            ConvTransposeOptions { padding: [1, 3], groups: 2, ..plain },
            ConvTransposeOptions { dilation: [2, 3], padding: [4, 0], output_padding: [1, 2], ..plain },
        ] {
            assert_eq!(names(options)?, ["conv_weight_flip", "conv2d"], "{options:?}");
        }
        Ok(())
    }

    #[test]
    fn any_other_stays() -> Result<()> {
        let plain = ConvTransposeOptions::default();
        for options in [
            ConvTransposeOptions { stride: [1, 2], ..plain },
            ConvTransposeOptions { padding: [3, 1], ..plain },
        ] {
            assert_eq!(names(options)?, ["conv_transpose2d"], "{options:?}");
        }
        Ok(())
    }
}
