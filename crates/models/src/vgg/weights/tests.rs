use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::*;
use crate::error::TensorDifferences;
use crate::seeded::SeededWeights;

/// vgg11's form, small enough to write to a file.
fn small(batch_norm: bool) -> VggConfig {
    VggConfig {
        name: "small".to_owned(),
        channels: 3,
        blocks: [vec![4], vec![6], vec![8, 10], vec![12, 10], vec![8, 12]].to_vec(),
        batch_norm,
        grid: 2,
        hidden: 20,
        classes: 11,
    }
}

/// A tensor of a file: name, type, shape and bytes.
type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

fn values(config: &VggConfig, name: &str, shape: &[usize]) -> Vec<f32> {
    let seeded = SeededWeights::of(&config.graph(1, config.input()).unwrap());
    let mut values = vec![0.0; shape.iter().product()];
    seeded.read(name, 0..values.len(), &mut values).unwrap();
    values
}

fn stored(config: &VggConfig) -> Vec<Stored> {
    let tensors = config.tensors().unwrap().into_iter();
    tensors
        .map(|(name, shape)| {
            let bytes = values(config, &name, &shape).iter().flat_map(|value| value.to_le_bytes()).collect();
            (name, Dtype::F32, shape, bytes)
        })
        .collect()
}

/// As timm has them.
fn timm(tensors: Vec<Stored>) -> Vec<Stored> {
    let rename = |(name, dtype, shape, bytes): Stored| {
        let name = name
            .replace("classifier.0", "pre_logits.fc1")
            .replace("classifier.3", "pre_logits.fc2")
            .replace("classifier.6", "head.fc");
        let shape = match name.as_str() {
            "pre_logits.fc1.weight" => vec![20, 12, 2, 2],
            "pre_logits.fc2.weight" => vec![20, 20, 1, 1],
            _ => shape,
        };
        (name, dtype, shape, bytes)
    };
    tensors.into_iter().map(rename).collect()
}

/// Writes a file and opens it: as that of a whole network, or for a few layers.
fn open(tensors: &[Stored], config: &VggConfig, layers: Option<&[&str]>) -> Result<VggWeights, ModelError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, &path).unwrap();
    match layers {
        None => VggWeights::open(&path, config),
        Some(layers) => {
            let taps: Vec<Tap> = layers.iter().map(|layer| config.tap(layer).unwrap()).collect();
            VggWeights::open_for(&path, config, &taps)
        }
    }
}

fn differences(result: Result<VggWeights, ModelError>) -> TensorDifferences {
    match result.map(drop) {
        Err(ModelError::WrongTensors { differences, .. }) => *differences,
        other => panic!("{other:?}"),
    }
}

fn assert_all(weights: &VggWeights, config: &VggConfig, error: f32) {
    for (name, shape) in config.tensors().unwrap() {
        assert_eq!(weights.desc(&name), Some(TensorDesc::f32(shape.as_slice())));
        let expected = values(config, &name, &shape);
        let mut got = vec![0.0; expected.len()];
        weights.read(&name, 0..got.len(), &mut got).unwrap();
        for (got, expected) in got.iter().zip(&expected) {
            assert!(
                (got - expected).abs() <= error * expected.abs().max(1e-3),
                "{name}: {got} for {expected}"
            );
        }
    }
}

#[test]
fn both_ways_to_name_tensors_are_read() {
    for batch_norm in [false, true] {
        let config = small(batch_norm);
        let torchvision = stored(&config);
        assert_all(&open(&torchvision, &config, None).unwrap(), &config, 0.0);
        let timm = timm(torchvision);
        assert!(timm.iter().any(|(name, ..)| name == "head.fc.bias"));
        assert_all(&open(&timm, &config, None).unwrap(), &config, 0.0);
    }
}

