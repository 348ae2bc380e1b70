//! The small networks against PyTorch (`assets/goldens/cnn/make.py`), with seeded weights.

use kiln_engine::{Graph, Session, Tensor};
use kiln_gpu::{DeviceKind, DeviceProfile, Gpu};
use kiln_models::cnn::{Architecture, INPUT, OUTPUT};
use kiln_models::seeded::{self, SeededWeights};
use kiln_tests::{compare, device, golden};

use crate::layers::BOUND;

/// Images of the goldens.
const BATCH: usize = 2;

/// What a session makes of seeded images with seeded weights.
fn run(mut session: Session, graph: &Graph, [channels, height, width]: [usize; 3]) -> Tensor {
    let images = seeded::image([BATCH, channels, height, width]).expect("the shape should be filled");
    let plan = session.load(graph, &SeededWeights::of(graph)).expect("the network should load");
    let mut outputs = session.run(plan, &[(INPUT, &images)]).expect("the network should run");
    outputs.take(OUTPUT).expect("the output should be there")
}

fn check(gpu: &Gpu, name: &str, network: &Architecture) {
    let expected = &golden::tensors("cnn/expected.safetensors")[name];
    let graph = network.graph(BATCH).expect("the network should build");
    for kind in [DeviceKind::Cpu, DeviceKind::Discrete] {
        let session = Session::with_profile(gpu, DeviceProfile { kind, ..gpu.profile().clone() });
        let output = run(session, &graph, network.input());
        assert_eq!(output.shape(), expected.shape, "{name}");
        let error = compare::layer_error(output.as_f32().expect("it should be f32"), &expected.data);
        assert!(error <= BOUND, "{name} as {kind:?}: {error:e}");
    }
}

#[test]
fn named_networks_match_pytorch() {
    let Some(gpu) = device::gpu() else { return };
    let names =
        ["base", "bn", "sk-0.2", "convnet", "lenet", "resnet8", "mobilenet-tiny", "autoencoder", "xor"];
    for name in names {
        check(gpu, name, &Architecture::by_name(name).expect("the network should be known"));
    }
}

/// Each word for a layer and each of its options means what it means in PyTorch.
#[test]
fn every_layer_of_a_file_matches_pytorch() {
    let Some(gpu) = device::gpu() else { return };
    let network =
        Architecture::open(&golden::path("cnn/everything.toml")).expect("the file should be a network");
    check(gpu, "everything", &network);
}
