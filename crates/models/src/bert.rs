//! The BERT encoder (Devlin et al., 2018), as `transformers.BertModel` computes it, over packed sequences.

use std::path::Path;

use kiln_engine::{Activation, Attention, EngineError, GraphBuilder, Value};
use serde::Deserialize;

use crate::error::ModelError;
use crate::layout;
use crate::weights::{Weights, constants};

/// What `config.json` says about a BERT encoder; names as there.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the file, explained by transformers.BertConfig")]
pub struct BertConfig {
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub vocab_size: usize,
    #[serde(default = "default_positions")]
    pub max_position_embeddings: usize,
    #[serde(default = "default_types")]
    pub type_vocab_size: usize,
    #[serde(default = "default_epsilon")]
    pub layer_norm_eps: f32,
    #[serde(default = "default_activation")]
    pub hidden_act: String,
    #[serde(default)]
    pub model_type: String,
    #[serde(default = "default_position_type")]
    pub position_embedding_type: String,
    #[serde(default)]
    pub is_decoder: bool,
}

/// Far above any encoder, and low enough that no product of two sizes overflows.
const MAX_SIZE: usize = 1 << 24;
/// As [`MAX_SIZE`], for the depth.
const MAX_LAYERS: usize = 1 << 10;

fn default_positions() -> usize {
    512
}
fn default_types() -> usize {
    2
}
fn default_epsilon() -> f32 {
    1e-12
}
fn default_activation() -> String {
    "gelu".to_owned()
}
fn default_position_type() -> String {
    "absolute".to_owned()
}

impl BertConfig {
    /// Reads a `config.json` and refuses what this encoder cannot compute.
    pub fn open(path: &Path) -> Result<BertConfig, ModelError> {
        // The kind of model first: another kind has other fields, and "missing field" would mislead.
        #[derive(Deserialize)]
        struct Kind {
            #[serde(default)]
            model_type: String,
        }
        let kind: Kind = layout::read_json(path)?;
        if kind.model_type != "bert" {
            return Err(unsupported(path, "model_type", &kind.model_type, "\"bert\" is"));
        }
        let config: BertConfig = layout::read_json(path)?;
        if config.position_embedding_type != "absolute" {
            let value = &config.position_embedding_type;
            return Err(unsupported(path, "position_embedding_type", value, "\"absolute\" is"));
        }
        if config.is_decoder {
            return Err(unsupported(path, "is_decoder", "true", "encoders are"));
        }
        if config.activation().is_none() {
            let instead = "\"gelu\", \"gelu_new\", \"gelu_pytorch_tanh\" and \"relu\" are";
            return Err(unsupported(path, "hidden_act", &config.hidden_act, instead));
        }
        let sizes = [
            ("hidden_size", config.hidden_size),
            ("num_attention_heads", config.num_attention_heads),
            ("intermediate_size", config.intermediate_size),
            ("vocab_size", config.vocab_size),
            ("max_position_embeddings", config.max_position_embeddings),
            ("type_vocab_size", config.type_vocab_size),
        ];
        for (name, size) in sizes {
            if !(1..=MAX_SIZE).contains(&size) {
                return Err(ModelError::config(
                    path,
                    format!("{name}: expected 1 to {MAX_SIZE}, got {size}"),
                ));
            }
        }
        if config.num_hidden_layers > MAX_LAYERS {
            let got = config.num_hidden_layers;
            let message = format!("num_hidden_layers: expected at most {MAX_LAYERS}, got {got}");
            return Err(ModelError::config(path, message));
        }
        let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
        if !hidden.is_multiple_of(heads) {
            let message =
                format!("hidden_size: expected a multiple of the {heads} attention heads, got {hidden}");
            return Err(ModelError::config(path, message));
        }
        Ok(config)
    }

    fn activation(&self) -> Option<Activation> {
        match self.hidden_act.as_str() {
            "gelu" => Some(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Some(Activation::GeluTanh),
            "relu" => Some(Activation::Relu),
            _ => None,
        }
    }
}

fn unsupported(file: &Path, name: &str, value: &str, instead: &str) -> ModelError {
    ModelError::Unsupported {
        file: file.to_owned(),
        what: format!("{name} {value:?}"),
        instead: instead.to_owned(),
    }
}

/// The values that the encoder reads beside its weights: packed sequences, one row a token.
#[derive(Debug, Clone, Copy)]
pub struct BertInputs {
    /// u32 `[tokens]`, below `vocab_size`.
    pub token_ids: Value,
    /// u32 `[tokens]`, below `max_position_embeddings`: the place of each token in its sequence.
    pub position_ids: Value,
    /// u32 `[tokens][2]`: the rows of each token's sequence, start and end.
    pub spans: Value,
}

/// A BERT encoder whose tensors are known to be there.
#[derive(Debug, Clone)]
pub struct Bert {
    config: BertConfig,
    activation: Activation,
    /// `bert.` where the tensors were saved as part of a larger model, else nothing.
    prefix: &'static str,
}

/// Tensors that files of BERT models hold and this encoder has no use for.
const IGNORED: [&str; 5] =
    ["embeddings.position_ids", "pooler.*", "bert.embeddings.position_ids", "bert.pooler.*", "cls.*"];

impl Bert {
    /// Checks that the file holds the tensors of such an encoder, and no others besides those that are ignored:
    /// position ids, the pooler, and the heads of pre-training.
    pub fn new(config: BertConfig, weights: &Weights) -> Result<Bert, ModelError> {
        let activation = config.activation().ok_or_else(|| {
            unsupported(weights.path(), "hidden_act", &config.hidden_act, "see BertConfig::open")
        })?;
        let prefixed = weights.names().iter().any(|name| name.starts_with("bert.embeddings."));
        let bert = Bert { config, activation, prefix: if prefixed { "bert." } else { "" } };
        weights.check(&bert.tensors()?, &IGNORED)?;
        Ok(bert)
    }

