//! Folds a batch norm with fixed statistics into the convolution before it.

use super::Rewriter;
use crate::error::Result;
use crate::graph::{Graph, Node, Origin, Value};
use crate::ops::{BatchNorm, Binary, Conv2d, ConvWeight, Epilogue, Op, Reshape, Statistics, Unary};
use crate::tensor::TensorDesc;

/// Rewrites `batch_norm(conv2d(x, w) + b)` as `conv2d(x, w s) + (b - mean) s + bias`, with
/// `s = weight / sqrt(variance + epsilon)`, where everything but `x` is constant and nothing else reads the convolution.
/// `hoist_constants` then computes the new weight and bias once, at load. Statistics that are variables, as in
/// training, stay, and so does a batch norm by the batch's own statistics.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn fold_batch_norm(graph: &Graph) -> Result<Graph> {
    let uses = graph.uses();
    let constant = graph.constant_values();
    let mut folded: Vec<Option<(Conv2d, &Node)>> = vec![None; graph.values().len()];
    for node in graph.nodes() {
        if let Op::Conv2d(conv) = node.op
            && conv.weight == ConvWeight::Plain
            && conv.epilogue == Epilogue::with_bias(conv.epilogue.bias)
            && uses[node.output.index()] == 1
            && node.inputs[1..].iter().all(|input| constant[input.index()])
        {
            folded[node.output.index()] = Some((conv, node));
        }
    }
    // A convolution that no such batch norm reads stays as it is.
    let mut followed = vec![false; graph.values().len()];
    for node in graph.nodes() {
        let x = node.inputs.first().map_or(0, |input| input.index());
        if matches!(node.op, Op::BatchNorm(BatchNorm { statistics: Statistics::Given, relu: false, .. }))
            && folded[x].is_some()
            && node.inputs[1..].iter().all(|input| constant[input.index()])
        {
            followed[x] = true;
        }
    }
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    for node in graph.nodes() {
        if followed[node.output.index()] {
            continue;
        }
        match &node.op {
            Op::BatchNorm(norm) if followed[node.inputs[0].index()] => {
                if let Some((conv, convolution)) = folded[node.inputs[0].index()] {
                    fold(&mut rewriter, conv, convolution, norm, node)?;
                }
            }
            _ => rewriter.keep(node)?,
        }
    }
    Ok(rewriter.finish())
}

