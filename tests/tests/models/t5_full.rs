//! The geometry of flan-t5-small with seeded weights against PyTorch (`assets/goldens/t5/make.py`).

use std::collections::BTreeMap;

use kiln_engine::Tensor;
use kiln_gpu::{DeviceProfile, Gpu, Limits};
use kiln_models::generate::{GenerateOptions, SpecialIds};
use kiln_models::seeded::SeededWeights;
use kiln_models::t5::{Precision, Runner, T5, T5Config};
use kiln_tests::{device, golden};
use serde::Deserialize;

use crate::layers::LayerGolden;
use crate::t5::{prompt, run, step};

const SPECIAL: SpecialIds = SpecialIds { decoder_start: 0, eos: vec![], pad: 0 };

#[derive(Deserialize)]
struct Full {
    prompts: Vec<Row>,
}

/// A prompt and the 24 ids that greedy search gives, whose gap to the second best is at least 5e-4 of the largest logit.
#[derive(Deserialize)]
struct Row {
    length: usize,
    draw: usize,
    ids: Vec<u32>,
    /// With the matrices as f16.
    packed_ids: Option<Vec<u32>>,
}

impl Row {
    fn prompt(&self) -> Vec<u32> {
        prompt("full", 1000, 32000, self.length, self.draw)
    }
}

fn rows() -> Vec<Row> {
    let mut all: BTreeMap<String, serde_json::Value> = golden::json("t5/expected.json");
    let full: Full =
        serde_json::from_value(all.remove("full").expect("it is there")).expect("it should have this form");
    full.prompts
}

/// A device that binds so many bytes at most.
fn runner(gpu: &Gpu, precision: Precision, max_binding: u64) -> Runner {
    let t5 = T5::without_weights(T5Config::flan_t5_small(), precision);
    let tensors = t5.tensors().expect("the graphs should build");
    let weights = SeededWeights::new(tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())));
    let own = gpu.profile();
    let limits = Limits { max_binding: max_binding.min(own.limits.max_binding), ..own.limits };
    Runner::with_profile(gpu, t5, Box::new(weights), DeviceProfile { limits, ..own.clone() })
}

fn greedy(runner: &mut Runner, prompts: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let options = GenerateOptions { max_new_tokens: 24, ..GenerateOptions::default() };
    run(runner, prompts, &SPECIAL, &options).into_iter().map(|text| text.ids).collect()
}

/// Eleven prompts of 1 to 512 tokens in one batch, and some alone, under a binding limit of 128 MiB, which is the least
/// that WebGPU promises, and under one that cuts the embedding table and the last layer into five.
#[test]
fn prompts_give_the_texts_of_transformers() {
    let Some(gpu) = device::gpu() else { return };
    let rows = rows();
    assert_eq!(rows.len(), 11);
    let prompts: Vec<Vec<u32>> = rows.iter().map(Row::prompt).collect();
    let golden = LayerGolden::read("t5/expected.safetensors");
    let mut runner_128 = runner(gpu, Precision::F32, 128 << 20);
    runner_128.begin(&prompts, 1, 24).expect("the prompts should be encoded");
    let logits = step(&mut runner_128, &[0; 11]);
    for (row, logits) in rows.iter().zip(logits.chunks_exact(32128)) {
        let logits = Tensor::f32([1, 32128], logits.to_vec()).expect("it should be filled");
        golden.check("full", &format!("logits.{}", row.length), &logits);
    }
    for (row, ids) in rows.iter().zip(greedy(&mut runner_128, &prompts)) {
        assert_eq!(ids, row.ids, "prompt of {}", row.length);
    }
    for row in [0, 10] {
        assert_eq!(greedy(&mut runner_128, &prompts[row..=row]), [rows[row].ids.as_slice()], "alone");
    }
    drop(runner_128);

    let mut limited = runner(gpu, Precision::F32, 14 << 20);
    assert_eq!(greedy(&mut limited, &prompts[6..7]), [rows[6].ids.as_slice()], "under 14 MiB");
}

/// Half the bytes, and the texts of a PyTorch whose matrices were rounded so.
#[test]
fn matrices_kept_as_f16_give_the_texts_of_rounded_ones() {
    let Some(gpu) = device::gpu() else { return };
    let rows: Vec<Row> = rows().into_iter().filter(|row| row.packed_ids.is_some()).collect();
    assert_eq!(rows.len(), 3);
    let prompts: Vec<Vec<u32>> = rows.iter().map(Row::prompt).collect();
    // The embedding table alone is 33 MB so.
    for max_binding in [128 << 20, 8 << 20] {
        let mut runner = runner(gpu, Precision::F16, max_binding);
        for (row, ids) in rows.iter().zip(greedy(&mut runner, &prompts)) {
            assert_eq!(Some(ids), row.packed_ids, "prompt of {}", row.length);
        }
    }
    assert!(rows.iter().any(|row| row.packed_ids.as_ref() != Some(&row.ids)), "the rounding should show");
}
