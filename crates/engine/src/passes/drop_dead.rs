//! Drops what no output and no update depends on.

use super::Rewriter;
use crate::error::Result;
use crate::graph::Graph;

/// The graph without nodes and constants that nothing reads. Inputs and updates stay.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn drop_dead(graph: &Graph) -> Result<Graph> {
    let mut live = vec![false; graph.values().len()];
    for value in graph.ends() {
        live[value.index()] = true;
    }
    for node in graph.nodes().iter().rev() {
        if live[node.output.index()] {
            for input in &node.inputs {
                live[input.index()] = true;
            }
        }
    }
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    for node in graph.nodes() {
        if live[node.output.index()] {
            rewriter.keep(node)?;
        }
    }
    Ok(rewriter.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, GraphBuilder};

    #[test]
    fn dead_nodes_and_constants_go_and_updates_stay() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[2, 2], DType::F32);
        g.input("unused", &[3], DType::F32);
        let weight = g.constant("dead weight", &[2, 2]);
        g.matmul(x, weight)?;
        let counter = g.variable("counter", &[2, 2], DType::F32);
        let next = g.add(counter, x)?;
        g.assign(counter, next)?;
        let y = g.relu(x)?;
        g.output("y", y);
        let graph = drop_dead(&g.finish())?;
        graph.check()?;
        assert_eq!(graph.nodes().iter().map(|node| node.op.name()).collect::<Vec<_>>(), ["binary", "unary"]);
        assert_eq!(graph.inputs().map(|(name, _)| name).collect::<Vec<_>>(), ["x", "unused"]);
        assert!(!graph.to_string().contains("dead weight"));
        Ok(())
    }
}
