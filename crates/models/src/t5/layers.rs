//! What encoder and decoder are made of.

use kiln_engine::{EngineError, GraphBuilder, Value};

use super::{Precision, T5};

impl T5 {
    /// Rows of the embedding table, f32 `[tokens][d_model]`.
    pub(super) fn embed(&self, g: &mut GraphBuilder, token_ids: Value) -> Result<Value, EngineError> {
        g.scope("embed", |g| {
            let table =
                self.matrix(g, &[(self.embedding.to_owned(), self.config.vocab_size)], self.config.d_model)?;
            let rows = g.embedding(table, token_ids)?;
            match self.precision {
                Precision::F32 => Ok(rows),
                Precision::F16 => g.unpack_half(rows),
            }
        })
    }

    /// `x weight^T`, with the matrices `[out][in]` of several tensors below each other: one product in place of several.
    pub(super) fn linear(
        &self,
        g: &mut GraphBuilder,
        x: Value,
        matrices: &[(String, usize)],
    ) -> Result<Value, EngineError> {
        let depth = g.desc(x).last();
        let weight = self.matrix(g, matrices, depth)?;
        g.linear(x, weight, None)
    }

    /// Tensors `[rows][depth]` below each other, as they are kept on the device. Depends on weights alone, so it is
    /// computed once, when a plan is loaded.
    fn matrix(
        &self,
        g: &mut GraphBuilder,
        tensors: &[(String, usize)],
        depth: usize,
    ) -> Result<Value, EngineError> {
        let parts: Vec<Value> =
            tensors.iter().map(|(name, rows)| g.constant(name, &[*rows, depth])).collect();
        let whole = if let [part] = parts[..] { part } else { g.concat(&parts, 0)? };
        match self.precision {
            Precision::F32 => Ok(whole),
            Precision::F16 => g.pack_half(whole),
        }
    }

    /// The norm before a layer: `name` without `.weight`.
    pub(super) fn norm(&self, g: &mut GraphBuilder, x: Value, name: &str) -> Result<Value, EngineError> {
        let weight = g.constant(&format!("{name}.weight"), &[self.config.d_model]);
        g.scope("norm", |g| g.rms_norm(x, weight, self.config.layer_norm_epsilon))
    }

    /// The feed-forward layer with its norm and residual; `name` is the layer's.
    pub(super) fn feed_forward(
        &self,
        g: &mut GraphBuilder,
        x: Value,
        name: &str,
    ) -> Result<Value, EngineError> {
        let (d_ff, activation) = (self.config.d_ff, self.config.activation);
        let part = |part: &str| format!("{name}.DenseReluDense.{part}.weight");
        g.scope("feed_forward", |g| {
            let normed = self.norm(g, x, &format!("{name}.layer_norm"))?;
            let wide = g.scope("wide", |g| {
                if self.config.gated {
                    let both = self.linear(g, normed, &[(part("wi_0"), d_ff), (part("wi_1"), d_ff)])?;
                    g.gated(activation, both)
                } else {
                    let wide = self.linear(g, normed, &[(part("wi"), d_ff)])?;
                    g.activation(activation, wide)
                }
            })?;
            self.back(g, wide, x, part("wo"))
        })
    }

    /// A layer's last projection, from `inner` to the width of the hidden states, added to these.
    pub(super) fn back(
        &self,
        g: &mut GraphBuilder,
        inner: Value,
        x: Value,
        name: String,
    ) -> Result<Value, EngineError> {
        g.scope("output", |g| {
            let output = self.linear(g, inner, &[(name, self.config.d_model)])?;
            g.add(x, output)
        })
    }
}
