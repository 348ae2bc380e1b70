//! VGG against PyTorch (`assets/goldens/vgg/make.py`), layer by layer, with seeded weights.

use kiln_engine::{Session, Tensor, WeightSource};
use kiln_gpu::{DeviceKind, DeviceProfile, Gpu, Limits};
use kiln_models::seeded::{self, SeededWeights};
use kiln_models::vgg::{Tap, Vgg, VggConfig};
use kiln_tests::{compare, data, device};

use crate::layers::{BOUND, LayerGolden};

/// Logits and probabilities, all of them.
fn check_classes(golden: &LayerGolden, network: &str, vgg: &mut Vgg, images: &Tensor) {
    let result = vgg.classify(images).expect("the network should run");
    let count = images.shape()[0];
    for (name, tensor) in [("logits", &result.logits), ("probabilities", &result.probabilities)] {
        let got = tensor.as_f32().expect("it should be f32");
        let error = compare::layer_error(got, golden.rows(&format!("{network}.{name}"), count));
        assert!(error <= BOUND, "{name} of {count}: {error:e}");
    }
    let rows = golden.rows(&format!("{network}.probabilities"), count);
    for (image, row) in rows.chunks(vgg.config().classes).enumerate() {
        let (class, probability) = result.top(image, 1)[0];
        let most = row.iter().copied().fold(0.0, f64::max);
        assert!((f64::from(probability) - most).abs() <= BOUND && row[class] == most, "image {image}");
    }
}

/// The configuration of `small` in the golden's script.
fn small() -> VggConfig {
    VggConfig {
        name: "small".to_owned(),
        channels: 3,
        blocks: [vec![4], vec![6], vec![8, 10], vec![12, 10], vec![8, 12]].to_vec(),
        batch_norm: true,
        grid: 2,
        hidden: 20,
        classes: 11,
    }
}

fn weights(config: &VggConfig) -> SeededWeights {
    SeededWeights::of(&config.graph(1, config.input()).expect("the network should build"))
}

fn images(shape: [usize; 4]) -> Tensor {
    seeded::image(shape).expect("the shape should be filled")
}

fn taps(config: &VggConfig, names: &[String]) -> Vec<Tap> {
    names.iter().map(|name| config.tap(name).expect("the layer should be there")).collect()
}

/// A device that binds no more than the least that WebGPU promises.
fn limited(gpu: &Gpu) -> Session {
    let own = gpu.profile().limits;
    let limits = Limits { max_binding: own.max_binding.min(128 << 20), ..own };
    Session::with_profile(gpu, DeviceProfile { limits, ..gpu.profile().clone() })
}

/// The formula of the library and that of the harness, which the golden's script repeats.
#[test]
fn seeded_numbers_are_those_of_the_harness() {
    let weights = SeededWeights::new([("features.0.bias", &[64][..])]);
    let mut got = vec![0.0; 64];
    weights.read("features.0.bias", 0..64, &mut got).expect("it should be there");
    let expected: Vec<f32> = data::uniform("features.0.bias", 64).into_iter().map(|u| u * 0.125).collect();
    assert_eq!(got, expected);
    let expected: Vec<f32> = data::uniform("x", 24).into_iter().map(|u| 2.0 * u).collect();
    assert_eq!(images([2, 3, 2, 2]).as_f32().expect("images are f32"), expected);
}

/// Every layer before and after its activation, with batch norm and with adaptive pooling, as a GPU and as a software
/// device would compute it, whole and with the work split over the batch.
#[test]
fn a_small_network_matches_pytorch() {
    let Some(gpu) = device::gpu() else { return };
    let golden = LayerGolden::read("vgg/expected.safetensors");
    let config = small();
    let layers: Vec<String> = config
        .layers()
        .into_iter()
        .flat_map(|layer| {
            [(!layer.starts_with("pool") && layer != "fc8").then(|| format!("{layer}.pre")), Some(layer)]
        })
        .flatten()
        .collect();
    assert_eq!(layers.len(), 21 + 5);
    let images = images([2, 3, 70, 106]);
    let own = gpu.profile();
    for kind in [DeviceKind::Cpu, DeviceKind::Discrete] {
        for max_binding in [own.limits.max_binding, 128 << 10] {
            let limits = Limits { max_binding, ..own.limits };
            let session = Session::with_profile(gpu, DeviceProfile { kind, limits, ..own.clone() });
            let mut vgg = Vgg::in_session(session, config.clone(), weights(&config));
            let taps = taps(&config, &layers);
            let features = vgg.features(&images, &taps).expect("the network should run");
            assert!(features.iter().map(|(name, _)| name).eq(&layers));
            for (name, tensor) in &features {
                golden.check("small", name, tensor);
            }
            // Without taps, so with all that passes fold and fuse.
            check_classes(&golden, "small", &mut vgg, &images);
        }
    }
}

/// The paper's network at its own size under a binding limit of 128 MiB: all layers, logits and probabilities.
#[test]
fn vgg16_matches_pytorch() {
    let Some(gpu) = device::gpu() else { return };
    let golden = LayerGolden::read("vgg/expected.safetensors");
    let config = VggConfig::by_name("vgg16").expect("the name is known");
    let mut vgg = Vgg::in_session(limited(gpu), config.clone(), weights(&config));
    let layers = config.layers();
    assert_eq!(layers.len(), 21);
    for batch in [1, 4] {
        let features =
            vgg.features(&images([batch, 3, 224, 224]), &taps(&config, &layers)).expect("it should run");
        for (name, tensor) in &features {
            golden.check("vgg16", name, tensor);
        }
    }
    check_classes(&golden, "vgg16", &mut vgg, &images([1, 3, 224, 224]));

    // 147 MiB, more than can be bound: the batch is cut.
    let many = images([12, 3, 224, 224]);
    let first = vgg.features(&many, &taps(&config, &layers[..1])).expect("it should run").remove(0).1;
    let values = first.as_f32().expect("a layer should give f32");
    let image = values.len() / 12;
    let four = Tensor::f32([4, 64, 224, 224], values[..4 * image].to_vec()).expect("it should be filled");
    golden.check("vgg16", "conv1_1", &four);
    let alone =
        Tensor::f32([1, 3, 224, 224], many.as_f32().expect("images are f32")[11 * 3 * 224 * 224..].to_vec());
    let alone = vgg.features(&alone.expect("it should be filled"), &taps(&config, &layers[..1]));
    let alone = alone.expect("it should run").remove(0).1;
    assert!(
        alone.as_f32().expect("a layer should give f32") == &values[11 * image..],
        "the last image differs"
    );
}