    /// The encoder of a configuration alone; its tensors go by the names of files without a prefix. None where the
    /// activation is not known.
    pub(crate) fn without_weights(config: BertConfig) -> Option<Bert> {
        let activation = config.activation()?;
        Some(Bert { config, activation, prefix: "" })
    }

    /// The configuration.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// Builds the encoder over `inputs`. The result holds the hidden states, each f32 `[tokens][hidden_size]`: those
    /// of the embeddings, then those of every layer, as `output_hidden_states` of transformers gives them.
    ///
    /// All tokens are of type 0. Rows whose span is empty hold numbers that mean nothing, and change no other row.
    pub fn hidden_states(&self, g: &mut GraphBuilder, inputs: BertInputs) -> Result<Vec<Value>, EngineError> {
        let mut states = vec![g.scope("embeddings", |g| self.embeddings(g, inputs))?];
        for index in 0..self.config.num_hidden_layers {
            let input = states[index];
            states.push(g.scope(format!("layer{index}"), |g| self.layer(g, index, input, inputs.spans))?);
        }
        Ok(states)
    }

    fn embeddings(&self, g: &mut GraphBuilder, inputs: BertInputs) -> Result<Value, EngineError> {
        let BertConfig { hidden_size, vocab_size, max_position_embeddings, type_vocab_size, .. } =
            self.config;
        let words = self.constant(g, "embeddings.word_embeddings.weight", &[vocab_size, hidden_size]);
        let positions = self.constant(
            g,
            "embeddings.position_embeddings.weight",
            &[max_position_embeddings, hidden_size],
        );
        let types =
            self.constant(g, "embeddings.token_type_embeddings.weight", &[type_vocab_size, hidden_size]);
        // Depends on weights alone, so it is computed once, when the plan is loaded.
        let first_type = g.slice(types, 0, 0, 1)?;
        let positions = g.add(positions, first_type)?;
        let words = g.embedding(words, inputs.token_ids)?;
        let positions = g.embedding(positions, inputs.position_ids)?;
        let sum = g.add(words, positions)?;
        self.layer_norm(g, "embeddings", sum)
    }

    fn layer(
        &self,
        g: &mut GraphBuilder,
        index: usize,
        input: Value,
        spans: Value,
    ) -> Result<Value, EngineError> {
        let BertConfig { hidden_size, intermediate_size, .. } = self.config;
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        let attended = g.scope("attention", |g| {
            let mut project = |part: &str| {
                g.scope(part, |g| {
                    self.linear(g, &name(&format!("attention.self.{part}")), input, hidden_size)
                })
            };
            let (query, key, value) = (project("query")?, project("key")?, project("value")?);
            let heads = self.config.num_attention_heads;
            let options = Attention::new(heads, 1.0 / ((hidden_size / heads) as f32).sqrt());
            let mixed = g.attention(query, key, value, spans, options)?;
            let sum = g.scope("output", |g| {
                let output = self.linear(g, &name("attention.output.dense"), mixed, hidden_size)?;
                g.add(output, input)
            })?;
            self.layer_norm(g, &name("attention.output"), sum)
        })?;
        g.scope("feed_forward", |g| {
            let wide = g.scope("intermediate", |g| {
                let wide = self.linear(g, &name("intermediate.dense"), attended, intermediate_size)?;
                g.activation(self.activation, wide)
            })?;
            let sum = g.scope("output", |g| {
                let output = self.linear(g, &name("output.dense"), wide, hidden_size)?;
                g.add(output, attended)
            })?;
            self.layer_norm(g, &name("output"), sum)
        })
    }

    fn linear(&self, g: &mut GraphBuilder, name: &str, x: Value, width: usize) -> Result<Value, EngineError> {
        let depth = g.desc(x).last();
        let weight = self.constant(g, &format!("{name}.weight"), &[width, depth]);
        let bias = self.constant(g, &format!("{name}.bias"), &[width]);
        g.linear(x, weight, Some(bias))
    }

    fn layer_norm(&self, g: &mut GraphBuilder, name: &str, x: Value) -> Result<Value, EngineError> {
        let width = [self.config.hidden_size];
        let weight = self.constant(g, &format!("{name}.LayerNorm.weight"), &width);
        let bias = self.constant(g, &format!("{name}.LayerNorm.bias"), &width);
        g.scope("norm", |g| g.layer_norm(x, weight, bias, self.config.layer_norm_eps))
    }