fn fold(
    rewriter: &mut Rewriter<'_>,
    conv: Conv2d,
    convolution: &Node,
    norm: &BatchNorm,
    node: &Node,
) -> Result<()> {
    let x = rewriter.value(convolution.inputs[0]);
    let filter = rewriter.value(convolution.inputs[1]);
    let old_bias = convolution.inputs.get(2).map(|&bias| rewriter.value(bias));
    let mut statistics = node.inputs[1..].iter().map(|&input| rewriter.value(input));
    let mut next = || statistics.next().expect("infer holds that a batch norm has five inputs");
    let (mean, variance, weight, bias) = (next(), next(), next(), next());

    let graph = &mut rewriter.new;
    let literal = Origin::Literal(vec![norm.epsilon.get().to_bits()]);
    let epsilon = graph.add_value(TensorDesc::f32([]), literal);
    let mut add = |op: Op, inputs: Vec<Value>| graph.add_node(op, inputs, node.path.clone());
    let scale = add(Binary::Add.into(), vec![variance, epsilon])?;
    let scale = add(Unary::Sqrt.into(), vec![scale])?;
    let scale = add(Binary::Div.into(), vec![weight, scale])?;
    let centre = match old_bias {
        Some(old) => add(Binary::Sub.into(), vec![old, mean])?,
        None => add(Unary::Neg.into(), vec![mean])?,
    };
    let shift = add(Binary::Mul.into(), vec![centre, scale])?;
    let shift = add(Binary::Add.into(), vec![shift, bias])?;
    let channels = rewriter.old.desc(convolution.inputs[1]).rows();
    let scale = add(Reshape { shape: vec![channels, 1, 1, 1] }.into(), vec![scale])?;
    let filter = add(Binary::Mul.into(), vec![filter, scale])?;
    let conv = Conv2d { epilogue: Epilogue::with_bias(true), ..conv };
    let output = graph.add_node(conv.into(), vec![x, filter, shift], convolution.path.clone())?;
    rewriter.map[node.output.index()] = Some(output);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Activation, ConvOptions};
    use crate::passes::{fuse_epilogue, hoist_constants};
    use crate::{DType, GraphBuilder};

    fn block(g: &mut GraphBuilder, statistics: impl Fn(&mut GraphBuilder, &str) -> Value) -> Result<Value> {
        let x = g.input("x", &[2, 3, 5, 5], DType::F32);
        let filter = g.constant("filter", &[4, 3, 3, 3]);
        let y = g.conv2d(x, filter, None, ConvOptions::default())?;
        let [mean, variance] = ["mean", "variance"].map(|name| statistics(g, name));
        let (weight, bias) = (g.constant("weight", &[4]), g.constant("bias", &[4]));
        g.batch_norm(y, mean, variance, weight, bias, 1e-5)
    }

    #[test]
    fn at_run_time_only_the_convolution_is_left() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let y = block(&mut g, |g, name| g.constant(name, &[4]))?;
        let y = g.activation(Activation::Relu, y)?;
        g.output("y", y);
        let graph = fuse_epilogue(&fold_batch_norm(&g.finish())?)?;
        graph.check()?;
        let hoisted = hoist_constants(&graph)?;
        let names: Vec<String> = hoisted.main.nodes().iter().map(|node| node.op.to_string()).collect();
        assert!(names.len() == 1 && names[0].contains("epilogue: bias+Relu"), "{names:?}");
        Ok(())
    }

    #[test]
    fn statistics_that_may_change_stay() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let y = block(&mut g, |g, name| g.variable(name, &[4], DType::F32))?;
        g.output("y", y);
        let graph = g.finish();
        assert_eq!(fold_batch_norm(&graph)?, graph);
        Ok(())
    }

    /// Even where everything is constant: the statistics are not known before the convolution has run.
    #[test]
    fn statistics_of_the_batch_stay() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[2, 3, 5, 5], DType::F32);
        let filter = g.constant("filter", &[4, 3, 3, 3]);
        let y = g.conv2d(x, filter, None, ConvOptions::default())?;
        let y = g.batch_norm_training(y, None, None, 1e-5)?;
        g.output("y", y.output);
        let graph = g.finish();
        let ops = |graph: &Graph| graph.nodes().iter().map(|node| node.op.clone()).collect::<Vec<_>>();
        assert_eq!(ops(&fold_batch_norm(&graph)?), ops(&graph));
        Ok(())
    }

    /// Folding would compute the new weight anew in every run.
    #[test]
    fn weights_that_may_change_stay() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[2, 3, 5, 5], DType::F32);
        let filter = g.variable("filter", &[4, 3, 3, 3], DType::F32);
        let y = g.conv2d(x, filter, None, ConvOptions::default())?;
        let [mean, variance] = ["mean", "variance"].map(|name| g.constant(name, &[4]));
        let y = g.batch_norm(y, mean, variance, None, None, 1e-5)?;
        g.output("y", y);
        let graph = g.finish();
        assert_eq!(fold_batch_norm(&graph)?, graph);
        Ok(())
    }

    #[test]
    fn a_convolution_that_is_read_elsewhere_stays() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let y = block(&mut g, |g, name| g.constant(name, &[4]))?;
        g.output("y", y);
        let graph = g.finish();
        let (convolution, norm) = (graph.nodes()[0].output, graph.nodes()[1].output);
        let mut graph = graph.clone();
        graph.outputs = vec![("a".into(), convolution), ("b".into(), norm)];
        assert_eq!(fold_batch_norm(&graph)?, graph);
        Ok(())
    }
}
