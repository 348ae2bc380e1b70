//! The kernels of transposed convolution: one output an invocation, and many of one phase.

use kiln_gpu::Gpu;
use kiln_kernels::{
    Kernel, conv_transpose2d_depthwise, conv_transpose2d_gather, conv_transpose2d_naive, conv_transpose2d_row,
};
use kiln_reference::{Array, ConvTranspose, Unary};
use kiln_tests::compare::assert_close;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::LINEAR;
use kiln_tests::{data, device, sweep};

use crate::support::u;

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    group_in: usize,
    group_out: usize,
    height: usize,
    width: usize,
    kernel: [usize; 2],
    options: ConvTranspose<2>,
    bias: bool,
    relu: bool,
    residual: bool,
    /// An element of the input is NaN.
    nan: bool,
}

struct Tensors {
    input: Vec<f32>,
    weight: Array,
    bias: Vec<f32>,
    residual: Vec<f32>,
    expected: Array,
    bounds: Vec<f64>,
}

impl Case {
    const fn new(batch: usize, group_in: usize, group_out: usize, height: usize, width: usize) -> Self {
        let options = ConvTranspose {
            stride: [2, 2],
            padding: [1, 1],
            output_padding: [0, 0],
            dilation: [1, 1],
            groups: 1,
        };
        Self {
            batch,
            group_in,
            group_out,
            height,
            width,
            kernel: [4, 3],
            options,
            bias: false,
            relu: false,
            residual: false,
            nan: false,
        }
    }

    fn flags(&self) -> u32 {
        u32::from(self.bias) + 2 * u32::from(self.residual)
    }

    fn tensors(&self) -> Tensors {
        let &Case { batch, group_in, group_out, height, width, kernel, options, .. } = self;
        let (inputs, outputs) = (group_in * options.groups, group_out * options.groups);
        let shape = [batch, inputs, height, width];
        let mut numbers = data::uniform("conv_transpose.input", shape.iter().product());
        if self.nan {
            numbers[width + 1] = f32::NAN;
        }
        let input = Array::from_f32(&shape, &numbers);
        let shape = [inputs, group_out, kernel[0], kernel[1]];
        let weight = data::uniform("conv_transpose.weight", shape.iter().product());
        let weight = Array::from_f32(&shape, &weight);
        let bias = data::uniform("conv_transpose.bias", outputs);
        let bias_array = Array::from_f32(&[outputs], &bias);

        let of = |input: &Array, weight: &Array, bias: &Array| {
            kiln_reference::conv_transpose2d(input, weight, Some(bias).filter(|_| self.bias), options)
        };
        let mut expected = of(&input, &weight, &bias_array);
        let mut terms =
            of(&input.map(|x| if x.is_nan() { 1.0 } else { x.abs() }), &weight.abs(), &bias_array.abs());
        if self.relu {
            expected = kiln_reference::unary(Unary::Relu, &expected);
        }
        let residual = data::uniform("conv_transpose.residual", expected.data.len());
        if self.residual {
            let residual = Array::from_f32(&expected.shape, &residual);
            expected = kiln_reference::add(&expected, &residual);
            terms = kiln_reference::add(&terms, &residual.abs());
        }
        let bounds = LINEAR.bounds(&terms);
        Tensors { input: numbers, weight, bias, residual, expected, bounds }
    }

    /// The bindings of both kernels: what a flag leaves out is NaN, as the tail is.
    fn binds(&self, tensors: &Tensors, weight: &[f32]) -> Vec<Bind> {
        let absent = || Bind::f32(&[f32::NAN]);
        vec![
            Bind::f32(&tensors.input),
            Bind::f32(weight),
            if self.bias { Bind::f32(&tensors.bias) } else { absent() },
            if self.residual { Bind::f32(&tensors.residual) } else { absent() },
            Bind::output(tensors.expected.data.len()),
        ]
    }
}

