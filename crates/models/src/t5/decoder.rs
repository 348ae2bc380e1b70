//! The decoder: a step by one token for each row, and whole texts at once.

use kiln_engine::{CachedAttention, DType, EngineError, GraphBuilder, PutRows, Value};

use super::encoder::{attention, projection};
use super::{LM_HEAD, T5, T5Config, bias};

/// Sizes of a decoding plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StepShape {
    /// Texts that grow together: prompts times beams.
    pub rows: usize,
    /// The most tokens of each.
    pub length: usize,
    /// Room for the tokens of all prompts.
    pub source: usize,
}

impl StepShape {
    /// The name of the variable of the tokens that the rows go on from.
    pub fn token_ids(&self) -> String {
        format!("token_ids{}", self.rows)
    }
}

/// What a step reads beside weights and caches.
#[derive(Debug, Clone, Copy)]
pub struct StepInputs {
    /// u32 `[rows]`, below `vocab_size`: the token that each row goes on from. A variable, so that one step may choose what
    /// the next reads.
    pub token_ids: Value,
    /// u32 `[rows][1 + length]`: how many tokens lie behind a row's token, then the slot of the cache that holds each.
    pub past: Value,
    /// u32 `[rows]`: the slot for the keys and values of the token itself.
    pub slots: Value,
    /// u32 `[rows][2]`: where the row's prompt lies in the source, start and end.
    pub spans: Value,
}

impl StepInputs {
    /// Declares the variable for the token ids, by [`StepShape::token_ids`], and the inputs `past`, `slots` and `spans`.
    pub fn declare(g: &mut GraphBuilder, shape: StepShape) -> StepInputs {
        let StepShape { rows, length, .. } = shape;
        StepInputs {
            token_ids: g.variable(&shape.token_ids(), &[rows], DType::U32),
            past: g.input("past", &[rows, 1 + length], DType::U32),
            slots: g.input("slots", &[rows], DType::U32),
            spans: g.input("spans", &[rows, 2], DType::U32),
        }
    }
}

const DECODER_BIAS: &str = "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";

impl T5 {
    /// Puts the keys and values of every layer's cross attention into the variables that [`step`](Self::step) reads:
    /// those of row `i` of the encoder's states, f32 `[tokens][d_model]`, go to row `places[i]`, u32 `[tokens]`, of
    /// `source` rows. A place past the last row is none.
    ///
    /// # Errors
    /// [`EngineError`] where the shapes do not fit.
    pub fn keep_source(
        &self,
        g: &mut GraphBuilder,
        encoded: Value,
        places: Value,
        source: usize,
    ) -> Result<(), EngineError> {
        for layer in 0..self.config.num_decoder_layers {
            g.scope(format!("source/block{layer}"), |g| {
                let [key, value] = self.source_projections(g, layer, encoded)?;
                let variables = self.source_variables(g, source, layer);
                g.update(PutRows { first_col: 0 }, &variables, &[key, value, places])
            })?;
        }
        Ok(())
    }

    /// One token for each row: the logits f32 `[rows][vocab_size]` of the tokens after it. Its keys and values join the
    /// cache, a variable of each layer, f32 `[2 * num_heads][rows * length][d_kv]`. The source must have been [kept](Self::keep_source).
    ///
    /// # Errors
    /// [`EngineError`] where inputs and configuration do not fit.
    pub fn step(
        &self,
        g: &mut GraphBuilder,
        shape: StepShape,
        inputs: StepInputs,
    ) -> Result<Value, EngineError> {
        let (heads, inner) = (self.config.num_heads, self.config.inner());
        g.scope("decoder", |g| {
            let bias = bias::behind(g, DECODER_BIAS, &self.config)?;
            let mut x = self.embed(g, inputs.token_ids)?;
            let (mut caches, mut made) = (vec![], vec![]);
            for layer in 0..self.config.num_decoder_layers {
                let cache_name = format!("cache{}x{}/block{layer}", shape.rows, shape.length);
                let slots = shape.rows * shape.length;
                let cache = g.variable(&cache_name, &[2 * heads, slots, self.config.d_kv], DType::F32);
                x = g.scope(format!("block{layer}"), |g| {
                    let name = format!("decoder.block.{layer}.layer");
                    let x = g.scope("self_attention", |g| {
                        let part = |part: &str| projection(&format!("{name}.0.SelfAttention"), part);
                        let normed = self.norm(g, x, &format!("{name}.0.layer_norm"))?;
                        let qkv = ["q", "k", "v"].map(|which| (part(which), inner));
                        let qkv = g.scope("qkv", |g| self.linear(g, normed, &qkv))?;
                        let op = CachedAttention::new(heads, 1.0);
                        let mixed = g.cached_attention(qkv, cache, inputs.past, bias, op)?;
                        caches.push(cache);
                        made.push(qkv);
                        self.back(g, mixed, x, part("o"))
                    })?;
                    let source = self.source_variables(g, shape.source, layer);
                    let x = self.cross_attention(g, layer, x, source, inputs.spans)?;
                    self.feed_forward(g, x, &format!("{name}.2"))
                })?;
            }
            // Two layers at a time: each puts but a row, and starting a kernel takes longer.
            for (caches, made) in caches.chunks(2).zip(made.chunks(2)) {
                let rows = [made, &[inputs.slots]].concat();
                g.scope("cache", |g| g.update(PutRows { first_col: inner }, caches, &rows))?;
            }
            self.logits(g, x)
        })
    }

