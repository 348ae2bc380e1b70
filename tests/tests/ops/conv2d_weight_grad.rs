//! `torch.nn.grad.conv2d_weight`, whatever kernel the plan chooses and in however many parts.

use std::collections::HashMap;

use kiln_engine::ops::{Conv2dWeightGrad, ConvOptions};
use kiln_engine::{DType, EngineError, GraphBuilder, Padding, Session};
use kiln_gpu::{DeviceProfile, Gpu, Limits};
use kiln_reference::{Array, Conv};
use kiln_tests::graph::{array, conforms, f32_tensor, profiles, seeded};
use kiln_tests::tolerance::{MATMUL, Tolerance};
use kiln_tests::{compare, data, device};

/// Neither stride nor padding, dilation or groups.
const PLAIN: ConvOptions<2> =
    ConvOptions { stride: [1, 1], padding: Padding::Valid, dilation: [1, 1], groups: 1 };

/// What 3x3 layers mostly have.
const PADDED: ConvOptions<2> = ConvOptions { padding: Padding::all(1), ..PLAIN };

/// An image, how many channels are made of it, by which window.
#[derive(Clone, Copy, Debug)]
struct Layer {
    x: [usize; 4],
    outputs: usize,
    kernel: [usize; 2],
    options: ConvOptions<2>,
}

impl Layer {
    const fn new(x: [usize; 4], outputs: usize, kernel: [usize; 2], options: ConvOptions<2>) -> Self {
        Self { x, outputs, kernel, options }
    }

    fn op(&self) -> Conv2dWeightGrad {
        Conv2dWeightGrad::new(self.kernel, self.options)
    }

    fn padding(&self) -> [[usize; 2]; 2] {
        match self.options.padding {
            Padding::Valid => [[0; 2]; 2],
            Padding::Sides(sides) => sides,
            Padding::Same => panic!("these tests spell their padding out"),
        }
    }

    /// The shape of the gradient by the output, by brute force.
    fn grad(&self) -> [usize; 4] {
        let extent = |axis: usize| {
            let [before, after] = self.padding()[axis];
            let padded = before + self.x[axis + 2] + after;
            let span = self.options.dilation[axis] * (self.kernel[axis] - 1);
            (0..padded).step_by(self.options.stride[axis]).filter(|start| start + span < padded).count()
        };
        [self.x[0], self.outputs, extent(0), extent(1)]
    }

    fn oracle(&self, x: &Array, grad: &Array) -> Array {
        let ConvOptions { stride, dilation, groups, .. } = self.options;
        let options = Conv { stride, padding: self.padding(), dilation, groups };
        kiln_reference::conv2d_weight_grad(x, grad, self.kernel, options)
    }

    /// Whichever source the operands come from, for both sorts of device.
    #[track_caller]
    fn check(&self, gpu: &Gpu) {
        let operands = [seeded("x", &self.x), seeded("grad", &self.grad())];
        let [x, grad] = operands.each_ref().map(array);
        let bounds = MATMUL.bounds(&self.oracle(&x.abs(), &grad.abs()));
        let build = |g: &mut GraphBuilder, v: &[_]| g.apply(self.op(), &[v[0], v[1]]);
        conforms(gpu, format!("{self:?}"), &operands, build, &self.oracle(&x, &grad), &bounds);
    }
}

/// Channels and pixels around the tiles, and primes.
#[test]
fn sizes() {
    let Some(gpu) = device::gpu() else { return };
    for (x, outputs, kernel) in [
        ([1, 1, 1, 1], 1, [1, 1]),
        ([1, 1, 3, 3], 1, [3, 3]),
        ([1, 3, 11, 13], 7, [3, 3]),
        ([2, 3, 9, 7], 8, [3, 3]),
        ([3, 5, 8, 8], 9, [5, 5]),
        ([1, 7, 15, 17], 15, [3, 3]),
        ([1, 8, 16, 16], 16, [5, 5]),
        ([2, 9, 17, 31], 17, [3, 3]),
        ([1, 16, 10, 33], 31, [3, 3]),
        ([1, 17, 5, 65], 33, [3, 3]),
        ([1, 33, 8, 10], 65, [3, 3]),
        ([5, 2, 2, 2], 67, [2, 2]),
        ([1, 2, 1, 129], 3, [1, 5]),
        ([1, 2, 129, 1], 3, [5, 1]),
        ([4, 1, 28, 28], 20, [5, 5]),
        ([3, 20, 12, 12], 50, [5, 5]),
        ([20, 3, 14, 14], 16, [5, 5]),
        ([1, 3, 40, 40], 4, [7, 7]),
    ] {
        Layer::new(x, outputs, kernel, PLAIN).check(gpu);
        Layer::new(x, outputs, kernel, PADDED).check(gpu);
    }
}

