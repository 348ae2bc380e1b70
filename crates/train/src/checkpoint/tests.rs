use std::collections::HashMap;
use std::path::PathBuf;
use std::{fs, iter};

use half::{bf16, f16};
use kiln_engine::Tensor;
use proptest::prelude::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::*;
use crate::config::RunOptions;
use crate::progress::{Epoch, Score};

const NETWORK: &str = "name = \"small\"\ninput = [1, 4, 4]\nobjective = \"classification\"\n\
    layers = [{ layer = \"conv2d\", out_channels = 2, kernel_size = 3 }, \"batch_norm2d\", \"relu\", \"flatten\", \
    { layer = \"linear\", out_features = 3 }]\n";

fn network() -> Architecture {
    Architecture::parse(NETWORK, "small.toml").unwrap()
}

/// A checkpoint in the middle of an epoch whose numbers are all different.
fn sample() -> Checkpoint {
    let options = RunOptions {
        arch: Some("small".into()),
        architecture: Some(NETWORK.into()),
        data: Some("somewhere".into()),
        validation: Some(0.1),
        ..RunOptions::default()
    };
    let (config, network) = options.resolve().unwrap();
    let mut numbers = (1..).map(|number| number as f32 / 7.0);
    let mut state = State { step: 1234, ..State::default() };
    for spec in network.tensors() {
        let count: usize = spec.shape.iter().product();
        let mut tensor = || Tensor::f32(spec.shape.clone(), numbers.by_ref().take(count).collect()).unwrap();
        if spec.trainable {
            state.tensors.insert(format!("optimizer.momentum_buffer.{}", spec.name), tensor());
        }
        state.tensors.insert(spec.name.clone(), tensor());
    }
    let mut progress = Progress::new(crate::schedule::PlateauState::new(0.1 + 0.2), Some(3));
    progress.early_stop.observe(0, 1.0 / 3.0);
    progress.loss.add(1.0 / 7.0, 100);
    progress.accuracy.add_count(77, 100);
    (progress.epoch, progress.batch) = (1, 1);
    let score = Score { loss: 2.0 / 3.0, accuracy: Some(1.0 / 9.0) };
    let epoch = Epoch { epoch: 1, steps: 1233, lr: 0.3, train: score, validation: Some(score), best: true };
    progress.epochs.push(epoch);
    let normalization = Normalization { mean: vec![1.0 / 3.0], std: vec![0.1] };
    let classes = ["a", "b", "\u{e9}\n\""].map(str::to_owned).to_vec();
    Checkpoint { config, network, normalization, classes, state, progress }
}

fn assert_equal(one: &Checkpoint, other: &Checkpoint) {
    assert_eq!(one.config, other.config);
    assert_eq!(one.network, other.network);
    assert_eq!((&one.normalization, &one.classes), (&other.normalization, &other.classes));
    assert_eq!((&one.state, &one.progress), (&other.state, &other.progress));
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("x.safetensors")
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        fs::write(self.file(), bytes).unwrap();
        self.file()
    }

    /// What is said of a file that is no checkpoint.
    #[track_caller]
    fn refused(&self, bytes: &[u8]) -> String {
        let error = Checkpoint::read(&self.write(bytes)).unwrap_err();
        assert!(error.is_input_error(), "{error}");
        let message = error.to_string();
        assert!(!message.contains('\n'), "{message}");
        message.replace(&self.file().display().to_string(), "FILE")
    }
}

