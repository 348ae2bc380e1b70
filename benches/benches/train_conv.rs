//! The three products of a convolution in training: the forward one, the gradient by the image and the gradient by the
//! weight, for the layers of small networks. The weight is a variable, so what lays it out for a kernel counts.
//!
//! `cargo bench -p kiln-benches --bench train_conv [NAME..]`
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark prints its figures")]

use std::collections::HashMap;

use kiln_benches::{Subject, alternate, numbers, open};
use kiln_engine::ops::{Conv2d, Conv2dWeightGrad, ConvOptions, ConvTransposeOptions};
use kiln_engine::{DType, GraphBuilder, Padding, Session, Tensor, TensorDesc};
use kiln_gpu::Gpu;

const ROUNDS: usize = 7;

type Failure = Box<dyn std::error::Error>;

/// A layer of a network that trains.
struct Layer {
    name: &'static str,
    /// Images, channels, height and width.
    x: [usize; 4],
    /// Channels made of it, by a square window.
    outputs: usize,
    kernel: usize,
    options: ConvOptions<2>,
    /// Whether the layer's image has a gradient: that of a network's first layer has none.
    inner: bool,
}

impl Layer {
    /// Of an image's outputs.
    fn pixels(&self) -> usize {
        let padding = match self.options.padding {
            Padding::Sides([[before, after], _]) => before + after,
            _ => 0,
        };
        let side = (self.x[2] + padding - self.kernel) / self.options.stride[0] + 1;
        side * side
    }
}

const PLAIN: ConvOptions<2> =
    ConvOptions { stride: [1; 2], padding: Padding::Valid, dilation: [1; 2], groups: 1 };
const SAME: ConvOptions<2> = ConvOptions { padding: Padding::all(1), ..PLAIN };
const HALF: ConvOptions<2> = ConvOptions { stride: [2; 2], ..SAME };

