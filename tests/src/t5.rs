//! T5 models without a download: directories in the form of the Hugging Face hub, of any size, with seeded weights and a
//! made-up [`vocabulary`].
//!
//! Names, shapes and the formula of the weights are spelled out here once more, apart from `kiln_models`: the tests of
//! that crate compare both with `assets/goldens/t5/make.py`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use half::{bf16, f16};
use serde_json::{Map, Value, json};

use crate::data;

pub mod vocabulary;

pub use vocabulary::{text, tokenizer};

/// The sizes of a T5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub d_model: usize,
    /// Width of a head.
    pub d_kv: usize,
    /// Heads of each attention.
    pub heads: usize,
    /// Width inside the feed-forward layers.
    pub d_ff: usize,
    /// Blocks of the encoder.
    pub layers: usize,
    /// Blocks of the decoder.
    pub decoder_layers: usize,
    /// `gated-gelu` as in v1.1, or else `relu` as in v1.0.
    pub gated: bool,
    /// Whether the embedding table is the last layer too, as in v1.0.
    pub tied: bool,
    /// Classes of distances.
    pub buckets: usize,
    /// From where on distances are one class.
    pub max_distance: usize,
}

impl Geometry {
    /// `v10` of `assets/goldens/t5/make.py`: the form of T5 v1.0.
    pub const V10: Geometry = Geometry {
        vocab_size: 128,
        d_model: 32,
        d_kv: 8,
        heads: 4,
        d_ff: 128,
        layers: 2,
        decoder_layers: 2,
        gated: false,
        tied: true,
        buckets: 32,
        max_distance: 128,
    };

    /// `v11` of the same script: the form of v1.1, with an inner width that is not `d_model`.
    pub const V11: Geometry = Geometry {
        d_kv: 16,
        heads: 3,
        d_ff: 40,
        layers: 3,
        decoder_layers: 3,
        gated: true,
        tied: false,
        ..Geometry::V10
    };

    /// `odd` of the same script: sizes that divide by nothing.
    pub const ODD: Geometry = Geometry {
        vocab_size: 67,
        d_model: 20,
        d_kv: 6,
        heads: 2,
        d_ff: 28,
        layers: 1,
        decoder_layers: 2,
        gated: true,
        tied: true,
        buckets: 8,
        max_distance: 20,
    };

    /// Small, and with a vocabulary that English prose comes out of in few tokens: for tests of commands.
    pub const TINY: Geometry = Geometry { vocab_size: 640, layers: 2, decoder_layers: 2, ..Geometry::V11 };

    /// `full` of the same script: that of flan-t5-small.
    pub const SMALL: Geometry = Geometry {
        vocab_size: 32128,
        d_model: 512,
        d_kv: 64,
        heads: 6,
        d_ff: 1024,
        layers: 8,
        decoder_layers: 8,
        gated: true,
        tied: false,
        buckets: 32,
        max_distance: 128,
    };

    /// That of flan-t5-base.
    pub const BASE: Geometry =
        Geometry { d_model: 768, heads: 12, d_ff: 2048, layers: 12, decoder_layers: 12, ..Geometry::SMALL };