/// The file with its tensors and its note changed.
fn changed(
    bytes: &[u8],
    tensor: impl Fn(&str, TensorView<'_>) -> Option<(Dtype, Vec<usize>, Vec<u8>)>,
    note: impl FnOnce(String) -> Option<String>,
) -> Vec<u8> {
    let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
    let notes = header.metadata().clone().unwrap();
    let file = SafeTensors::deserialize(bytes).unwrap();
    let kept: Vec<_> = file
        .iter()
        .filter_map(|(name, view)| tensor(name, view).map(|tensor| (name.to_owned(), tensor)))
        .collect();
    let views = kept.iter().map(|(name, (dtype, shape, data))| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let notes = note(notes[NOTE].clone()).map(|note| HashMap::from([(NOTE.to_owned(), note)]));
    safetensors::serialize(views, notes).unwrap()
}

fn same(_: &str, view: TensorView<'_>) -> Option<(Dtype, Vec<usize>, Vec<u8>)> {
    Some((view.dtype(), view.shape().to_vec(), view.data().to_vec()))
}

#[test]
fn what_is_written_reads_back_and_is_written_alike() {
    let (checkpoint, place) = (sample(), Place::new());
    checkpoint.write(&place.file()).unwrap();
    let read = Checkpoint::read(&place.file()).unwrap();
    assert_equal(&read, &checkpoint);
    let bytes = fs::read(place.file()).unwrap();
    assert_eq!(bytes, read.to_bytes().unwrap());
    for _ in 0..20 {
        assert_eq!(bytes, sample().to_bytes().unwrap());
    }
}

#[test]
fn tensors_have_the_names_of_pytorch() {
    let bytes = sample().to_bytes().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.retain(|name| !name.starts_with("optimizer."));
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "bn1.bias",
            "bn1.num_batches_tracked",
            "bn1.running_mean",
            "bn1.running_var",
            "bn1.weight",
            "conv1.bias",
            "conv1.weight",
            "fc1.bias",
            "fc1.weight"
        ]
    );
    let count = file.tensor("bn1.num_batches_tracked").unwrap();
    assert_eq!(
        (count.dtype(), count.shape(), count.data()),
        (Dtype::I64, &[][..], &1234_i64.to_le_bytes()[..])
    );
    let buffer = file.tensor("optimizer.momentum_buffer.conv1.weight").unwrap();
    assert_eq!((buffer.dtype(), buffer.shape()), (Dtype::F32, &[2, 1, 3, 3][..]));
}

#[test]
fn a_file_that_is_cut_short_is_refused() {
    let (bytes, place) = (sample().to_bytes().unwrap(), Place::new());
    for length in (0..bytes.len()).step_by(13).chain(bytes.len() - 9..bytes.len()) {
        let message = place.refused(&bytes[..length]);
        assert!(message.starts_with("FILE: "), "{message}");
    }
    assert!(place.refused(&bytes[..bytes.len() - 1]).contains("truncated: tensor"));
    assert!(place.refused(&[&bytes[..], b"x"].concat()).contains("not a safetensors file"));
}

#[test]
fn foreign_files_are_refused() {
    let place = Place::new();
    assert!(place.refused(b"").contains("not a safetensors file"));
    assert!(place.refused(&[0xff; 300]).contains("not a safetensors file"));
    assert!(place.refused(&iter::repeat_n(b'x', 300).collect::<Vec<_>>()).contains("not a safetensors file"));
    let plain = changed(&sample().to_bytes().unwrap(), same, |_| None);
    assert_eq!(
        place.refused(&plain),
        "FILE: not a checkpoint of a run: a safetensors file without Kiln's note"
    );
    let error = Checkpoint::read(&place.0.path().join("nowhere")).unwrap_err();
    assert!(error.is_input_error() && error.to_string().contains("nowhere"));
}

#[test]
fn other_tensors_are_refused() {
    let (bytes, place) = (sample().to_bytes().unwrap(), Place::new());
    let without = |lost: &'static str| {
        changed(&bytes, move |name, view| same(name, view).filter(|_| name != lost), Some)
    };
    for lost in ["conv1.weight", "bn1.running_var", "optimizer.momentum_buffer.fc1.bias"] {
        assert_eq!(
            place.refused(&without(lost)),
            format!("FILE: wrong tensors for this model: missing {lost}")
        );
    }
    // PyTorch's count tells nothing that the note does not.
    Checkpoint::read(&place.write(&without("bn1.num_batches_tracked"))).unwrap();
    let turned = |name: &str, view: TensorView<'_>| {
        let (dtype, mut shape, data) = same(name, view)?;
        shape.reverse();
        Some((dtype, shape, data))
    };
    let message = place.refused(&changed(&bytes, turned, Some));
    assert!(message.contains("conv1.weight") && message.contains("[3, 3, 1, 2]"), "{message}");
}

#[test]
fn other_notes_are_refused() {
    let (bytes, place) = (sample().to_bytes().unwrap(), Place::new());
    let noted = |from: &'static str, to: &'static str| {
        changed(&bytes, same, move |note| {
            assert!(note.contains(from), "{note}");
            Some(note.replacen(from, to, 1))
        })
    };
    assert_eq!(
        place.refused(&noted("\"format\":1", "\"format\":7")),
        "FILE: a checkpoint of format 7, this version of Kiln reads format 1"
    );
    assert!(place.refused(&noted("{", "[")).starts_with("FILE: Kiln's note in it cannot be read"));
    assert!(place.refused(&noted("\"step\":1234,", "")).contains("missing field `step`"));
    assert!(place.refused(&noted("\"epochs\":20", "\"epochs\":0")).contains("epochs 0: expected at least 1"));
    assert!(place.refused(&noted("\"mean\":[", "\"mean\":[1.0,")).contains("normalization"));
    assert!(place.refused(&noted("\"network\":\"name", "\"network\":\"nama")).contains("nama"));
}

