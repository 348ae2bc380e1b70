//! Copies the old value of a variable where it is asked for beyond its replacement.

use std::collections::{HashMap, HashSet};

use super::Rewriter;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::ops::{Op, Permute, Slice};

/// Updates are carried out at the end of a run, in place. An output, or what another update reads, that is the variable
/// itself would then show its new value: this pass puts a copy in between. So two variables may change places.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn copy_replaced(graph: &Graph) -> Result<Graph> {
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    for node in graph.nodes() {
        rewriter.keep(node)?;
    }
    let mut graph = rewriter.finish();
    let replaced: HashSet<Value> =
        graph.updates().iter().flat_map(|update| update.variables.iter().copied()).collect();
    let ends: HashSet<Value> = graph.ends().collect();
    let mut copies: HashMap<Value, Value> = HashMap::new();
    // In order, so that equal graphs stay equal.
    let mut ends: Vec<Value> =
        ends.into_iter().filter(|&end| replaced.contains(&root(&graph, end))).collect();
    ends.sort();
    for end in ends {
        // A permutation that changes nothing is a plain copy.
        let dims = (0..graph.desc(end).rank()).collect();
        let path = format!("{}/old_value", graph.name());
        copies.insert(end, graph.add_node(Op::Permute(Permute { dims }), vec![end], path)?);
    }
    let outputs = graph.outputs.iter_mut().map(|(_, end)| end);
    for end in outputs.chain(graph.updates.iter_mut().flat_map(|update| &mut update.inputs)) {
        *end = copies.get(end).copied().unwrap_or(*end);
    }
    Ok(graph)
}

/// The value whose memory this one may share.
fn root(graph: &Graph, mut value: Value) -> Value {
    for node in graph.nodes().iter().rev() {
        if node.output == value && matches!(node.op, Op::Reshape(_) | Op::Slice(Slice { dim: 0, .. })) {
            value = node.inputs[0];
        }
    }
    value
}
