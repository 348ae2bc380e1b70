//! `kiln filter`: its pictures, pixel by pixel against plain sums in this file, and what it refuses.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{assert_refused, has_adapter, kiln, text};
use kiln::models::image::{Image, Picture, Show, write_png};

const WIDTH: usize = 37;
const HEIGHT: usize = 23;

/// A gradient, a dark square, a bright line and some grain; different in each channel.
fn drawing() -> Vec<f32> {
    let mut state = 9_u32;
    let mut values = Vec::new();
    for channel in 0..3 {
        for y in 0..HEIGHT {
            for x in 0..WIDTH {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let grain = (state >> 28) as usize;
                values.push(match (x, y) {
                    (8..15, 5..12) => 20 * channel,
                    (_, 17) => 255,
                    _ => x * 5 + y * channel + grain,
                } as f32);
            }
        }
    }
    values
}

struct Case<'a> {
    kernel: &'a str,
    padding: &'a str,
    stride: usize,
    dilation: usize,
    per_channel: bool,
    show: Option<&'a str>,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Case { kernel: "box", padding: "zero", stride: 1, dilation: 1, per_channel: false, show: None }
    }
}

impl Case<'_> {
    fn args(&self, image: &str, kernel: &str, out: &str) -> Vec<String> {
        let mut args = vec!["filter".to_owned(), image.to_owned()];
        let mut option = |name: &str, value: &str| args.extend([name.to_owned(), value.to_owned()]);
        option("--kernel", kernel);
        if self.padding != "zero" {
            option("--padding", self.padding);
        }
        if self.stride != 1 {
            option("--stride", &self.stride.to_string());
        }
        if self.dilation != 1 {
            option("--dilation", &self.dilation.to_string());
        }
        if let Some(show) = self.show {
            option("--show", show);
        }
        option("-o", out);
        if self.per_channel {
            args.push("--per-channel".to_owned());
        }
        args
    }

    /// The value at a place of the image, or of what surrounds it.
    fn at(&self, plane: &[f32], y: isize, x: isize) -> f64 {
        let inside = |at: isize, size: usize| {
            let last = size as isize - 1;
            match self.padding {
                "zero" => (0..=last).contains(&at).then_some(at),
                "replicate" => Some(at.clamp(0, last)),
                _ => Some(if at < 0 {
                    -at
                } else if at > last {
                    2 * last - at
                } else {
                    at
                }),
            }
        };
        match (inside(y, HEIGHT), inside(x, WIDTH)) {
            (Some(y), Some(x)) => f64::from(plane[y as usize * WIDTH + x as usize]),
            _ => 0.0,
        }
    }

    /// `[channels][height][width]`, the kernel laid on each `stride`-th pixel as it is written.
    fn expected(&self, weights: &[&[f64]], values: &[f32]) -> Vec<Vec<f64>> {
        let zero_sum = weights.iter().flat_map(|row| row.iter()).sum::<f64>().abs() < 1e-9;
        let (above, left) = ((weights.len() - 1) / 2, (weights[0].len() - 1) / 2);
        let mut planes: Vec<Vec<f64>> = Vec::new();
        for plane in values.chunks_exact(WIDTH * HEIGHT) {
            let mut filtered = Vec::new();
            for y in (0..HEIGHT).step_by(self.stride) {
                for x in (0..WIDTH).step_by(self.stride) {
                    let mut sum = 0.0;
                    for (i, row) in weights.iter().enumerate() {
                        for (j, weight) in row.iter().enumerate() {
                            let dy = (i as isize - above as isize) * self.dilation as isize;
                            let dx = (j as isize - left as isize) * self.dilation as isize;
                            sum += weight * self.at(plane, y as isize + dy, x as isize + dx);
                        }
                    }
                    filtered.push(sum);
                }
            }
            planes.push(filtered);
        }
        if zero_sum && !self.per_channel {
            let sum = |at: usize| planes.iter().map(|plane| plane[at]).sum();
            planes = vec![(0..planes[0].len()).map(sum).collect()];
        }
        let show = self.show.unwrap_or(if zero_sum { "abs" } else { "clamp" });
        let all = planes.iter().flatten().copied();
        let (low, high) = all.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        let shade = |value: f64| match show {
            "clamp" => value,
            "abs" => value.abs(),
            _ => (value - low) / (high - low) * 255.0,
        };
        planes.iter().map(|plane| plane.iter().map(|value| shade(*value)).collect()).collect()
    }
}

struct Studio {
    folder: tempfile::TempDir,
    values: Vec<f32>,
}