    /// All of them, by name.
    pub const ALL: [(&'static str, Geometry); 6] = [
        ("v10", Geometry::V10),
        ("v11", Geometry::V11),
        ("odd", Geometry::ODD),
        ("tiny", Geometry::TINY),
        ("small", Geometry::SMALL),
        ("base", Geometry::BASE),
    ];

    /// The file `config.json`.
    pub fn config(&self) -> Value {
        json!({
            "architectures": ["T5ForConditionalGeneration"],
            "model_type": "t5",
            "vocab_size": self.vocab_size,
            "d_model": self.d_model,
            "d_kv": self.d_kv,
            "d_ff": self.d_ff,
            "num_layers": self.layers,
            "num_decoder_layers": self.decoder_layers,
            "num_heads": self.heads,
            "relative_attention_num_buckets": self.buckets,
            "relative_attention_max_distance": self.max_distance,
            "layer_norm_epsilon": 1e-6,
            "feed_forward_proj": if self.gated { "gated-gelu" } else { "relu" },
            "tie_word_embeddings": self.tied,
            "n_positions": 512,
            "decoder_start_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 0,
            "is_encoder_decoder": true,
        })
    }

    /// The tensors of the model, each once.
    pub fn tensors(&self) -> Vec<Stored> {
        let (inner, d_model) = (self.heads * self.d_kv, self.d_model);
        let mut tensors = vec![Stored::new("shared.weight", &[self.vocab_size, d_model])];
        let mut add = |name: String, shape: &[usize]| tensors.push(Stored::new(&name, shape));
        for (half, blocks) in [("encoder", self.layers), ("decoder", self.decoder_layers)] {
            for block in 0..blocks {
                let block = format!("{half}.block.{block}.layer");
                let attentions: &[_] = if half == "encoder" {
                    &["SelfAttention"]
                } else {
                    &["SelfAttention", "EncDecAttention"]
                };
                for (index, attention) in attentions.iter().enumerate() {
                    for part in ["q", "k", "v"] {
                        add(format!("{block}.{index}.{attention}.{part}.weight"), &[inner, d_model]);
                    }
                    add(format!("{block}.{index}.{attention}.o.weight"), &[d_model, inner]);
                    add(format!("{block}.{index}.layer_norm.weight"), &[d_model]);
                }
                let feed_forward = format!("{block}.{}", attentions.len());
                for part in if self.gated { &["wi_0", "wi_1"][..] } else { &["wi"] } {
                    add(format!("{feed_forward}.DenseReluDense.{part}.weight"), &[self.d_ff, d_model]);
                }
                add(format!("{feed_forward}.DenseReluDense.wo.weight"), &[d_model, self.d_ff]);
                add(format!("{feed_forward}.layer_norm.weight"), &[d_model]);
            }
            let bias = format!("{half}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
            add(bias, &[self.buckets, self.heads]);
            add(format!("{half}.final_layer_norm.weight"), &[d_model]);
        }
        if !self.tied {
            add("lm_head.weight".to_owned(), &[self.vocab_size, d_model]);
        }
        tensors
    }

    /// Writes `config.json`, `model.safetensors` and `tokenizer.json` into a folder, which is made if it is not there.
    ///
    /// # Errors
    /// Where the folder or a file can't be written.
    pub fn write(&self, dir: &Path, form: Form) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        fs::write(dir.join("config.json"), format!("{:#}\n", self.config()))?;
        fs::write(dir.join("tokenizer.json"), tokenizer(self.vocab_size).to_string())?;
        write_weights(&dir.join("model.safetensors"), &self.tensors(), form)
    }
}

/// A tensor in a file of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What it is called there.
    pub name: String,
    /// The name that its numbers are made from; that of another tensor makes a copy of that.
    pub seed: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Stored {
    /// A tensor with numbers of its own.
    pub fn new(name: &str, shape: &[usize]) -> Stored {
        Stored { name: name.to_owned(), seed: name.to_owned(), shape: shape.to_vec() }
    }

    /// The same numbers under another name.
    #[must_use]
    pub fn copy(&self, name: &str) -> Stored {
        Stored { name: name.to_owned(), ..self.clone() }
    }

    fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// What the numbers lie around and how far from it: the formula of `kiln_models::seeded`, as far as a T5 needs it.
    fn range(&self) -> (f32, f32) {
        let module = self.seed.rsplit('.').nth(1).unwrap_or_default();
        let he = || (6.0 / self.shape[1..].iter().product::<usize>() as f64).sqrt() as f32;
        match (module, self.shape.len()) {
            ("final_layer_norm", 1) => (0.0, 2.0),
            (_, 1) => (1.0, 0.5),
            ("shared" | "embed_tokens" | "relative_attention_bias", _) => (0.0, 4.0),
            ("q", _) => (0.0, he() / 4.0),
            _ => (0.0, he()),
        }
    }
}

/// The type of the numbers in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// 32 bits.
    F32,
    /// 16 bits, IEEE 754.
    F16,
    /// The upper 16 bits of an `f32`.
    Bf16,
}

/// Writes tensors as a safetensors file, a piece at a time.
///
/// # Errors
/// Where the file can't be written.
pub fn write_weights(path: &Path, tensors: &[Stored], form: Form) -> io::Result<()> {
    const PIECE: usize = 1 << 16;
    let (name, width) = match form {
        Form::F32 => ("F32", 4),
        Form::F16 => ("F16", 2),
        Form::Bf16 => ("BF16", 2),
    };
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut end = 0;
    for tensor in tensors {
        let start = end;
        end += tensor.elements() * width;
        let entry = json!({"dtype": name, "shape": tensor.shape, "data_offsets": [start, end]});
        header.insert(tensor.name.clone(), entry);
    }
    let mut header = Value::from(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let mut bytes = Vec::with_capacity(4 * PIECE);
    for tensor in tensors {
        let (offset, scale) = tensor.range();
        for start in (0..tensor.elements()).step_by(PIECE) {
            let count = PIECE.min(tensor.elements() - start);
            let values =
                data::uniform_from(&tensor.seed, start, count).into_iter().map(|u| offset + u * scale);
            bytes.clear();
            match form {
                Form::F32 => values.for_each(|x| bytes.extend_from_slice(&x.to_le_bytes())),
                Form::F16 => values.for_each(|x| bytes.extend_from_slice(&f16::from_f32(x).to_le_bytes())),
                Form::Bf16 => values.for_each(|x| bytes.extend_from_slice(&bf16::from_f32(x).to_le_bytes())),
            }
            file.write_all(&bytes)?;
        }
    }
    file.into_inner()?.sync_data()
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn files_are_of_the_form_and_the_size() {
        let dir = std::env::temp_dir().join(format!("kiln-t5-{}", std::process::id()));
        for (form, width) in [(Form::F32, 4), (Form::F16, 2), (Form::Bf16, 2)] {
            Geometry::ODD.write(&dir, form).expect("the model should be written");
            let bytes = fs::read(dir.join("model.safetensors")).expect("the weights should be read");
            let file = SafeTensors::deserialize(&bytes).expect("the file should be of its form");
            assert_eq!(file.len(), Geometry::ODD.tensors().len());
            let bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
            let bias = file.tensor(bias).expect("the tensor should be there");
            assert_eq!((bias.shape(), bias.data().len()), (&[8, 2][..], 16 * width));
        }
        fs::remove_dir_all(&dir).expect("the folder should be removed");
    }

    #[test]
    fn a_full_model_has_as_many_weights_as_the_paper_says() {
        let weights = |geometry: Geometry| geometry.tensors().iter().map(Stored::elements).sum::<usize>();
        assert_eq!(weights(Geometry::SMALL), 76_961_152);
        assert_eq!(weights(Geometry::BASE), 247_577_856);
    }
}
