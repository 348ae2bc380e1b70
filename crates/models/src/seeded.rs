//! Weights from a formula, for goldens of full size and for benchmarks: nothing to download, and the same numbers in
//! any language with 64-bit integers.
//!
//! A number depends on the tensor's name and the element's index alone. The hash, bit by bit:
//! 1. `seed` is the 64-bit FNV-1a of the name's UTF-8 bytes (start `0xcbf29ce484222325`, for each byte xor, then
//!    multiply by `0x100000001b3`).
//! 2. `z = seed + (index + 1) * 0x9e3779b97f4a7c15`, then the finaliser of SplitMix64: `z ^= z >> 30`,
//!    `z *= 0xbf58476d1ce4e5b9`, `z ^= z >> 27`, `z *= 0x94d049bb133111eb`, `z ^= z >> 31`, all modulo 2^64.
//! 3. `u`, the upper 24 bits times 2^-23, minus 1: uniform in [-1, 1), and exact in f32.
//!
//! A weight is then, in f32, by the end of the tensor's name and by its shape:
//!
//! | tensor | value |
//! |---|---|
//! | `weight` of two dimensions and more | `u * bound`, He et al.'s (2015) bound `sqrt(6 / fan_in)`, computed in f64 and rounded; `fan_in` is the product of all dimensions but the first. Behind a ReLU the activations of all layers are then about as large |
//! | `weight` of one dimension, `running_var` | `1 + u / 2` |
//! | any other | `u / 8` |
//!
//! Except for the tensors of a T5, by the last two parts of the name. Without these exceptions its attention would see one
//! token alone, since its scores aren't scaled, and most of what it generates would be one token for ever:
//!
//! | tensor | value |
//! |---|---|
//! | `q.weight` | `u * bound / 4` |
//! | `shared.weight`, `embed_tokens.weight`, `relative_attention_bias.weight` | `4 u`: rows of a table, which are looked up, not added up |
//! | `final_layer_norm.weight` | `2 u`, of both signs: where the embeddings are the last layer too, a token would else be likest itself |
//!
//! `assets/goldens/vgg/make.py` and, for T5, `assets/goldens/t5/make.py` have the same in NumPy.

use std::collections::HashMap;
use std::hash::Hasher;
use std::ops::Range;

use fnv::FnvHasher;
use kiln_engine::{EngineError, Graph, Tensor, TensorDesc, WeightError, WeightSource};

use crate::weights::constants;

/// Every constant of a graph, by the formula of this module.
#[derive(Debug, Clone, Default)]
pub struct SeededWeights {
    tensors: HashMap<String, TensorDesc>,
}

impl SeededWeights {
    /// The weights that a graph reads.
    pub fn of(graph: &Graph) -> SeededWeights {
        let tensors = constants(graph);
        SeededWeights::new(tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())))
    }

    /// Weights of the given names and shapes.
    pub fn new<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> SeededWeights {
        let tensors = tensors.into_iter();
        SeededWeights {
            tensors: tensors.map(|(name, shape)| (name.to_owned(), TensorDesc::f32(shape))).collect(),
        }
    }
}

/// A batch of images to go with the weights, f32 `[N][C][H][W]`: `2 u` of the tensor `x`, so about as large as what an
/// image becomes when it is normalised. The first images of a batch are those of a smaller one.
pub fn image(shape: [usize; 4]) -> Result<Tensor, EngineError> {
    let seed = seed("x");
    let elements = TensorDesc::f32(shape).elements();
    Tensor::f32(shape, (0..elements as u64).map(|index| 2.0 * uniform(seed, index)).collect())
}

impl WeightSource for SeededWeights {
    fn desc(&self, name: &str) -> Option<TensorDesc> {
        self.tensors.get(name).cloned()
    }

    fn read(&self, name: &str, elements: Range<usize>, out: &mut [f32]) -> Result<(), WeightError> {
        let fail = |problem: String| Err(WeightError(format!("seeded tensor \"{name}\": {problem}")));
        let Some(desc) = self.tensors.get(name) else { return fail("there is none of that name".to_owned()) };
        if elements.end > desc.elements() || elements.len() != out.len() {
            return fail(format!("{elements:?} of {} elements into {}", desc.elements(), out.len()));
        }
        let (offset, scale) = range(name, desc);
        let seed = seed(name);
        for (index, value) in elements.zip(out) {
            *value = offset + uniform(seed, index as u64) * scale;
        }
        Ok(())
    }
}

