//! The kernels of conv2d: one formula, and what each kernel asks of the window.

use kiln_gpu::Gpu;
use kiln_kernels::{
    Kernel, conv2d_block, conv2d_depthwise, conv2d_depthwise_rows, conv2d_naive, conv2d_register,
    conv2d_shared,
};
use kiln_reference::{Array, Conv, Unary};
use kiln_tests::compare::assert_close;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::{self, LINEAR, MATMUL};
use kiln_tests::{data, device, sweep};

use crate::support::u;

/// What an output of a channel outside the bound piece of the weight holds before and after.
const UNTOUCHED: f32 = 7.5;

/// One convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) batch: usize,
    pub(crate) groups: usize,
    pub(crate) group_in: usize,
    pub(crate) group_out: usize,
    pub(crate) input: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    pub(crate) padding: [[usize; 2]; 2],
    pub(crate) bias: bool,
    pub(crate) residual: bool,
    pub(crate) activation: u32,
    /// The output channels of the piece of the weight that is bound; all of them where there is none.
    pub(crate) piece: Option<(usize, usize)>,
    /// An element of the input is NaN.
    pub(crate) nan: bool,
}

impl Case {
    /// 3 x 3, without padding or anything else.
    pub(crate) const fn new(
        batch: usize,
        [groups, group_in, group_out]: [usize; 3],
        input: [usize; 2],
    ) -> Self {
        Self {
            batch,
            groups,
            group_in,
            group_out,
            input,
            kernel: [3, 3],
            stride: [1, 1],
            dilation: [1, 1],
            padding: [[0; 2]; 2],
            bias: false,
            residual: false,
            activation: 0,
            piece: None,
            nan: false,
        }
    }

    pub(crate) fn flags(&self) -> u32 {
        u32::from(self.bias)
    }

    fn out_channels(&self) -> usize {
        self.groups * self.group_out
    }

    fn channels(&self) -> (usize, usize) {
        self.piece.unwrap_or((0, self.out_channels()))
    }

    fn depth(&self) -> usize {
        self.group_in * self.kernel[0] * self.kernel[1]
    }

    /// Extents of the output, by brute force.
    pub(crate) fn output(&self) -> [usize; 2] {
        std::array::from_fn(|axis| {
            let padded = self.padding[axis][0] + self.input[axis] + self.padding[axis][1];
            let span = self.dilation[axis] * (self.kernel[axis] - 1);
            (0..padded).step_by(self.stride[axis]).filter(|start| start + span < padded).count()
        })
    }

    fn tensors(&self) -> Tensors {
        let in_shape = [self.batch, self.groups * self.group_in, self.input[0], self.input[1]];
        let weight_shape = [self.out_channels(), self.group_in, self.kernel[0], self.kernel[1]];
        let [out_h, out_w] = self.output();
        let out_shape = [self.batch, self.out_channels(), out_h, out_w];
        let mut input_data = data::uniform("conv2d.input", in_shape.iter().product());
        if self.nan {
            // In the middle of the first channel.
            input_data[self.input[0] / 2 * self.input[1] + self.input[1] / 2] = f32::NAN;
        }
        let input = Array::from_f32(&in_shape, &input_data);
        let weight =
            Array::from_f32(&weight_shape, &data::uniform("conv2d.weight", weight_shape.iter().product()));
        let bias =
            Array::from_f32(&[self.out_channels()], &data::uniform("conv2d.bias", self.out_channels()));
        let residual =
            Array::from_f32(&out_shape, &data::uniform("conv2d.residual", out_shape.iter().product()));
        let options =
            Conv { stride: self.stride, padding: self.padding, dilation: self.dilation, groups: self.groups };
        let sum = kiln_reference::conv2d(&input, &weight, self.bias.then_some(&bias), options);
        let mut expected = sum.clone();
        if let Some(function) = function(self.activation) {
            expected = kiln_reference::unary(function, &expected);
        }
        let mut terms = kiln_reference::conv2d(&input.abs(), &weight.abs(), Some(&bias.abs()), options);
        if self.residual {
            expected = kiln_reference::add(&expected, &residual);
            terms = kiln_reference::add(&terms, &residual.abs());
        }
        let linear = !self.bias && !self.residual && self.activation == 0;
        let mut bounds = if linear { MATMUL } else { LINEAR }.bounds(&terms);
        if let Some(function) = function(self.activation) {
            for (bound, &x) in bounds.iter_mut().zip(&sum.data) {
                *bound += tolerance::unary(function, x);
            }
        }
        let (start, end) = self.channels();
        for (flat, (expected, bound)) in expected.data.iter_mut().zip(&mut bounds).enumerate() {
            if !(start..end).contains(&(flat / (out_h * out_w) % self.out_channels())) {
                (*expected, *bound) = (f64::from(UNTOUCHED), 0.0);
            }
        }
        let plain = |x: &Array| x.data.iter().map(|&x| x as f32).collect();
        Tensors {
            weight: plain(&kiln_reference::slice(&weight, 0, start, end)),
            input: plain(&input),
            bias: plain(&bias),
            residual: plain(&residual),
            expected,
            bounds,
        }
    }

