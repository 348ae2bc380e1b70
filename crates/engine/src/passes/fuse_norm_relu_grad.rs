//! Moves the gradient of a relu into that of the batch norm before it.

use super::Rewriter;
use crate::error::Result;
use crate::graph::{Graph, Node, Value};
use crate::ops::{Activation, BatchNorm, BatchNormGrad, ChannelSum, ChannelTerms, Op, Statistics, Unary};

/// Lets the gradient of a batch norm by its own statistics, and the sums that it and the gradients of weight and bias take,
/// mask what comes from a relu behind the norm, where nothing else reads the masked gradient. They read the norm's input
/// anyway, and its result follows from that: a tensor less is written and read.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn fuse_norm_relu_grad(graph: &Graph) -> Result<Graph> {
    let uses = graph.uses();
    let mut makers: Vec<Option<&Node>> = vec![None; graph.values().len()];
    // By the masked gradient: how often the norm's gradients read it.
    let mut readers = vec![0; graph.values().len()];
    for node in graph.nodes() {
        makers[node.output.index()] = Some(node);
        if let Some(masked) = masked(node, &makers)
            && masked.is_read_by(node)
        {
            readers[node.inputs[0].index()] += 1;
        }
    }
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    for node in graph.nodes() {
        let index = node.output.index();
        if readers[index] > 0 && readers[index] == uses[index] {
            continue;
        }
        let fused = |masked: &Masked<'_>| {
            let index = node.inputs[0].index();
            readers[index] == uses[index] && masked.is_read_by(node)
        };
        let Some(masked) = masked(node, &makers).filter(fused) else {
            rewriter.keep(node)?;
            continue;
        };
        let mut inputs = node.inputs.clone();
        inputs[0] = masked.grad;
        let op = match &node.op {
            Op::ChannelSum(_) => {
                inputs.extend([masked.weight, masked.bias]);
                let terms = ChannelTerms::Normalized { epsilon: masked.norm.epsilon, relu: true };
                ChannelSum { terms }.into()
            }
            _ => {
                inputs.push(masked.bias);
                BatchNormGrad { epsilon: masked.norm.epsilon, relu: true }.into()
            }
        };
        rewriter.keep(&Node { op, inputs, ..node.clone() })?;
    }
    Ok(rewriter.finish())
}

/// The gradient of a relu's result, and the batch norm that the relu is of.
struct Masked<'a> {
    grad: Value,
    norm: &'a BatchNorm,
    x: Value,
    moments: Value,
    weight: Value,
    bias: Value,
}

/// What the first input of a node is, if it is the gradient of such a relu.
fn masked<'a>(node: &Node, makers: &[Option<&'a Node>]) -> Option<Masked<'a>> {
    let maker = |value: Value| makers[value.index()];
    let masked = maker(*node.inputs.first()?)?;
    let relu = Unary::Activation(Activation::Relu);
    let &[result, grad] = &masked.inputs[..] else { return None };
    if !matches!(&masked.op, Op::UnaryGrad(op) if op.function == relu) {
        return None;
    }
    let rectified = maker(result)?;
    let normed = match rectified.op {
        Op::Unary(function) if function == relu => maker(rectified.inputs[0])?,
        _ => return None,
    };
    let Op::BatchNorm(norm @ BatchNorm { statistics: Statistics::Batch, relu: false, .. }) = &normed.op
    else {
        return None;
    };
    let &[x, moments, weight, bias] = &normed.inputs[..] else { return None };
    Some(Masked { grad, norm, x, moments, weight, bias })
}

impl Masked<'_> {
    /// Whether a node, whose first input this is, belongs to the gradients of the norm.
    fn is_read_by(&self, node: &Node) -> bool {
        match node.op {
            Op::ChannelSum(ChannelSum { terms: ChannelTerms::Normalized { epsilon, relu: false } }) => {
                epsilon == self.norm.epsilon && node.inputs[1..] == [self.x, self.moments]
            }
            Op::BatchNormGrad(BatchNormGrad { epsilon, relu: false }) => {
                epsilon == self.norm.epsilon && node.inputs[1..4] == [self.x, self.moments, self.weight]
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::drop_dead;
    use super::*;
    use crate::{DType, GraphBuilder};

    fn count(graph: &Graph, name: &str) -> usize {
        graph.nodes().iter().filter(|node| node.op.name() == name).count()
    }

    /// The gradients by input and weight of a loss behind a norm and a relu.
    fn net(show: bool) -> Result<Graph> {
        let mut g = GraphBuilder::new("g");
        let x = g.variable("x", &[4, 3, 5, 5], DType::F32);
        let weight = g.variable("weight", &[3], DType::F32);
        let y = g.batch_norm_training(x, weight, None, 1e-5)?.output;
        let z = g.relu(y)?;
        let loss = g.mul(z, z)?;
        let loss = g.sum(loss, &[0, 1, 2, 3], false)?;
        // The gradient by y is the masked one itself.
        let gradients = g.gradients(loss, &[x, weight, y])?;
        for (name, value) in ["x", "weight", "y"].into_iter().zip(gradients).take(2 + usize::from(show)) {
            g.output(name, value);
        }
        Ok(g.finish())
    }

    #[test]
    fn the_mask_goes_into_sums_and_gradient() -> Result<()> {
        let graph = net(false)?;
        let fused = fuse_norm_relu_grad(&graph)?;
        fused.check()?;
        assert_eq!((count(&graph, "unary_grad"), count(&fused, "unary_grad")), (1, 0));
        assert_eq!(fused.to_string().matches("relu: true").count(), 2, "{fused}");
        Ok(())
    }

    #[test]
    fn what_is_read_elsewhere_and_other_activations_stay() -> Result<()> {
        let graph = drop_dead(&net(true)?)?;
        assert_eq!(fuse_norm_relu_grad(&graph)?, graph);
        let mut g = GraphBuilder::new("g");
        let x = g.variable("x", &[4, 3], DType::F32);
        let y = g.batch_norm_training(x, None, None, 1e-5)?.output;
        let y = g.sigmoid(y)?;
        let loss = g.sum(y, &[0, 1], false)?;
        let gradients = g.gradients(loss, &[x])?;
        g.output("x", gradients[0]);
        let graph = drop_dead(&g.finish())?;
        assert_eq!(fuse_norm_relu_grad(&graph)?, graph);
        Ok(())
    }
}
