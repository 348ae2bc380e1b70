//! What an op costs.

use kiln_engine::ops::Op;
use kiln_engine::{Graph, Node};

/// Multiply-adds of a node: those of convolutions, products and attention, which is all but everything. Elementwise work,
/// normalisation and pooling count as none, as is the custom.
pub fn multiply_adds(graph: &Graph, node: &Node) -> u64 {
    let shape = |input: usize| graph.desc(node.inputs[input]).shape.as_slice();
    let output = product(&graph.desc(node.output).shape);
    match &node.op {
        Op::Conv2d(op) => {
            let geometry = op.geometry(graph.desc(node.inputs[0]), graph.desc(node.inputs[1]));
            geometry.map_or(0, |geometry| output.saturating_mul(geometry.depth() as u64))
        }
        // Each element of the input goes into all channels of its group, at every tap.
        Op::ConvTranspose2d(op) => {
            let geometry = op.geometry(graph.desc(node.inputs[0]), graph.desc(node.inputs[1]));
            geometry.map_or(0, |geometry| {
                let taps: u64 = geometry.axes.iter().map(|axis| axis.kernel as u64).product();
                let channels = (geometry.out_channels / geometry.groups) as u64;
                product(shape(0)).saturating_mul(taps).saturating_mul(channels)
            })
        }
        // Each element of the output's gradient meets what its window sees of the input.
        Op::Conv2dWeightGrad(_) => {
            let taps: u64 = product(&graph.desc(node.output).shape[1..]);
            product(shape(1)).saturating_mul(taps)
        }
        Op::Matmul(op) => {
            let depth = shape(0).iter().rev().nth(usize::from(op.transpose_lhs));
            output.saturating_mul(depth.map_or(1, |&depth| depth as u64))
        }
        // Scores and mixture, where every token looks at every row: the most that the spans may ask for.
        Op::Attention(_) => output.saturating_mul(2 * shape(1)[0] as u64),
        // The same of new tokens on all that the cache may hold for them, and on themselves.
        Op::CachedAttention(_) => output.saturating_mul(2 * shape(2)[1] as u64),
        _ => 0,
    }
}

fn product(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |product: u64, &extent| product.saturating_mul(extent as u64))
}
