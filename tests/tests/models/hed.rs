//! HED with its real weights against PyTorch (`assets/goldens/hed/make.py`).

use kiln_engine::{DType, GraphBuilder, Session};
use kiln_models::hed::{self, EdgeMaps, Hed};
use kiln_models::{Image, ModelError};
use kiln_tests::{compare, device, golden};

use crate::layers::{BOUND, LayerGolden};
use crate::support::model;

fn image(name: &str) -> Image {
    Image::open(&golden::path(&format!("hed/{name}.png"))).expect("the image should open")
}

fn sigmoid(logit: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(logit)).exp())
}

/// Every layer, of an image whose sides halve without a rest and of one whose sides do not.
#[test]
fn layers_match_pytorch() {
    let (Some(gpu), Some(dir)) = (device::gpu(), model(hed::NAME)) else { return };
    let weights = hed::open_weights(&hed::weights_in(&dir)).expect("the weights should open");
    let golden = LayerGolden::read("hed/expected.safetensors");
    let mut session = Session::new(gpu);
    for name in ["even", "odd"] {
        let image = image(name);
        let mut g = GraphBuilder::new(hed::NAME);
        let x = g.input(hed::INPUT, &[1, 3, image.height(), image.width()], DType::F32);
        let network = hed::build(&mut g, x).expect("the network should build");
        let stages: Vec<_> = network.trunk.into_iter().chain(network.sides).chain([network.fused]).collect();
        assert_eq!(stages.len(), 13 + 4 + 5 + 1);
        for stage in &stages {
            g.output(&stage.name, stage.value);
            if stage.before != stage.value {
                g.output(&format!("{}.pre", stage.name), stage.before);
            }
        }
        let plan = session.load(&g.finish(), &weights).expect("the network should load");
        let input = hed::preprocess(&image).expect("the image should have a tensor");
        let mut outputs = session.run(plan, &[(hed::INPUT, &input)]).expect("the network should run");
        let mut take = |layer: &str| outputs.take(layer).expect("every layer should be there");
        for stage in &stages {
            golden.check(name, &stage.name, &take(&stage.name));
            if stage.before != stage.value {
                let before = format!("{}.pre", stage.name);
                golden.check(name, &before, &take(&before));
            }
        }
    }
}

/// What people get: all pixels of the fused map, and the sides that belong to it.
#[test]
fn edges_match_pytorch() {
    let (Some(gpu), Some(dir)) = (device::gpu(), model(hed::NAME)) else { return };
    let mut network = Hed::load(gpu, &hed::weights_in(&dir)).expect("the network should load");
    let golden = golden::tensors("hed/expected.safetensors");
    let mut again = None;
    for name in ["odd", "even", "odd"] {
        let image = image(name);
        let edges = network.edges(&image).expect("the network should run");
        assert_eq!((edges.width, edges.height), (image.width(), image.height()));
        let expected = &golden[&format!("{name}.fused")];
        assert_eq!(expected.shape, [edges.height, edges.width]);
        let error = compare::layer_error(&edges.fused, &expected.data);
        assert!(error <= BOUND, "{name}: {error:e}");
        for (side, values) in (1..).zip(&edges.sides) {
            assert_eq!(values.len(), edges.fused.len());
            assert!(values.iter().all(|value| (0.0..=1.0).contains(value)), "{name}: side {side}");
            let sample = &golden[&format!("{name}.side{side}.stats")];
            let strongest = values.iter().copied().fold(0.0, f32::max);
            let expected = sigmoid(sample.data[3] as f32);
            assert!((f64::from(strongest) - expected).abs() <= BOUND, "{name}: side {side}: {strongest}");
        }
        if name == "odd" {
            let first: &EdgeMaps = again.get_or_insert(edges.clone());
            assert_eq!(*first, edges, "a second run should give the same bits");
        }
    }
}

#[test]
fn an_image_that_is_too_large_is_refused_with_the_side_that_fits() {
    let (Some(gpu), Some(dir)) = (device::gpu(), model(hed::NAME)) else { return };
    let network = Hed::load(gpu, &hed::weights_in(&dir)).expect("the network should load");
    let limit = gpu.profile().limits.max_tensor();
    // A 16:9 image just above the limit, if an image may be that large at all.
    let unit = (limit / 256 / 144).isqrt() as u32 + 1;
    let (width, height) = (16 * unit, 9 * unit);
    let Ok(image) =
        Image::from_rgb8("wide.png", width, height, vec![0; width as usize * height as usize * 3])
    else {
        return;
    };
    let error = network.check_size(&image).expect_err("it should be refused");
    assert!(error.is_input_error());
    let message = error.to_string();
    let ModelError::LayerTooLarge { side, .. } = error else { panic!("{message}") };
    assert!(
        message.starts_with(&format!("wide.png: at {width}x{height} the layer conv1_1 makes ")),
        "{message}"
    );
    assert!(message.ends_with(&format!("the longer side may be at most {side}")), "{message}");
    let fitting = image.fit_within(side as u32).expect("it should be resized");
    network.check_size(&fitting).expect("it should fit now");
    let more = image.fit_within(side as u32 + 1).expect("it should be resized");
    assert!(network.check_size(&more).is_err());
}

#[test]
fn another_networks_weights_are_refused() {
    let Some(gpu) = device::gpu() else { return };
    let Err(error) = Hed::load(gpu, &golden::path("keras/legacy.h5")) else { panic!("it should be refused") };
    assert!(error.is_input_error());
    let message = error.to_string();
    assert!(
        message.contains("wrong tensors for this model: missing conv1_1.weight (block1_conv1), "),
        "{message}"
    );
    assert!(message.contains("side5.bias (dsn5)") && !message.contains('\n'), "{message}");
}