impl Studio {
    fn new() -> Studio {
        let studio =
            Studio { folder: tempfile::tempdir().expect("a folder should be made"), values: drawing() };
        let picture = Picture::from_planes(&studio.values, [3, HEIGHT, WIDTH], Show::Clamp, 255.0)
            .expect("the drawing should be a picture");
        write_png(&studio.path("in.png"), &picture).expect("the drawing should be written");
        studio
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// Runs the command and compares its picture.
    #[track_caller]
    fn check(&self, case: &Case<'_>, weights: &[&[f64]]) {
        let kernel =
            if case.kernel.ends_with(".txt") { self.name(case.kernel) } else { case.kernel.to_owned() };
        let out = self.name("out.png");
        let args = case.args(&self.name("in.png"), &kernel, &out);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = kiln(&args).output().expect("the binary should start");
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        let (columns, rows) = (WIDTH.div_ceil(case.stride), HEIGHT.div_ceil(case.stride));
        let told = format!("{} of {} in {out} ({columns}x{rows})\n", case.kernel, self.name("in.png"));
        assert_eq!(text(&output.stdout), told);

        let image = Image::open(Path::new(&out)).expect("the picture should be readable");
        assert_eq!((image.width(), image.height()), (columns, rows), "{args:?}");
        let expected = case.expected(weights, &self.values);
        for (at, pixel) in image.pixels().chunks_exact(3).enumerate() {
            for (channel, byte) in pixel.iter().enumerate() {
                let value = expected[channel % expected.len()][at];
                // Where a half is to be rounded, either neighbour is right.
                let near = |value: f64| value.clamp(0.0, 255.0).round() as u8;
                let accepted = [near(value - 2e-3), near(value + 2e-3)];
                assert!(
                    accepted.contains(byte),
                    "{args:?}: pixel {} {}, channel {channel}: {byte}, expected {value}",
                    at % columns,
                    at / columns
                );
            }
        }
    }
}

const SOBEL_X: &[&[f64]] = &[&[-1.0, 0.0, 1.0], &[-2.0, 0.0, 2.0], &[-1.0, 0.0, 1.0]];
const NINTHS: &[f64] = &[1.0 / 9.0; 3];
const BOX: &[&[f64]] = &[NINTHS, NINTHS, NINTHS];

#[test]
fn every_kernel_gives_its_picture() {
    if !has_adapter() {
        return;
    }
    let studio = Studio::new();
    let check = |kernel, weights: &[&[f64]]| studio.check(&Case { kernel, ..Case::default() }, weights);
    check("sobel-x", SOBEL_X);
    check("sobel-y", &[&[-1.0, -2.0, -1.0], &[0.0, 0.0, 0.0], &[1.0, 2.0, 1.0]]);
    check("box", BOX);
    let scaled = |divisor: f64, rows: &[Vec<f64>]| -> Vec<Vec<f64>> {
        rows.iter().map(|row| row.iter().map(|value| value / divisor).collect()).collect()
    };
    let outer = |line: &[f64]| -> Vec<Vec<f64>> {
        line.iter().map(|a| line.iter().map(|b| a * b).collect()).collect()
    };
    let gaussian3 = scaled(16.0, &outer(&[1.0, 2.0, 1.0]));
    check("gaussian3", &gaussian3.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let gaussian5 = scaled(256.0, &outer(&[1.0, 4.0, 6.0, 4.0, 1.0]));
    check("gaussian5", &gaussian5.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut unsharp = scaled(-1.0, &gaussian5);
    unsharp[2][2] += 2.0;
    check("unsharp", &unsharp.iter().map(Vec::as_slice).collect::<Vec<_>>());
    check("sharpen", &[&[0.0, -1.0, 0.0], &[-1.0, 5.0, -1.0], &[0.0, -1.0, 0.0]]);
    check("emboss", &[&[-2.0, -1.0, 0.0], &[-1.0, 1.0, 1.0], &[0.0, 1.0, 2.0]]);
    // The image minus its box blur.
    let ninth = -1.0 / 9.0;
    check("edge", &[&[ninth; 3], &[ninth, 1.0 + ninth, ninth], &[ninth; 3]]);
}

#[test]
fn options_change_the_picture_as_they_say() {
    if !has_adapter() {
        return;
    }
    let studio = Studio::new();
    let plain = Case::default;
    for padding in ["reflect", "replicate"] {
        studio.check(&Case { padding, ..plain() }, BOX);
        studio.check(&Case { padding, dilation: 4, stride: 3, kernel: "sobel-x", ..plain() }, SOBEL_X);
    }
    studio.check(&Case { stride: 2, ..plain() }, BOX);
    studio.check(&Case { stride: 40, ..plain() }, BOX);
    studio.check(&Case { dilation: 5, ..plain() }, BOX);
    studio.check(&Case { kernel: "sobel-x", per_channel: true, ..plain() }, SOBEL_X);
    for show in ["clamp", "abs", "scale"] {
        studio.check(&Case { kernel: "sobel-x", show: Some(show), ..plain() }, SOBEL_X);
        studio.check(&Case { kernel: "sobel-x", show: Some(show), per_channel: true, ..plain() }, SOBEL_X);
    }
}

#[test]
fn a_kernel_comes_from_a_file() {
    if !has_adapter() {
        return;
    }
    let studio = Studio::new();
    let write =
        |name: &str, text: &str| fs::write(studio.path(name), text).expect("the kernel should be written");
    let check = |case: &Case<'_>, weights: &[&[f64]]| studio.check(case, weights);

    // Even sizes: the anchor is the upper and left one of the middle places.
    write("even.txt", "0.5, 0\n0 0.25\n");
    let even: &[&[f64]] = &[&[0.5, 0.0], &[0.0, 0.25]];
    for padding in ["zero", "reflect", "replicate"] {
        check(&Case { kernel: "even.txt", padding, dilation: 3, ..Case::default() }, even);
    }
    write("row.txt", "# a row\n-1 0 0 1\n");
    check(&Case { kernel: "row.txt", ..Case::default() }, &[&[-1.0, 0.0, 0.0, 1.0]]);
    write("one.txt", "1.5");
    check(&Case { kernel: "one.txt", ..Case::default() }, &[&[1.5]]);
    // Larger than the image.
    let wide = vec![1.0 / 64.0; 51];
    let line = wide.iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
    write("wide.txt", &format!("{line}\n{line}\n"));
    check(&Case { kernel: "wide.txt", padding: "replicate", ..Case::default() }, &[&wide, &wide]);
}

#[test]
fn a_picture_goes_to_stdout_and_nothing_with_it() {
    if !has_adapter() {
        return;
    }
    let studio = Studio::new();
    let image = studio.name("in.png");
    let run = |out: &str| {
        let output = kiln(&["filter", &image, "--kernel", "emboss", "-o", out]).output();
        let output = output.expect("the binary should start");
        assert!(output.status.success(), "{}", text(&output.stderr));
        output.stdout
    };
    run(&studio.name("out.png"));
    assert_eq!(run("-"), fs::read(studio.path("out.png")).expect("the picture should be there"));
}

#[test]
fn mistakes_are_one_line_with_exit_code_2() {
    let studio = Studio::new();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(studio.path(name), bytes).expect("the file should be written");
        studio.name(name)
    };
    let image = studio.name("in.png");
    let out = studio.name("out.png");
    let refused = |args: &[&str], named: &str| {
        let output = kiln(&[&["filter"], args].concat()).output().expect("the binary should start");
        assert_refused(&output, named, &args.join(" "));
    };
    let notes = write("notes.jpg", b"A kiln fires clay.\n");
    refused(
        &[&notes, "--kernel", "box", "-o", &out],
        "notes.jpg: not an image (it holds text); expected JPEG",
    );
    refused(&[&studio.name("none.png"), "--kernel", "box", "-o", &out], "none.png: ");
    refused(
        &[&image, "--kernel", "sobel", "-o", &out],
        "unknown kernel sobel: expected sobel-x, sobel-y, box, gaussian3, gaussian5, sharpen, edge, unsharp, emboss, \
         or a file of numbers",
    );
    let ragged = write("ragged.txt", b"1 2 3\n4 5\n");
    refused(
        &[&image, "--kernel", &ragged, "-o", &out],
        "ragged.txt: not a filter kernel: line 2 has 2 numbers, line 1 has 3 numbers",
    );
    let words = write("words.txt", b"one two\n");
    refused(
        &[&image, "--kernel", &words, "-o", &out],
        "words.txt: not a filter kernel: line 1: \"one\" is not a",
    );
    let empty = write("empty.txt", b"\n\n");
    refused(&[&image, "--kernel", &empty, "-o", &out], "empty.txt: not a filter kernel: no numbers in it");
    refused(
        &[&image, "--kernel", &image, "-o", &out],
        "in.png: not a filter kernel: expected rows of numbers",
    );
    refused(
        &[&image, "--kernel", "box", "-o", &studio.name("out.jpg")],
        "written as PNG: expected a name that",
    );
    refused(&[&image, "--kernel", "box", "-o", &studio.name("no/out.png")], "cannot be written: no folder");
    refused(
        &[&image, "--kernel", "box", "--stride", "0", "-o", &out],
        "expected a whole number from 1 to 100000",
    );
    refused(&[&image, "--kernel", "box", "--dilation", "x", "-o", &out], "'x' for '--dilation <N>'");
    refused(&[&image, "--kernel", "box", "--dilation", "-1", "-o", &out], "'-1' for '--dilation <N>'");
    refused(&[&image, "--kernel", "box", "--padding", "same", "-o", &out], "'same' for '--padding");
    refused(&[&image, "--kernel", "box"], "--output <OUT.png>");
    refused(&[&image, "-o", &out], "--kernel <KERNEL|FILE>");
    assert!(!studio.path("out.png").exists());
    if has_adapter() {
        refused(
            &[&image, "--kernel", "box", "--padding", "reflect", "--dilation", "23", "-o", &out],
            "in.png: 37x23 pixels cannot be mirrored by 23 rows, as far as kernel box reaches; zero and replicate",
        );
        assert!(!studio.path("out.png").exists());
    }
}
