//! The networks that Kiln knows by name.

use super::Architecture;
use super::layer::Layer;
use super::layers::{
    AdaptiveAvgPool2d, AvgPool2d, BatchNorm2d, Conv2d, ConvTranspose2d, Dropout, Flatten, Linear, MaxPool2d,
    Relu, Relu6, Residual, Sequential, Tanh,
};
use super::training::{Objective, TrainingDefaults};
use crate::error::ModelError;

/// Fashion-MNIST and its kin.
const GREY: [usize; 3] = [1, 28, 28];
/// CIFAR-10.
const COLOUR: [usize; 3] = [3, 32, 32];
/// Two numbers.
const BITS: [usize; 3] = [2, 1, 1];

/// Classes of the data sets above.
const CLASSES: usize = 10;

/// What the layers of `base` make, but for the last.
const BASE: [usize; 3] = [20, 50, 500];

/// Scales of `sk` that are listed; any other is known all the same.
const SCALES: [&str; 4] = ["0.2", "0.5", "1.5", "2"];

/// What the name of a scaled `sk` begins with.
const SCALED: &str = "sk-";

/// The largest scale: `sk-16` has 4 million times 16 weights.
const LARGEST_SCALE: f64 = 16.0;

impl Architecture {
    /// The names that [`by_name`](Self::by_name) knows; `sk-S` with any other scale is known as well.
    pub fn names() -> Vec<String> {
        let plain = ["base", "bn", "base-dropout", "bn-dropout", "sk"];
        let rest = ["convnet", "lenet", "resnet8", "mobilenet-tiny", "autoencoder", "xor"];
        let scaled = SCALES.map(|scale| format!("{SCALED}{scale}"));
        plain.map(str::to_owned).into_iter().chain(scaled).chain(rest.map(str::to_owned)).collect()
    }

    /// A network by its name; the table at [`cnn`](crate::cnn) lists them.
    ///
    /// # Errors
    /// [`ModelError::UnknownNetwork`], or [`ModelError::Architecture`] for a scale that is out of range.
    pub fn by_name(name: &str) -> Result<Architecture, ModelError> {
        use Objective::{Binary, Classification, Reconstruction};
        let sgd = TrainingDefaults::sgd;
        let adam = TrainingDefaults::adam;
        let (input, objective, training, layers) = match name {
            "base" => (GREY, Classification, sgd(0.02), base(false, false)),
            "bn" => (GREY, Classification, sgd(0.02), base(true, false)),
            "base-dropout" => (GREY, Classification, sgd(0.02), base(false, true)),
            "bn-dropout" => (GREY, Classification, sgd(0.02), base(true, true)),
            "sk" => (GREY, Classification, sgd(0.05), small_kernels(1.0)),
            "convnet" => (COLOUR, Classification, sgd(0.01), convnet()),
            "lenet" => (GREY, Classification, adam(0.002), lenet()),
            "resnet8" => (COLOUR, Classification, sgd(0.1), resnet8()),
            "mobilenet-tiny" => (COLOUR, Classification, sgd(0.1).with_weight_decay(1e-4), mobilenet_tiny()),
            "autoencoder" => (GREY, Reconstruction, adam(0.003), autoencoder()),
            "xor" => (BITS, Binary, adam(0.2).with_schedule("constant"), xor()),
            _ => match name.strip_prefix(SCALED) {
                Some(scale) => (GREY, Classification, sgd(0.05), small_kernels(parse_scale(name, scale)?)),
                None => {
                    let known = Architecture::names();
                    return Err(ModelError::UnknownNetwork { name: name.to_owned(), known });
                }
            },
        };
        Architecture::new(name, input, objective, training, layers)
    }
}

fn parse_scale(name: &str, scale: &str) -> Result<f64, ModelError> {
    // "+2", "inf" and "1e1" are numbers to Rust, and not how such a name is written.
    let is_plain = scale.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = if is_plain { scale.parse().ok() } else { None };
    number.filter(|number| *number > 0.0 && *number <= LARGEST_SCALE).ok_or_else(|| {
        ModelError::Architecture {
            origin: name.to_owned(),
            message: format!("scale: expected a number above 0, at most {LARGEST_SCALE}, got {scale:?}"),
        }
    })
}

/// `base` and its variants: two convolutions with poolings, a third that covers what is left of a 28x28 image, and the
/// classifier, a 1x1 convolution.
fn base(batch_norm: bool, dropout: bool) -> Vec<Layer> {
    let [first, second, third] = BASE;
    let norm = || batch_norm.then(norm);
    let drop = || dropout.then(|| Dropout::default().into());
    let mut layers = Vec::new();
    layers.push(Conv2d::new(first, 5).into());
    layers.extend(norm());
    layers.push(MaxPool2d::new(2).into());
    layers.push(Conv2d::new(second, 5).into());
    layers.extend(norm());
    layers.push(MaxPool2d::new(2).into());
    layers.push(Conv2d::new(third, 4).into());
    layers.extend(norm());
    layers.push(Relu.into());
    layers.extend(drop());
    layers.push(Conv2d::new(CLASSES, 1).into());
    layers.extend(drop());
    layers.push(Flatten.into());
    layers
}

