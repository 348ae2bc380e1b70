//! The image that Winograd's convolution makes of its products; and the whole convolution, step by step and as a pass makes
//! it of a direct one.

use std::collections::HashMap;

use kiln_engine::ops::{
    ConvOptions, Epilogue, Matmul, PoolOptions, WinogradInput, WinogradOutput, WinogradWeight,
};
use kiln_engine::{Activation, DType, EngineError, GraphBuilder, Padding, Session, Value, WinogradTile};
use kiln_gpu::Gpu;
use kiln_reference::{Array, Conv, Pool, Unary, Winograd};
use kiln_tests::graph::{array, conforms, every_source, f32_tensor, profiles, seeded};
use kiln_tests::tolerance::{self, WINOGRAD, WINOGRAD_STEP};
use kiln_tests::{compare, data, device};

/// A convolution by Winograd's transforms.
#[derive(Clone, Copy, Debug)]
struct Case {
    x: [usize; 4],
    outputs: usize,
    padding: [[usize; 2]; 2],
    bias: bool,
    activation: Option<(Activation, Unary)>,
    residual: bool,
    pool: bool,
}

impl Case {
    /// Padded by 1, and nothing else.
    const fn new(x: [usize; 4], outputs: usize) -> Self {
        Self { x, outputs, padding: [[1; 2]; 2], bias: false, activation: None, residual: false, pool: false }
    }

    fn conv(&self) -> Conv<2> {
        Conv { padding: self.padding, ..Conv::default() }
    }

    fn extents(&self) -> [usize; 2] {
        std::array::from_fn(|axis| self.padding[axis][0] + self.x[axis + 2] + self.padding[axis][1] - 2)
    }

    fn operands(&self) -> Vec<kiln_engine::Tensor> {
        let mut operands = vec![seeded("x", &self.x), seeded("weight", &[self.outputs, self.x[1], 3, 3])];
        if self.bias {
            operands.push(seeded("bias", &[self.outputs]));
        }
        if self.residual {
            let [height, width] = self.extents();
            operands.push(seeded("residual", &[self.x[0], self.outputs, height, width]));
        }
        operands
    }

    /// The oracle's result, and the bounds of tiles of so many outputs.
    fn expected(&self, operands: &[kiln_engine::Tensor], tile: WinogradTile) -> (Array, Vec<f64>) {
        let arrays: Vec<Array> = operands.iter().map(array).collect();
        let bias = self.bias.then(|| &arrays[2]);
        let mut expected = kiln_reference::conv2d(&arrays[0], &arrays[1], bias, self.conv());
        let mut terms = kiln_reference::winograd_terms(&arrays[0], &arrays[1], self.padding, tile.outputs());
        if let Some(bias) = bias {
            let channels = |at: &[usize]| bias.data[at[1]].abs();
            terms = kiln_reference::add(&terms, &Array::from_fn(&terms.shape, channels));
        }
        let mut bounds = WINOGRAD.bounds(&terms);
        if let Some((_, function)) = self.activation {
            for (bound, &x) in bounds.iter_mut().zip(&expected.data) {
                // No slope of the activations here exceeds 1.2.
                *bound = 1.2 * *bound + tolerance::unary(function, x);
            }
            expected = kiln_reference::unary(function, &expected);
        }
        if self.residual {
            let residual = arrays.last().expect("the residual is the last operand");
            expected = kiln_reference::add(&expected, residual);
            for (bound, sum) in bounds.iter_mut().zip(&expected.data) {
                *bound += f64::from(f32::EPSILON) * sum.abs();
            }
        }
        if self.pool {
            // The maximum of four is off by the largest of their errors at most.
            let pool = |x: &Array| kiln_reference::max_pool2d(x, Pool::new([2; 2]));
            bounds = pool(&Array::new(&expected.shape, bounds)).data;
            expected = pool(&expected);
        }
        (expected, bounds)
    }

    /// The three steps, with the image in either layout.
    fn steps(
        &self,
        g: &mut GraphBuilder,
        v: &[Value],
        tile: WinogradTile,
        panels: bool,
    ) -> Result<Value, EngineError> {
        let input = WinogradInput { tile, padding: Padding::Sides(self.padding), panels };
        let layout = input.layout(g.desc(v[0])).expect("an image");
        let image = g.apply(input, &v[..1])?;
        let weight = g.apply(WinogradWeight { tile }, &v[1..2])?;
        let products = g.apply(Matmul::with_rhs(layout), &[weight, image])?;
        let epilogue = Epilogue {
            bias: self.bias,
            activation: self.activation.map(|(activation, _)| activation),
            residual: self.residual,
        };
        let output =
            WinogradOutput { tile, batch: self.x[0], extents: self.extents(), pool: self.pool, epilogue };
        g.apply(output, &[&[products], &v[2..]].concat())
    }

