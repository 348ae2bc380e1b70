//! The training speed of burn on wgpu: Kiln's `base`, a step of forward, loss, backward and SGD with momentum, on
//! random images of Fashion-MNIST's shape.
//!
//! For each line of its input it prints the milliseconds of a step, a sample each, as a list in brackets, as `cargo bench
//! --bench train -- --peer` wants it. Each sample is the mean of some steps that end in a sync. Kernels are compiled and
//! tuned before the first, which takes minutes.
//!
//! Options: `--batch N` (100), `--steps N` a sample (5), `--samples N` (3), `--linear`: the last two layers, whose
//! windows cover all of their input, as matrix products, which a user may write as well.

use std::io::{Write, stdin, stdout};
use std::time::Instant;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, DeviceKind, Int, Tensor, TensorData};

const SIDE: usize = 28;
const CLASSES: usize = 10;

#[derive(Module, Debug)]
struct Convolutions {
    conv3: Conv2d,
    conv4: Conv2d,
}

#[derive(Module, Debug)]
struct Products {
    fc1: Linear,
    fc2: Linear,
}

/// conv 5x5 to 20, max-pool 2, conv 5x5 to 50, max-pool 2, conv 4x4 to 500, relu, conv 1x1 to 10.
#[derive(Module, Debug)]
struct Base {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    as_convolutions: Option<Convolutions>,
    as_products: Option<Products>,
}

impl Base {
    fn new(linear: bool, device: &Device) -> Base {
        let conv = |from, to, side| Conv2dConfig::new([from, to], [side, side]).init(device);
        let fc = |from, to| LinearConfig::new(from, to).init(device);
        Base {
            conv1: conv(1, 20, 5),
            conv2: conv(20, 50, 5),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            as_convolutions: (!linear)
                .then(|| Convolutions { conv3: conv(50, 500, 4), conv4: conv(500, CLASSES, 1) }),
            as_products: linear.then(|| Products { fc1: fc(50 * 16, 500), fc2: fc(500, CLASSES) }),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(self.conv1.forward(images));
        let x = self.pool.forward(self.conv2.forward(x));
        if let Some(layers) = &self.as_products {
            let x = relu(layers.fc1.forward(x.flatten::<2>(1, 3)));
            return layers.fc2.forward(x);
        }
        let layers = self.as_convolutions.as_ref().expect("the last layers should be one or the other");
        let x = relu(layers.conv3.forward(x));
        layers.conv4.forward(x).flatten::<2>(1, 3)
    }
}

/// Seeded numbers; what they are does not matter to the speed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 40
    }

    fn uniform(&mut self) -> f32 {
        self.next() as f32 / (1 << 23) as f32 - 1.0
    }
}

struct Options {
    batch: usize,
    steps: usize,
    samples: usize,
    linear: bool,
}

impl Options {
    fn parse() -> Result<Options, String> {
        let mut options = Options { batch: 100, steps: 5, samples: 3, linear: false };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<usize, String> {
                let value = arguments.next().ok_or(format!("{argument} has no value"))?;
                value
                    .parse::<usize>()
                    .ok()
                    .filter(|n| *n > 0)
                    .ok_or(format!("{argument} {value}: expected a number"))
            };
            match argument.as_str() {
                "--batch" => options.batch = number()?,
                "--steps" => options.steps = number()?,
                "--samples" => options.samples = number()?,
                "--linear" => options.linear = true,
                _ => return Err(format!("unknown option {argument}")),
            }
        }
        Ok(options)
    }
}

struct Training {
    network: Base,
    optimizer: ModuleOptimizer,
    loss: CrossEntropyLoss,
    device: Device,
    images: Vec<f32>,
    labels: Vec<i32>,
}

impl Training {
    fn new(options: &Options, device: Device) -> Training {
        let mut numbers = Numbers(0);
        let images = (0..options.batch * SIDE * SIDE).map(|_| numbers.uniform()).collect();
        let labels = (0..options.batch).map(|_| (numbers.next() % CLASSES as u64) as i32).collect();
        // PyTorch's momentum has no dampening; burn's has 0.1 by default.
        let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
        Training {
            network: Base::new(options.linear, &device),
            optimizer: SgdConfig::new().with_momentum(Some(momentum)).init(),
            loss: CrossEntropyLossConfig::new().init(&device),
            device,
            images,
            labels,
        }
    }

    /// One step, the upload of its batch included. The loss stays on the device.
    fn step(self) -> (Training, Tensor<1>) {
        let Training { network, mut optimizer, loss, device, images, labels } = self;
        let batch = labels.len();
        let x = Tensor::<4>::from_data(TensorData::new(images.clone(), [batch, 1, SIDE, SIDE]), &device);
        let y = Tensor::<1, Int>::from_data(TensorData::new(labels.clone(), [batch]), &device);
        let value = loss.forward(network.forward(x), y);
        let gradients = GradientsParams::from_grads(value.backward(), &network);
        let network = optimizer.step(1e-3, network, gradients);
        (Training { network, optimizer, loss, device, images, labels }, value)
    }
}

fn main() -> Result<(), String> {
    let options = Options::parse()?;
    let device = Device::wgpu(DeviceKind::DefaultDevice).autodiff();
    let mut training = Training::new(&options, device.clone());
    let start = Instant::now();
    let mut losses = vec![];
    for _ in 0..3 {
        let (next, loss) = training.step();
        training = next;
        losses.push(loss.into_scalar::<f32>());
    }
    eprintln!(
        "{device:?}: 3 steps to warm up took {:.1} s, losses {losses:?}",
        start.elapsed().as_secs_f64()
    );
    for _ in stdin().lines() {
        let mut samples = vec![];
        for _ in 0..options.samples {
            let start = Instant::now();
            for _ in 0..options.steps {
                (training, _) = training.step();
            }
            device.sync().map_err(|error| format!("{error:?}"))?;
            samples.push(start.elapsed().as_secs_f64() * 1e3 / options.steps as f64);
        }
        println!("{samples:.3?}");
        stdout().flush().map_err(|error| error.to_string())?;
    }
    let (_, loss) = training.step();
    eprintln!("the last loss was {}", loss.into_scalar::<f32>());
    Ok(())
}