    /// A whole text at once, as training forces it: the logits f32 `[tokens][vocab_size]` after each token of the input
    /// `<name>_token_ids`, u32 `[tokens]`, over the encoder's states of one prompt. What [`step`](Self::step) gives one
    /// by one.
    ///
    /// # Errors
    /// [`EngineError`] where the shapes do not fit.
    pub fn forced(
        &self,
        g: &mut GraphBuilder,
        name: &str,
        tokens: usize,
        encoded: Value,
    ) -> Result<Value, EngineError> {
        let token_ids = g.input(&format!("{name}_token_ids"), &[tokens], DType::U32);
        let source = g.desc(encoded).rows() as u32;
        let own: Vec<u32> = (0..tokens as u32).flat_map(|token| [0, token + 1]).collect();
        let (own, all) =
            (g.literal_u32(&[tokens, 2], &own)?, g.literal_u32(&[tokens, 2], &[0, source].repeat(tokens))?);
        g.scope("decoder", |g| {
            let bias = bias::by_distance(g, DECODER_BIAS, &self.config, bias::Sight::Back)?;
            let mut x = self.embed(g, token_ids)?;
            for layer in 0..self.config.num_decoder_layers {
                x = g.scope(format!("block{layer}"), |g| {
                    let name = format!("decoder.block.{layer}.layer");
                    let x = self.packed_self_attention(g, x, &format!("{name}.0"), own, bias)?;
                    let source = self.source_projections(g, layer, encoded)?;
                    let x = self.cross_attention(g, layer, x, source, all)?;
                    self.feed_forward(g, x, &format!("{name}.2"))
                })?;
            }
            self.logits(g, x)
        })
    }

    /// The keys and values that a layer's cross attention reads, f32 `[heads][source][d_kv]` each: variables that the
    /// encoder's plan fills.
    fn source_variables(&self, g: &mut GraphBuilder, source: usize, layer: usize) -> [Value; 2] {
        let shape = [self.config.num_heads, source, self.config.d_kv];
        ["key", "value"]
            .map(|what| g.variable(&format!("source{source}/block{layer}/{what}"), &shape, DType::F32))
    }

    /// Keys and values of a layer's cross attention, f32 `[tokens][inner]` each.
    fn source_projections(
        &self,
        g: &mut GraphBuilder,
        layer: usize,
        encoded: Value,
    ) -> Result<[Value; 2], EngineError> {
        let name = format!("decoder.block.{layer}.layer.1.EncDecAttention");
        let mut project = |part: &str| {
            g.scope(part, |g| self.linear(g, encoded, &[(projection(&name, part), self.config.inner())]))
        };
        Ok([project("k")?, project("v")?])
    }

    /// Cross attention with its norm and residual.
    fn cross_attention(
        &self,
        g: &mut GraphBuilder,
        layer: usize,
        x: Value,
        [key, value]: [Value; 2],
        spans: Value,
    ) -> Result<Value, EngineError> {
        let name = format!("decoder.block.{layer}.layer.1");
        let part = |part: &str| projection(&format!("{name}.EncDecAttention"), part);
        g.scope("cross_attention", |g| {
            let normed = self.norm(g, x, &format!("{name}.layer_norm"))?;
            let q = g.scope("q", |g| self.linear(g, normed, &[(part("q"), self.config.inner())]))?;
            let options = attention(self.config.num_heads, false);
            let mixed = g.attention(q, key, value, spans, options)?;
            self.back(g, mixed, x, part("o"))
        })
    }

    /// The last norm and layer. Tied weights are made for inputs of another size: the states are scaled by
    /// `d_model^-0.5`, here through the norm's weight.
    fn logits(&self, g: &mut GraphBuilder, x: Value) -> Result<Value, EngineError> {
        let T5Config { vocab_size, d_model, .. } = self.config;
        let mut weight = g.constant("decoder.final_layer_norm.weight", &[d_model]);
        if self.config.tie_word_embeddings {
            let scale = g.scalar((d_model as f32).powf(-0.5));
            weight = g.mul(weight, scale)?;
        }
        let normed = g.scope("norm", |g| g.rms_norm(x, weight, self.config.layer_norm_epsilon))?;
        let name = if self.config.tie_word_embeddings { self.embedding } else { LM_HEAD };
        g.scope("lm_head", |g| self.linear(g, normed, &[(name.to_owned(), vocab_size)]))
    }
}