    #[track_caller]
    fn check(&self, gpu: &Gpu) {
        let operands = self.operands();
        for tile in WinogradTile::ALL {
            let (expected, bounds) = self.expected(&operands, tile);
            for panels in [false, true] {
                let what = format!("{self:?} by {tile:?}, panels {panels}");
                conforms(gpu, what, &operands, |g, v| self.steps(g, v, tile, panels), &expected, &bounds);
            }
        }
    }
}

/// Extents and channels around the tiles, the vectors of tiles and the panels, batches, and all paddings.
#[test]
fn sizes() {
    let Some(gpu) = device::gpu() else { return };
    let sides = |top, bottom, left, right| [[top, bottom], [left, right]];
    for case in [
        Case::new([1, 1, 1, 1], 1),
        Case { padding: sides(0, 0, 0, 0), ..Case::new([1, 1, 3, 3], 1) },
        Case::new([2, 3, 7, 9], 5),
        Case { padding: sides(0, 0, 0, 0), ..Case::new([1, 8, 18, 18], 16) },
        Case { padding: sides(2, 2, 2, 2), ..Case::new([3, 7, 4, 5], 9) },
        Case { padding: sides(0, 3, 2, 0), ..Case::new([2, 4, 5, 11], 17) },
        Case::new([5, 16, 8, 4], 33),
        Case::new([1, 33, 14, 14], 70),
        Case::new([1, 70, 5, 28], 31),
    ] {
        case.check(gpu);
    }
}

/// Bias, activation, residual and pool, each alone and all together, with extents that are odd and even.
#[test]
fn epilogues() {
    let Some(gpu) = device::gpu() else { return };
    const RELU: Option<(Activation, Unary)> = Some((Activation::Relu, Unary::Relu));
    const SILU: Option<(Activation, Unary)> = Some((Activation::Silu, Unary::Silu));
    let plain = Case::new([2, 5, 7, 10], 6);
    let whole = Case { bias: true, activation: RELU, residual: true, ..plain };
    for case in [
        Case { bias: true, ..plain },
        Case { activation: RELU, ..plain },
        Case { residual: true, ..plain },
        Case { pool: true, ..plain },
        Case { activation: SILU, ..whole },
        Case { pool: true, ..whole },
        Case { pool: true, residual: false, ..Case { x: [3, 4, 12, 8], ..whole } },
        Case { pool: true, x: [1, 2, 3, 2], ..whole },
    ] {
        case.check(gpu);
    }
}

/// The step alone, of products that no convolution made.
#[test]
fn images_of_products() {
    let Some(gpu) = device::gpu() else { return };
    for (batch, channels, extents) in [(1, 1, [1, 1]), (2, 5, [7, 12]), (3, 9, [16, 15]), (1, 64, [4, 4])] {
        for tile in WinogradTile::ALL {
            let op = WinogradOutput { tile, batch, extents, pool: false, epilogue: Epilogue::default() };
            let outputs = tile.outputs();
            let tiles = batch * extents.map(|extent| extent.div_ceil(outputs)).iter().product::<usize>();
            let operands = [seeded("products", &[tile.places(), channels, tiles.next_multiple_of(8)])];
            let matrices = Winograd::new(outputs);
            let products = array(&operands[0]);
            let expected = kiln_reference::winograd_output(&products, batch, extents, &matrices);
            let terms = kiln_reference::winograd_output(&products.abs(), batch, extents, &matrices.abs());
            let bounds = WINOGRAD_STEP.bounds(&terms);
            conforms(gpu, format!("{op:?}"), &operands, |g, v| g.apply(op, v), &expected, &bounds);
        }
    }
}

/// At the deepest of VGG's layers: the bound of the terms, and what it comes to. Relative to the largest value of the layer
/// no element may be off by more than 1e-5; of the magnitudes that a direct convolution adds up, by more than 8 epsilons.
#[test]
fn errors_at_512_channels() {
    let Some(gpu) = device::gpu() else { return };
    let case = Case::new([1, 512, 8, 8], 24);
    let operands = case.operands();
    let arrays: Vec<Array> = operands.iter().map(array).collect();
    let direct = kiln_reference::conv2d(&arrays[0].abs(), &arrays[1].abs(), None, case.conv());
    for (tile, of_largest, of_terms) in [(WinogradTile::Two, 2e-6, 2.0), (WinogradTile::Four, 1e-5, 8.0)] {
        let (expected, bounds) = case.expected(&operands, tile);
        let largest = expected.data.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        every_source(
            gpu,
            &operands,
            |g, v| case.steps(g, v, tile, true),
            |source, made| {
                let got = made.as_f32().expect("a convolution gives f32");
                let what = format!("{tile:?} {source}");
                compare::assert_close(&what, got, &expected, &bounds);
                for ((&got, &expected), &terms) in got.iter().zip(&expected.data).zip(&direct.data) {
                    let error = (f64::from(got) - expected).abs();
                    assert!(error <= of_largest * largest, "{what}: {got} for {expected}, of {largest}");
                    let epsilons = error / terms / f64::from(f32::EPSILON);
                    assert!(epsilons <= of_terms, "{what}: {epsilons} epsilons of {terms}");
                }
            },
        );
    }
}

