//! The three products of a convolution in training: the forward one, the gradient by the image and the gradient by the
//! weight, for the layers of small networks. The weight is a variable, so what lays it out for a kernel counts.
//!
//! `cargo bench -p kiln-benches --bench train_conv [NAME..]`
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark prints its figures")]

use std::collections::HashMap;

use kiln_benches::{Subject, alternate, numbers, open};
use kiln_engine::ops::{ConvOptions, Conv2d, Conv2dWeightGrad};
use kiln_engine::{DType, GraphBuilder, Padding, Session, Tensor, TensorDesc, Value};
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

#[derive(Clone, Copy, PartialEq)]
enum Product {
    Forward,
    Image,
    Weight,
}

fn subject<'a>(gpu: &'a Gpu, layer: &Layer, product: Product) -> Result<(Subject<'a>, Vec<String>), Failure> {
    let weight_shape =
        [layer.outputs, layer.x[1] / layer.options.groups, layer.kernel, layer.kernel];
    let op = Conv2d::new(layer.options);
    let geometry = op.geometry(&TensorDesc::f32(layer.x), &TensorDesc::f32(weight_shape))?;
    let grad_shape = geometry.output_shape();
    let mut g = GraphBuilder::new("layer");
    let weight = g.variable("weight", &weight_shape, DType::F32);
    let (made, shapes): (Value, Vec<(&str, [usize; 4])>) = match product {
        Product::Forward => {
            let x = g.input("x", &layer.x, DType::F32);
            (g.conv2d(x, weight, None, layer.options)?, vec![("x", layer.x)])
        }
        Product::Image => {
            let x = g.input("x", &layer.x, DType::F32);
            let y = g.conv2d(x, weight, None, layer.options)?;
            let grad = g.input("grad", &grad_shape, DType::F32);
            // Of a graph, only what leads to its outputs is computed: the products' own gradients.
            (g.vector_jacobian(y, grad, x)?, vec![("x", layer.x), ("grad", grad_shape)])
        }
        Product::Weight => {
            let x = g.input("x", &layer.x, DType::F32);
            let grad = g.input("grad", &grad_shape, DType::F32);
            let op = Conv2dWeightGrad::new([layer.kernel; 2], layer.options);
            (g.apply(op, &[x, grad])?, vec![("x", layer.x), ("grad", grad_shape)])
        }
    };
    g.output("made", made);
    let mut session = Session::new(gpu);
    let plan = session.load(&g.finish(), &HashMap::<String, Tensor>::new())?;
    let mut inputs = vec![];
    for (name, shape) in &shapes {
        inputs.push((*name, Tensor::f32(*shape, numbers(shape.iter().product()))?));
    }
    let weights = Tensor::f32(weight_shape, numbers(weight_shape.iter().product()))?;
    session.write_variable("weight", &weights)?;
    let given: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
    session.run(plan, &given)?;
    let kernels = session.plan(plan).dispatches().map(|dispatch| dispatch.kernel.to_string()).collect();
    let outputs = grad_shape.iter().product::<usize>();
    let subject = Subject {
        name: layer.name.to_owned(),
        flop: 2.0 * (outputs * geometry.depth()) as f64,
        run: Box::new(move || session.rerun(plan).expect("the plan should run")),
    };
    Ok((subject, kernels))
}
