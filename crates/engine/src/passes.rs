//! Rewrites of a graph that leave its results unchanged. Each is a function from graph to graph.

mod conv_as_linear;
mod conv_transpose_as_conv;
mod copy_replaced;
mod drop_dead;
mod drop_norm_sums;
mod fold_batch_norm;
mod fuse_epilogue;
mod fuse_norm_relu;
mod fuse_norm_relu_grad;
mod fuse_step;
mod hoist_constants;
mod independent;
mod join_statistics;
mod pack_weights;
mod split_depth;
mod split_sum;
mod split_weight_grad;
mod winograd;

use crate::error::Result;
use crate::graph::{Graph, Node, Origin, Update, Value};

pub use conv_as_linear::conv_as_linear;
pub use conv_transpose_as_conv::conv_transpose_as_conv;
pub use copy_replaced::copy_replaced;
pub use drop_dead::drop_dead;
pub use drop_norm_sums::drop_norm_sums;
pub use fold_batch_norm::fold_batch_norm;
pub use fuse_epilogue::fuse_epilogue;
pub use fuse_norm_relu::fuse_norm_relu;
pub use fuse_norm_relu_grad::fuse_norm_relu_grad;
pub use fuse_step::fuse_step;
pub use hoist_constants::{Hoisted, hoist_constants};
pub(crate) use independent::independent;
pub use join_statistics::join_statistics;
pub use pack_weights::pack_weights;
pub use split_depth::split_depth;
pub use split_sum::split_sum;
pub use split_weight_grad::split_weight_grad;
pub use winograd::winograd;

/// Copies a graph node by node; a pass decides for each what becomes of it.
struct Rewriter<'a> {
    old: &'a Graph,
    new: Graph,
    map: Vec<Option<Value>>,
}

impl<'a> Rewriter<'a> {
    fn new(old: &'a Graph) -> Self {
        Self { old, new: Graph::empty(old.name()), map: vec![None; old.values().len()] }
    }

    /// The new value of an old one. Values that no node makes are copied when first asked for.
    fn value(&mut self, old: Value) -> Value {
        if let Some(new) = self.map[old.index()] {
            return new;
        }
        let info = &self.old.values()[old.index()];
        debug_assert!(info.origin != Origin::Node, "a node's output is mapped before it is read");
        let new = self.new.add_value(info.desc.clone(), info.origin.clone());
        self.map[old.index()] = Some(new);
        new
    }

    /// Copies a node as it is.
    fn keep(&mut self, node: &Node) -> Result<()> {
        let inputs = node.inputs.iter().map(|&input| self.value(input)).collect();
        let output = self.new.add_node(node.op.clone(), inputs, node.path.clone())?;
        self.map[node.output.index()] = Some(output);
        Ok(())
    }

    /// Inputs are part of the graph's interface: they stay, in order, even where nothing reads them.
    fn keep_inputs(&mut self) {
        for index in 0..self.old.values().len() {
            if matches!(self.old.values()[index].origin, Origin::Input(_)) {
                self.value(Value(index as u32));
            }
        }
    }

    fn finish(mut self) -> Graph {
        for (name, value) in self.old.outputs() {
            let value = self.value(*value);
            self.new.outputs.push((name.clone(), value));
        }
        for update in self.old.updates() {
            let variables = update.variables.iter().map(|&variable| self.value(variable)).collect();
            let inputs = update.inputs.iter().map(|&input| self.value(input)).collect();
            self.new.updates.push(Update { variables, inputs, ..update.clone() });
        }
        self.new
    }
}