    /// The bindings of every kernel: what a flag leaves out is NaN, as the tail is.
    pub(crate) fn binds(&self, tensors: &Tensors, weight: &[f32]) -> Vec<Bind> {
        let absent = || Bind::f32(&[f32::NAN]);
        let count = tensors.expected.data.len();
        vec![
            Bind::f32(&tensors.input),
            Bind::f32(weight),
            if self.bias { Bind::f32(&tensors.bias) } else { absent() },
            if self.residual { Bind::f32(&tensors.residual) } else { absent() },
            if self.piece.is_some() { Bind::update(&vec![UNTOUCHED; count]) } else { Bind::output(count) },
        ]
    }
}

/// The tensors of a case, and what the kernel should make of them.
pub(crate) struct Tensors {
    pub(crate) input: Vec<f32>,
    /// The piece that is bound, as PyTorch has it.
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) residual: Vec<f32>,
    pub(crate) expected: Array,
    pub(crate) bounds: Vec<f64>,
}

/// The function that a kind of `lib/activation.wgsl` stands for.
fn function(kind: u32) -> Option<Unary> {
    match kind {
        0 => None,
        1 => Some(Unary::Relu),
        2 => Some(Unary::Gelu),
        3 => Some(Unary::GeluTanh),
        4 => Some(Unary::Sigmoid),
        5 => Some(Unary::Tanh),
        6 => Some(Unary::Silu),
        _ => panic!("there are seven kinds"),
    }
}

pub(crate) fn check(gpu: &Gpu, kernel: &'static Kernel, case: &Case, run: impl Fn(&Tensors) -> Vec<f32>) {
    let tensors = case.tensors();
    let what = format!("{kernel} on {}, {case:?}", gpu.profile().name);
    assert_close(what, &run(&tensors), &tensors.expected, &tensors.bounds);
}

/// Sizes around the tiles of a kernel; then the options of the epilogue, with one of the activations, at a shape that
/// divides nothing. Each activation is another pipeline, and variants are many: they take turns.
fn sizes(tile_channels: usize, tile_pixels: usize, turn: usize) -> Vec<Case> {
    let (channels, widths) = (sweep::sizes(tile_channels), sweep::sizes(tile_pixels));
    let mut cases: Vec<Case> =
        sweep::shapes([&[1, 2], &[1, 2, 3], &[1, 3, 4], &channels, &[1, 2, 5], &widths])
            .into_iter()
            .map(|[batch, groups, group_in, group_out, height, width]| Case {
                padding: [[1, 1], [1, 1]],
                ..Case::new(batch, [groups, group_in, group_out], [height, width])
            })
            .collect();
    let odd =
        Case { padding: [[2, 0], [0, 1]], ..Case::new(3, [2, 5, tile_channels + 3], [6, tile_pixels + 2]) };
    cases.extend([odd, Case { bias: true, ..odd }, Case { residual: true, ..odd }]);
    cases.push(Case { bias: true, residual: true, activation: u(turn % 7), ..odd });
    cases.push(Case { nan: true, activation: 1, ..odd });
    cases
}

