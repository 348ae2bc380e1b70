//! Gradients of every parameter of whole networks, and what batch norm leaves behind.

use std::collections::{BTreeMap, HashMap};

use kiln_engine::{CrossEntropyOptions, DType, GraphBuilder, Session, Tensor};
use kiln_gpu::Gpu;
use kiln_models::cnn::{Architecture, Mode};
use kiln_reference::Array;
use kiln_tests::graph::{f32_tensor, profiles, u32_tensor};
use kiln_tests::{data, device, golden};
use kiln_train::trainer::{Trainer, TrainerOptions};

use crate::support::{Examples, architecture, initial, initial_state};

/// The error that is allowed to a gradient's elements, relative to its root mean square; PyTorch's own in f32 is 4e-6
/// where batch norms follow each other.
const BOUND: f64 = 1e-4;
/// A gradient so much smaller than all gradients together is nothing but rounding: biases before a batch norm.
const NOTHING: f64 = 1e-3;

struct Step {
    loss: f32,
    logits: Vec<f32>,
    /// Gradients, and means and variances of batches, by name.
    tensors: BTreeMap<String, Tensor>,
}

/// Forward and backward of one batch, on variables.
fn step(gpu: &Gpu, profile: &kiln_gpu::DeviceProfile, architecture: &Architecture, batch: usize) -> Step {
    let mut g = GraphBuilder::new("step");
    let [channels, height, width] = architecture.input();
    let x = g.input("x", &[batch, channels, height, width], DType::F32);
    let labels = g.input("labels", &[batch], DType::U32);
    let random = g.input("random", &[4], DType::U32);
    let built = architecture.build(&mut g, x, Mode::Training { random }).expect("the network should build");
    let logits = g.reshape(built.output, &[batch, architecture.outputs()]).expect("one row an image");
    let loss = g.cross_entropy(logits, labels, CrossEntropyOptions::default()).expect("a loss");
    let (names, parameters): (Vec<_>, Vec<_>) = built.parameters.iter().cloned().unzip();
    let gradients = g.gradients(loss, &parameters).expect("every parameter should have a gradient");
    g.output("loss", loss);
    g.output("logits", logits);
    for (name, gradient) in names.iter().zip(gradients) {
        g.output(name, gradient);
    }
    let mut session = Session::with_profile(gpu, profile.clone());
    let plan = session.load(&g.finish(), &HashMap::new()).expect("the step should load");
    for spec in architecture.tensors().iter().filter(|spec| spec.trainable) {
        session.write_variable(&spec.name, &initial(spec)).expect("the parameter should be a variable");
    }
    let examples = Examples::new(architecture.input(), batch).batch(0, batch);
    let inputs = [
        ("x", &f32_tensor(&examples.shape, examples.images.clone())),
        ("labels", &u32_tensor(&[batch], examples.labels.clone())),
        ("random", &u32_tensor(&[4], vec![0; 4])),
    ];
    let mut outputs = session.run(plan, &inputs).expect("the step should run");
    let mut take = |name: &str| outputs.take(name).expect("the output should be there");
    Step {
        loss: take("loss").as_f32().expect("a loss is f32")[0],
        logits: take("logits").into_f32().expect("logits are f32"),
        tensors: names.iter().map(|name| (name.clone(), take(name))).collect(),
    }
}

/// Norm, sum and projection, and the elements at seeded places, as the script has them.
fn describe(name: &str, values: &[f32]) -> ([f64; 3], Vec<f64>) {
    let wide = || values.iter().map(|&value| f64::from(value));
    let projection = data::uniform(&format!("{name}.projection"), values.len());
    let stats = [
        wide().map(|value| value * value).sum::<f64>().sqrt(),
        wide().sum(),
        wide().zip(projection).map(|(value, weight)| value * f64::from(weight)).sum(),
    ];
    let places = data::indices(&format!("{name}.samples"), 16, values.len());
    (stats, places.iter().map(|&place| f64::from(values[place as usize])).collect())
}

