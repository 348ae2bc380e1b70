//! What an op costs.

use kiln_engine::{Graph, Node};

/// Multiply-adds of a node: those of convolutions, products and attention, which is all but everything. Elementwise work,
/// normalisation and pooling count as none, as is the custom.
pub fn multiply_adds(graph: &Graph, node: &Node) -> u64 {
    let inputs: Vec<_> = node.inputs.iter().map(|&input| graph.desc(input)).collect();
    node.op.work(&inputs, graph.desc(node.output)).multiply_adds
}