/// Windows of all sorts: extents, strides, dilations and paddings that differ between the axes.
fn windows(channels: [usize; 3]) -> Vec<Case> {
    let plain = Case { bias: true, ..Case::new(2, channels, [9, 35]) };
    let padded = Case { padding: [[1, 2], [2, 1]], ..plain };
    vec![
        Case { kernel: [1, 1], ..plain },
        Case { kernel: [1, 1], stride: [2, 3], ..padded },
        Case { kernel: [2, 5], ..padded },
        Case { kernel: [5, 2], ..padded },
        Case { kernel: [4, 6], ..padded },
        Case { kernel: [7, 7], stride: [2, 2], padding: [[3, 3], [3, 3]], ..plain },
        Case { kernel: [9, 35], ..plain },
        Case { stride: [2, 2], ..padded },
        Case { stride: [1, 4], ..padded },
        Case { stride: [5, 1], ..padded },
        Case { dilation: [2, 2], ..padded },
        Case { dilation: [1, 3], ..padded },
        Case { dilation: [4, 1], ..padded },
        Case { stride: [3, 2], dilation: [2, 3], ..padded },
        Case { stride: [2, 6], dilation: [1, 4], kernel: [3, 7], padding: [[1, 1], [9, 12]], ..plain },
        Case { kernel: [2, 3], padding: [[4, 4], [5, 6]], ..plain },
        Case { nan: true, dilation: [1, 2], ..padded },
        Case { nan: true, stride: [1, 2], kernel: [3, 4], ..padded },
    ]
}

/// Pieces of a weight that end inside a group and between two.
fn pieces() -> Vec<Case> {
    let grouped = Case { bias: true, residual: true, ..Case::new(2, [3, 2, 70], [5, 6]) };
    let whole = Case { ..Case::new(2, [1, 2, 210], [5, 6]) };
    let piece = |case, piece| Case { piece: Some(piece), ..case };
    [(0, 64), (60, 75), (70, 140), (139, 210)]
        .into_iter()
        .flat_map(|bounds| [piece(grouped, bounds), piece(whole, bounds)])
        .collect()
}

/// The two kernels that read the weight where it lies take the same parameters.
macro_rules! plain {
    ($test:ident, $kernel:ident { $($field:ident: $value:expr),* } { $($free:ident: $baked:expr)? }, $variants:expr, |$turn:ident, $variant:ident| $cases:expr, |$case:ident| $groups:expr) => {
        #[test]
        fn $test() {
            let Some(gpu) = device::gpu() else { return };
            for ($turn, &$variant) in $variants.iter().enumerate() {
                for $case in $cases {
                    check(gpu, $variant.kernel(), &$case, |tensors| {
                        let (start, end) = $case.channels();
                        let [out_h, out_w] = $case.output();
                        let params = $kernel::Params {
                            batch: u($case.batch),
                            groups: u($case.groups),
                            group_in: u($case.group_in),
                            group_out: u($case.group_out),
                            in_h: u($case.input[0]),
                            in_w: u($case.input[1]),
                            out_h: u(out_h),
                            out_w: u(out_w),
                            kernel_h: u($case.kernel[0]),
                            kernel_w: u($case.kernel[1]),
                            stride_h: u($case.stride[0]),
                            stride_w: u($case.stride[1]),
                            dilation_h: u($case.dilation[0]),
                            dilation_w: u($case.dilation[1]),
                            before_h: u($case.padding[0][0]),
                            before_w: u($case.padding[1][0]),
                            oc_start: u(start),
                            piece_oc: u(end - start),
                            flags: $case.flags(),
                            $($field: u($value),)*
                        };
                        let overrides = $kernel::Overrides {
                            activation: $case.activation,
                            residual: u32::from($case.residual),
                            $($free: u($baked),)?
                        }
                        .pairs();
                        let binds = $case.binds(tensors, &tensors.weight);
                        Run::new($variant.kernel(), &params, binds, $groups).with(&overrides).output(gpu)
                    });
                }
            }
        }
    };
}