#[test]
fn one_by_one() {
    let Some(gpu) = device::gpu() else { return };
    for (x, outputs, options) in [
        ([2, 37, 7, 9], 41, PLAIN),
        ([1, 64, 16, 16], 64, PLAIN),
        ([7, 128, 1, 1], 10, PLAIN),
        ([2, 13, 9, 8], 17, ConvOptions { stride: [2, 3], ..PLAIN }),
        ([2, 13, 5, 6], 17, PADDED),
        ([1, 12, 6, 5], 20, ConvOptions { groups: 4, ..PLAIN }),
    ] {
        Layer::new(x, outputs, [1, 1], options).check(gpu);
    }
}

#[test]
fn strides_dilations_and_paddings() {
    let Some(gpu) = device::gpu() else { return };
    let sides = |top, bottom, left, right| Padding::Sides([[top, bottom], [left, right]]);
    for (x, outputs, kernel, stride, padding, dilation) in [
        ([2, 3, 11, 13], 5, [3, 3], [2, 2], Padding::all(1), [1, 1]),
        ([2, 4, 16, 32], 9, [3, 3], [2, 2], Padding::all(1), [1, 1]),
        ([1, 3, 23, 29], 8, [7, 7], [2, 2], Padding::all(3), [1, 1]),
        ([1, 2, 21, 24], 8, [5, 5], [2, 2], Padding::all(2), [1, 1]),
        ([1, 3, 31, 31], 9, [11, 11], [4, 4], Padding::all(2), [1, 1]),
        ([1, 2, 9, 8], 3, [2, 1], [3, 5], Padding::Valid, [1, 1]),
        ([1, 2, 9, 12], 3, [3, 3], [1, 2], Padding::all(1), [1, 1]),
        ([1, 2, 9, 12], 3, [3, 3], [2, 1], Padding::all(1), [1, 1]),
        ([2, 3, 13, 11], 17, [3, 3], [1, 1], Padding::all(2), [2, 2]),
        ([1, 3, 17, 19], 5, [3, 2], [2, 3], Padding::axes([3, 1]), [3, 4]),
        ([1, 2, 5, 7], 3, [3, 3], [1, 1], sides(0, 3, 2, 0), [1, 1]),
        ([1, 2, 5, 7], 3, [3, 3], [2, 1], sides(4, 0, 0, 5), [1, 2]),
        ([1, 2, 3, 2], 3, [2, 2], [1, 1], Padding::all(5), [1, 1]),
        ([1, 2, 6, 7], 3, [3, 3], [1, 1], Padding::all(7), [1, 1]),
        ([1, 1, 2, 2], 1, [7, 7], [1, 1], Padding::all(3), [1, 1]),
    ] {
        Layer::new(x, outputs, kernel, ConvOptions { stride, padding, dilation, groups: 1 }).check(gpu);
    }
}

#[test]
fn groups() {
    let Some(gpu) = device::gpu() else { return };
    for (x, outputs, kernel, groups) in [
        ([2, 6, 7, 5], 9, [3, 3], 3),
        ([1, 8, 9, 16], 8, [3, 3], 8),
        ([2, 5, 8, 7], 15, [3, 3], 5),
        ([1, 12, 8, 8], 24, [5, 5], 2),
        ([3, 4, 6, 6], 4, [2, 4], 4),
        ([1, 34, 6, 8], 34, [3, 3], 2),
    ] {
        Layer::new(x, outputs, kernel, ConvOptions { groups, ..PADDED }).check(gpu);
        Layer::new(x, outputs, kernel, ConvOptions { groups, stride: [2, 2], ..PADDED }).check(gpu);
    }
}

/// In so many parts as a caller asks for, empty ones among them: their sum is the gradient.
#[test]
fn parts_add_up() {
    let Some(gpu) = device::gpu() else { return };
    let layer = Layer::new([3, 2, 8, 9], 5, [3, 3], PADDED);
    let operands = [seeded("x", &layer.x), seeded("grad", &layer.grad())];
    let [x, grad] = operands.each_ref().map(array);
    let bounds = MATMUL.bounds(&layer.oracle(&x.abs(), &grad.abs()));
    for parts in [2, 3, 7, 300] {
        let build = |g: &mut GraphBuilder, v: &[_]| {
            let made = g.apply(Conv2dWeightGrad { parts, ..layer.op() }, &[v[0], v[1]])?;
            let stacked = g.reshape(made, &[parts, 5, 2, 3, 3])?;
            g.sum(stacked, &[0], false)
        };
        conforms(gpu, format!("{parts} parts"), &operands, build, &layer.oracle(&x, &grad), &bounds);
    }
}

/// The device as if a tensor of more than 16 KiB had to be split.
fn shrunk(profile: &DeviceProfile) -> DeviceProfile {
    let limits = Limits { max_binding: 16 << 10, max_buffer: 20 << 10, ..profile.limits };
    DeviceProfile { limits, ..profile.clone() }
}