    fn constant(&self, g: &mut GraphBuilder, name: &str, shape: &[usize]) -> Value {
        g.constant(&format!("{}{name}", self.prefix), shape)
    }

    /// Names and shapes of all tensors: those that a graph of one token asks for.
    fn tensors(&self) -> Result<Vec<(String, Vec<usize>)>, ModelError> {
        let mut g = GraphBuilder::new("bert");
        let inputs = BertInputs::declare(&mut g, 1);
        self.hidden_states(&mut g, inputs)?;
        Ok(constants(&g.finish()))
    }
}

impl BertInputs {
    /// Declares the inputs `token_ids`, `position_ids` and `spans` of a graph over so many tokens.
    pub fn declare(g: &mut GraphBuilder, tokens: usize) -> BertInputs {
        use kiln_engine::DType::U32;
        BertInputs {
            token_ids: g.input("token_ids", &[tokens], U32),
            position_ids: g.input("position_ids", &[tokens], U32),
            spans: g.input("spans", &[tokens, 2], U32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINILM: &str = r#"{"model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6,
        "num_attention_heads": 12, "intermediate_size": 1536, "vocab_size": 30522}"#;

    fn open(json: &str) -> Result<BertConfig, ModelError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, json).unwrap();
        BertConfig::open(&path)
    }

    #[test]
    fn defaults_are_those_of_transformers() {
        let config = open(MINILM).unwrap();
        assert_eq!((config.max_position_embeddings, config.type_vocab_size), (512, 2));
        assert_eq!((config.layer_norm_eps, config.activation()), (1e-12, Some(Activation::Gelu)));
    }

    #[test]
    fn what_cannot_be_computed_is_refused() {
        let refused = |from: &str, to: &str| {
            let error = open(&MINILM.replacen(from, to, 1)).unwrap_err();
            assert!(error.is_input_error(), "{error}");
            let message = error.to_string();
            assert!(message.contains("config.json: ") && !message.contains('\n'), "{message}");
            message
        };
        assert!(refused("\"bert\"", "\"t5\"").contains("model_type \"t5\" is not supported; \"bert\" is"));
        assert!(refused("\"model_type\": \"bert\",", "").contains("model_type \"\""));
        assert!(refused("384", "385").contains("a multiple of the 12 attention heads, got 385"));
        assert!(refused("12", "0").contains("num_attention_heads: expected 1 to 16777216, got 0"));
        assert!(refused("384", "1000000000000000000").contains("hidden_size: expected 1 to"));
        assert!(refused("6", "4000000000").contains("num_hidden_layers: expected at most 1024"));
        assert!(refused("\"vocab_size\"", "\"vocabulary\"").contains("missing field `vocab_size`"));
        assert!(refused("{", "{\"hidden_act\": \"swish\",").contains("hidden_act \"swish\""));
        assert!(refused("{", "{\"position_embedding_type\": \"relative_key\",").contains("relative_key"));
        assert!(refused("{", "{\"is_decoder\": true,").contains("is_decoder"));
        assert!(refused("{", "").contains("config.json: "));
    }

    fn bert(prefix: &'static str) -> Bert {
        let config = BertConfig {
            hidden_size: 8,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 12,
            vocab_size: 11,
            max_position_embeddings: 10,
            ..open(MINILM).unwrap()
        };
        Bert { config, activation: Activation::Gelu, prefix }
    }

    #[test]
    fn tensors_are_named_as_in_the_files() {
        let tensors = bert("bert.").tensors().unwrap();
        assert_eq!(tensors.len(), 5 + 2 * 16);
        let shape =
            |name: &str| tensors.iter().find(|(tensor, _)| tensor == name).map(|(_, shape)| shape.clone());
        assert_eq!(shape("bert.embeddings.position_embeddings.weight"), Some(vec![10, 8]));
        assert_eq!(shape("bert.encoder.layer.1.intermediate.dense.weight"), Some(vec![12, 8]));
        assert_eq!(shape("bert.encoder.layer.1.output.dense.weight"), Some(vec![8, 12]));
        assert_eq!(shape("bert.encoder.layer.0.attention.output.LayerNorm.bias"), Some(vec![8]));
        assert!(bert("").tensors().unwrap().iter().all(|(name, _)| !name.starts_with("bert.")));
    }

    #[test]
    fn layers_keep_the_shape() {
        let mut g = GraphBuilder::new("bert");
        let inputs = BertInputs::declare(&mut g, 7);
        let states = bert("").hidden_states(&mut g, inputs).unwrap();
        assert_eq!(states.len(), 3);
        assert!(states.iter().all(|state| g.desc(*state).shape == [7, 8]));
        let paths: Vec<String> = g.finish().nodes().iter().map(|node| node.path.clone()).collect();
        assert!(paths.contains(&"bert/layer1/attention/query".to_owned()), "{paths:?}");
    }
}
