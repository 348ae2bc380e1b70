//! Against files that h5py wrote (`assets/goldens/keras/make.py`).

use safetensors::SafeTensors;

use super::*;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/goldens/keras").join(name)
}

const FILES: [&str; 3] = ["keras3.weights.h5", "legacy.h5", "whole.h5"];

fn layer(name: &str, keras: &[&str], kernel: KerasKernel) -> KerasLayer {
    KerasLayer { name: name.to_owned(), keras: keras.iter().map(|name| name.to_string()).collect(), kernel }
}

fn network() -> Vec<KerasLayer> {
    vec![
        layer("conv_a", &["conv_a"], KerasKernel::Convolution),
        layer("conv_b", &["conv_b"], KerasKernel::Convolution),
        layer("fc_a", &["fc_a"], KerasKernel::Flattened { height: 2, width: 3 }),
        layer("fc_b", &["fc_b"], KerasKernel::Dense),
    ]
}

fn expected() -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(golden("expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    file.tensors()
        .into_iter()
        .map(|(name, view)| (name, view.shape().to_vec(), values(view.data())))
        .collect()
}

#[test]
fn every_layout_gives_what_pytorch_would_hold() {
    let expected = expected();
    assert_eq!(expected.len(), 8);
    let shapes: Vec<_> = expected.iter().map(|(name, shape, _)| (name.clone(), shape.clone())).collect();
    for file in FILES {
        let weights = KerasWeights::open(&golden(file), &network()).unwrap();
        weights.check(&shapes).unwrap();
        assert_eq!(weights.names().len(), 8, "{file}");
        for (name, shape, values) in &expected {
            assert_eq!(weights.desc(name).unwrap().shape, *shape, "{file} {name}");
            let mut got = vec![f32::NAN; values.len()];
            weights.read(name, 0..values.len(), &mut got).unwrap();
            assert_eq!(got, *values, "{file} {name}");
        }
    }
}

#[test]
fn ranges_are_parts_of_the_whole() {
    for file in FILES {
        let weights = KerasWeights::open(&golden(file), &network()).unwrap();
        for (name, _, values) in expected() {
            for (start, end) in [(0, 1), (3, 4), (2, values.len()), (values.len() / 3, values.len() / 2 + 1)]
            {
                let range = start.min(values.len())..end.min(values.len());
                let mut got = vec![f32::NAN; range.len()];
                weights.read(&name, range.clone(), &mut got).unwrap();
                assert_eq!(got, values[range.clone()], "{file} {name} {range:?}");
            }
        }
    }
}

#[test]
fn files_without_names_go_by_their_order() {
    let by_class = [
        layer("a", &["nowhere", "layers/conv2d"], KerasKernel::Convolution),
        layer("b", &["layers/conv2d_1"], KerasKernel::Convolution),
        layer("c", &["dense_1"], KerasKernel::Dense),
    ];
    let weights = KerasWeights::open(&golden(FILES[0]), &by_class).unwrap();
    assert_eq!(weights.desc("a.weight").unwrap().shape, [5, 3, 3, 3]);
    assert_eq!(weights.desc("b.weight").unwrap().shape, [7, 5, 1, 2]);
    assert_eq!(weights.desc("c.weight").unwrap().shape, [4, 11]);
}

#[test]
fn differences_are_named() {
    let layers = [
        layer("features.0", &["block1_conv1"], KerasKernel::Convolution),
        layer("conv_a", &["conv_a"], KerasKernel::Dense),
        layer("conv_b", &["conv_b"], KerasKernel::Convolution),
    ];
    let weights = KerasWeights::open(&golden(FILES[1]), &layers).unwrap();
    let shapes = [
        ("features.0.weight".to_owned(), vec![64, 3, 3, 3]),
        ("conv_a.weight".to_owned(), vec![5, 27]),
        ("conv_b.bias".to_owned(), vec![8]),
    ];
    let error = weights.check(&shapes).unwrap_err();
    let message = error.to_string();
    assert!(error.is_input_error());
    for part in [
        "legacy.h5: wrong tensors for this model: missing features.0.weight (block1_conv1); ",
        "conv_a.weight has shape [3, 3, 3, 5], expected [5, 27]",
        "conv_b.bias has shape [7], expected [8]",
    ] {
        assert!(message.contains(part), "{part:?} not in {message}");
    }
    assert!(weights.desc("conv_a.weight").is_none() && weights.desc("none").is_none());
    let mut room = [0.0; 4];
    assert!(weights.read("conv_a.weight", 0..4, &mut room).is_err());
    assert!(weights.read("none", 0..4, &mut room).unwrap_err().to_string().contains("none: not in the file"));
    assert!(weights.read("conv_b.bias", 0..8, &mut [0.0; 8]).is_err());
    assert!(weights.read("conv_b.bias", 0..4, &mut [0.0; 3]).is_err());
}

#[test]
fn what_is_no_weight_file_is_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = KerasWeights::open(&path, &network()).unwrap_err();
        let message = error.to_string();
        assert!(error.is_input_error() && !message.contains('\n') && message.contains(name), "{message}");
        message
    };
    assert!(refused("text.h5", b"not a model\n").ends_with("its first bytes are not those of HDF5"));
    assert!(refused("empty.h5", b"").contains("not an HDF5 file with weights"));
    let whole = std::fs::read(golden(FILES[0])).unwrap();
    let message = refused("cut.h5", &whole[..20_000]);
    assert!(message.ends_with("truncated: it should have 29392 bytes, it has 20000"), "{message}");
    for file in FILES {
        let bytes = std::fs::read(golden(file)).unwrap();
        for length in [1, 9, 40, 96, 600, bytes.len() / 2, bytes.len() - 1] {
            refused("cut.h5", &bytes[..length]);
        }
    }
    let missing = KerasWeights::open(&dir.path().join("none.h5"), &[]).unwrap_err();
    assert!(missing.is_input_error() && matches!(missing, ModelError::Io { .. }), "{missing}");
    assert!(KerasWeights::open(dir.path(), &[]).unwrap_err().is_input_error());
}

/// A file that changed under our hands, or was damaged where only reading shows it.
#[test]
fn damage_never_panics() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.h5");
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for round in 0..600 {
        let mut bytes = std::fs::read(golden(FILES[round % FILES.len()])).unwrap();
        for _ in 0..1 + random(6) {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        std::fs::write(&path, &bytes).unwrap();
        let Ok(weights) = KerasWeights::open(&path, &network()) else { continue };
        for name in weights.names() {
            let count = weights.desc(&name).map_or(0, |desc| desc.elements());
            if count < 100_000 {
                let _ = weights.read(&name, 0..count, &mut vec![0.0; count]);
            }
        }
    }
}