/// `sk`: two 3x3 windows see as far as one 5x5, so that the maps have the sizes of `base`: 28, 26, 24, pooled to 12, 10,
/// 8, pooled to 4, 1.
fn small_kernels(scale: f64) -> Vec<Layer> {
    let [first, second, third] = BASE.map(|channels| ((channels as f64 * scale).round() as usize).max(1));
    let unit = |channels, kernel| [Conv2d::new(channels, kernel).into(), norm(), Relu.into()];
    let mut layers = Vec::new();
    for channels in [first, second] {
        layers.extend(unit(channels, 3));
        layers.extend(unit(channels, 3));
        layers.push(MaxPool2d::new(2).into());
    }
    layers.extend(unit(third, 4));
    layers.extend([Conv2d::new(CLASSES, 1).into(), Flatten.into()]);
    layers
}

fn convnet() -> Vec<Layer> {
    vec![
        Conv2d::new(3, 5).into(),
        Relu.into(),
        MaxPool2d::new(2).into(),
        Conv2d::new(16, 5).into(),
        Relu.into(),
        AvgPool2d::new(2).into(),
        Flatten.into(),
        Linear::new(120).into(),
        Relu.into(),
        Linear::new(CLASSES).into(),
    ]
}

/// LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998), with rectifiers and maximum pooling
/// in place of tanh and learned means, as it is commonly built today.
fn lenet() -> Vec<Layer> {
    vec![
        Conv2d::new(6, 5).padding(2).into(),
        Relu.into(),
        MaxPool2d::new(2).into(),
        Conv2d::new(16, 5).into(),
        Relu.into(),
        MaxPool2d::new(2).into(),
        Flatten.into(),
        Linear::new(120).into(),
        Relu.into(),
        Linear::new(84).into(),
        Relu.into(),
        Linear::new(CLASSES).into(),
    ]
}

/// He et al., "Deep Residual Learning for Image Recognition" (2015), section 4.2, with one block a stage.
fn resnet8() -> Vec<Layer> {
    let conv =
        |channels, stride| Layer::from(Conv2d::new(channels, 3).stride(stride).padding(1).without_bias());
    let block = |channels, stride, shortcut| {
        let body = vec![conv(channels, stride), norm(), Relu.into(), conv(channels, 1), norm()];
        Layer::from(Residual { body, shortcut })
    };
    let project =
        |channels, stride| vec![Conv2d::new(channels, 1).stride(stride).without_bias().into(), norm()];
    vec![
        conv(16, 1),
        norm(),
        Relu.into(),
        block(16, 1, vec![]),
        Relu.into(),
        block(32, 2, project(32, 2)),
        Relu.into(),
        block(64, 2, project(64, 2)),
        Relu.into(),
        AdaptiveAvgPool2d::new(1).into(),
        Flatten.into(),
        Linear::new(CLASSES).into(),
    ]
}

/// Howard et al., "MobileNets" (2017), cut down for images of 32x32.
fn mobilenet_tiny() -> Vec<Layer> {
    let separable = |input: usize, output: usize, stride: usize| {
        let depthwise = Conv2d::new(input, 3).stride(stride).padding(1).groups(input).without_bias();
        let pointwise = Conv2d::new(output, 1).without_bias();
        let body = vec![depthwise.into(), norm(), Relu6.into(), pointwise.into(), norm(), Relu6.into()];
        Layer::from(Sequential { body })
    };
    vec![
        Conv2d::new(16, 3).padding(1).without_bias().into(),
        norm(),
        Relu6.into(),
        separable(16, 32, 1),
        separable(32, 64, 2),
        separable(64, 64, 1),
        separable(64, 128, 2),
        separable(128, 128, 1),
        AdaptiveAvgPool2d::new(1).into(),
        Flatten.into(),
        Linear::new(CLASSES).into(),
    ]
}

/// Two halvings down to 4 channels, a quarter of a grey image's numbers, and the way back by transposed convolutions.
/// Nothing bounds the output, since images are normalised.
fn autoencoder() -> Vec<Layer> {
    vec![
        Conv2d::new(16, 3).stride(2).padding(1).into(),
        Relu.into(),
        Conv2d::new(32, 3).stride(2).padding(1).into(),
        Relu.into(),
        Conv2d::new(4, 1).into(),
        ConvTranspose2d::new(32, 1).into(),
        Relu.into(),
        ConvTranspose2d::new(16, 4).stride(2).padding(1).into(),
        Relu.into(),
        ConvTranspose2d::new(GREY[0], 4).stride(2).padding(1).into(),
    ]
}

fn xor() -> Vec<Layer> {
    vec![Flatten.into(), Linear::new(8).into(), Tanh.into(), Linear::new(1).into()]
}

fn norm() -> Layer {
    BatchNorm2d::default().into()
}
