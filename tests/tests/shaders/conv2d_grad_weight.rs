//! The kernels of the gradient of a convolution's weight: one formula, and what each kernel asks of the window. And the
//! one that lays out a weight for the gradient of its image.

use kiln_gpu::Gpu;
use kiln_kernels::{
    Kernel, conv_weight_flip, conv2d_grad_weight_gather, conv2d_grad_weight_lanes, conv2d_grad_weight_points,
    conv2d_grad_weight_rows, conv2d_grad_weight_shared,
};
use kiln_reference::{Array, Conv};
use kiln_tests::compare::assert_close;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::MATMUL;
use kiln_tests::{data, device, sweep};

use crate::support::u;

/// One convolution, and how its sums are cut.
#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    groups: usize,
    group_in: usize,
    group_out: usize,
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: [[usize; 2]; 2],
    parts: usize,
    /// The rows of the output that are bound; all of them where there is none.
    piece: Option<(usize, usize)>,
    /// The output holds numbers, to which the sums are added.
    adds: bool,
    /// An element of the input is NaN and, where no padding makes a product of it, one of the gradient.
    nan: bool,
}

impl Case {
    /// 3 x 3, without padding or anything else.
    const fn new(batch: usize, [groups, group_in, group_out]: [usize; 3], input: [usize; 2]) -> Self {
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
            parts: 1,
            piece: None,
            adds: false,
            nan: false,
        }
    }

    fn out_channels(&self) -> usize {
        self.groups * self.group_out
    }

    fn depth(&self) -> usize {
        self.group_in * self.kernel[0] * self.kernel[1]
    }

    fn rows(&self) -> (usize, usize) {
        self.piece.unwrap_or((0, self.parts * self.out_channels()))
    }

    /// Extents of the convolution's output, by brute force.
    fn output(&self) -> [usize; 2] {
        std::array::from_fn(|axis| {
            let padded = self.padding[axis][0] + self.input[axis] + self.padding[axis][1];
            let span = self.dilation[axis] * (self.kernel[axis] - 1);
            (0..padded).step_by(self.stride[axis]).filter(|start| start + span < padded).count()
        })
    }

    fn in_shape(&self) -> [usize; 4] {
        [self.batch, self.groups * self.group_in, self.input[0], self.input[1]]
    }

    fn grad_shape(&self) -> [usize; 4] {
        let [height, width] = self.output();
        [self.batch, self.out_channels(), height, width]
    }

    /// Image and gradient of the convolution's output.
    fn tensors(&self) -> [Vec<f32>; 2] {
        let mut tensors = [("input", self.in_shape()), ("grad", self.grad_shape())].map(|(name, shape)| {
            data::uniform(&format!("conv2d_grad_weight.{name}"), shape.iter().product())
        });
        if self.nan {
            // In the middle of the first channel, and at the end of the last.
            tensors[0][self.input[0] / 2 * self.input[1] + self.input[1] / 2] = f32::NAN;
            let last = tensors[1].len() - 1;
            tensors[1][last] = if self.padding == [[0; 2]; 2] { f32::NAN } else { 1.0 };
        }
        tensors
    }

    /// The gradient of the weight, and the sums of the magnitudes of its terms. `own` says which pixels belong to a part.
    fn expected(&self, [input, grad]: &[Vec<f32>; 2], own: impl Fn(usize, [usize; 3]) -> bool) -> [Array; 2] {
        let options =
            Conv { stride: self.stride, padding: self.padding, dilation: self.dilation, groups: self.groups };
        let input = Array::from_f32(&self.in_shape(), input);
        let grad = Array::from_f32(&self.grad_shape(), grad);
        let mut made = [vec![], vec![]];
        for part in 0..self.parts {
            let part_grad = Array::from_fn(&self.grad_shape(), |at| match own(part, [at[0], at[2], at[3]]) {
                true => grad.at(at),
                false => 0.0,
            });
            let of = |input: &Array, grad: &Array| {
                kiln_reference::conv2d_weight_grad(input, grad, self.kernel, options).data
            };
            made[0].extend(of(&input, &part_grad));
            made[1].extend(of(&input.abs(), &part_grad.abs()));
        }
        let (start, end) = self.rows();
        let shape = [self.parts * self.out_channels(), self.depth()];
        made.map(|data| kiln_reference::slice(&Array::new(&shape, data), 0, start, end))
    }

    /// Runs a kernel and compares.
    fn check(
        &self,
        gpu: &Gpu,
        kernel: &'static Kernel,
        own: impl Fn(usize, [usize; 3]) -> bool,
        run: impl Fn(Vec<Bind>) -> Vec<f32>,
    ) {
        let tensors = self.tensors();
        let [mut expected, mut terms] = self.expected(&tensors, own);
        let output = if self.adds {
            let held = data::uniform("conv2d_grad_weight.held", expected.data.len());
            let held_array = Array::from_f32(&expected.shape, &held);
            expected = kiln_reference::add(&expected, &held_array);
            terms = kiln_reference::add(&terms, &held_array.abs());
            Bind::update(&held)
        } else {
            Bind::output(expected.data.len())
        };
        let got = run(vec![Bind::f32(&tensors[0]), Bind::f32(&tensors[1]), output]);
        let what = format!("{kernel} on {}, {self:?}", gpu.profile().name);
        assert_close(what, &got, &expected, &MATMUL.bounds(&terms));
    }
}

