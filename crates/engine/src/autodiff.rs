//! Gradients: a graph that computes a loss becomes one that computes the loss's derivatives as well.
//!
//! Reverse mode (Linnainmaa, 1970): the nodes are walked from the loss back, and each op adds the nodes that give its
//! inputs' gradients. There is no tape: what the backward half needs of the forward half are values of the same graph,
//! and the plan keeps them as long as something reads them.

use crate::builder::GraphBuilder;
use crate::error::{EngineError, Mismatch, Result};
use crate::graph::Value;
use crate::ops::Op;
use crate::tensor::DType;

impl GraphBuilder {
    /// The derivatives of a loss with respect to values of the graph, each of its value's shape: `torch.autograd.grad`.
    /// Zeros where the loss does not depend on the value.
    ///
    /// The loss is f32 and has one element. What is added stands under the layer path of the op that it belongs to, with
    /// `backward` behind it. Gradients are not differentiable themselves.
    ///
    /// ```
    /// use kiln_engine::{DType, GraphBuilder};
    ///
    /// # fn main() -> Result<(), kiln_engine::EngineError> {
    /// let mut g = GraphBuilder::new("example");
    /// let x = g.input("x", &[5, 3], DType::F32);
    /// let weight = g.variable("weight", &[2, 3], DType::F32);
    /// let y = g.linear(x, weight, None)?;
    /// let loss = g.sum(y, &[0, 1], false)?;
    /// let gradients = g.gradients(loss, &[weight])?;
    /// assert_eq!(g.desc(gradients[0]).shape, [2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`EngineError::Op`] where the loss is no single number, a value is not f32, or an op on the way has no gradient.
    pub fn gradients(&mut self, loss: Value, wrt: &[Value]) -> Result<Vec<Value>> {
        let refuse =
            |mismatch: Mismatch, g: &GraphBuilder| -> EngineError { mismatch.at("gradients", g.path()) };
        let desc = self.desc(loss);
        if desc.elements() != 1 || desc.dtype != DType::F32 {
            return Err(refuse(Mismatch::new("loss", "a single f32 number", desc), self));
        }
        for &value in wrt {
            if self.desc(value).dtype != DType::F32 {
                let mismatch = Mismatch::new("value to differentiate by", "f32", self.desc(value));
                return Err(refuse(mismatch, self));
            }
        }

        let shape = self.desc(loss).shape.clone();
        let nodes = self.graph().nodes().to_vec();
        // Only what lies between the values asked for and the loss is walked.
        let mut wanted = vec![false; self.graph().values().len()];
        for &value in wrt {
            wanted[value.index()] = true;
        }
        for node in &nodes {
            let reached = node.inputs.iter().any(|input| wanted[input.index()]);
            wanted[node.output.index()] |= reached && self.desc(node.output).dtype == DType::F32;
        }
        let mut gradients: Vec<Option<Value>> = vec![None; wanted.len()];
        if wanted[loss.index()] {
            gradients[loss.index()] = Some(self.literal(&shape, &[1.0])?);
        }
        for node in nodes.iter().rev() {
            let Some(grad) = gradients[node.output.index()] else { continue };
            let wants: Vec<bool> = node.inputs.iter().map(|input| wanted[input.index()]).collect();
            if !wants.contains(&true) {
                continue;
            }
            let path = format!("{}/backward", node.path);
            self.at(path, |g| -> Result<()> {
                let mut backward =
                    Backward { g, op: &node.op, node_inputs: &node.inputs, output: node.output, grad, wants };
                let parts = node.op.backward(&mut backward)?;
                debug_assert_eq!(
                    parts.len(),
                    node.inputs.len(),
                    "{} gives a gradient for each input",
                    node.op.name()
                );
                for (&input, part) in node.inputs.iter().zip(parts) {
                    let Some(part) = part.filter(|_| wanted[input.index()]) else { continue };
                    debug_assert_eq!(g.desc(part), g.desc(input), "{}: the gradient's shape", node.op.name());
                    // A value that is read several times takes the sum.
                    let gradient = &mut gradients[input.index()];
                    *gradient = Some(match *gradient {
                        Some(other) => g.add(other, part)?,
                        None => part,
                    });
                }
                Ok(())
            })?;
        }
        wrt.iter()
            .map(|&value| match gradients[value.index()] {
                Some(gradient) => Ok(gradient),
                None => {
                    let (zero, shape) = (self.scalar(0.0), self.desc(value).shape.clone());
                    self.expand(zero, &shape)
                }
            })
            .collect()
    }
}

