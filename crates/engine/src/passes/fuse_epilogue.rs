//! Moves bias, activation and residual add into the product or convolution that they follow.

use super::Rewriter;
use crate::error::Result;
use crate::graph::{Graph, Node, Value};
use crate::ops::{Binary, Epilogue, Op, Unary};

/// Fuses `residual + activation(sum + bias)`, or any part of it in this order, into the op that makes the sum and has an
/// [`Epilogue`], as long as nothing else reads the values in between.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn fuse_epilogue(graph: &Graph) -> Result<Graph> {
    let uses = graph.uses();
    let mut reader: Vec<Option<usize>> = vec![None; graph.values().len()];
    for (index, node) in graph.nodes().iter().enumerate() {
        for input in &node.inputs {
            reader[input.index()] = Some(index);
        }
    }
    // For each node that ends a chain: the fused op and its inputs, and the node that begins the chain, whose path it keeps.
    // Everything else of the chain is left out.
    let mut replaced: Vec<Option<(Op, Vec<Value>, &Node)>> = vec![None; graph.nodes().len()];
    let mut absorbed = vec![false; graph.nodes().len()];
    // A sum of two products can end the chain of one of them only.
    let mut taken = vec![false; graph.nodes().len()];
    for (index, node) in graph.nodes().iter().enumerate() {
        if epilogue(&mut node.op.clone()).is_none() {
            continue;
        }
        let mut fused = (node.op.clone(), node.inputs.clone());
        let mut last = index;
        while uses[graph.nodes()[last].output.index()] == 1
            && let Some(next) = reader[graph.nodes()[last].output.index()]
            && !taken[next]
            && let Some(wider) = absorb(graph, &fused, graph.nodes()[last].output, &graph.nodes()[next])
        {
            absorbed[last] = true;
            taken[next] = true;
            fused = wider;
            last = next;
        }
        if last != index {
            let (op, inputs) = fused;
            replaced[last] = Some((op, inputs, node));
        }
    }
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    for (index, node) in graph.nodes().iter().enumerate() {
        match replaced[index].take() {
            Some((op, inputs, first)) if !absorbed[index] => {
                rewriter.keep(&Node { op, inputs, output: node.output, path: first.path.clone() })?;
            }
            _ if absorbed[index] => {}
            _ => rewriter.keep(node)?,
        }
    }
    Ok(rewriter.finish())
}

/// The epilogue of an op that has one, and how many inputs of its own stand before the epilogue's.
fn epilogue(op: &mut Op) -> Option<(&mut Epilogue, usize)> {
    match op {
        Op::Matmul(op) => Some((&mut op.epilogue, 2)),
        Op::Conv2d(op) => Some((&mut op.epilogue, 2)),
        Op::ConvTranspose2d(op) => Some((&mut op.epilogue, 2)),
        _ => None,
    }
}

