//! Takes sums away that a batch norm makes 0.

use super::{Rewriter, drop_dead};
use crate::error::Result;
use crate::graph::{Graph, Node, Origin, Value};
use crate::ops::{
    BatchNormGrad, ChannelJoin, ChannelResult, ChannelSum, ChannelTerms, Expand, Op, Reduce, Reduction,
};
use crate::tensor::TensorDesc;

/// Puts zeros in place of the sums by channel of a batch norm's gradient by its input, where mean and variance are those
/// of that very input: whatever is added to a channel its mean takes away, so the gradient's elements sum to 0, and what a
/// kernel would find are their rounding errors. These are the gradients of the biases of convolutions before batch norms;
/// the norm of all gradients leaves them out.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn drop_norm_sums(graph: &Graph) -> Result<Graph> {
    let mut makers: Vec<Option<&Node>> = vec![None; graph.values().len()];
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    let mut zero = vec![false; graph.values().len()];
    let uses = graph.uses();
    // How often a value is only added up: nobody then sees which of its elements are missing.
    let mut added_up = vec![0; graph.values().len()];
    for node in graph.nodes() {
        if matches!(node.op, Op::Reduce(Reduce { reduction: Reduction::Sum, .. })) {
            added_up[node.inputs[0].index()] += 1;
        }
    }
    for node in graph.nodes() {
        let output = node.output.index();
        makers[output] = Some(node);
        if matches!(node.op, Op::SumOfSquares(_)) && added_up[output] == uses[output] {
            let inputs: Vec<Value> =
                node.inputs.iter().copied().filter(|input| !zero[input.index()]).collect();
            let inputs = if inputs.is_empty() { node.inputs.clone() } else { inputs };
            rewriter.keep(&Node { inputs, ..node.clone() })?;
            continue;
        }
        if !sums_to_zero(node, &makers) {
            rewriter.keep(node)?;
            continue;
        }
        let desc = graph.desc(node.output).clone();
        let number = rewriter.new.add_value(TensorDesc::f32([]), Origin::Literal(vec![0.0f32.to_bits()]));
        let zeros =
            rewriter.new.add_node(Expand { shape: desc.shape }.into(), vec![number], node.path.clone())?;
        rewriter.map[node.output.index()] = Some(zeros);
        zero[node.output.index()] = true;
    }
    let graph = rewriter.finish();
    if zero.contains(&true) { drop_dead(&graph) } else { Ok(graph) }
}

fn sums_to_zero(node: &Node, makers: &[Option<&Node>]) -> bool {
    let maker = |value: Value| makers[value.index()];
    // What a join of that kind is made of.
    let joined = |value: Value, kind: ChannelResult| match maker(value)? {
        Node { op: Op::ChannelJoin(ChannelJoin { result, .. }), inputs, .. } if *result == kind => {
            let parts = maker(inputs[0])?;
            match parts.op {
                Op::ChannelSum(ChannelSum { terms }) => Some((terms, &parts.inputs[..])),
                _ => None,
            }
        }
        _ => None,
    };
    let first = ChannelResult::Sum { row: 0 };
    let Some((ChannelTerms::Values, &[summed])) = joined(node.output, first) else { return false };
    let Some(Node { op: Op::BatchNormGrad(BatchNormGrad { epsilon, relu }), inputs, .. }) = maker(summed)
    else {
        return false;
    };
    let &[grad, x, moments, weight, bias_grad, weight_grad, ref bias @ ..] = &inputs[..] else {
        return false;
    };
    let own = joined(moments, ChannelResult::Moments)
        .is_some_and(|(terms, of)| terms == ChannelTerms::Moments && of == [x]);
    let mut of = vec![grad, x, moments];
    if *relu {
        of.extend([weight, bias[0]]);
    }
    let terms = ChannelTerms::Normalized { epsilon: *epsilon, relu: *relu };
    let sums = |value: Value, row: usize| {
        joined(value, ChannelResult::Sum { row }).is_some_and(|(own, inputs)| own == terms && inputs == of)
    };
    own && sums(bias_grad, 0) && sums(weight_grad, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{ConvOptions, SumOfSquares};
    use crate::{DType, GraphBuilder};

    /// The gradient of the bias of a convolution, with a norm behind it by its own or by given statistics.
    fn net(own: bool) -> Result<Graph> {
        Ok(builder(own)?.0.finish())
    }

    /// The same, which may go on, with the gradients of bias and weight.
    fn builder(own: bool) -> Result<(GraphBuilder, Vec<Value>)> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[4, 2, 5, 5], DType::F32);
        let weight = g.variable("weight", &[3, 2, 3, 3], DType::F32);
        let bias = g.variable("bias", &[3], DType::F32);
        let y = g.conv2d(x, weight, Some(bias), ConvOptions::default())?;
        let y = if own {
            g.batch_norm_training(y, None, None, 1e-5)?.output
        } else {
            let (mean, variance) = (g.input("mean", &[3], DType::F32), g.input("variance", &[3], DType::F32));
            g.batch_norm(y, mean, variance, None, None, 1e-5)?
        };
        let loss = g.mul(y, y)?;
        let loss = g.sum(loss, &[0, 1, 2, 3], false)?;
        let gradients = g.gradients(loss, &[bias, weight])?;
        let norm = g.global_norm_squared(&gradients)?;
        g.output("norm", norm);
        g.output("bias", gradients[0]);
        g.output("weight", gradients[1]);
        Ok((g, gradients))
    }

    fn sums(graph: &Graph) -> usize {
        graph.nodes().iter().filter(|node| node.op.name() == "channel_sum").count()
    }

    #[test]
    fn a_bias_before_a_norm_has_no_gradient() -> Result<()> {
        let graph = drop_dead(&net(true)?)?;
        let dropped = drop_norm_sums(&graph)?;
        dropped.check()?;
        // Those of the moments, and of the gradient that enters the norm, are left.
        assert_eq!((sums(&graph), sums(&dropped)), (3, 2), "{dropped}");
        let squared = dropped.nodes().iter().find(|node| node.op.name() == "sum_of_squares");
        assert_eq!(squared.map(|node| node.inputs.len()), Some(1), "{dropped}");
        Ok(())
    }

    /// What somebody looks at has the squares of each tensor where they belong.
    #[test]
    fn squares_that_are_not_added_up_stay_where_they_are() -> Result<()> {
        let (mut g, gradients) = builder(true)?;
        let squares = g.apply(SumOfSquares, &gradients)?;
        g.output("squares", squares);
        let dropped = drop_norm_sums(&g.finish())?;
        let shapes: Vec<_> = dropped.outputs().iter().map(|(_, value)| &dropped.desc(*value).shape).collect();
        assert_eq!(shapes.last(), Some(&&vec![2]), "{dropped}");
        Ok(())
    }

    #[test]
    fn by_other_statistics_it_has() -> Result<()> {
        let graph = drop_dead(&net(false)?)?;
        assert_eq!(sums(&graph), 1);
        assert_eq!(drop_norm_sums(&graph)?, graph);
        Ok(())
    }
}
