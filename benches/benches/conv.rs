//! Convolutions through the engine: VGG-16's layers against a matrix product, each by Winograd's transforms against the
//! direct kernel, what groups, dilation and strides cost against the plain 3x3 of the same sizes, and how many bytes a
//! depthwise one moves against a copy.
//!
//! `cargo bench -p kiln-benches --bench conv`
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark prints its figures")]

use std::collections::HashMap;

use kiln_benches::{Measured, Subject, alternate, numbers, open, product, table};
use kiln_engine::ops::{ConvOptions, ConvTransposeOptions};
use kiln_engine::{Choices, DType, EngineError, GraphBuilder, Padding, Session, Tensor, Value};
use kiln_gpu::{BufferSlice, Command, Dispatch, Gpu};
use kiln_kernels::copy_strided;

const ROUNDS: usize = 9;

type Failure = Box<dyn std::error::Error>;

/// A layer of some op with a weight and a bias.
struct Layer {
    name: String,
    /// Channels of the input, and its height and width.
    input: [usize; 3],
    weight: [usize; 4],
    /// What [`Subject::flop`] counts of it.
    work: f64,
}

/// One image through a layer and a relu, whose weight is laid out at load, by the table's kernels.
fn layer<'a>(
    gpu: &'a Gpu,
    layer: &Layer,
    op: impl Fn(&mut GraphBuilder, [Value; 3]) -> Result<Value, EngineError>,
) -> Result<Subject<'a>, Failure> {
    chosen(gpu, layer, Choices::default(), op)
}

/// The same by other kernels.
fn chosen<'a>(
    gpu: &'a Gpu,
    layer: &Layer,
    choices: Choices,
    op: impl Fn(&mut GraphBuilder, [Value; 3]) -> Result<Value, EngineError>,
) -> Result<Subject<'a>, Failure> {
    let [channels, height, width] = layer.input;
    let shape = [1, channels, height, width];
    let mut g = GraphBuilder::new("layer");
    let x = g.input("x", &shape, DType::F32);
    let weight = g.constant("weight", &layer.weight);
    let out = g.constant("bias", &[layer.weight[0]]);
    let y = op(&mut g, [x, weight, out])?;
    let y = g.relu(y)?;
    g.output("y", y);
    let tensor = |shape: &[usize]| Tensor::f32(shape, numbers(shape.iter().product()));
    let weights = HashMap::from([
        ("weight".to_owned(), tensor(&layer.weight)?),
        ("bias".to_owned(), tensor(&[layer.weight[0]])?),
    ]);
    let mut session = Session::new(gpu).with_choices(choices);
    let plan = session.load(&g.finish(), &weights)?;
    session.run(plan, &[("x", &tensor(&shape)?)])?;
    let kernel = session.plan(plan).dispatches().map(|dispatch| dispatch.kernel.to_string()).next();
    Ok(Subject {
        name: format!("{} ({})", layer.name, kernel.unwrap_or_default()),
        flop: layer.work,
        run: Box::new(move || session.rerun(plan).expect("the plan should run")),
    })
}

fn conv<'a>(
    gpu: &'a Gpu,
    name: &str,
    input: [usize; 3],
    weight: [usize; 4],
    options: ConvOptions<2>,
) -> Result<Subject<'a>, Failure> {
    let [out, group_in, kernel_h, kernel_w] = weight;
    let outputs = out * (input[1] / options.stride[0]) * (input[2] / options.stride[1]);
    let work = 2.0 * (outputs * group_in * kernel_h * kernel_w) as f64;
    let described = Layer { name: name.to_owned(), input, weight, work };
    layer(gpu, &described, |g, [x, weight, bias]| g.conv2d(x, weight, Some(bias), options))
}

/// 3x3 with the padding that keeps the size.
fn same() -> ConvOptions<2> {
    ConvOptions { padding: Padding::all(1), ..Default::default() }
}

