//! Moves a relu into the batch norm before it.

use super::Rewriter;
use crate::error::Result;
use crate::graph::{Graph, Node};
use crate::ops::{Activation, BatchNorm, Op, Unary};

/// Rewrites `relu(batch_norm(x))` as one op where nothing else reads the batch norm: in training this spares a pass over
/// a layer's output, since a relu's gradient asks for its result alone. Batch norms that fold into a convolution are gone
/// by then.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn fuse_norm_relu(graph: &Graph) -> Result<Graph> {
    let uses = graph.uses();
    let mut norms: Vec<Option<&Node>> = vec![None; graph.values().len()];
    for node in graph.nodes() {
        if matches!(node.op, Op::BatchNorm(_)) && uses[node.output.index()] == 1 {
            norms[node.output.index()] = Some(node);
        }
    }
    // A norm that no relu reads stays as it is.
    let mut fused = vec![false; graph.values().len()];
    for node in graph.nodes() {
        if is_relu(node) && norms[node.inputs[0].index()].is_some() {
            fused[node.inputs[0].index()] = true;
        }
    }
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    for node in graph.nodes() {
        if fused[node.output.index()] {
            continue;
        }
        let norm = if is_relu(node) { norms[node.inputs[0].index()] } else { None };
        match norm.map(|norm| (&norm.op, norm)) {
            Some((Op::BatchNorm(op), norm)) => {
                let op = BatchNorm { relu: true, ..*op }.into();
                rewriter.keep(&Node { op, output: node.output, ..norm.clone() })?;
            }
            _ => rewriter.keep(node)?,
        }
    }
    Ok(rewriter.finish())
}

fn is_relu(node: &Node) -> bool {
    matches!(node.op, Op::Unary(Unary::Activation(Activation::Relu)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, GraphBuilder};

    fn names(graph: &Graph) -> Vec<&str> {
        graph.nodes().iter().map(|node| node.op.name()).collect()
    }

    #[test]
    fn in_training_the_relu_goes_and_its_gradient_stays() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[4, 3, 5, 5], DType::F32);
        let weight = g.variable("weight", &[3], DType::F32);
        let y = g.batch_norm_training(x, weight, None, 1e-5)?.output;
        let y = g.relu(y)?;
        let loss = g.sum(y, &[0, 1, 2, 3], false)?;
        let gradients = g.gradients(loss, &[weight])?;
        g.output("gradient", gradients[0]);
        let graph = g.finish();
        let fused = fuse_norm_relu(&graph)?;
        fused.check()?;
        assert_eq!(fused.nodes().len(), graph.nodes().len() - 1);
        let count = |graph: &Graph, name: &str| names(graph).iter().filter(|&&other| other == name).count();
        assert_eq!(count(&graph, "unary"), count(&fused, "unary") + 1);
        assert!(fused.to_string().contains("relu: true"), "{fused}");
        Ok(())
    }

    #[test]
    fn what_is_read_elsewhere_and_other_activations_stay() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[4, 3], DType::F32);
        let numbers = g.input("numbers", &[3], DType::F32);
        let y = g.batch_norm(x, numbers, numbers, None, None, 1e-5)?;
        let z = g.relu(y)?;
        g.output("y", y);
        g.output("z", z);
        let y = g.batch_norm(x, numbers, numbers, None, None, 1e-5)?;
        let y = g.sigmoid(y)?;
        g.output("sigmoid", y);
        let graph = g.finish();
        assert_eq!(fuse_norm_relu(&graph)?, graph);
        Ok(())
    }
}