/// The tensors of the network as PyTorch may have saved them.
fn state_dict(dtype: Dtype, renamed: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let bytes = sample().to_bytes().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors: Vec<_> = file
        .iter()
        .filter(|(name, _)| !name.starts_with("optimizer."))
        .filter_map(|(name, view)| {
            let (own, shape, data) = same(name, view)?;
            let values = data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            let data = match dtype {
                _ if own == Dtype::I64 => return Some((renamed(name)?, (own, shape, data))),
                Dtype::F16 => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
                Dtype::BF16 => values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
                _ => data,
            };
            Some((renamed(name)?, (dtype, shape, data)))
        })
        .collect();
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let notes = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(notes)).unwrap()
}

#[test]
fn a_state_dict_of_pytorch_is_read() {
    let (place, network) = (Place::new(), network());
    let own = sample().state;
    for (dtype, bound) in [(Dtype::F32, 0.0), (Dtype::F16, 1e-3), (Dtype::BF16, 1e-2)] {
        let file = place.write(&state_dict(dtype, |name| Some(name.to_owned())));
        let trained = Trained::open(&file, Some(&network)).unwrap();
        assert_eq!((trained.state.tensors.len(), trained.state.step), (8, 0));
        assert!(trained.normalization.is_none() && trained.classes.is_none());
        for (name, tensor) in &trained.state.tensors {
            let pairs = tensor.as_f32().unwrap().iter().zip(own.tensors[name].as_f32().unwrap());
            for (read, own) in pairs {
                assert!((read - own).abs() <= bound * own.abs(), "{name}: {read}, {own}");
            }
        }
        let error = Trained::open(&file, None).unwrap_err().to_string();
        assert!(error.ends_with("not written by Kiln: say with --arch which network its weights are for"));
    }
}

#[test]
fn names_of_a_state_dict_are_checked() {
    let (place, network) = (Place::new(), network());
    let renamed = |name: &str| match name {
        "conv1.weight" => Some("features.0.weight".to_owned()),
        "fc1.bias" => None,
        other => Some(other.to_owned()),
    };
    let file = place.write(&state_dict(Dtype::F32, renamed));
    let error = Trained::open(&file, Some(&network)).unwrap_err();
    assert!(error.is_input_error());
    let message = error.to_string();
    for part in ["missing conv1.weight and fc1.bias", "features.0.weight"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_checkpoint_is_used_without_its_optimizer() {
    let place = Place::new();
    sample().write(&place.file()).unwrap();
    let trained = Trained::open(&place.file(), None).unwrap();
    assert_eq!((trained.state.tensors.len(), trained.state.step, trained.epochs), (8, 1234, Some(1)));
    assert_eq!(trained.classes.unwrap()[0], "a");
    Trained::open(&place.file(), Some(&network())).unwrap();
    let other = Architecture::by_name("base").unwrap();
    let error = Trained::open(&place.file(), Some(&other)).unwrap_err().to_string();
    assert!(error.ends_with("it holds network small, base was given"), "{error}");
}

proptest! {
    #[test]
    fn every_bit_of_a_number_is_kept(
        sums in prop::collection::vec(any::<f64>().prop_filter("finite", |sum| sum.is_finite()), 4),
        bits in prop::collection::vec(any::<u32>(), 18),
    ) {
        let (mut checkpoint, place) = (sample(), Place::new());
        checkpoint.progress.loss = serde_json::from_value(serde_json::json!({ "sum": sums[0], "examples": 3 })).unwrap();
        checkpoint.progress.epochs[0].train.loss = sums[1];
        checkpoint.normalization.mean[0] = sums[2];
        checkpoint.progress.epochs[0].lr = sums[3];
        let values: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).collect();
        checkpoint.state.tensors.insert("conv1.weight".to_owned(), Tensor::f32([2, 1, 3, 3], values).unwrap());
        checkpoint.write(&place.file()).unwrap();
        let read = Checkpoint::read(&place.file()).unwrap();
        prop_assert_eq!(&read.progress, &checkpoint.progress);
        prop_assert_eq!(&read.normalization, &checkpoint.normalization);
        let read: Vec<u32> = read.state.tensors["conv1.weight"].as_f32().unwrap().iter().map(|v| v.to_bits()).collect();
        prop_assert_eq!(read, bits);
    }
}