/// The op with one more step in its epilogue, if `node` is such a step on `value`.
fn absorb(graph: &Graph, fused: &(Op, Vec<Value>), value: Value, node: &Node) -> Option<(Op, Vec<Value>)> {
    let (mut op, mut inputs) = fused.clone();
    // A row is added along the last dimension: columns of a product, but not channels of an image.
    let by_columns = matches!(op, Op::Matmul(_));
    let (epilogue, own) = epilogue(&mut op)?;
    match (&node.op, node.inputs.as_slice()) {
        (Op::Unary(Unary::Activation(activation)), _)
            if epilogue.activation.is_none() && !epilogue.residual =>
        {
            epilogue.activation = Some(*activation);
        }
        (Op::Binary(Binary::Add), &[a, b]) if a != b => {
            let other = if a == value { b } else { a };
            let (sum, added) = (graph.desc(value), graph.desc(other));
            let plain = *epilogue == Epilogue::default();
            if by_columns && plain && added.shape == [sum.last()] && sum.rank() > 1 {
                epilogue.bias = true;
                inputs.insert(own, other);
            } else if !epilogue.residual && added == sum {
                epilogue.residual = true;
                inputs.push(other);
            } else {
                return None;
            }
        }
        _ => return None,
    }
    Some((op, inputs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::ConvOptions;
    use crate::{DType, GraphBuilder};

    fn names(graph: &Graph) -> Vec<String> {
        graph.nodes().iter().map(|node| node.op.to_string()).collect()
    }

    #[test]
    fn a_whole_epilogue_becomes_one_node() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[5, 3], DType::F32);
        let (weight, bias) = (g.constant("weight", &[4, 3]), g.constant("bias", &[4]));
        let late = g.input("residual", &[5, 4], DType::F32);
        let y = g.linear(x, weight, Some(bias))?;
        let y = g.gelu(y)?;
        let residual = g.relu(late)?;
        let y = g.add(residual, y)?;
        g.output("y", y);
        let graph = fuse_epilogue(&g.finish())?;
        graph.check()?;
        assert_eq!(graph.nodes().len(), 2, "{graph}");
        assert!(names(&graph)[1].contains("epilogue: bias+Gelu+residual"), "{graph}");
        Ok(())
    }

    #[test]
    fn a_sum_of_two_products_goes_to_one_of_them() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[5, 3], DType::F32);
        let (first, second) = (g.constant("first", &[4, 3]), g.constant("second", &[4, 3]));
        let a = g.linear(x, first, None)?;
        let b = g.linear(x, second, None)?;
        let y = g.add(a, b)?;
        g.output("y", y);
        let graph = fuse_epilogue(&g.finish())?;
        graph.check()?;
        assert_eq!(graph.nodes().len(), 2, "{graph}");
        Ok(())
    }

    #[test]
    fn a_value_that_is_read_elsewhere_is_kept() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[5, 3], DType::F32);
        let weight = g.constant("weight", &[4, 3]);
        let y = g.linear(x, weight, None)?;
        let z = g.relu(y)?;
        g.output("y", y);
        g.output("z", z);
        let graph = fuse_epilogue(&g.finish())?;
        assert_eq!(graph.nodes().len(), 2, "{graph}");
        Ok(())
    }

    /// As in a residual network: relu(x w + residual) is not relu(x w) + residual.
    #[test]
    fn an_activation_of_the_whole_sum_stays_behind_it() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[5, 3], DType::F32);
        let weight = g.constant("weight", &[4, 3]);
        let residual = g.input("residual", &[5, 4], DType::F32);
        let y = g.linear(x, weight, None)?;
        let y = g.add(y, residual)?;
        let y = g.relu(y)?;
        g.output("y", y);
        let names = names(&fuse_epilogue(&g.finish())?);
        assert!(names.len() == 2 && names[0].contains("epilogue: residual"), "{names:?}");
        assert_eq!(names[1], "Activation(Relu)");
        Ok(())
    }

    /// What broadcasts to an image is neither a bias of its channels, were there as many, nor a residual.
    #[test]
    fn what_broadcasts_is_added_by_itself() -> Result<()> {
        for added in [&[4][..], &[1], &[1, 4, 1, 1], &[2, 1, 1, 1], &[4, 1, 1], &[1, 1, 4, 4]] {
            let mut g = GraphBuilder::new("g");
            let x = g.input("x", &[2, 3, 4, 4], DType::F32);
            let added = g.input("added", added, DType::F32);
            let weight = g.constant("weight", &[4, 3, 1, 1]);
            let y = g.conv2d(x, weight, None, ConvOptions::default())?;
            let y = g.add(y, added)?;
            g.output("y", y);
            let graph = g.finish();
            assert_eq!(fuse_epilogue(&graph)?, graph);
        }
        for added in [&[1, 4][..], &[5, 1], &[1]] {
            let mut g = GraphBuilder::new("g");
            let x = g.input("x", &[5, 3], DType::F32);
            let added = g.input("added", added, DType::F32);
            let weight = g.constant("weight", &[4, 3]);
            let y = g.linear(x, weight, None)?;
            let y = g.add(added, y)?;
            g.output("y", y);
            let graph = g.finish();
            assert_eq!(fuse_epilogue(&graph)?, graph);
        }
        Ok(())
    }

    #[test]
    fn the_order_of_an_epilogue_is_kept() -> Result<()> {
        // relu(x w) + bias is not relu(x w + bias): the row may not move in front of the activation.
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[5, 3], DType::F32);
        let (weight, bias) = (g.constant("weight", &[4, 3]), g.constant("bias", &[4]));
        let y = g.linear(x, weight, None)?;
        let y = g.relu(y)?;
        let y = g.add(y, bias)?;
        g.output("y", y);
        let graph = fuse_epilogue(&g.finish())?;
        assert_eq!(graph.nodes().len(), 2, "{graph}");
        Ok(())
    }
}