/// What an op sees while it adds the nodes of its gradients.
pub(crate) struct Backward<'a> {
    /// The graph; its layer path is the op's own, with `backward` behind it.
    pub(crate) g: &'a mut GraphBuilder,
    op: &'a Op,
    node_inputs: &'a [Value],
    output: Value,
    grad: Value,
    wants: Vec<bool>,
}

impl Backward<'_> {
    /// An input of the forward op.
    pub(crate) fn input(&self, index: usize) -> Value {
        self.node_inputs[index]
    }

    /// All inputs of the forward op.
    pub(crate) fn inputs(&self) -> &[Value] {
        self.node_inputs
    }

    /// The forward op's result.
    pub(crate) fn output(&self) -> Value {
        self.output
    }

    /// The derivative of the loss with respect to the output, of its shape.
    pub(crate) fn grad(&self) -> Value {
        self.grad
    }

    /// Whether the gradient of an input is asked for.
    pub(crate) fn wants(&self, index: usize) -> bool {
        self.wants[index]
    }

    /// No gradient for any of the inputs: a list to fill in.
    pub(crate) fn none(&self) -> Vec<Option<Value>> {
        vec![None; self.node_inputs.len()]
    }

    /// The sum of `value` over the dimensions along which `like` was repeated to its shape: the gradient of a broadcast.
    pub(crate) fn sum_to(&mut self, value: Value, like: Value) -> Result<Value> {
        let shape = self.g.desc(like).shape.clone();
        let wide = self.g.desc(value).shape.clone();
        let missing = wide.len() - shape.len();
        let repeated = |dim: &usize| *dim < missing || (shape[dim - missing] == 1 && wide[*dim] != 1);
        let dims: Vec<usize> = (0..wide.len()).filter(repeated).collect();
        let sum = if dims.is_empty() { value } else { self.g.sum(value, &dims, true)? };
        if self.g.desc(sum).shape == shape { Ok(sum) } else { self.g.reshape(sum, &shape) }
    }

    /// The error of an op that cannot be differentiated, or not with these options.
    pub(crate) fn refuse(&self, expected: impl ToString) -> EngineError {
        Mismatch::new("gradient", expected, self.op).at("gradients", self.g.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leads_to_the_values_asked_for_is_added() -> Result<()> {
        let mut g = GraphBuilder::new("net");
        let x = g.input("x", &[5, 3], DType::F32);
        let (first, second) =
            (g.variable("first", &[4, 3], DType::F32), g.variable("second", &[2, 4], DType::F32));
        let unused = g.variable("unused", &[7], DType::F32);
        let y = g.scope("a", |g| g.linear(x, first, None))?;
        let y = g.scope("b", |g| g.linear(y, second, None))?;
        let loss = g.sum(y, &[0, 1], false)?;
        let before = g.graph().nodes().len();
        let gradients = g.gradients(loss, &[second, unused])?;
        assert_eq!(g.desc(gradients[0]).shape, [2, 4]);
        assert_eq!(g.desc(gradients[1]).shape, [7]);
        let added = &g.graph().nodes()[before..];
        assert!(added.iter().all(|node| !node.path.starts_with("net/a")), "{:?}", g.graph().to_string());
        assert!(added.iter().any(|node| node.path == "net/b/backward"));
        g.finish().check()
    }

    #[test]
    fn what_cannot_be_differentiated_is_named() -> Result<()> {
        let mut g = GraphBuilder::new("net");
        let x = g.variable("x", &[5, 3], DType::F32);
        let error = g.gradients(x, &[x]).expect_err("15 numbers are no loss");
        assert_eq!(error.to_string(), "gradients \"net\": loss: expected a single f32 number, got f32[5, 3]");
        Ok(())
    }
}