plain! {
    naive, conv2d_naive { } { }, conv2d_naive::Variant::ALL,
    |turn, variant| sizes(8, 8, turn + 1).into_iter().chain(windows([2, 3, 5])).chain(pieces()),
    |case| {
        let ((start, end), [out_h, out_w]) = (case.channels(), case.output());
        (case.batch * (end - start) * out_h * out_w).div_ceil(variant.threads() as usize)
    }
}

plain! {
    shared,
    conv2d_shared { parts: 1, part_depth: case.depth() } { window: baked(&case) },
    conv2d_shared::Variant::ALL,
    |turn, variant| shared_cases(variant, turn),
    |case| shared_groups(variant, &case)
}

/// In every other case the side of a square window, of the few that are baked.
fn baked(case: &Case) -> usize {
    let [height, width] = case.kernel;
    let worth = height == width && [1, 3].contains(&height) && case.activation == 0 && !case.residual;
    if worth && (case.groups + case.group_out) % 2 == 1 { height } else { 0 }
}

/// As many channels to sum over as make a depth of fours, where a variant reads four weights at once. All share an epilogue,
/// of which a small one proves the slower activations: a large one takes seconds to compile with them.
fn shared_cases(variant: conv2d_shared::Variant, turn: usize) -> Vec<Case> {
    let mut cases = sizes(variant.tile_oc() as usize, variant.tile_pixels() as usize, turn + 2);
    cases.extend(windows([2, 3, 5]).into_iter().chain(pieces()));
    if variant != conv2d_shared::Variant::T32 {
        cases.iter_mut().for_each(|case| case.activation = case.activation.min(1));
    }
    if variant.wide() > 1 {
        cases.iter_mut().for_each(|case| case.group_in = case.group_in.next_multiple_of(4));
    }
    cases
}

fn shared_groups(variant: conv2d_shared::Variant, case: &Case) -> usize {
    let ((start, end), [out_h, out_w]) = (case.channels(), case.output());
    let touched = (end - 1) / case.group_out - start / case.group_out + 1;
    touched
        * case.group_out.min(end - start).div_ceil(variant.tile_oc() as usize)
        * (case.batch * out_h * out_w).div_ceil(variant.tile_pixels() as usize)
}

/// Stretches of the depth, each with an output of its own: their sum is the convolution.
#[test]
fn shared_in_parts() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in conv2d_shared::Variant::ALL {
        let (tile_oc, tile_pixels) = (variant.tile_oc() as usize, variant.tile_pixels() as usize);
        let plain = Case {
            padding: [[1, 0], [0, 1]],
            ..Case::new(2, [2, 16, tile_oc + 3], [5, tile_pixels / 2 + 1])
        };
        for (case, parts) in [
            (plain, 3),
            (plain, 9),
            (Case { kernel: [1, 1], ..plain }, 1),
            (Case { group_in: 20, ..plain }, 4),
        ] {
            let [out_h, out_w] = case.output();
            check(gpu, variant.kernel(), &case, |tensors| {
                let params = conv2d_shared::Params {
                    batch: u(case.batch),
                    groups: u(case.groups),
                    group_in: u(case.group_in),
                    group_out: u(case.group_out),
                    in_h: u(case.input[0]),
                    in_w: u(case.input[1]),
                    out_h: u(out_h),
                    out_w: u(out_w),
                    kernel_h: u(case.kernel[0]),
                    kernel_w: u(case.kernel[1]),
                    stride_h: 1,
                    stride_w: 1,
                    dilation_h: 1,
                    dilation_w: 1,
                    before_h: u(case.padding[0][0]),
                    before_w: u(case.padding[1][0]),
                    oc_start: 0,
                    piece_oc: u(case.out_channels()),
                    parts: u(parts),
                    part_depth: u(case.depth().div_ceil(parts).next_multiple_of(4)),
                    flags: 0,
                };
                let overrides =
                    conv2d_shared::Overrides { window: u(baked(&case)), ..Default::default() }.pairs();
                let count = tensors.expected.data.len();
                let mut binds = case.binds(tensors, &tensors.weight);
                binds[4] = Bind::output(parts * count);
                let groups = parts * shared_groups(variant, &case);
                let made = Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu);
                (0..count).map(|i| made.iter().skip(i).step_by(count).sum()).collect()
            });
        }
    }
}