/// Sizes around the tiles, then each option at sizes that divide nothing.
fn cases(tile_channels: usize, tile_pixels: usize) -> Vec<Case> {
    let channels = sweep::sizes(tile_channels);
    let widths = sweep::sizes(tile_pixels);
    let mut cases: Vec<Case> = sweep::shapes([&[1, 2], &[1, 3, 8], &channels, &[1, 2], &widths])
        .into_iter()
        .map(|[batch, group_in, group_out, height, width]| {
            Case::new(batch, group_in, group_out, height, width)
        })
        .collect();
    let odd = Case::new(2, 5, tile_channels + 3, 7, 5);
    let with = |stride, padding, output_padding, dilation, groups| Case {
        options: ConvTranspose { stride, padding, output_padding, dilation, groups },
        bias: true,
        ..odd
    };
    cases.extend([
        with([1, 1], [0, 0], [0, 0], [1, 1], 1),
        with([2, 3], [1, 0], [1, 2], [1, 1], 1),
        with([1, 1], [2, 1], [0, 0], [2, 3], 1),
        // A stride beyond the output.
        Case { height: 1, width: 2, ..with([90, 70], [0, 0], [0, 3], [1, 1], 1) },
        // Places that no tap reaches, and factors in common.
        with([5, 4], [0, 0], [4, 3], [1, 1], 1),
        with([4, 6], [1, 5], [0, 0], [6, 4], 1),
        with([2, 2], [1, 1], [1, 1], [1, 1], 3),
        Case { group_in: 1, group_out: 1, ..with([2, 1], [1, 1], [1, 0], [1, 2], 7) },
        Case { residual: true, ..odd },
        Case { bias: true, relu: true, residual: true, ..odd },
        Case { nan: true, relu: true, ..odd },
        Case { kernel: [1, 1], ..odd },
        Case { group_in: 300, ..odd },
    ]);
    cases
}

/// How far apart the taps lie that an output meets: the least step whose dilated places agree modulo the stride.
fn step(options: ConvTranspose<2>, axis: usize) -> usize {
    let (stride, dilation) = (options.stride[axis], options.dilation[axis]);
    (1..=stride).find(|step| step * dilation % stride == 0).expect("the stride itself is such a step")
}

fn check(gpu: &Gpu, kernel: &'static Kernel, case: &Case, run: impl Fn(&Tensors) -> Vec<f32>) {
    let tensors = case.tensors();
    let what = format!("{kernel} on {}, {case:?}", gpu.profile().name);
    assert_close(what, &run(&tensors), &tensors.expected, &tensors.bounds);
}

#[test]
fn one_output_an_invocation() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in conv_transpose2d_naive::Variant::ALL {
        for case in cases(4, 8) {
            check(gpu, variant.kernel(), &case, |tensors| {
                let &Case { batch, group_in, group_out, height, width, kernel, options, .. } = &case;
                let &[.., out_h, out_w] = tensors.expected.shape.as_slice() else { panic!("an image") };
                let params = conv_transpose2d_naive::Params {
                    batch: u(batch),
                    groups: u(options.groups),
                    group_in: u(group_in),
                    group_out: u(group_out),
                    in_h: u(height),
                    in_w: u(width),
                    out_h: u(out_h),
                    out_w: u(out_w),
                    kernel_h: u(kernel[0]),
                    kernel_w: u(kernel[1]),
                    stride_h: u(options.stride[0]),
                    stride_w: u(options.stride[1]),
                    dilation_h: u(options.dilation[0]),
                    dilation_w: u(options.dilation[1]),
                    before_h: u(options.padding[0]),
                    before_w: u(options.padding[1]),
                    step_h: u(step(options, 0)),
                    step_w: u(step(options, 1)),
                    flags: case.flags(),
                };
                let weight: Vec<f32> = tensors.weight.data.iter().map(|&x| x as f32).collect();
                let groups = tensors.expected.data.len().div_ceil(variant.threads() as usize);
                let overrides =
                    conv_transpose2d_naive::Overrides { activation: u32::from(case.relu) }.pairs();
                Run::new(variant.kernel(), &params, case.binds(tensors, &weight), groups)
                    .with(&overrides)
                    .output(gpu)
            });
        }
    }
}

/// `[groups][panels][kh][kw][ic][8]`, zero past the last channel.
fn packed(case: &Case, weight: &Array) -> Vec<f32> {
    let &Case { group_in, group_out, kernel, options, .. } = case;
    let shape = [options.groups, group_out.div_ceil(8), kernel[0], kernel[1], group_in, 8];
    let packed = Array::from_fn(&shape, |at| {
        let out = 8 * at[1] + at[5];
        if out < group_out { weight.at(&[at[0] * group_in + at[4], out, at[2], at[3]]) } else { 0.0 }
    });
    packed.data.iter().map(|&x| x as f32).collect()
}

