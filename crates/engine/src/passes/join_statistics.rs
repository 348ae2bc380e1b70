//! Reads running statistics that lie next to each other as one tensor.

use super::{Rewriter, drop_dead};
use crate::error::Result;
use crate::graph::{Graph, Node, Value};
use crate::ops::{BatchNorm, Op, Reshape, Slice, Statistics};

/// Rewrites a batch norm whose mean and variance are slices of one vector, the variance directly behind the mean, so that it
/// takes both as `[2, C]`. As the members of a [flat variable](crate::GraphBuilder::flat_variable) they begin where a
/// device can bind, and a variance by itself often does not: it would be copied.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn join_statistics(graph: &Graph) -> Result<Graph> {
    let mut makers: Vec<Option<&Node>> = vec![None; graph.values().len()];
    for node in graph.nodes() {
        makers[node.output.index()] = Some(node);
    }
    let slice = |value: Value| match makers[value.index()] {
        Some(Node { op: Op::Slice(slice), inputs, .. }) => Some((inputs[0], slice)),
        _ => None,
    };
    // The vector, and the part of it that is both.
    let both = |node: &Node| {
        let Op::BatchNorm(BatchNorm { statistics: Statistics::Given, .. }) = node.op else { return None };
        let ((vector, mean), (other, variance)) = (slice(node.inputs[1])?, slice(node.inputs[2])?);
        let follows = vector == other && graph.desc(vector).rank() == 1 && mean.end == variance.start;
        follows.then_some((vector, Slice { dim: 0, start: mean.start, end: variance.end }))
    };
    if !graph.nodes().iter().any(|node| both(node).is_some()) {
        return Ok(graph.clone());
    }
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    for node in graph.nodes() {
        let (Op::BatchNorm(op), Some((vector, part))) = (&node.op, both(node)) else {
            rewriter.keep(node)?;
            continue;
        };
        let [x, weight, bias] = [0, 3, 4].map(|input| rewriter.value(node.inputs[input]));
        let vector = rewriter.value(vector);
        let mut add = |op: Op, inputs: Vec<Value>| rewriter.new.add_node(op, inputs, node.path.clone());
        let shape = vec![2, (part.end - part.start) / 2];
        let part = add(part.into(), vec![vector])?;
        let moments = add(Reshape { shape }.into(), vec![part])?;
        let op = BatchNorm { statistics: Statistics::Batch, ..*op };
        rewriter.map[node.output.index()] = Some(add(op.into(), vec![x, moments, weight, bias])?);
    }
    drop_dead(&rewriter.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, GraphBuilder};

    /// Two norms: by neighbours, and the other way round.
    #[test]
    fn neighbours_are_one_tensor() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        g.flat_variable(
            "statistics",
            &[(&["a.mean", "a.variance"], &[20]), (&["b.mean", "b.variance"], &[20])],
        )?;
        let x = g.input("x", &[4, 20, 3, 3], DType::F32);
        let [a, b] = ["a", "b"].map(|name| {
            ["mean", "variance"].map(|which| g.variable(&format!("{name}.{which}"), &[20], DType::F32))
        });
        let given = |g: &mut GraphBuilder, [mean, variance]: [Value; 2]| {
            g.batch_norm(x, mean, variance, None, None, 1e-5)
        };
        let (neighbours, swapped) = (given(&mut g, a)?, given(&mut g, [b[1], b[0]])?);
        let apart = given(&mut g, [a[0], b[1]])?;
        for (name, value) in [("neighbours", neighbours), ("swapped", swapped), ("apart", apart)] {
            g.output(name, value);
        }
        let graph = g.finish();
        let joined = join_statistics(&graph)?;
        joined.check()?;
        let norms: Vec<_> =
            joined.nodes().iter().filter(|node| matches!(node.op, Op::BatchNorm(_))).collect();
        let shapes: Vec<_> = norms.iter().map(|norm| joined.desc(norm.inputs[1]).shape.clone()).collect();
        assert_eq!(shapes, [vec![2, 20], vec![20], vec![20]], "{joined}");
        let slices = joined.nodes().iter().filter_map(|node| match &node.op {
            Op::Slice(slice) => Some((slice.start, slice.end)),
            _ => None,
        });
        assert!(slices.clone().any(|slice| slice == (0, 40)), "{joined}");
        assert!(!slices.clone().any(|slice| slice == (20, 40)), "nobody reads it by itself: {joined}");
        Ok(())
    }
}