/// Each distinct layer of VGG-16 at 224x224, with its number of times.
const VGG: [(&str, [usize; 3], usize, usize); 9] = [
    ("conv1_1", [3, 224, 224], 64, 1),
    ("conv1_2", [64, 224, 224], 64, 1),
    ("conv2_1", [64, 112, 112], 128, 1),
    ("conv2_2", [128, 112, 112], 128, 1),
    ("conv3_1", [128, 56, 56], 256, 1),
    ("conv3_2", [256, 56, 56], 256, 2),
    ("conv4_1", [256, 28, 28], 512, 1),
    ("conv4_2", [512, 28, 28], 512, 2),
    ("conv5_1", [512, 14, 14], 512, 3),
];

fn vgg(gpu: &Gpu) -> Result<(), Failure> {
    let mut subjects = vec![product(gpu, [512; 3])?];
    for (name, input, out, _) in VGG {
        subjects.push(conv(gpu, name, input, [out, input[0], 3, 3], same())?);
    }
    let rows = alternate(ROUNDS, &mut subjects);
    println!("{}", table("layers of VGG-16, batch 1, against a product of 512 x 512 x 512", &rows));
    let total: f64 =
        VGG.iter().zip(&rows[1..]).map(|(layer, row)| layer.3 as f64 * row.median.as_secs_f64()).sum();
    println!("  all thirteen {:>39.0} ms\n", total * 1e3);
    Ok(())
}

/// Each layer of VGG-16 directly, as implicit matrix products, and by Winograd's transforms. All rates are those of the direct
/// convolution's multiply-adds.
fn winograd(gpu: &Gpu) -> Result<(), Failure> {
    const WAYS: [&str; 3] = ["direct", "winograd4", "winograd2"];
    let mut totals = [0.0; WAYS.len()];
    for (name, input, out, times) in VGG {
        let [channels, height, width] = input;
        let weight = [out, channels, 3, 3];
        let key = format!(
            "conv2d algorithm: f32[1, {channels}, {height}, {width}] by constant f32[{out}, {channels}, 3, 3], padding 1"
        );
        let work = 2.0 * (out * channels * 9 * height * width) as f64;
        let mut subjects = vec![];
        for way in WAYS {
            let described = Layer { name: way.to_owned(), input, weight, work };
            let choices = Choices::from_iter([(key.as_str(), way)]);
            subjects.push(chosen(gpu, &described, choices, |g, [x, weight, bias]| {
                g.conv2d(x, weight, Some(bias), same())
            })?);
        }
        let rows = alternate(ROUNDS, &mut subjects);
        println!("{}", table(&format!("{name}, {channels} to {out} channels of {height} x {width}"), &rows));
        for (total, row) in totals.iter_mut().zip(&rows) {
            *total += times as f64 * row.median.as_secs_f64();
        }
    }
    for (way, total) in WAYS.iter().zip(totals) {
        println!("  all thirteen, {way:<24} {:>10.0} ms", total * 1e3);
    }
    println!();
    Ok(())
}

/// Relatives of a plain 3x3, for each multiply-add.
fn relatives(gpu: &Gpu, [channels, height, width]: [usize; 3]) -> Result<(), Failure> {
    let input = [channels, height, width];
    let mut subjects = vec![conv(gpu, "plain", input, [channels, channels, 3, 3], same())?];
    for groups in [2, 8, 32] {
        let options = ConvOptions { groups, ..same() };
        let weight = [channels, channels / groups, 3, 3];
        subjects.push(conv(gpu, &format!("groups {groups}"), input, weight, options)?);
    }
    for dilation in [2, 3] {
        let options = ConvOptions { dilation: [dilation; 2], padding: Padding::all(dilation), ..same() };
        let weight = [channels, channels, 3, 3];
        subjects.push(conv(gpu, &format!("dilation {dilation}"), input, weight, options)?);
    }
    let strided = ConvOptions { stride: [2; 2], ..same() };
    subjects.push(conv(gpu, "stride 2", input, [channels, channels, 3, 3], strided)?);
    let five = ConvOptions { padding: Padding::all(2), ..same() };
    subjects.push(conv(gpu, "5x5", input, [channels, channels, 5, 5], five)?);
    subjects.push(conv(gpu, "1x1", input, [channels, channels, 1, 1], ConvOptions::default())?);
    let work = 2.0 * (channels * channels * 9 * height * width) as f64;
    let transposed = Layer { name: "transposed".to_owned(), input, weight: [channels, channels, 3, 3], work };
    let options = ConvTransposeOptions { padding: [1; 2], ..Default::default() };
    subjects.push(layer(gpu, &transposed, |g, [x, weight, bias]| {
        g.conv_transpose2d(x, weight, Some(bias), options)
    })?);
    let title = format!("{channels} channels of {height} x {width}, 3x3 unless it says otherwise");
    println!("{}", table(&title, &alternate(ROUNDS, &mut subjects)));
    Ok(())
}

