//! Whole runs on the device: interrupted or not, they come to the same bytes.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_gpu::Gpu;
use kiln_tests::{data, device};
use kiln_train::checkpoint::{Checkpoint, Trained};
use kiln_train::config::RunOptions;
use kiln_train::events::Event;
use kiln_train::learner;
use kiln_train::run::{Control, Outcome, Run};
use kiln_train::trainer::Trainer;
use tempfile::TempDir;

/// All that a step may have: statistics, dropout, and parameters of several ranks.
const CLASSIFIER: &str = r#"
name = "little"
input = [1, 8, 8]
objective = "classification"
layers = [
    { layer = "conv2d", out_channels = 4, kernel_size = 3, padding = 1 },
    "batch_norm2d",
    "relu",
    { layer = "max_pool2d", kernel_size = 2 },
    { layer = "dropout", p = 0.25 },
    "flatten",
    { layer = "linear", out_features = 3 },
]
"#;

const AUTOENCODER: &str = r#"
name = "copies"
input = [1, 8, 8]
objective = "reconstruction"
layers = [
    { layer = "conv2d", out_channels = 4, kernel_size = 3, stride = 2, padding = 1 },
    "relu",
    { layer = "conv_transpose2d", out_channels = 1, kernel_size = 4, stride = 2, padding = 1 },
]
"#;

/// A folder with IDX files of images of 8 x 8 pixels in three classes, and room for runs.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("there should be room for files"));
        fs::create_dir(place.path("data")).expect("a folder should be made");
        for (part, count) in [("train", 44_u32), ("t10k", 20)] {
            let labels = data::indices(&format!("runs.{part}.labels"), count as usize, 3);
            let noise = data::uniform(&format!("runs.{part}.noise"), count as usize * 64);
            let pixel = |(at, noise): (usize, f32)| {
                let (label, row) = (labels[at / 64] as usize, at / 8 % 8);
                (if row / 3 == label { 190.0 } else { 60.0 } + 40.0 * noise) as u8
            };
            let pixels = noise.into_iter().enumerate().map(pixel).collect();
            let header = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>();
            let labels = labels.iter().map(|label| *label as u8).collect();
            for (kind, content) in [
                ("images-idx3", [header(&[0x803, count, 8, 8]), pixels].concat()),
                ("labels-idx1", [header(&[0x801, count]), labels].concat()),
            ] {
                let file = place.path("data").join(format!("{part}-{kind}-ubyte"));
                fs::write(file, content).expect("a file should be written");
            }
        }
        fs::write(place.path("data/classes.txt"), "top\nmiddle\nbottom\n").expect("a file should be written");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn options(&self, network: &str) -> RunOptions {
        let file = self.path("network.toml");
        fs::write(&file, network).expect("a file should be written");
        RunOptions {
            arch: Some(file.display().to_string()),
            data: Some(self.path("data")),
            epochs: Some(3),
            batch_size: Some(10),
            ..RunOptions::default()
        }
    }

    fn start(&self, gpu: &Gpu, name: &str, options: &RunOptions) -> Run<Trainer> {
        let (config, network) = options.clone().resolve().expect("the options should do");
        Run::start(&self.path(name), config, network, learner::on(gpu)).expect("the run should start")
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("the file should be there")
    }
}

fn train(run: Run<Trainer>, steps: usize) -> Outcome {
    let made = Cell::new(0);
    let interrupted = || {
        made.set(made.get() + 1);
        made.get() >= steps
    };
    let control = Control { interrupted: &interrupted, ..Control::default() };
    run.train(&control, &mut |_: &Event| {}).expect("the run should get on")
}

fn resume(gpu: &Gpu, folder: &Path) -> Run<Trainer> {
    Run::resume(folder, &RunOptions::default(), learner::on(gpu)).expect("the run should go on")
}