/// Sizes around the tiles of a kernel; then parts, pieces, additions and NaN at a shape that divides nothing.
fn sizes(tile_oc: usize, tile_ic: usize, tile_cols: usize) -> Vec<Case> {
    let (outs, ins, widths) = (sweep::sizes(tile_oc), sweep::sizes(tile_ic), sweep::sizes(tile_cols));
    let mut cases: Vec<Case> = sweep::shapes([&[1, 2, 3], &[1, 2], &ins, &outs, &[1, 3, 5], &widths])
        .into_iter()
        .map(|[batch, groups, group_in, group_out, height, width]| Case {
            padding: [[1, 1], [1, 1]],
            ..Case::new(batch, [groups, group_in, group_out], [height, width])
        })
        .collect();
    let odd = Case { padding: [[2, 0], [0, 1]], ..Case::new(3, [2, 3, tile_oc + 1], [6, tile_cols + 2]) };
    let rows = 3 * odd.out_channels();
    cases.extend([
        odd,
        Case { parts: 3, ..odd },
        Case { parts: 3, adds: true, ..odd },
        Case { parts: 3, piece: Some((2, rows - 1)), ..odd },
        Case { piece: Some((odd.group_out, odd.group_out + 1)), adds: true, ..odd },
        Case { parts: 40, batch: 1, ..odd },
        Case { nan: true, ..odd },
        Case { nan: true, padding: [[0, 0], [0, 0]], ..odd },
    ]);
    cases
}

/// Windows of all sorts: extents, strides, dilations and paddings that differ between the axes.
fn windows(channels: [usize; 3]) -> Vec<Case> {
    let plain = Case::new(2, channels, [9, 35]);
    let padded = Case { padding: [[1, 2], [2, 1]], parts: 2, ..plain };
    vec![
        Case { kernel: [1, 1], ..plain },
        Case { kernel: [1, 1], stride: [2, 3], ..padded },
        Case { kernel: [2, 5], ..padded },
        Case { kernel: [7, 7], stride: [2, 2], padding: [[3, 3], [3, 3]], ..plain },
        Case { kernel: [9, 35], ..plain },
        Case { stride: [2, 2], ..padded },
        Case { stride: [1, 4], ..padded },
        Case { dilation: [2, 2], ..padded },
        Case { dilation: [4, 1], ..padded },
        Case { stride: [3, 2], dilation: [2, 3], ..padded },
        Case { stride: [2, 6], dilation: [1, 4], kernel: [3, 7], padding: [[1, 1], [9, 12]], ..plain },
        Case { kernel: [2, 3], padding: [[4, 4], [5, 6]], ..plain },
        Case { nan: true, dilation: [1, 2], parts: 1, ..padded },
    ]
}

/// The two kernels that cut the sum by pixels take the same parameters.
macro_rules! by_pixels {
    ($test:ident, $kernel:ident, $variants:expr, |$variant:ident| $cases:expr, |$case:ident| $groups:expr) => {
        #[test]
        fn $test() {
            let Some(gpu) = device::gpu() else { return };
            for &$variant in $variants {
                for $case in $cases.into_iter().chain(windows([2, 3, 5])) {
                    let [out_h, out_w] = $case.output();
                    let part_pixels = ($case.batch * out_h * out_w).div_ceil($case.parts);
                    let (start, end) = $case.rows();
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
                        parts: u($case.parts),
                        part_pixels: u(part_pixels),
                        row_start: u(start),
                        rows: u(end - start),
                        flags: u32::from($case.adds),
                    };
                    let own = |part: usize, [n, oh, ow]: [usize; 3]| {
                        ((n * out_h + oh) * out_w + ow) / part_pixels == part
                    };
                    let groups: usize = $groups;
                    $case.check(gpu, $variant.kernel(), own, |binds| {
                        Run::new($variant.kernel(), &params, binds, groups).output(gpu)
                    });
                }
            }
        }
    };
}