/// A copy of so many numbers by the kernel that moves tensors; its work is the bytes read and written.
fn copy<'a>(gpu: &'a Gpu, count: usize) -> Result<Subject<'a>, Failure> {
    let input = gpu.create_buffer("input", (count * 4) as u64)?;
    let output = gpu.create_buffer("output", (count * 4) as u64)?;
    let params = copy_strided::Params {
        count: count as u32,
        rank: 1,
        shape_low: [count as u32, 1, 1, 1],
        input_low: [1, 0, 0, 0],
        output_low: [1, 0, 0, 0],
        ..Default::default()
    };
    let variant = copy_strided::Variant::Base;
    let slice = |buffer| BufferSlice { offset: 0, bytes: kiln_gpu::Buffer::bytes(buffer), buffer };
    let bindings = copy_strided::Bindings { input: slice(&input), output: slice(&output) }.into_array();
    let groups = (count as u32).div_ceil(variant.threads());
    let recording = gpu.record(
        "copy",
        &[Command::Dispatch(Dispatch {
            label: "copy",
            kernel: variant.kernel(),
            overrides: &[],
            params: bytemuck::bytes_of(&params),
            bindings: &bindings,
            workgroups: [groups.div_ceil(2), 2, 1],
        })],
    )?;
    Ok(Subject {
        name: "copy".to_owned(),
        flop: (2 * count * 4) as f64,
        run: Box::new(move || {
            gpu.submit(&recording).expect("the copy should run");
            gpu.wait().expect("the device should finish");
        }),
    })
}

/// Bytes of input and output a second, against a copy of as many.
fn depthwise(gpu: &Gpu) -> Result<(), Failure> {
    println!("depthwise, by bytes of input and output");
    for (input, kernel, stride) in [
        ([32, 112, 112], 3, 1),
        ([128, 56, 56], 3, 1),
        ([512, 14, 14], 3, 1),
        ([1024, 7, 7], 3, 1),
        ([96, 112, 112], 3, 2),
        ([128, 56, 56], 5, 1),
        ([128, 56, 56], 7, 1),
    ] {
        let [channels, height, width] = input;
        let options = ConvOptions {
            padding: Padding::all(kernel / 2),
            groups: channels,
            stride: [stride; 2],
            ..Default::default()
        };
        let numbers = channels * height * width;
        let moved = numbers + numbers / (stride * stride);
        let name = format!("{kernel}x{kernel} of stride {stride}");
        let described =
            Layer { name, input, weight: [channels, 1, kernel, kernel], work: (moved * 4) as f64 };
        let mut subjects = [
            copy(gpu, moved / 2)?,
            layer(gpu, &described, |g, [x, weight, bias]| g.conv2d(x, weight, Some(bias), options))?,
        ];
        let rows: Vec<Measured> = alternate(ROUNDS, &mut subjects);
        println!(
            "  {channels:>4} x {height:>3} x {width:>3}  {:<48} {:>7.2} GB/s {:>6.2}x of the copy's {:.2}",
            rows[1].name, rows[1].gflops, rows[1].speedup, rows[0].gflops
        );
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let gpu = open()?;
    println!("conv2d on {} ({}), {ROUNDS} alternating rounds\n", gpu.profile().name, gpu.profile().driver);
    vgg(&gpu)?;
    winograd(&gpu)?;
    for sizes in [[64, 112, 112], [256, 28, 28]] {
        relatives(&gpu, sizes)?;
    }
    depthwise(&gpu)
}