/// What a tensor's numbers lie around, and how far from it.
fn range(name: &str, desc: &TensorDesc) -> (f32, f32) {
    let mut parts = name.rsplit('.');
    let (kind, module) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match (module, kind, desc.rank()) {
        ("q", "weight", 2..) => (0.0, he_bound(desc.row_elements()) / 4.0),
        ("shared" | "embed_tokens" | "relative_attention_bias", "weight", 2..) => (0.0, 4.0),
        ("final_layer_norm", "weight", 1) => (0.0, 2.0),
        (_, "weight", 2..) => (0.0, he_bound(desc.row_elements())),
        (_, "weight" | "running_var", _) => (1.0, 0.5),
        _ => (0.0, 0.125),
    }
}

fn he_bound(fan_in: usize) -> f32 {
    (6.0 / fan_in as f64).sqrt() as f32
}

/// A number in [-1, 1).
fn uniform(seed: u64, index: u64) -> f32 {
    (hash(seed, index) >> 40) as f32 / 8_388_608.0 - 1.0
}

fn seed(name: &str) -> u64 {
    let mut hasher = FnvHasher::default();
    hasher.write(name.as_bytes());
    hasher.finish()
}

fn hash(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, shape: &[usize], elements: Range<usize>) -> Vec<f32> {
        let mut out = vec![0.0; elements.len()];
        SeededWeights::new([(name, shape)]).read(name, elements, &mut out).unwrap();
        out
    }

    /// From `seeded` and `uniform` of `assets/goldens/vgg/make.py`, and of `assets/goldens/t5/make.py`.
    #[test]
    fn the_numbers_are_those_of_numpy() {
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let table = [
            ("features.0.weight", &[64, 3, 3, 3][..], 0, [0x3eabbb0a, 0x3ccc3687, 0x3e069412]),
            ("classifier.0.weight", &[4096, 25088][..], 102000000, [0x3baecc3e, 0xbc593263, 0xbbc09273]),
            ("features.1.weight", &[64][..], 3, [0x3fb757fc, 0x3f035533, 0x3fa50971]),
            ("features.1.running_var", &[64][..], 7, [0x3f2399f4, 0x3f9048a7, 0x3f011d09]),
            ("features.0.bias", &[64][..], 60, [0x3d42791c, 0x3dfd23bc, 0x3bc03e20]),
            (
                "decoder.block.1.layer.1.EncDecAttention.q.weight",
                &[48, 32][..],
                700,
                [0xbdbe6b0f, 0x3d2fe75c, 0x3d249b60],
            ),
            ("shared.weight", &[32128, 512][..], 16000000, [0xc03883cc, 0xbf63d968, 0x3e552d00]),
            (
                "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                &[32, 6][..],
                9,
                [0xc0560ec2, 0xbe4c4640, 0x406fc33c],
            ),
            ("encoder.final_layer_norm.weight", &[32][..], 5, [0x3fdb4526, 0x3e092940, 0xbfe3a5ea]),
            ("encoder.block.0.layer.1.layer_norm.weight", &[32][..], 5, [0x3f85015e, 0x3f25cfb6, 0x3f4d10a2]),
            (
                "encoder.block.0.layer.1.DenseReluDense.wi_0.weight",
                &[40, 32][..],
                5,
                [0xbe23bbce, 0x3df966fe, 0x3d882361],
            ),
        ];
        for (name, shape, start, expected) in table {
            assert_eq!(bits(&read(name, shape, start..start + 3)), expected, "{name}");
        }
        let image = image([1, 3, 1, 1]).unwrap();
        assert_eq!(bits(image.as_f32().unwrap()), [0xbf98fb3c, 0x3f9df738, 0x3f12c36c]);
    }

    #[test]
    fn tensors_may_be_read_in_pieces() {
        let whole = read("features.5.weight", &[8, 4, 3, 3], 0..288);
        assert_eq!(read("features.5.weight", &[8, 4, 3, 3], 100..201), whole[100..201]);
        let bound = (6.0f32 / 36.0).sqrt();
        assert!(whole.iter().all(|value| value.abs() <= bound));
        assert!(whole.iter().any(|value| *value > 0.9 * bound));
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let weights = SeededWeights::new([("a.weight", &[2, 3][..])]);
        assert_eq!(weights.desc("a.weight"), Some(TensorDesc::f32([2, 3])));
        assert_eq!(weights.desc("b.weight"), None);
        assert!(weights.read("b.weight", 0..1, &mut [0.0]).unwrap_err().0.contains("none of that name"));
        assert!(weights.read("a.weight", 5..7, &mut [0.0; 2]).unwrap_err().0.contains("5..7 of 6 elements"));
        assert!(weights.read("a.weight", 0..2, &mut [0.0]).is_err());
    }

    #[test]
    fn a_graph_names_the_weights() {
        let mut g = kiln_engine::GraphBuilder::new("net");
        g.constant("norm.running_var", &[5]);
        let weights = SeededWeights::of(&g.finish());
        assert_eq!(weights.desc("norm.running_var"), Some(TensorDesc::f32([5])));
    }
}
