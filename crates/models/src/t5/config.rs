//! What `config.json` says about a T5 model.

use std::path::Path;

use kiln_engine::Activation;
use serde::Deserialize;

use crate::error::ModelError;
use crate::layout;

/// The sizes and choices of a T5 model, as `transformers.T5Config` has them.
#[derive(Debug, Clone, PartialEq)]
pub struct T5Config {
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub d_model: usize,
    /// Width of one attention head. Not always `d_model / num_heads`.
    pub d_kv: usize,
    /// Width inside the feed-forward layers.
    pub d_ff: usize,
    /// Blocks of the encoder.
    pub num_layers: usize,
    /// Blocks of the decoder.
    pub num_decoder_layers: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// How many classes of distances have a bias of their own.
    pub relative_attention_num_buckets: usize,
    /// From this distance on all are of one class.
    pub relative_attention_max_distance: usize,
    /// Added to the mean square in the norms.
    pub layer_norm_epsilon: f32,
    /// The function in the feed-forward layers.
    pub activation: Activation,
    /// Whether that function gates a second projection (v1.1 and Flan) or stands alone (v1.0).
    pub gated: bool,
    /// Whether the embedding table is also the last layer (v1.0).
    pub tie_word_embeddings: bool,
    /// The most tokens of a prompt.
    pub n_positions: usize,
    /// What the decoder starts from.
    pub decoder_start_token_id: u32,
    /// Each of these ends a text.
    pub eos_token_ids: Vec<u32>,
    /// Fills up what is shorter than the rest.
    pub pad_token_id: u32,
}

/// Far above any model, and low enough that no product of two sizes overflows.
const MAX_SIZE: usize = 1 << 24;
/// As [`MAX_SIZE`], for the depth.
const MAX_LAYERS: usize = 1 << 10;

/// The file, with the defaults of `transformers.T5Config`.
#[derive(Deserialize)]
#[serde(default)]
struct File {
    vocab_size: usize,
    d_model: usize,
    d_kv: usize,
    d_ff: usize,
    num_layers: usize,
    num_decoder_layers: Option<usize>,
    num_heads: usize,
    relative_attention_num_buckets: usize,
    relative_attention_max_distance: usize,
    layer_norm_epsilon: f32,
    feed_forward_proj: String,
    tie_word_embeddings: bool,
    n_positions: usize,
    decoder_start_token_id: Option<u32>,
    eos_token_id: Ids,
    pad_token_id: u32,
}

/// One id or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

impl Default for File {
    fn default() -> File {
        File {
            vocab_size: 32128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_decoder_layers: None,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: "relu".to_owned(),
            tie_word_embeddings: true,
            n_positions: 512,
            decoder_start_token_id: None,
            eos_token_id: Ids::One(1),
            pad_token_id: 0,
        }
    }
}

impl T5Config {
    /// Reads a `config.json` and refuses what cannot be computed.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] for another kind of model or another activation, [`ModelError::Config`] for sizes
    /// that are none; both name the file and the field.
    pub fn open(path: &Path) -> Result<T5Config, ModelError> {
        // The kind of model first: another kind has other fields, and their absence would mislead.
        #[derive(Deserialize)]
        struct Kind {
            #[serde(default)]
            model_type: String,
        }
        let kind: Kind = layout::read_json(path)?;
        let unsupported = |name: &str, value: &str, instead: &str| ModelError::Unsupported {
            file: path.to_owned(),
            what: format!("{name} {value:?}"),
            instead: instead.to_owned(),
        };
        if kind.model_type != "t5" {
            return Err(unsupported("model_type", &kind.model_type, "\"t5\" is"));
        }
        let file: File = layout::read_json(path)?;
        let Some((activation, gated)) = feed_forward(&file.feed_forward_proj) else {
            let instead = "\"relu\", \"gelu\", \"gelu_new\" and \"silu\" are, alone or behind \"gated-\"";
            return Err(unsupported("feed_forward_proj", &file.feed_forward_proj, instead));
        };
        let config = T5Config {
            vocab_size: file.vocab_size,
            d_model: file.d_model,
            d_kv: file.d_kv,
            d_ff: file.d_ff,
            num_layers: file.num_layers,
            num_decoder_layers: file.num_decoder_layers.unwrap_or(file.num_layers),
            num_heads: file.num_heads,
            relative_attention_num_buckets: file.relative_attention_num_buckets,
            relative_attention_max_distance: file.relative_attention_max_distance,
            layer_norm_epsilon: file.layer_norm_epsilon,
            activation,
            gated,
            tie_word_embeddings: file.tie_word_embeddings,
            n_positions: file.n_positions,
            decoder_start_token_id: file.decoder_start_token_id.unwrap_or(file.pad_token_id),
            eos_token_ids: match file.eos_token_id {
                Ids::One(id) => vec![id],
                Ids::Many(ids) => ids,
            },
            pad_token_id: file.pad_token_id,
        };
        config.check().map_err(|message| ModelError::config(path, message))?;
        Ok(config)
    }

    /// The sizes of flan-t5-small, for measurements without a file.
    pub fn flan_t5_small() -> T5Config {
        T5Config {
            vocab_size: 32128,
            d_model: 512,
            d_kv: 64,
            d_ff: 1024,
            num_layers: 8,
            num_decoder_layers: 8,
            num_heads: 6,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            layer_norm_epsilon: 1e-6,
            activation: Activation::GeluTanh,
            gated: true,
            tie_word_embeddings: false,
            n_positions: 512,
            decoder_start_token_id: 0,
            eos_token_ids: vec![1],
            pad_token_id: 0,
        }
    }

    /// Width of all heads together.
    pub fn inner(&self) -> usize {
        self.num_heads * self.d_kv
    }