/// Distances between the pixels of a tile and between taps that share inputs: none are shared, or all that can be.
fn steps(case: &Case) -> Vec<[usize; 2]> {
    let (stride, dilation) = (case.stride[1], case.dilation[1]);
    let common = (1..=stride.min(dilation)).rev().find(|d| stride % d == 0 && dilation % d == 0);
    let common = common.expect("1 divides everything");
    vec![[1, case.kernel[1]], [dilation / common, stride / common]]
}

/// `[group][panel][depth][8]`, zero past the last channel of a group.
fn packed(case: &Case, weight: &[f32]) -> Vec<f32> {
    let panels = case.group_out.div_ceil(8);
    let packed = Array::from_fn(&[case.groups, panels, case.depth(), 8], |at| {
        let oc = 8 * at[1] + at[3];
        let row = at[0] * case.group_out + oc;
        if oc < case.group_out { f64::from(weight[row * case.depth() + at[2]]) } else { 0.0 }
    });
    packed.data.iter().map(|&x| x as f32).collect()
}

#[test]
fn register() {
    let Some(gpu) = device::gpu() else { return };
    for (turn, &variant) in conv2d_register::Variant::ALL.iter().enumerate() {
        let (pixels, tile) = (variant.pixels() as usize, 4 * variant.vecs() as usize);
        let (taps, stride, wide) = (variant.taps() as usize, variant.stride() as usize, variant.wide() > 1);
        for mut case in sizes(tile, pixels, turn).into_iter().chain(windows([2, 3, 9])).chain(one_by_one()) {
            if wide {
                // Neighbours of one row, and as many images as make whole blocks.
                (case.kernel[1], case.stride[1]) = (taps, stride);
                if taps > 1 {
                    case.dilation[1] = 1;
                }
                case.input[1] = case.input[1].max(case.dilation[1] * (case.kernel[1] - 1) + 1);
                let elements = case.groups * case.group_in * case.input[0] * case.input[1];
                case.batch *= [1, 4, 2, 4][elements % 4];
            }
            let mut ways = if wide { vec![[1, 1]] } else { steps(&case) };
            if taps > 1 && !wide {
                // Three taps that find their inputs at neighbouring pixels.
                ways.retain(|&[pixel_step, tap_step]| {
                    case.kernel[1].is_multiple_of(taps)
                        && tap_step == 1
                        && pixel_step * case.stride[1] == case.dilation[1]
                });
            }
            for [pixel_step, tap_step] in ways {
                check(gpu, variant.kernel(), &case, |tensors| {
                    let [out_h, out_w] = case.output();
                    let row_tiles = out_w.div_ceil(pixel_step).div_ceil(pixels);
                    let channel_tiles = case.groups * case.group_out.div_ceil(tile);
                    let oc_lanes = [8, 4, 3, 2, 1][case.batch % 2..]
                        .iter()
                        .find(|&lanes| channel_tiles % lanes == 0)
                        .map_or(1, |&lanes| lanes);
                    let params = conv2d_register::Params {
                        batch: u(case.batch),
                        groups: u(case.groups),
                        group_in: u(case.group_in),
                        group_out: u(case.group_out),
                        in_h: u(case.input[0]),
                        in_w: u(case.input[1]),
                        out_h: u(out_h),
                        out_w: u(out_w),
                        kernel_h: u(case.kernel[0]),
                        kernel_w: u(case.kernel[1]),
                        stride_h: u(case.stride[0]),
                        stride_w: u(case.stride[1]),
                        dilation_h: u(case.dilation[0]),
                        dilation_w: u(case.dilation[1]),
                        before_h: u(case.padding[0][0]),
                        before_w: u(case.padding[1][0]),
                        pixel_step: u(pixel_step),
                        tap_step: u(tap_step),
                        row_tiles: u(row_tiles),
                        oc_lanes: u(oc_lanes),
                        flags: case.flags(),
                    };
                    let overrides = conv2d_register::Overrides {
                        activation: case.activation,
                        residual: u32::from(case.residual),
                    }
                    .pairs();
                    let binds = case.binds(tensors, &packed(&case, &tensors.weight));
                    let tiles = case.batch * out_h * pixel_step * row_tiles * channel_tiles;
                    let groups = tiles.div_ceil(variant.threads() as usize);
                    Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu)
                });
            }
        }
    }
}