#[test]
fn an_interrupted_run_comes_to_the_same_bytes() {
    let Some(gpu) = device::gpu() else { return };
    let place = Place::new();
    let sgd = RunOptions {
        validation: Some(0.25),
        augment: "flip,crop1".parse().ok(),
        schedule: "warmup1,cosine".parse().ok(),
        ..place.options(CLASSIFIER)
    };
    let adam = RunOptions {
        optimizer: Some("adamw".to_owned()),
        clip: Some(0.5),
        accumulate: Some(2),
        label_smoothing: Some(0.1),
        ..place.options(CLASSIFIER)
    };
    for (name, options, steps) in [("sgd", sgd, [2, 5]), ("adam", adam, [7, 1])] {
        let (whole, pieces) = (format!("{name}-whole"), format!("{name}-pieces"));
        let Outcome::Finished(finished) = train(place.start(gpu, &whole, &options), usize::MAX) else {
            panic!("nobody interrupted it")
        };
        let mut run = place.start(gpu, &pieces, &options);
        for steps in steps {
            assert!(matches!(train(run, steps), Outcome::Interrupted(_)), "{name}");
            run = resume(gpu, &place.path(&pieces));
        }
        let Outcome::Finished(again) = train(run, usize::MAX) else { panic!("nobody interrupted it") };
        assert_eq!((again.test, again.best_epoch), (finished.test, finished.best_epoch), "{name}");
        for file in ["last.safetensors", "best.safetensors", "curves.svg", "confusion.png"] {
            let [whole, pieces] = [&whole, &pieces].map(|run| place.bytes(&format!("{run}/{file}")));
            assert!(whole == pieces, "{name}: {file} should be the same");
        }
        let checkpoint = Checkpoint::read(&finished.last).expect("the checkpoint should load");
        assert_eq!(checkpoint.state.step, finished.steps, "{name}");
        let trained = Trained::open(&finished.best, None).expect("the network should load");
        assert_eq!(trained.classes.as_deref().map(<[String]>::len), Some(3), "{name}");
    }
}

#[test]
fn a_loss_that_is_no_number_leaves_a_good_checkpoint() {
    let Some(gpu) = device::gpu() else { return };
    let place = Place::new();
    let options = RunOptions { lr: Some(1e30), ..place.options(CLASSIFIER) };
    let run = place.start(gpu, "run", &options);
    let error = run.train(&Control::default(), &mut |_: &Event| {}).expect_err("it should stop");
    let message = error.to_string();
    assert!(message.starts_with("step ") && message.contains("learning rate of 1e30"), "{message}");
    assert!(message.ends_with("last.safetensors (step 0)"), "{message}");
    let state = Checkpoint::read(&place.path("run/last.safetensors")).expect("it should load").state;
    let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
    assert!(state.tensors.values().all(|tensor| tensor.as_f32().is_ok_and(finite)));
}

#[test]
fn what_a_network_reconstructs_is_shown() {
    let Some(gpu) = device::gpu() else { return };
    let place = Place::new();
    let options = RunOptions { lr: Some(0.1), epochs: Some(8), ..place.options(AUTOENCODER) };
    let Outcome::Finished(finished) = train(place.start(gpu, "run", &options), usize::MAX) else {
        panic!("nobody interrupted it")
    };
    assert!(finished.test_error.is_none() && finished.test.loss < 0.9, "{finished:?}");
    assert!(place.path("run/reconstructions.png").is_file());
    assert!(!place.path("run/confusion.png").exists());
}

#[test]
fn xor_is_learned_by_its_name() {
    let Some(gpu) = device::gpu() else { return };
    let place = Place::new();
    let options =
        RunOptions { arch: Some("xor".to_owned()), data: Some("xor".into()), ..RunOptions::default() };
    let Outcome::Finished(finished) = train(place.start(gpu, "run", &options), usize::MAX) else {
        panic!("nobody interrupted it")
    };
    assert_eq!(finished.test_error, Some(0.0));
}