#[test]
fn phase_by_phase() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in conv_transpose2d_gather::Variant::ALL {
        let panel_lanes = variant.panel_lanes() as usize;
        let tile_pixels = (variant.pixels() * variant.threads()) as usize / panel_lanes;
        for case in cases(16 * panel_lanes, tile_pixels) {
            check(gpu, variant.kernel(), &case, |tensors| {
                let &Case { batch, group_in, group_out, height, width, kernel, options, .. } = &case;
                let &[.., out_h, out_w] = tensors.expected.shape.as_slice() else { panic!("an image") };
                let [stride_h, stride_w] = options.stride;
                let (phases_h, phases_w) = (stride_h.min(out_h), stride_w.min(out_w));
                let (phase_rows, phase_cols) = (out_h.div_ceil(stride_h), out_w.div_ceil(stride_w));
                let panels = group_out.div_ceil(8);
                let pixel_tiles = (phase_rows * phase_cols).div_ceil(tile_pixels);
                let params = conv_transpose2d_gather::Params {
                    batch: u(batch),
                    groups: u(options.groups),
                    group_in: u(group_in),
                    group_out: u(group_out),
                    in_h: u(height),
                    in_w: u(width),
                    out_h: u(out_h),
                    out_w: u(out_w),
                    kernel_h: u(kernel[0]),
                    kernel_w: u(kernel[1]),
                    stride_h: u(stride_h),
                    stride_w: u(stride_w),
                    dilation_h: u(options.dilation[0]),
                    dilation_w: u(options.dilation[1]),
                    before_h: u(options.padding[0]),
                    before_w: u(options.padding[1]),
                    step_h: u(step(options, 0)),
                    step_w: u(step(options, 1)),
                    phases_h: u(phases_h),
                    phases_w: u(phases_w),
                    phase_rows: u(phase_rows),
                    phase_cols: u(phase_cols),
                    panels: u(panels),
                    pixel_tiles: u(pixel_tiles),
                    flags: case.flags(),
                };
                let groups = batch
                    * options.groups
                    * phases_h
                    * phases_w
                    * panels.div_ceil(2 * panel_lanes)
                    * pixel_tiles;
                let overrides =
                    conv_transpose2d_gather::Overrides { activation: u32::from(case.relu) }.pairs();
                let weight = packed(&case, &tensors.weight);
                Run::new(variant.kernel(), &params, case.binds(tensors, &weight), groups)
                    .with(&overrides)
                    .output(gpu)
            });
        }
    }
}

/// Several taps at once: images of whole blocks of four elements, and a dilation that divides the stride.
#[test]
fn row_by_row() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in conv_transpose2d_row::Variant::ALL {
        let pixels = variant.pixels() as usize;
        let mut cases = cases(16, pixels);
        let odd = Case { group_in: 4, bias: true, ..Case::new(2, 5, 37, 3, pixels + 2) };
        for (stride_w, dilation_w) in [(1, 1), (2, 1), (3, 1), (3, 3), (4, 2)] {
            let options = ConvTranspose { stride: [1, stride_w], dilation: [2, dilation_w], ..odd.options };
            cases.push(Case { options, ..odd });
        }
        for case in &mut cases {
            let image = case.group_in * case.options.groups * case.height * case.width;
            if !image.is_multiple_of(4) {
                case.width = case.width.next_multiple_of(4);
            }
            // As many taps for each phase as are taken at once, or twice as many.
            case.kernel[1] = step(case.options, 1) * variant.taps() as usize * (1 + case.kernel[1] % 2);
        }
        cases.retain(|case| case.options.stride[1].is_multiple_of(case.options.dilation[1]));
        assert!(cases.len() > 20);
        for oc_lanes in [1, 2] {
            let tiles = |case: &Case| case.options.groups * case.group_out.div_ceil(16);
            for case in cases.iter().filter(|case| tiles(case).is_multiple_of(oc_lanes)) {
                check(gpu, variant.kernel(), case, |tensors| {
                    let &Case { batch, group_in, group_out, height, width, kernel, options, .. } = case;
                    let &[.., out_h, out_w] = tensors.expected.shape.as_slice() else { panic!("an image") };
                    let [stride_h, stride_w] = options.stride;
                    let (phases_h, phases_w) = (stride_h.min(out_h), stride_w.min(out_w));
                    let phase_rows = out_h.div_ceil(stride_h);
                    let row_tiles = out_w.div_ceil(stride_w).div_ceil(pixels);
                    let params = conv_transpose2d_row::Params {
                        batch: u(batch),
                        groups: u(options.groups),
                        group_in: u(group_in),
                        group_out: u(group_out),
                        in_h: u(height),
                        in_w: u(width),
                        out_h: u(out_h),
                        out_w: u(out_w),
                        kernel_h: u(kernel[0]),
                        kernel_w: u(kernel[1]),
                        stride_h: u(stride_h),
                        stride_w: u(stride_w),
                        dilation_h: u(options.dilation[0]),
                        dilation_w: u(options.dilation[1]),
                        before_h: u(options.padding[0]),
                        before_w: u(options.padding[1]),
                        step_h: u(step(options, 0)),
                        step_w: u(step(options, 1)),
                        phases_h: u(phases_h),
                        phases_w: u(phases_w),
                        phase_rows: u(phase_rows),
                        row_tiles: u(row_tiles),
                        oc_lanes: u(oc_lanes),
                        flags: case.flags(),
                    };
                    let invocations = batch * phases_h * phases_w * phase_rows * row_tiles * tiles(case);
                    let groups = invocations.div_ceil(variant.threads() as usize);
                    let overrides =
                        conv_transpose2d_row::Overrides { activation: u32::from(case.relu) }.pairs();
                    let weight = packed(case, &tensors.weight);
                    Run::new(variant.kernel(), &params, case.binds(tensors, &weight), groups)
                        .with(&overrides)
                        .output(gpu)
                });
            }
        }
    }
}

