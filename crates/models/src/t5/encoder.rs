//! The encoder, over packed prompts.

use kiln_engine::{Attention, DType, EngineError, GraphBuilder, Scalar, Value};

use super::T5;
use super::bias::{self, Sight};

/// What the encoder reads beside its weights: packed sequences, one row a token.
#[derive(Debug, Clone, Copy)]
pub struct EncoderInputs {
    /// u32 `[tokens]`, below `vocab_size`.
    pub token_ids: Value,
    /// u32 `[tokens][2]`: the rows of each token's sequence, start and end.
    pub spans: Value,
}

impl EncoderInputs {
    /// Declares the inputs `token_ids` and `spans` of a graph over so many tokens.
    pub fn declare(g: &mut GraphBuilder, tokens: usize) -> EncoderInputs {
        EncoderInputs {
            token_ids: g.input("token_ids", &[tokens], DType::U32),
            spans: g.input("spans", &[tokens, 2], DType::U32),
        }
    }
}

/// The names of the projections of an attention layer.
pub(super) fn projection(attention: &str, part: &str) -> String {
    format!("{attention}.{part}.weight")
}

/// T5 does not scale scores: its weights are initialised so that there is no need.
pub(super) fn attention(heads: usize, relative_bias: bool) -> Attention {
    Attention { heads, scale: Scalar::new(1.0), relative_bias }
}

impl T5 {
    /// The encoder's last hidden states, normed: f32 `[tokens][d_model]`, `last_hidden_state` of `T5EncoderModel`.
    ///
    /// Rows whose span is empty hold numbers that mean nothing, and change no other row.
    ///
    /// # Errors
    /// [`EngineError`] where inputs and configuration do not fit.
    pub fn encode(&self, g: &mut GraphBuilder, inputs: EncoderInputs) -> Result<Value, EngineError> {
        g.scope("encoder", |g| {
            let name = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
            let bias = bias::by_distance(g, name, &self.config, Sight::Both)?;
            let mut x = self.embed(g, inputs.token_ids)?;
            for index in 0..self.config.num_layers {
                x = g.scope(format!("block{index}"), |g| {
                    let name = format!("encoder.block.{index}.layer");
                    let x = self.packed_self_attention(g, x, &format!("{name}.0"), inputs.spans, bias)?;
                    self.feed_forward(g, x, &format!("{name}.1"))
                })?;
            }
            self.norm(g, x, "encoder.final_layer_norm")
        })
    }

    /// Self-attention over packed sequences, with its norm and residual; `name` is the layer's.
    pub(super) fn packed_self_attention(
        &self,
        g: &mut GraphBuilder,
        x: Value,
        name: &str,
        spans: Value,
        bias: Value,
    ) -> Result<Value, EngineError> {
        let inner = self.config.inner();
        let part = |part: &str| projection(&format!("{name}.SelfAttention"), part);
        g.scope("self_attention", |g| {
            let normed = self.norm(g, x, &format!("{name}.layer_norm"))?;
            let mut project =
                |which: &str| g.scope(which, |g| self.linear(g, normed, &[(part(which), inner)]));
            let (q, k, v) = (project("q")?, project("k")?, project("v")?);
            let mixed = g.apply(attention(self.config.num_heads, true), &[q, k, v, spans, bias])?;
            self.back(g, mixed, x, part("o"))
        })
    }
}