/// A convolution with all that may follow it, as the pass makes it where it is told to, on either sort of device.
#[test]
fn as_the_pass_makes_it() {
    let Some(gpu) = device::gpu() else { return };
    let case = Case {
        bias: true,
        activation: Some((Activation::Relu, Unary::Relu)),
        pool: true,
        ..Case::new([2, 20, 11, 16], 13)
    };
    let operands = case.operands();
    let same = ConvOptions { padding: Padding::all(1), ..ConvOptions::default() };
    for (tile, name) in [(WinogradTile::Two, "winograd2"), (WinogradTile::Four, "winograd4")] {
        let (expected, bounds) = case.expected(&operands, tile);
        for (profile, constant) in profiles(gpu).into_iter().flat_map(|p| [(p.clone(), false), (p, true)]) {
            let mut g = GraphBuilder::new("test");
            let x = g.input("x", &case.x, DType::F32);
            let shape = operands[1].shape();
            let weight =
                if constant { g.constant("weight", shape) } else { g.input("weight", shape, DType::F32) };
            let bias = g.constant("bias", &[case.outputs]);
            let y = g.conv2d(x, weight, Some(bias), same).expect("the shapes should fit");
            let y = g.relu(y).expect("any shape will do");
            let y = g.max_pool2d(y, PoolOptions::new([2; 2])).expect("a window should fit");
            g.output("y", y);
            let weights = HashMap::from([
                ("weight".to_owned(), operands[1].clone()),
                ("bias".to_owned(), operands[2].clone()),
            ]);
            let constant_word = if constant { "constant " } else { "" };
            let key = format!(
                "conv2d algorithm: f32[2, 20, 11, 16] by {constant_word}f32[13, 20, 3, 3], padding 1"
            );
            let choices = [(key, name)].into_iter().collect();
            let mut session = Session::with_profile(gpu, profile.clone()).with_choices(choices);
            let plan = session.load(&g.finish(), &weights).expect("the graph should load");
            let kernels: Vec<&str> = session.plan(plan).dispatches().map(|step| step.kernel.name).collect();
            assert!(kernels.iter().any(|name| name.starts_with("winograd_input")), "{kernels:?}");
            assert_eq!(kernels.last(), Some(&"winograd_output"), "the pool is part of it: {kernels:?}");
            let inputs = [("x", &operands[0]), ("weight", &operands[1])];
            let inputs = if constant { &inputs[..1] } else { &inputs[..] };
            let mut made = session.run(plan, inputs).expect("the plan should run");
            let made = made.take("y").expect("the graph puts it out");
            assert_eq!(made.shape(), expected.shape);
            let what = format!("{name} for a {} device, constant {constant}", profile.kind);
            compare::assert_close(what, made.as_f32().expect("f32"), &expected, &bounds);
        }
    }
}

/// A NaN reaches at least the outputs that see it, and no tile but those that hold it; so does an infinity, as a NaN at
/// times.
#[test]
fn what_is_not_finite_stays_in_its_tiles() {
    let Some(gpu) = device::gpu() else { return };
    for value in [f32::NAN, f32::INFINITY] {
        for pool in [false, true] {
            let case = Case {
                activation: Some((Activation::Relu, Unary::Relu)),
                pool,
                ..Case::new([2, 3, 13, 16], 5)
            };
            let mut operands = case.operands();
            let mut image = data::uniform("x", case.x.iter().product());
            let (row, col) = (6, 9);
            image[(16 * row + col) + 13 * 16] = value;
            operands[0] = f32_tensor(&case.x, image);
            for tile in WinogradTile::ALL {
                every_source(
                    gpu,
                    &operands,
                    |g, v| case.steps(g, v, tile, false),
                    |source, made| {
                        let step = if pool { 2 } else { 1 };
                        let got = made.as_f32().expect("a convolution gives f32");
                        let (height, width) = (made.shape()[2], made.shape()[3]);
                        let outputs = tile.outputs();
                        // Whether a tile along an axis holds a position: its inputs go from one before to one behind.
                        let holds = |output: usize, at: usize| {
                            let first = output * step / outputs * outputs;
                            (first..first + outputs + 2).contains(&(at + 1))
                        };
                        let sees = |output: usize, at: usize| {
                            (output * step..output * step + step + 2).contains(&(at + 1))
                        };
                        for (index, got) in got.iter().enumerate() {
                            let (oh, ow) = (index / width % height, index % width);
                            let first = index < 5 * height * width;
                            let what =
                                || format!("{value} by {tile:?}, pool {pool}, {source}: {oh}, {ow}: {got}");
                            if !(first && holds(oh, row) && holds(ow, col)) {
                                assert!(got.is_finite(), "{}", what());
                            } else if value.is_nan() && sees(oh, row) && sees(ow, col) {
                                assert!(got.is_nan(), "{}", what());
                            }
                        }
                    },
                );
            }
        }
    }
}
