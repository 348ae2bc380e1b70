//! What several models' tests need.

use std::path::PathBuf;

use kiln_engine::{GraphBuilder, Session, Tensor};
use kiln_gpu::Gpu;
use kiln_models::bert::{Bert, BertInputs};
use kiln_models::weights::Weights;
use kiln_models::{ModelStore, StoreConfig};
use kiln_tests::report;

/// The directory of a model, from where `kiln` itself would take it. `None`, and the test is reported as skipped,
/// where it is not on this machine: then the test returns.
#[track_caller]
pub(crate) fn model(name: &str) -> Option<PathBuf> {
    let store = ModelStore::new(StoreConfig::from_env());
    store
        .path(name)
        .map_err(|_| report::skip(&format!("needs {name}, as `kiln models fetch {name}` gets it")))
        .ok()
}

/// The cosine of the angle between two rows, in f64. NaN where either holds one.
pub(crate) fn cosine(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot = |x: &mut dyn Iterator<Item = (f64, f64)>| x.map(|(a, b)| a * b).sum::<f64>();
    let wide = || a.iter().map(|x| f64::from(*x));
    let product = dot(&mut wide().zip(b.iter().copied()));
    product / (dot(&mut wide().zip(wide())) * dot(&mut b.iter().copied().zip(b.iter().copied()))).sqrt()
}

/// Runs an encoder on packed sequences and returns the hidden states of its embeddings and of every layer, each
/// `[tokens][hidden_size]`.
pub(crate) fn hidden_states(
    gpu: &Gpu,
    bert: &Bert,
    weights: &Weights,
    sequences: &[Vec<u32>],
) -> Vec<Vec<f32>> {
    let ids = sequences.concat();
    let positions = sequences.iter().flat_map(|ids| 0..ids.len() as u32).collect();
    let mut spans = Vec::new();
    let mut start = 0;
    for ids in sequences {
        let end = start + ids.len() as u32;
        spans.extend(ids.iter().flat_map(|_| [start, end]));
        start = end;
    }
    let tokens = ids.len();
    let mut g = GraphBuilder::new("taps");
    let inputs = BertInputs::declare(&mut g, tokens);
    let states = bert.hidden_states(&mut g, inputs).expect("the encoder should build");
    let names: Vec<String> = (0..states.len()).map(|layer| format!("hidden{layer}")).collect();
    for (name, state) in names.iter().zip(&states) {
        g.output(name, *state);
    }
    let mut session = Session::new(gpu);
    let plan = session.load(&g.finish(), weights).expect("the encoder should load");
    let tensor = |shape: &[usize], data| Tensor::u32(shape, data).expect("the data should fill the shape");
    let (ids, positions, spans) =
        (tensor(&[tokens], ids), tensor(&[tokens], positions), tensor(&[tokens, 2], spans));
    let inputs = [("token_ids", &ids), ("position_ids", &positions), ("spans", &spans)];
    let mut outputs = session.run(plan, &inputs).expect("the encoder should run");
    names
        .iter()
        .map(|name| {
            outputs.take(name).expect("the output should be there").into_f32().expect("states are f32")
        })
        .collect()
}