#[test]
fn block() {
    let Some(gpu) = device::gpu() else { return };
    for (turn, &variant) in conv2d_block::Variant::ALL.iter().enumerate() {
        let [rows, cols, taps, channels] =
            [variant.rows(), variant.cols(), variant.taps(), 4 * variant.vecs()].map(|count| count as usize);
        for (i, mut case) in sizes(channels, cols, turn).into_iter().enumerate() {
            (case.kernel, case.stride, case.dilation) = ([taps; 2], [1; 2], [1; 2]);
            if case.padding == [[1, 1], [1, 1]] {
                case.padding = [[[2, 2], [2, 2]], [[0, 4], [4, 0]], [[7, 1], [0, 9]]][i % 3];
            }
            // Heights around the rows of a tile; a window has to fit.
            case.input[0] += i % 5;
            case.input = case.input.map(|extent| extent.max(taps));
            if variant.full() == 1 {
                case.padding[1] = [taps - 1; 2];
                case.input[1] = 1 + (case.input[1] - 1) % (cols + 1 - taps);
            }
            case.batch *= [1, 4, 2, 4][case.groups * case.group_in * case.input[0] * case.input[1] % 4];
            check(gpu, variant.kernel(), &case, |tensors| {
                let [out_h, out_w] = case.output();
                let (row_tiles, col_tiles) = (out_h.div_ceil(rows), out_w.div_ceil(cols));
                let channel_tiles = case.groups * case.group_out.div_ceil(channels);
                let oc_lanes = match i % 2 {
                    0 => channel_tiles,
                    _ => 1 + usize::from(channel_tiles.is_multiple_of(2)),
                };
                let params = conv2d_block::Params {
                    batch: u(case.batch),
                    groups: u(case.groups),
                    group_in: u(case.group_in),
                    group_out: u(case.group_out),
                    in_h: u(case.input[0]),
                    in_w: u(case.input[1]),
                    out_h: u(out_h),
                    out_w: u(out_w),
                    before_h: u(case.padding[0][0]),
                    before_w: u(case.padding[1][0]),
                    col_tiles: u(col_tiles),
                    row_tiles: u(row_tiles),
                    oc_lanes: u(oc_lanes),
                    flags: case.flags(),
                };
                let overrides = conv2d_block::Overrides {
                    activation: case.activation,
                    residual: u32::from(case.residual),
                }
                .pairs();
                let binds = case.binds(tensors, &packed(&case, &tensors.weight));
                let tiles = case.batch * row_tiles * col_tiles * channel_tiles;
                let groups = tiles.div_ceil(variant.threads() as usize);
                Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu)
            });
        }
    }
}

/// Windows of one tap, as a 1x1 convolution has them after its rows are joined.
fn one_by_one() -> Vec<Case> {
    let one = Case { kernel: [1, 1], ..Case::new(1, [1, 7, 19], [1, 100]) };
    vec![one, Case { bias: true, ..one }, Case { input: [1, 52], group_in: 61, nan: true, ..one }]
}

