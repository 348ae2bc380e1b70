//! What a run costs besides its kernels: after a few runs nothing is made on the device any more, and the host asks for
//! memory as often in one run as in the next. A process of its own, since all its threads are counted.

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_engine::{Session, Tensor};
use kiln_gpu::{Gpu, LiveObjects};
use kiln_models::cnn::Architecture;
use kiln_models::generate::Decoder;
use kiln_models::network::Network;
use kiln_models::seeded::{self, SeededWeights};
use kiln_models::t5::{Precision, Runner, T5, T5Config};
use kiln_models::vgg::{INPUT, VggConfig};
use kiln_models::weights::Weights;
use kiln_tests::device;
use kiln_tests::t5::{Form, Geometry};
use kiln_train::config::RunOptions;
use kiln_train::loader::Batch;
use kiln_train::trainer::Trainer;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HOST: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Runs that may still make something: the first compiles, and lists that wgpu keeps grow to their size.
const WARM_UP: usize = 6;
/// Runs that are counted, in each of two halves.
const RUNS: usize = 8;

/// Tests take turns: each counts what the whole process does.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What there is on the device once it has nothing to do.
fn objects(gpu: &Gpu) -> (u64, LiveObjects) {
    gpu.wait().expect("the device should work");
    (gpu.objects_made(), gpu.live_objects())
}

/// Runs something again and again, and sees what is made.
fn check(gpu: &Gpu, name: &str, mut run: impl FnMut()) {
    (0..WARM_UP).for_each(|_| run());
    let before = objects(gpu);
    let mut halves = [(0, 0); 2];
    for half in &mut halves {
        let region = Region::new(HOST);
        (0..RUNS).for_each(|_| run());
        gpu.wait().expect("the device should work");
        let change = region.change();
        *half =
            (change.allocations + change.reallocations, change.allocations.abs_diff(change.deallocations));
    }
    assert_eq!(objects(gpu), before, "{name}: objects on the device");
    let [(first, _), (second, left)] = halves;
    // wgpu's lists and the standard library's maps may grow once more.
    let more = second.saturating_sub(first);
    assert!(more * 100 <= first, "{name}: {first} allocations in {RUNS} runs, then {second}");
    assert!(left <= RUNS, "{name}: {left} allocations of {RUNS} runs stay");
}

/// Runs a network of the library.
fn check_network(gpu: &Gpu, name: &str, graph: &kiln_engine::Graph, inputs: &[(String, Tensor)]) {
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut session = Session::new(gpu);
    let plan = session.load(graph, &SeededWeights::of(graph)).expect("the network should load");
    check(gpu, name, || {
        session.run(plan, &inputs).expect("the network should run");
    });
    // The same, with the next run submitted before the outputs of the last are fetched.
    let mut under_way = None;
    check(gpu, &format!("{name}, overlapped"), || {
        let next = session.submit(plan, &inputs).expect("the network should run");
        if let Some(pending) = under_way.replace(next) {
            pending.wait().expect("the outputs should arrive");
        }
    });
}

#[test]
fn a_convolutional_network_makes_nothing_new() {
    let _turn = alone();
    let Some(gpu) = device::gpu() else { return };
    let config = VggConfig::by_name("vgg11").expect("the name is known");
    let taps = [config.tap("conv3_2").expect("the layer is there")];
    let graph = config.features(1, [3, 32, 32], &taps).expect("the network should build");
    let image = seeded::image([1, 3, 32, 32]).expect("the shape should be filled");
    check_network(gpu, "vgg11", &graph, &[(INPUT.to_owned(), image)]);
}

/// A plan that needs more room makes those before it be recorded anew, once.
#[test]
fn plans_that_share_a_pool_settle() {
    let _turn = alone();
    let Some(gpu) = device::gpu() else { return };
    let network = Network::by_name("xor").expect("the name is known");
    let mut session = Session::new(gpu);
    let plans: Vec<_> = [3, 50, 7, 400]
        .into_iter()
        .map(|batch| {
            let graph = network.graph(batch, &network.input()).expect("the network should build");
            let inputs = network.example(batch, &network.input()).expect("there should be an example");
            let weights = SeededWeights::of(&graph);
            (session.load(&graph, &weights).expect("the network should load"), inputs)
        })
        .collect();
    check(gpu, "four plans", || {
        for (plan, inputs) in &plans {
            let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
            session.run(*plan, &inputs).expect("the network should run");
        }
    });
}

#[test]
fn an_encoder_makes_nothing_new() {
    let _turn = alone();
    let Some(gpu) = device::gpu() else { return };
    let network = Network::by_name("all-MiniLM-L6-v2").expect("the name is known");
    let graph = network.graph(2, &[16]).expect("the network should build");
    let inputs = network.example(2, &[16]).expect("there should be an example");
    check_network(gpu, "MiniLM", &graph, &inputs);
}

#[test]
fn a_step_of_a_text_makes_nothing_new() {
    let _turn = alone();
    let Some(gpu) = device::gpu() else { return };
    let dir = tempfile::tempdir().expect("a folder should be made");
    Geometry::TINY.write(dir.path(), Form::F32).expect("the model should be written");
    let config = T5Config::open(&dir.path().join("config.json")).expect("the configuration should be read");
    let weights = Weights::open(&dir.path().join("model.safetensors")).expect("the file should be read");
    let t5 = T5::new(config, &weights, Precision::F32).expect("the tensors should be there");
    let mut runner = Runner::new(gpu, t5, Box::new(weights));
    runner.begin(&[vec![7; 17], vec![9; 5]], 1, 40).expect("the prompts should be encoded");
    let mut tokens = vec![0; 2];
    check(gpu, "T5 step", || {
        let likeliest = runner.argmax(&tokens, &[0, 1]).expect("a step should run");
        tokens = likeliest.into_iter().map(|row| row.id).collect();
    });
    // The same, with the next step started before this one is taken.
    runner.begin(&[vec![7; 17], vec![9; 5]], 1, 40).expect("the prompts should be encoded");
    runner.start(&[0; 2], &[0, 1]).expect("a step should start");
    check(gpu, "T5 step, ahead", || {
        runner.follow().expect("a step should start");
        assert_eq!(runner.chosen().expect("a step should run").len(), 2);
    });
    // And given up.
    runner.begin(&[vec![7; 17], vec![9; 5]], 1, 4).expect("the prompts should be encoded");
    check(gpu, "T5 step, given up", || {
        runner.start(&[0; 2], &[0, 1]).expect("a step should start");
        runner.follow().expect("a step should start");
    });
}

#[test]
fn a_training_step_makes_nothing_new() {
    let _turn = alone();
    let Some(gpu) = device::gpu() else { return };
    let options = RunOptions { arch: Some("bn".into()), data: Some("noise".into()), ..RunOptions::default() };
    let (config, network): (_, Architecture) = options.resolve().expect("the options should be right");
    let mut trainer =
        Trainer::new(gpu, &network, config.trainer_options()).expect("the options should be right");
    trainer.initialize().expect("the state should be written");
    let [channels, height, width] = network.input();
    let shape = [10, channels, height, width];
    let images = seeded::image(shape).expect("the shape is filled").into_f32().expect("these are f32");
    let batch = Batch { index: 0, shape, images, labels: (0..10).collect(), origins: (0..10).collect() };
    check(gpu, "training", || {
        trainer.step(&batch, 1e-3).expect("a step should run");
        assert_eq!(trainer.records().expect("the history should be read").len(), 1);
    });
}
