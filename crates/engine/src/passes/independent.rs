//! Cuts a graph into parts that have nothing to do with each other.

use std::collections::BTreeMap;

use super::drop_dead;
use crate::error::Result;
use crate::graph::{Graph, Origin};

/// The parts of a graph that share neither inputs nor constants nor anything that is computed; literals don't count. Each
/// has some of the outputs, in their order, and no updates: those are nobody's.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub(crate) fn independent(graph: &Graph) -> Result<Vec<Graph>> {
    // A forest: each value points to another one of its part, or to itself.
    let mut parent: Vec<usize> = (0..graph.values().len()).collect();
    for node in graph.nodes() {
        for input in &node.inputs {
            if !matches!(graph.origin(*input), Origin::Literal(_)) {
                let (from, to) = (root(&mut parent, input.index()), root(&mut parent, node.output.index()));
                parent[from] = to;
            }
        }
    }
    let mut parts: BTreeMap<usize, Graph> = BTreeMap::new();
    for (name, value) in graph.outputs() {
        let part = parts.entry(root(&mut parent, value.index())).or_insert_with(|| {
            let (outputs, updates) = (vec![], vec![]);
            Graph { outputs, updates, ..graph.clone() }
        });
        part.outputs.push((name.clone(), *value));
    }
    parts.values().map(drop_dead).collect()
}

fn root(parent: &mut [usize], mut value: usize) -> usize {
    while parent[value] != value {
        parent[value] = parent[parent[value]];
        value = parent[value];
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GraphBuilder;

    #[test]
    fn what_shares_a_weight_stays_together() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let weights = ["a", "b", "c", "d"].map(|name| g.constant(name, &[2, 2]));
        let two = g.scalar(2.0);
        let doubled: Vec<_> = weights.iter().map(|&weight| g.mul(weight, two)).collect::<Result<_>>()?;
        let both = g.add(doubled[0], doubled[2])?;
        for (name, value) in [("0", doubled[3]), ("1", both), ("2", doubled[1]), ("3", doubled[0])] {
            g.output(name, value);
        }
        let mut parts: Vec<Vec<String>> = independent(&g.finish())?
            .iter()
            .map(|part| {
                let names = part.outputs().iter().map(|(name, _)| name.clone());
                let constants = part.values().iter().filter_map(|info| match &info.origin {
                    Origin::Constant(name) => Some(name.clone()),
                    _ => None,
                });
                names.chain(constants).collect()
            })
            .collect();
        parts.sort();
        assert_eq!(parts, [vec!["0", "d"], vec!["1", "3", "a", "c"], vec!["2", "b"]]);
        Ok(())
    }
}
