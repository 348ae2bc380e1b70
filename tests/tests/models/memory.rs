//! How near plans come to the least memory that they could run in. Only loading needs a device.

use kiln_engine::plan::{Constants, PlanMemory};
use kiln_engine::{Graph, GraphBuilder, Plan, Session, compile};
use kiln_gpu::{DeviceKind, DeviceProfile, Limits};
use kiln_models::network::Network;
use kiln_models::seeded::SeededWeights;
use kiln_models::t5::{EncoderInputs, Precision, StepInputs, StepShape, T5, T5Config};
use kiln_tests::device;

/// More than the bound, at most.
const ALLOWED: f64 = 1.15;

/// What a session may have let go without waiting for it to be free.
const LET_GO: u64 = 4 << 20;

fn profiles() -> impl Iterator<Item = DeviceProfile> {
    let kinds = [DeviceKind::Cpu, DeviceKind::Discrete];
    kinds.into_iter().map(|kind| DeviceProfile::made_up(kind, Limits::BASELINE))
}

/// The memory of the plan that runs each time.
fn plan(graph: &Graph, profile: &DeviceProfile) -> PlanMemory {
    let main = compile(graph, profile).expect("the graph should compile").main;
    Plan::build(&main, profile, Constants::Resident).expect("the plan should build").memory()
}

fn check(name: &str, graph: &Graph) {
    for profile in profiles() {
        let memory = plan(graph, &profile);
        let ratio = memory.total() as f64 / memory.bound() as f64;
        assert!(memory.live > 0 && memory.live <= memory.pooled, "{name}: {memory:?}");
        assert!(ratio <= ALLOWED, "{name} on {:?}: {ratio:.3}, {memory:?}", profile.kind);
    }
}

#[test]
fn networks_run_in_little_more_than_their_live_sets() {
    for (name, batch, input) in [
        ("vgg16", 1, &[3, 224, 224][..]),
        ("vgg16", 8, &[3, 224, 224]),
        ("all-MiniLM-L6-v2", 16, &[128]),
        ("hed", 1, &[3, 400, 300]),
        ("resnet8", 100, &[3, 32, 32]),
        ("mobilenet-tiny", 100, &[3, 32, 32]),
    ] {
        let network = Network::by_name(name).expect("the name is known");
        check(name, &network.graph(batch, input).expect("the network should build"));
    }
}

#[test]
fn a_text_generator_runs_in_little_more_than_its_live_sets() {
    let t5 = T5::without_weights(T5Config::flan_t5_small(), Precision::F32);
    for rows in [1, 4] {
        let shape = StepShape { rows, length: 128, source: 512 };
        let mut g = GraphBuilder::new("step");
        let inputs = StepInputs::declare(&mut g, shape);
        let logits = t5.step(&mut g, shape, inputs).expect("the step should build");
        g.output("logits", logits);
        check("t5 step", &g.finish());
    }
    let mut g = GraphBuilder::new("encode");
    let inputs = EncoderInputs::declare(&mut g, 512);
    let states = t5.encode(&mut g, inputs).expect("the encoder should build");
    g.output("states", states);
    check("t5 encoder", &g.finish());
}

/// Weights are prepared one after the other, and what they were read into is let go: while a network is loaded there is
/// little more than when it runs.
#[test]
fn loading_takes_little_more_than_running() {
    let Some(gpu) = device::gpu() else { return };
    for (name, batch) in [("all-MiniLM-L6-v2", 1), ("resnet8", 2)] {
        let network = Network::by_name(name).expect("the name is known");
        let graph = network.graph(batch, &network.input()).expect("the network should build");
        let mut session = Session::new(gpu);
        session.load(&graph, &SeededWeights::of(&graph)).expect("the network should load");
        let memory = session.memory();
        assert!(memory.peak >= memory.total() && memory.total() >= memory.bound(), "{name}: {memory:?}");
        let allowed = ALLOWED * memory.bound() as f64 + LET_GO as f64;
        assert!(memory.peak as f64 <= allowed, "{name}: {memory:?}");
    }
}
