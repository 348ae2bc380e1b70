//! The passes in their order.

use crate::choices::Target;
use crate::error::Result;
use crate::graph::Graph;
use crate::passes::{
    Hoisted, conv_as_linear, conv_transpose_as_conv, copy_replaced, drop_dead, drop_norm_sums,
    fold_batch_norm, fuse_epilogue, fuse_norm_relu, fuse_norm_relu_grad, fuse_step, hoist_constants,
    join_statistics, pack_weights, split_depth, split_sum, split_weight_grad, winograd,
};
use crate::plan::{Constants, Plan};

/// Checks a graph, rewrites it for a device, or for a [`Target`] that has choices besides, and cuts it into what runs at
/// load and what runs each time.
///
/// # Errors
/// [`EngineError::Graph`](crate::EngineError::Graph) or [`EngineError::Op`](crate::EngineError::Op) for a malformed
/// graph.
pub fn compile<'a>(graph: &Graph, target: impl Into<Target<'a>>) -> Result<Hoisted> {
    let target = target.into();
    let profile = target.profile;
    graph.check()?;
    let graph = drop_dead(graph)?;
    let graph = copy_replaced(&graph)?;
    let graph = fold_batch_norm(&graph)?;
    let graph = fuse_norm_relu_grad(&graph)?;
    let graph = drop_norm_sums(&graph)?;
    let graph = fuse_norm_relu(&graph)?;
    let graph = join_statistics(&graph)?;
    let graph = fuse_epilogue(&graph)?;
    let graph = fuse_step(&graph, profile)?;
    let graph = conv_transpose_as_conv(&graph)?;
    let graph = conv_as_linear(&graph)?;
    let graph = winograd(&graph, target)?;
    let graph = split_depth(&graph, profile)?;
    let graph = split_sum(&graph, target)?;
    let graph = split_weight_grad(&graph, profile)?;
    let graph = pack_weights(&graph, target)?;
    hoist_constants(&graph)
}

/// A graph as a session loads it.
pub(crate) struct Planned {
    /// What runs once, at load.
    pub(crate) prepare: Graph,
    /// What runs each time.
    pub(crate) main: Plan,
}

/// Compiles a graph and plans what runs each time.
pub(crate) fn plan(graph: &Graph, target: Target<'_>) -> Result<Planned> {
    let hoisted = compile(graph, target)?;
    let main = Plan::build(&hoisted.main, target, Constants::Resident)?;
    Ok(Planned { prepare: hoisted.prepare, main })
}