/// Groups of one output channel and a stride of 2, with every option of the epilogue; all images make whole vectors.
#[test]
fn depthwise() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in conv_transpose2d_depthwise::Variant::ALL {
        let (taps, cols) = (variant.taps() as usize, variant.cols() as usize);
        let widths = sweep::sizes(cols);
        let shapes = sweep::shapes([&[1, 3], &[1, 2, 5], &[1, 2], &[1, 2, 5], &widths]);
        for (turn, [batch, groups, group_in, height, width]) in shapes.into_iter().enumerate() {
            // As much is taken away as leaves something of each extent.
            let most = |extent: usize| ((extent - 1) * 2 + taps - 1) / 2;
            let padding = [turn % 4, turn / 4 % 4];
            let padding = [padding[0].min(most(height)), padding[1].min(most(width))];
            let options = ConvTranspose {
                stride: [2, 2],
                padding,
                output_padding: [turn % 2, turn / 2 % 2],
                dilation: [1, 1],
                groups,
            };
            let mut case = Case {
                kernel: [taps, taps],
                options,
                bias: turn % 3 == 0,
                relu: turn % 3 == 1,
                residual: turn % 5 < 2,
                nan: turn % 7 == 6,
                ..Case::new(batch, group_in, 1, height, width)
            };
            case.batch *= [1, 4, 2, 4][groups * group_in * height * width % 4];
            check(gpu, variant.kernel(), &case, |tensors| {
                let &[.., out_h, out_w] = tensors.expected.shape.as_slice() else { panic!("an image") };
                // Outputs by twos, counted from the padding on.
                let pairs = |extent: usize, before: usize| (before + extent).div_ceil(2) - before / 2;
                let row_pairs = pairs(out_h, padding[0]);
                let col_tiles = pairs(out_w, padding[1]).div_ceil(cols);
                let params = conv_transpose2d_depthwise::Params {
                    batch: u(case.batch),
                    groups: u(groups),
                    group_in: u(group_in),
                    in_h: u(height),
                    in_w: u(width),
                    out_h: u(out_h),
                    out_w: u(out_w),
                    before_h: u(padding[0]),
                    before_w: u(padding[1]),
                    row_pairs: u(row_pairs),
                    col_tiles: u(col_tiles),
                    flags: case.flags(),
                };
                let tiles = case.batch * groups * row_pairs * col_tiles;
                let workgroups = tiles.div_ceil(variant.threads() as usize);
                let overrides =
                    conv_transpose2d_depthwise::Overrides { activation: u32::from(case.relu) }.pairs();
                let weight: Vec<f32> = tensors.weight.data.iter().map(|&x| x as f32).collect();
                Run::new(variant.kernel(), &params, case.binds(tensors, &weight), workgroups)
                    .with(&overrides)
                    .output(gpu)
            });
        }
    }
}