/// Depthwise windows, a channel making `multiplier` others.
fn depthwise_cases(tile: usize, turn: usize) -> Vec<Case> {
    let depthwise = |case: Case| Case { groups: case.groups * case.group_in, group_in: 1, ..case };
    let cases = sizes(2, tile, turn).into_iter().chain(windows([3, 2, 1])).chain(windows([2, 1, 3]));
    cases.map(depthwise).collect()
}

#[test]
fn depthwise() {
    let Some(gpu) = device::gpu() else { return };
    for (turn, &variant) in conv2d_depthwise::Variant::ALL.iter().enumerate() {
        let pixels = variant.pixels() as usize;
        for case in depthwise_cases(pixels, turn + 3) {
            for [pixel_step, tap_step] in steps(&case) {
                check(gpu, variant.kernel(), &case, |tensors| {
                    let [out_h, out_w] = case.output();
                    let row_tiles = out_w.div_ceil(pixel_step).div_ceil(pixels);
                    let params = conv2d_depthwise::Params {
                        batch: u(case.batch),
                        channels: u(case.groups),
                        multiplier: u(case.group_out),
                        in_h: u(case.input[0]),
                        in_w: u(case.input[1]),
                        out_h: u(out_h),
                        out_w: u(out_w),
                        kernel_h: u(case.kernel[0]),
                        kernel_w: u(case.kernel[1]),
                        stride_h: u(case.stride[0]),
                        stride_w: u(case.stride[1]),
                        dilation_h: u(case.dilation[0]),
                        dilation_w: u(case.dilation[1]),
                        before_h: u(case.padding[0][0]),
                        before_w: u(case.padding[1][0]),
                        pixel_step: u(pixel_step),
                        tap_step: u(tap_step),
                        row_tiles: u(row_tiles),
                        flags: case.flags(),
                    };
                    let overrides = conv2d_depthwise::Overrides {
                        activation: case.activation,
                        residual: u32::from(case.residual),
                    }
                    .pairs();
                    let binds = case.binds(tensors, &tensors.weight);
                    let tiles = case.batch * case.out_channels() * out_h * pixel_step * row_tiles;
                    let groups = tiles.div_ceil(variant.threads() as usize);
                    Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu)
                });
            }
        }
    }
}

#[test]
fn depthwise_rows() {
    let Some(gpu) = device::gpu() else { return };
    for (turn, &variant) in conv2d_depthwise_rows::Variant::ALL.iter().enumerate() {
        let pixels = variant.pixels() as usize;
        for (i, mut case) in depthwise_cases(pixels, turn + 5).into_iter().enumerate() {
            (case.kernel, case.stride, case.dilation) = ([3, 3], [1, 1], [1, 1]);
            case.input = case.input.map(|extent| extent.max(3));
            case.batch *= [1, 4, 2, 4][case.groups * case.input[0] * case.input[1] % 4];
            let [out_h, out_w] = case.output();
            let strip_rows = [1, 2, 3, 7, out_h][i % 5];
            check(gpu, variant.kernel(), &case, |tensors| {
                let (row_tiles, strips) = (out_w.div_ceil(pixels), out_h.div_ceil(strip_rows));
                let params = conv2d_depthwise_rows::Params {
                    batch: u(case.batch),
                    channels: u(case.groups),
                    multiplier: u(case.group_out),
                    in_h: u(case.input[0]),
                    in_w: u(case.input[1]),
                    out_h: u(out_h),
                    out_w: u(out_w),
                    before_h: u(case.padding[0][0]),
                    before_w: u(case.padding[1][0]),
                    row_tiles: u(row_tiles),
                    strips: u(strips),
                    strip_rows: u(strip_rows),
                    flags: case.flags(),
                };
                let overrides = conv2d_depthwise_rows::Overrides {
                    activation: case.activation,
                    residual: u32::from(case.residual),
                }
                .pairs();
                let binds = case.binds(tensors, &tensors.weight);
                let tiles = case.batch * case.out_channels() * strips * row_tiles;
                let groups = tiles.div_ceil(variant.threads() as usize);
                Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu)
            });
        }
    }
}