fn in_pieces(gpu: &Gpu, profile: &DeviceProfile, layer: &Layer) -> Result<(), EngineError> {
    let (x, grad) = (seeded("x", &layer.x), seeded("grad", &layer.grad()));
    let mut g = GraphBuilder::new("pieces");
    let values = [g.input("x", &layer.x, DType::F32), g.input("grad", &layer.grad(), DType::F32)];
    let gradient = g.apply(layer.op(), &values)?;
    g.output("gradient", gradient);
    let mut session = Session::with_profile(gpu, shrunk(profile));
    let plan = session.load(&g.finish(), &HashMap::new())?;
    let made = session.run(plan, &[("x", &x), ("grad", &grad)])?;
    let (x, grad) = (array(&x), array(&grad));
    let bounds = MATMUL.bounds(&layer.oracle(&x.abs(), &grad.abs()));
    let plan = session.plan(plan);
    let pieces = plan.inputs.iter().chain(&plan.outputs).map(|port| port.pieces.len()).max();
    assert!(pieces > Some(1), "{layer:?} is not split at all");
    let got = made["gradient"].as_f32()?;
    compare::assert_close(format!("{layer:?} in pieces"), got, &layer.oracle(&x, &grad), &bounds);
    Ok(())
}

/// A batch that exceeds what the device binds is summed piece by piece, whichever tensor is the wide one; so is a gradient
/// made that exceeds it.
#[test]
fn a_batch_in_pieces() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    for profile in profiles(gpu) {
        for layer in [
            Layer::new([12, 12, 8, 8], 12, [3, 3], PADDED),
            Layer::new([37, 2, 16, 16], 5, [5, 5], PLAIN),
            Layer::new([64, 1, 8, 8], 9, [3, 3], PADDED),
            Layer::new([64, 9, 8, 8], 1, [3, 3], ConvOptions { stride: [2, 2], ..PADDED }),
            Layer::new([16, 16, 8, 8], 16, [3, 3], ConvOptions { groups: 16, ..PADDED }),
            Layer::new([9, 24, 16, 4], 8, [1, 1], PLAIN),
            Layer::new([2, 64, 6, 6], 64, [3, 3], PADDED),
            Layer::new([2, 64, 6, 6], 60, [2, 2], ConvOptions { groups: 2, ..PADDED }),
        ] {
            in_pieces(gpu, &profile, &layer)?;
        }
    }
    Ok(())
}

/// Sums of tens of thousands of terms, by which one invocation of a software driver would end early.
#[test]
fn long_sums() {
    let Some(gpu) = device::gpu() else { return };
    for (x, outputs, kernel) in [([3, 1, 300, 300], 2, [3, 3]), ([1, 2, 40, 3000], 1, [2, 2])] {
        let layer = Layer::new(x, outputs, kernel, PADDED);
        // Numbers of one sign: a part that went missing would show.
        let ones = |name: &str, shape: &[usize]| {
            let count = shape.iter().product();
            f32_tensor(shape, data::uniform(name, count).iter().map(|x| x.abs() + 0.5).collect())
        };
        let operands = [ones("x", &layer.x), ones("grad", &layer.grad())];
        let [x, grad] = operands.each_ref().map(array);
        let expected = layer.oracle(&x, &grad);
        // A chain of additions as long as the sum of a part.
        let bounds = Tolerance { epsilons: 64.0, ..MATMUL }.bounds(&expected);
        let build = |g: &mut GraphBuilder, v: &[_]| g.apply(layer.op(), &[v[0], v[1]]);
        conforms(gpu, format!("{layer:?}"), &operands, build, &expected, &bounds);
    }
}

/// A NaN in the image reaches the taps that meet it, one in the gradient all of its channel's, and no others.
#[test]
fn a_nan_reaches_what_sees_it() {
    let Some(gpu) = device::gpu() else { return };
    for kernel in [[3, 3], [2, 2]] {
        let layer = Layer::new([2, 3, 9, 8], 4, kernel, PLAIN);
        let [x, grad] = [("x", layer.x), ("grad", layer.grad())]
            .map(|(name, shape)| data::uniform(name, shape.iter().product()));
        for in_image in [true, false] {
            let (mut x, mut grad) = (x.clone(), grad.clone());
            let (channel, out) = (1, 2);
            if in_image {
                // The corner: only the window's first tap meets it.
                x[channel * 9 * 8] = f32::NAN;
            } else {
                grad[out * layer.grad()[2] * layer.grad()[3] + 1] = f32::NAN;
            }
            let operands = [f32_tensor(&layer.x, x), f32_tensor(&layer.grad(), grad)];
            let build = |g: &mut GraphBuilder, v: &[_]| g.apply(layer.op(), &[v[0], v[1]]);
            let taps = kernel[0] * kernel[1];
            kiln_tests::graph::every_source(gpu, &operands, build, |source, made| {
                let got = made.as_f32().expect("the op should give f32");
                for (flat, x) in got.iter().enumerate() {
                    let (o, c, tap) = (flat / taps / 3, flat / taps % 3, flat % taps);
                    let sees = if in_image { c == channel && tap == 0 } else { o == out };
                    assert_eq!(x.is_nan(), sees, "{source}: {kernel:?}, element {flat}");
                }
            });
        }
    }
}
