//! The passes in their order.

use kiln_gpu::DeviceProfile;

use crate::error::Result;
use crate::graph::Graph;
use crate::passes::{
    Hoisted, conv_as_linear, conv_transpose_as_conv, copy_replaced, drop_dead, fold_batch_norm,
    fuse_epilogue, fuse_norm_relu, hoist_constants, pack_weights, split_depth, split_weight_grad,
};

/// Checks a graph, rewrites it for a device and cuts it into what runs at load and what runs each time.
///
/// # Errors
/// [`EngineError::Graph`](crate::EngineError::Graph) or [`EngineError::Op`](crate::EngineError::Op) for a malformed
/// graph.
pub fn compile(graph: &Graph, profile: &DeviceProfile) -> Result<Hoisted> {
    graph.check()?;
    let graph = drop_dead(graph)?;
    let graph = copy_replaced(&graph)?;
    let graph = fold_batch_norm(&graph)?;
    let graph = fuse_norm_relu(&graph)?;
    let graph = fuse_epilogue(&graph)?;
    let graph = conv_transpose_as_conv(&graph)?;
    let graph = conv_as_linear(&graph)?;
    let graph = split_depth(&graph, profile)?;
    let graph = split_weight_grad(&graph, profile)?;
    let graph = pack_weights(&graph, profile)?;
    hoist_constants(&graph)
}