#[test]
fn half_precision_is_widened() {
    let config = small(false);
    for (dtype, error) in [(Dtype::F16, 5e-4), (Dtype::BF16, 4e-3)] {
        let halved: Vec<Stored> = stored(&config)
            .into_iter()
            .map(|(name, _, shape, bytes)| {
                let values = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                let halves = values.flat_map(|value| match dtype {
                    Dtype::F16 => f16::from_f32(value).to_le_bytes(),
                    _ => bf16::from_f32(value).to_le_bytes(),
                });
                (name, dtype, shape, halves.collect())
            })
            .collect();
        assert_all(&open(&halved, &config, None).unwrap(), &config, error);
    }
}

#[test]
fn counters_of_batch_norm_are_ignored() {
    let config = small(true);
    let mut tensors = stored(&config);
    let counter = ("features.1.num_batches_tracked".to_owned(), Dtype::I64, vec![], vec![0; 8]);
    tensors.push(counter);
    open(&tensors, &config, None).unwrap();
}

#[test]
fn what_differs_is_named_as_the_file_has_it() {
    let config = small(false);
    let mut tensors = timm(stored(&config));
    tensors.retain(|(name, ..)| name != "pre_logits.fc1.bias");
    tensors.push(("head.bias".to_owned(), Dtype::F32, vec![1], vec![0; 4]));
    let fc2 = tensors.iter_mut().find(|(name, ..)| name == "pre_logits.fc2.weight").unwrap();
    fc2.2 = vec![20, 20];
    let first = tensors.iter_mut().find(|(name, ..)| name == "features.0.bias").unwrap();
    (first.1, first.3) = (Dtype::I32, vec![0; 16]);
    let found = differences(open(&tensors, &config, None));
    assert_eq!(found.missing, ["pre_logits.fc1.bias"]);
    assert_eq!(found.extra, ["head.bias"]);
    assert_eq!(found.misshapen, [("pre_logits.fc2.weight".to_owned(), vec![20, 20, 1, 1], vec![20, 20])]);
    assert_eq!(found.mistyped, [("features.0.bias".to_owned(), "I32".to_owned())]);
    assert_eq!(found.fitting, None);
}

#[test]
fn only_what_the_layers_need_has_to_be_there() {
    let config = small(false);
    let mut tensors = stored(&config);
    tensors.retain(|(name, ..)| name.starts_with("features."));
    assert_eq!(differences(open(&tensors, &config, None)).missing.len(), 6);
    let weights = open(&tensors, &config, Some(&["conv5_2.pre", "pool1"])).unwrap();
    assert!(weights.desc("features.16.weight").is_some() && weights.desc("classifier.0.weight").is_none());
    let missing = differences(open(&tensors, &config, Some(&["fc6"]))).missing;
    assert_eq!(missing, ["classifier.0.weight", "classifier.0.bias"]);

    // Even a single layer, and whatever stands beside it.
    tensors.truncate(2);
    tensors.push(("classifier.6.weight".to_owned(), Dtype::F32, vec![1], vec![0; 4]));
    tensors.push(("fuse.weight".to_owned(), Dtype::F32, vec![1], vec![0; 4]));
    assert_eq!(open(&tensors, &config, Some(&["conv1_1"])).unwrap().unknown(), ["fuse.weight"]);
    let found = differences(open(&tensors, &config, Some(&["conv2_1"])));
    assert_eq!(found.missing, ["features.3.weight", "features.3.bias"]);
    assert_eq!(found.extra, ["fuse.weight"], "it may be what tells that the file is another network's");
}

/// The header alone decides, so the tensors of a real network need not be written: the file has a hole.
#[test]
fn another_configuration_is_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let vgg19 = VggConfig::by_name("vgg19_bn").unwrap();
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in vgg19.tensors().unwrap() {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        header
            .insert(name, serde_json::json!({"dtype": "F16", "shape": shape, "data_offsets": [start, end]}));
    }
    let header = serde_json::Value::from(header).to_string();
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()).unwrap();
    let length = (8 + header.len() + end) as u64;
    std::fs::File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
    VggWeights::open(&path, &vgg19).unwrap();
    let error = VggWeights::open(&path, &VggConfig::by_name("vgg16").unwrap()).unwrap_err();
    assert!(error.is_input_error());
    assert!(error.to_string().contains("wrong tensors for this model, but those of vgg19_bn: "), "{error}");
}