    fn check(&self) -> Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("d_kv", self.d_kv),
            ("d_ff", self.d_ff),
            ("num_heads", self.num_heads),
            ("relative_attention_max_distance", self.relative_attention_max_distance),
            ("n_positions", self.n_positions),
        ];
        if let Some((name, size)) = sizes.into_iter().find(|(_, size)| !(1..=MAX_SIZE).contains(size)) {
            return Err(format!("{name}: expected 1 to {MAX_SIZE}, got {size}"));
        }
        let depths = [("num_layers", self.num_layers), ("num_decoder_layers", self.num_decoder_layers)];
        if let Some((name, depth)) = depths.into_iter().find(|(_, depth)| !(1..=MAX_LAYERS).contains(depth)) {
            return Err(format!("{name}: expected 1 to {MAX_LAYERS}, got {depth}"));
        }
        // Half of the classes are for tokens behind, and half of those again for single distances.
        let (buckets, farthest) = (self.relative_attention_num_buckets, self.relative_attention_max_distance);
        if buckets < 4 || !buckets.is_multiple_of(4) {
            return Err(format!("relative_attention_num_buckets: expected a multiple of 4, got {buckets}"));
        }
        if farthest <= buckets / 2 {
            return Err(format!(
                "relative_attention_max_distance: expected more than half of the {buckets} buckets, got {farthest}"
            ));
        }
        let ids =
            [("decoder_start_token_id", self.decoder_start_token_id), ("pad_token_id", self.pad_token_id)];
        let ends = self.eos_token_ids.iter().map(|id| ("eos_token_id", *id));
        if let Some((name, id)) = ids.into_iter().chain(ends).find(|(_, id)| *id as usize >= self.vocab_size)
        {
            return Err(format!("{name}: expected an id below vocab_size {}, got {id}", self.vocab_size));
        }
        if self.eos_token_ids.is_empty() {
            return Err("eos_token_id: expected an id, got none".to_owned());
        }
        if !(self.layer_norm_epsilon.is_finite() && self.layer_norm_epsilon >= 0.0) {
            return Err(format!("layer_norm_epsilon: expected 0 or more, got {}", self.layer_norm_epsilon));
        }
        Ok(())
    }
}

/// The function that a `feed_forward_proj` names, and whether it gates. `gated-gelu` alone means the approximation by
/// tanh, as transformers has it.
fn feed_forward(text: &str) -> Option<(Activation, bool)> {
    if text == "gated-gelu" {
        return Some((Activation::GeluTanh, true));
    }
    let (name, gated) = match text.strip_prefix("gated-") {
        Some(name) => (name, true),
        None => (text, false),
    };
    let activation = match name {
        "relu" => Activation::Relu,
        "gelu" => Activation::Gelu,
        "gelu_new" => Activation::GeluTanh,
        "silu" | "swish" => Activation::Silu,
        _ => return None,
    };
    Some((activation, gated))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{"model_type": "t5", "d_ff": 1024, "num_heads": 6, "num_layers": 8,
        "num_decoder_layers": 8, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": false,
        "decoder_start_token_id": 0, "eos_token_id": 1, "n_positions": 512}"#;

    fn open(json: &str) -> Result<T5Config, ModelError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, json).unwrap();
        T5Config::open(&path)
    }

    #[test]
    fn what_the_file_leaves_out_is_as_in_transformers() {
        assert_eq!(open(SMALL).unwrap(), T5Config::flan_t5_small());
        let v1_0 = open(r#"{"model_type": "t5", "eos_token_id": [1, 7]}"#).unwrap();
        assert_eq!((v1_0.activation, v1_0.gated, v1_0.tie_word_embeddings), (Activation::Relu, false, true));
        assert_eq!((v1_0.num_layers, v1_0.num_decoder_layers, v1_0.inner()), (6, 6, 512));
        assert_eq!(v1_0.eos_token_ids, [1, 7]);
    }

    #[test]
    fn gelu_behind_a_gate_is_that_of_tanh() {
        assert_eq!(feed_forward("gated-gelu"), Some((Activation::GeluTanh, true)));
        assert_eq!(feed_forward("gelu"), Some((Activation::Gelu, false)));
        assert_eq!(feed_forward("gated-silu"), Some((Activation::Silu, true)));
        assert_eq!(feed_forward("gated-"), None);
        assert_eq!(feed_forward("mish"), None);
    }

    #[test]
    fn what_cannot_be_computed_is_refused() {
        let refused = |from: &str, to: &str| {
            let error = open(&SMALL.replacen(from, to, 1)).unwrap_err();
            assert!(error.is_input_error(), "{error}");
            let message = error.to_string();
            assert!(message.contains("config.json: ") && !message.contains('\n'), "{message}");
            message
        };
        assert!(refused("\"t5\"", "\"bart\"").contains("model_type \"bart\" is not supported; \"t5\" is"));
        assert!(refused("gated-gelu", "gated-mish").contains("feed_forward_proj \"gated-mish\""));
        assert!(refused("\"num_heads\": 6", "\"num_heads\": 0").contains("num_heads: expected 1 to"));
        assert!(
            refused("\"num_layers\": 8", "\"num_layers\": 9999").contains("num_layers: expected 1 to 1024")
        );
        assert!(refused("{", "{\"relative_attention_num_buckets\": 6, ").contains("a multiple of 4, got 6"));
        assert!(
            refused("{", "{\"relative_attention_max_distance\": 16, ").contains("more than half of the 32")
        );
        assert!(refused("\"eos_token_id\": 1", "\"eos_token_id\": 40000").contains("below vocab_size 32128"));
        assert!(refused("\"eos_token_id\": 1", "\"eos_token_id\": []").contains("got none"));
        assert!(refused("}", "").contains("config.json: "));
    }
}