by_pixels! {
    gather, conv2d_grad_weight_gather, conv2d_grad_weight_gather::Variant::ALL,
    |variant| sizes(16, 2, 8),
    |case| {
        let tiles = case.group_out.div_ceil(16) * case.depth().div_ceil(16) * case.groups * case.parts;
        tiles.div_ceil(variant.threads() as usize)
    }
}

by_pixels! {
    shared, conv2d_grad_weight_shared, conv2d_grad_weight_shared::Variant::ALL,
    |variant| sizes(variant.tile_oc() as usize, variant.tile_terms() as usize / 9, 8),
    |case| {
        case.group_out.div_ceil(variant.tile_oc() as usize)
            * case.depth().div_ceil(variant.tile_terms() as usize)
            * case.groups
            * case.parts
    }
}

#[test]
fn rows() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in conv2d_grad_weight_rows::Variant::ALL {
        let [taps, stride, cols, ocs, ics] =
            [variant.taps(), variant.stride(), variant.cols(), variant.ocs(), variant.ics()]
                .map(|count| count as usize);
        for (turn, case) in sizes(ocs, ics, cols).into_iter().enumerate() {
            let mut case = Case { kernel: [taps; 2], stride: [stride; 2], ..case };
            // A window has to fit, gradients to be aligned where the variant wants it, and both tensors to be made of
            // whole vectors.
            for (axis, extent) in case.input.iter_mut().enumerate() {
                *extent = (*extent).max(taps.saturating_sub(case.padding[axis].iter().sum()));
            }
            while variant.aligned() == 1 && !case.output()[1].is_multiple_of(4)
                || case.nan && !case.output()[1].is_multiple_of(cols)
            {
                // Columns past the last make products as well, by gradients of 0.
                case.input[1] += 1;
            }
            let numbers = |shape: [usize; 4]| shape.iter().product::<usize>();
            while !(numbers(case.in_shape()) | numbers(case.grad_shape())).is_multiple_of(4) {
                case.batch += 1;
            }
            let [out_h, out_w] = case.output();
            let strip_rows = [out_h, 1, 2, 3][turn % 4];
            let (strips, col_tiles) = (out_h.div_ceil(strip_rows), out_w.div_ceil(cols));
            let part_units = (case.batch * strips * col_tiles).div_ceil(case.parts);
            let (start, end) = case.rows();
            let params = conv2d_grad_weight_rows::Params {
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
                parts: u(case.parts),
                part_units: u(part_units),
                strips: u(strips),
                strip_rows: u(strip_rows),
                col_tiles: u(col_tiles),
                row_start: u(start),
                rows: u(end - start),
                flags: u32::from(case.adds),
            };
            let own = |part: usize, [n, oh, ow]: [usize; 3]| {
                ((n * strips + oh / strip_rows) * col_tiles + ow / cols) / part_units == part
            };
            let tiles = case.group_out.div_ceil(ocs) * case.group_in.div_ceil(ics) * case.groups * case.parts;
            let groups = tiles.div_ceil(variant.threads() as usize);
            case.check(gpu, variant.kernel(), own, |binds| {
                Run::new(variant.kernel(), &params, binds, groups).output(gpu)
            });
        }
    }
}

#[test]
fn points() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in conv2d_grad_weight_points::Variant::ALL {
        let channels = 8 * variant.halves() as usize;
        for case in sizes(channels, 8, 4) {
            let mut case = Case { kernel: [1, 1], padding: [[0; 2]; 2], ..case };
            // Planes of whole vectors.
            case.input[1] = case.input[1].next_multiple_of([4, 4, 2, 4][case.input[0] % 4]);
            let [out_h, out_w] = case.output();
            let blocks = out_h * out_w / 4;
            let part_blocks = (case.batch * blocks).div_ceil(case.parts);
            let (start, end) = case.rows();
            let params = conv2d_grad_weight_points::Params {
                batch: u(case.batch),
                groups: u(case.groups),
                group_in: u(case.group_in),
                group_out: u(case.group_out),
                blocks: u(blocks),
                parts: u(case.parts),
                part_blocks: u(part_blocks),
                row_start: u(start),
                rows: u(end - start),
                flags: u32::from(case.adds),
            };
            let own = |part: usize, [n, oh, ow]: [usize; 3]| {
                (n * blocks + (oh * out_w + ow) / 4) / part_blocks == part
            };
            let tiles =
                case.group_out.div_ceil(channels) * case.group_in.div_ceil(8) * case.groups * case.parts;
            let groups = tiles.div_ceil(variant.threads() as usize);
            case.check(gpu, variant.kernel(), own, |binds| {
                Run::new(variant.kernel(), &params, binds, groups).output(gpu)
            });
        }
    }
}