#[track_caller]
fn close(what: &str, got: &[f64], expected: &Array, bound: f64) {
    assert_eq!(got.len(), expected.data.len(), "{what}");
    for (index, (got, expected)) in got.iter().zip(&expected.data).enumerate() {
        let off = (got - expected).abs();
        assert!(off <= bound, "{what}[{index}]: got {got:e}, expected {expected:e} within {bound:.1e}");
    }
}

fn agree(network: &str, batch: usize) {
    let Some(gpu) = device::gpu() else { return };
    let golden = golden::tensors("train/gradients.safetensors");
    let expected = |name: &str| &golden[&format!("{network}.{name}")];
    let architecture = architecture(network);
    let gradients: Vec<String> =
        architecture.tensors().into_iter().filter(|spec| spec.trainable).map(|spec| spec.name).collect();
    let whole: f64 = gradients.iter().map(|name| expected(&format!("{name}.stats")).data[0].powi(2)).sum();
    for profile in profiles(gpu) {
        let made = step(gpu, &profile, &architecture, batch);
        let label = format!("{network}, planned for a {} device", profile.kind);
        close(&format!("{label}: loss"), &[f64::from(made.loss)], expected("loss"), 1e-5);
        let logits: Vec<f64> = made.logits.iter().map(|&value| f64::from(value)).collect();
        close(&format!("{label}: logits"), &logits, expected("logits"), 1e-5);
        for name in &gradients {
            let values = made.tensors[name].as_f32().expect("a gradient should be f32");
            let (stats, samples) = describe(name, values);
            let (norms, places) = (expected(&format!("{name}.stats")), expected(&format!("{name}.samples")));
            let norm = norms.data[0] + NOTHING * whole.sqrt();
            let count = values.len() as f64;
            // Of an element; of a sum of all elements whose errors have any sign, a few standard deviations.
            let (element, sum) = (BOUND * norm / count.sqrt(), 3.0 * BOUND * norm);
            let what = format!("{label}: gradient of {name}");
            close(&format!("{what}, norm, sum and projection"), &stats, norms, sum);
            let largest = places.data.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
            close(&format!("{what}, samples"), &samples, places, element + BOUND * largest);
        }
    }
}

/// What one step of a trainer leaves in the running statistics, which start at 0 and 1: momentum 0.1, and variances
/// without bias.
#[test]
fn running_statistics() {
    let Some(gpu) = device::gpu() else { return };
    let golden = golden::tensors("train/gradients.safetensors");
    for (network, batch) in [("bn", 4), ("resnet8", 2)] {
        let architecture = architecture(network);
        let options = TrainerOptions {
            optimizer: "sgd".parse().expect("the optimizer should be known"),
            clip: None,
            accumulate: 1,
            label_smoothing: 0.0,
            seed: 0,
        };
        let mut trainer = Trainer::new(gpu, &architecture, options).expect("the options should do");
        trainer.restore(&initial_state(&architecture)).expect("the state should fit");
        let examples = Examples::new(architecture.input(), batch).batch(0, batch);
        trainer.step(&examples, 0.1).expect("the step should run");
        let state = trainer.state().expect("the device should answer");
        let statistics = architecture.tensors().into_iter().filter(|spec| !spec.trainable);
        for spec in statistics {
            let name = &spec.name;
            let (stats, samples) = describe(name, state.tensors[name].as_f32().expect("statistics are f32"));
            let expected = |what: &str| &golden[&format!("{network}.{name}.{what}")];
            let norm = expected("stats").data[0];
            close(
                &format!("{network}: {name}, norm, sum and projection"),
                &stats,
                expected("stats"),
                1e-5 * norm,
            );
            close(&format!("{network}: {name}, samples"), &samples, expected("samples"), 1e-5 * norm);
        }
    }
}

#[test]
fn bn() {
    agree("bn", 4);
}

#[test]
fn convnet() {
    agree("convnet", 4);
}

#[test]
fn resnet8() {
    agree("resnet8", 2);
}