/// Layer by layer, the networks on MNIST at a batch of 100 and on CIFAR-10 at 20 and 32.
fn layers() -> Vec<Layer> {
    let layer = |name, [n, c, size]: [usize; 3], outputs, kernel, options, inner| Layer {
        name,
        x: [n, c, size, size],
        outputs,
        kernel,
        options,
        inner,
    };
    let depthwise = |options| ConvOptions { groups: 32, ..options };
    vec![
        layer("base conv1", [100, 1, 28], 20, 5, PLAIN, false),
        layer("base conv2", [100, 20, 12], 50, 5, PLAIN, true),
        layer("base conv3", [100, 50, 4], 500, 4, PLAIN, true),
        layer("base conv4", [100, 500, 1], 10, 1, PLAIN, true),
        layer("sk conv1a", [100, 1, 28], 20, 3, PLAIN, false),
        layer("sk conv1b", [100, 20, 26], 20, 3, PLAIN, true),
        layer("sk conv2a", [100, 20, 12], 50, 3, PLAIN, true),
        layer("sk conv2b", [100, 50, 10], 50, 3, PLAIN, true),
        layer("convnet conv1", [20, 3, 32], 3, 5, PLAIN, false),
        layer("convnet conv2", [20, 3, 14], 16, 5, PLAIN, true),
        layer("resnet 16", [32, 16, 32], 16, 3, SAME, true),
        layer("resnet 16 to 32", [32, 16, 32], 32, 3, HALF, true),
        layer("resnet 32", [32, 32, 16], 32, 3, SAME, true),
        layer("resnet 64", [32, 64, 8], 64, 3, SAME, true),
        layer("1x1", [32, 32, 16], 64, 1, PLAIN, true),
        layer("1x1 of stride 2", [32, 32, 16], 64, 1, ConvOptions { stride: [2; 2], ..PLAIN }, true),
        layer("depthwise", [32, 32, 16], 32, 3, depthwise(SAME), true),
        layer("depthwise, stride 2", [32, 32, 16], 32, 3, depthwise(HALF), true),
        layer("4x4 of stride 2", [32, 16, 32], 32, 4, HALF, true),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Product {
    Forward,
    Image,
    Weight,
}

/// What the op's gradients add to a graph.
fn build(g: &mut GraphBuilder, layer: &Layer, product: Product) -> Result<(), Failure> {
    let Layer { x: shape, options, kernel, outputs, .. } = *layer;
    let weight_shape = [outputs, shape[1] / options.groups, kernel, kernel];
    let geometry = Conv2d::new(options).geometry(&TensorDesc::f32(shape), &TensorDesc::f32(weight_shape))?;
    let grad_shape = geometry.output_shape();
    let matrix = [[shape[0], geometry.depth()], [outputs, geometry.depth()], [shape[0], outputs]];
    let weight = |g: &mut GraphBuilder| g.variable("weight", &weight_shape, DType::F32);
    let x = |g: &mut GraphBuilder| g.input("x", &shape, DType::F32);
    let grad = |g: &mut GraphBuilder| g.input("grad", &grad_shape, DType::F32);
    let made = match product {
        Product::Forward => {
            let (x, weight) = (x(g), weight(g));
            g.conv2d(x, weight, None, options)?
        }
        Product::Image if geometry.is_linear() => {
            let (grad, weight) = (grad(g), weight(g));
            let (grad, weight) = (g.reshape(grad, &matrix[2])?, g.reshape(weight, &matrix[1])?);
            g.matmul(grad, weight)?
        }
        Product::Image => {
            let (grad, weight) = (grad(g), weight(g));
            let options = ConvTransposeOptions {
                stride: options.stride,
                padding: geometry.axes.map(|axis| axis.before),
                output_padding: geometry.axes.map(|axis| axis.remainder()),
                groups: options.groups,
                ..Default::default()
            };
            g.conv_transpose2d(grad, weight, None, options)?
        }
        Product::Weight if geometry.is_linear() => {
            let (grad, x) = (grad(g), x(g));
            let (grad, x) = (g.reshape(grad, &matrix[2])?, g.reshape(x, &matrix[0])?);
            g.matmul_tn(grad, x)?
        }
        Product::Weight => {
            let (x, grad) = (x(g), grad(g));
            g.apply(Conv2dWeightGrad::new([kernel; 2], options), &[x, grad])?
        }
    };
    g.output("made", made);
    Ok(())
}

fn subject<'a>(gpu: &'a Gpu, layer: &Layer, product: Product) -> Result<Subject<'a>, Failure> {
    let mut g = GraphBuilder::new("layer");
    build(&mut g, layer, product)?;
    let graph = g.finish();
    let mut session = Session::new(gpu);
    let plan = session.load(&graph, &HashMap::<String, Tensor>::new())?;
    let mut inputs = vec![];
    for (name, desc) in graph.inputs() {
        inputs.push((name, Tensor::f32(desc.shape.clone(), numbers(desc.elements()))?));
    }
    let given: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let variables = session.plan(plan).variables.clone();
    for (name, desc) in variables {
        session.write_variable(&name, &Tensor::f32(desc.shape.clone(), numbers(desc.elements()))?)?;
    }
    session.run(plan, &given)?;
    let kernels: Vec<String> = session.plan(plan).dispatches().map(|step| step.kernel.to_string()).collect();
    let outputs = layer.x[0] * layer.outputs * layer.pixels();
    let depth = layer.x[1] / layer.options.groups * layer.kernel * layer.kernel;
    Ok(Subject {
        name: kernels.join(", "),
        flop: (2 * outputs * depth) as f64,
        run: Box::new(move || session.rerun(plan).expect("the plan should run")),
    })
}

fn main() -> Result<(), Failure> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    let gpu = open()?;
    println!(
        "products of convolutions on {} ({}), {ROUNDS} rounds",
        gpu.profile().name,
        gpu.profile().driver
    );
    for layer in layers() {
        if !wanted.is_empty() && !wanted.iter().any(|name| layer.name.contains(name.as_str())) {
            continue;
        }
        let mut products = vec![Product::Forward, Product::Weight];
        if layer.inner {
            products.push(Product::Image);
        }
        let mut subjects = vec![];
        for &product in &products {
            subjects.push(subject(&gpu, &layer, product)?);
        }
        let rows = alternate(ROUNDS, &mut subjects);
        // Both gradients take the forward product's operations each.
        let backward: f64 = rows[1..].iter().map(|row| row.speedup.recip()).sum();
        let rate = (rows.len() - 1) as f64 / backward;
        println!("\n{}: backward at {rate:.2} of forward's rate", layer.name);
        for (product, row) in products.iter().zip(&rows) {
            println!(
                "  {:<8} {:>8.2} ms {:>7.2} GFLOP/s {:>6.2}x  {}",
                format!("{product:?}").to_lowercase(),
                row.median.as_secs_f64() * 1e3,
                row.gflops,
                row.speedup,
                row.name
            );
        }
    }
    Ok(())
}