#[test]
fn lanes() {
    let Some(gpu) = device::gpu() else { return };
    if !device::shares_by_subgroup(gpu) {
        return;
    }
    for &variant in conv2d_grad_weight_lanes::Variant::ALL {
        let [rows, taps, width, pad, ics] =
            [variant.rows(), variant.taps(), variant.width(), variant.pad(), variant.ics()]
                .map(|count| count as usize);
        if variant.kernel().needs.int64 && !device::has_int64(gpu) {
            continue;
        }
        // Planes of as many numbers as a load takes, of so many rows of outputs at least.
        let case = |[batch, ic, oc]: [usize; 3], outputs: usize| {
            let of = |outputs: usize| Case {
                kernel: [taps; 2],
                padding: [[pad; 2]; 2],
                ..Case::new(batch, [1, ic, oc], [outputs + taps - 1 - 2 * pad, width])
            };
            let [ins, grads] = [variant.ins(), variant.grads()].map(|count| count as usize);
            let whole = |outputs: &usize| {
                let case = of(*outputs);
                let [[in_h, in_w], [out_h, out_w]] = [case.input, case.output()];
                (in_h * in_w).is_multiple_of(ins) && (out_h * out_w).is_multiple_of(grads)
            };
            of((outputs.max(2 * pad)..).find(whole).expect("a height should fit"))
        };
        let odd = case([3, ics + 1, 13], rows + 1);
        let end = 3 * odd.out_channels();
        for case in [
            case([1, 1, 8], rows),
            case([2, ics, 1], 1),
            case([2, 2 * ics, 16], 2 * rows),
            case([1, 2 * ics + 1, 17], 3 * rows),
            odd,
            Case { parts: 3, ..odd },
            Case { parts: 3, adds: true, ..odd },
            Case { parts: 3, piece: Some((2, end - 1)), ..odd },
            Case { parts: 40, ..odd },
            Case { nan: true, ..case([2, 2, 9], 2 * rows) },
        ] {
            let [out_h, out_w] = case.output();
            let row_tiles = out_h.div_ceil(rows);
            let part_units = (case.batch * row_tiles).div_ceil(case.parts);
            let (start, end) = case.rows();
            let params = conv2d_grad_weight_lanes::Params {
                batch: u(case.batch),
                in_channels: u(case.group_in),
                out_channels: u(case.group_out),
                in_blocks: u(case.input[0] * case.input[1]) / variant.ins(),
                out_blocks: u(out_h * out_w) / variant.grads(),
                row_tiles: u(row_tiles),
                parts: u(case.parts),
                part_units: u(part_units),
                row_start: u(start),
                rows: u(end - start),
                flags: u32::from(case.adds),
            };
            let own = |part: usize, [n, oh, _]: [usize; 3]| (n * row_tiles + oh / rows) / part_units == part;
            let groups = case.group_out.div_ceil(8) * case.group_in.div_ceil(ics) * case.parts;
            case.check(gpu, variant.kernel(), own, |binds| {
                Run::new(variant.kernel(), &params, binds, groups).output(gpu)
            });
        }
    }
}

#[test]
fn flip() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in conv_weight_flip::Variant::ALL {
        for ([groups, group_in, group_out, taps, row], piece) in [
            ([1, 1, 1, 1, 1], None),
            ([1, 7, 9, 9, 16], None),
            ([3, 2, 5, 15, 15], None),
            ([3, 2, 5, 15, 16], Some((4, 11))),
            ([8, 1, 1, 9, 9], Some((3, 8))),
        ] {
            let weight = data::uniform("weight", groups * group_in * group_out * taps);
            let (start, end) = piece.unwrap_or((0, groups * group_out));
            let params = conv_weight_flip::Params {
                group_in: u(group_in),
                group_out: u(group_out),
                taps: u(taps),
                row: u(row),
                oc_start: u(start),
                piece_oc: u(end - start),
            };
            let pairs = (end - start) * group_in;
            let binds = vec![Bind::f32(&weight), Bind::output(pairs * row)];
            let groups_needed = pairs.div_ceil(variant.threads() as usize);
            let got = Run::new(variant.kernel(), &params, binds, groups_needed).output(gpu);
            let weight = Array::from_f32(&[groups * group_in, group_out, 1, taps], &weight);
            let expected = kiln_reference::conv_weight_flip(&weight, groups);
            let expected = kiln_reference::slice(&expected, 0, start, end);
            let rows = expected.data.chunks(taps).flat_map(|taps| {
                let zeros = vec![0.0; row - taps.len()];
                [taps, &zeros].concat()
            });
            let expected = Array::new(&[end - start, group_in, 1, row], rows.collect());
            let exact = vec![0.0; expected.data.len()];
            assert_close(format!("{} from {start} to {end}", variant.kernel()), &got, &expected, &exact);
        }
    }
}
