//! T5 (Raffel et al., 2020), as `transformers.T5ForConditionalGeneration` computes it: v1.0, and v1.1 with Flan-T5.
//!
//! [`T5`] builds graphs: the [encoder](T5::encode), the decoder over [whole texts](T5::forced), and its
//! [step](T5::step) by one token with the keys and values of past tokens in device memory. [`Runner`] loads them on a
//! device and is a [`Decoder`](crate::generate::Decoder). [`TextGenerator`](crate::TextGenerator) turns prompts into
//! texts with it.

mod bias;
mod config;
mod decoder;
mod encoder;
mod histories;
mod layers;
pub mod measure;
mod runner;
pub mod tokenizer;

use kiln_engine::{EngineError, GraphBuilder};

pub use config::T5Config;
pub use decoder::{StepInputs, StepShape};
pub use encoder::EncoderInputs;
pub use runner::Runner;

use crate::error::ModelError;
use crate::weights::{Weights, constants};

/// How a model's matrices are kept on the device. Sums are f32 with either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// As f32.
    #[default]
    F32,
    /// As f16, two in a word: half the memory and, where reading weights takes the time, more speed. On every adapter.
    F16,
}

/// A T5 model whose tensors are known to be there.
#[derive(Debug, Clone)]
pub struct T5 {
    config: T5Config,
    precision: Precision,
    /// The tensor with the embedding table: a file holds it under one or several names.
    embedding: &'static str,
}

/// The names of the embedding table, which tied files hold once or more often.
const EMBEDDINGS: [&str; 3] = [SHARED, "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"];
const SHARED: &str = "shared.weight";
const LM_HEAD: &str = "lm_head.weight";

/// What files hold and transformers ignores: cross attention has no bias, whatever a file says.
const UNUSED: &str = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight";

impl T5 {
    /// Checks that the file holds the tensors of such a model, and no others besides those that transformers ignores:
    /// repetitions of the embedding table, and a bias of the cross attention.
    ///
    /// # Errors
    /// [`ModelError::WrongTensors`] names every tensor that is missing, extra or of another shape;
    /// [`ModelError::Unsupported`] where f16 is asked for and a width is odd.
    pub fn new(config: T5Config, weights: &Weights, precision: Precision) -> Result<T5, ModelError> {
        // A tied file may hold the table only as the last layer.
        let tied = config.tie_word_embeddings.then_some(LM_HEAD);
        let candidates = EMBEDDINGS.into_iter().chain(tied);
        let embedding = candidates.into_iter().find(|name| weights.shape(name).is_some()).unwrap_or(SHARED);
        let widths = [("d_model", config.d_model), ("d_kv", config.inner()), ("d_ff", config.d_ff)];
        if precision == Precision::F16
            && let Some((name, width)) = widths.into_iter().find(|(_, width)| !width.is_multiple_of(2))
        {
            return Err(ModelError::Unsupported {
                file: weights.path().to_owned(),
                what: format!("f16 with an odd {name} of {width}"),
                instead: "f32 is".to_owned(),
            });
        }
        let t5 = T5 { config, precision, embedding };
        let mut ignored = vec![UNUSED];
        ignored.extend(EMBEDDINGS.into_iter().chain(tied).filter(|name| *name != embedding));
        weights.check(&t5.tensors()?, &ignored)?;
        Ok(t5)
    }

    /// The model of a configuration alone; its tensors go by the names of files without repetitions.
    pub fn without_weights(config: T5Config, precision: Precision) -> T5 {
        T5 { config, precision, embedding: SHARED }
    }

    /// The configuration.
    pub fn config(&self) -> &T5Config {
        &self.config
    }

    /// Names and shapes of the tensors that the graphs read, each once.
    ///
    /// # Errors
    /// [`EngineError`] where the sizes of the configuration do not fit each other.
    pub fn tensors(&self) -> Result<Vec<(String, Vec<usize>)>, EngineError> {
        let mut g = GraphBuilder::new("t5");
        let inputs = EncoderInputs::declare(&mut g, 1);
        let encoded = self.encode(&mut g, inputs)?;
        self.forced(&mut g, "decoder", 1, encoded)?;
        Ok(constants(&g.finish()))
    }
}
