//! The kernels of the matmul family: one formula, five ways to compute it, and the packing that two of them need.

use kiln_gpu::Gpu;
use kiln_kernels::{
    Kernel, matmul_flat, matmul_naive, matmul_pack, matmul_pack_half, matmul_register, matmul_shared,
    matmul_vector, matmul_vector_subgroup,
};
use kiln_reference::{Array, Unary};
use kiln_tests::compare::{assert_close, assert_same_bits};
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::{self, EXACT, LINEAR, MATMUL};
use kiln_tests::{data, device, report, sweep};

use crate::support::u;

/// What an output outside the bound piece of columns holds before and after.
const UNTOUCHED: f32 = 7.5;

/// One product, and how its sides lie in memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Case {
    pub(crate) batch: usize,
    pub(crate) rows: usize,
    pub(crate) depth: usize,
    pub(crate) cols: usize,
    pub(crate) transpose_lhs: bool,
    pub(crate) transpose_rhs: bool,
    /// The batch shares one left, or right, side.
    pub(crate) share_lhs: bool,
    pub(crate) share_rhs: bool,
    pub(crate) bias: bool,
    pub(crate) residual: bool,
    pub(crate) activation: u32,
    /// The columns of the piece of the right side that is bound; all of them where there is none.
    pub(crate) piece: Option<(usize, usize)>,
    /// An element of the left side is NaN.
    pub(crate) nan: bool,
    /// The right side is of halves, two in a word along the depth.
    pub(crate) half: bool,
}

/// The tensors of a case, and what the kernel should make of them.
pub(crate) struct Product {
    pub(crate) lhs: Vec<f32>,
    /// The piece that is bound, in the case's layout.
    pub(crate) rhs: Bind,
    /// The same columns as `[batch][depth][columns]`.
    pub(crate) rhs_plain: Array,
    pub(crate) bias: Vec<f32>,
    pub(crate) residual: Vec<f32>,
    pub(crate) expected: Array,
    pub(crate) bounds: Vec<f64>,
}

impl Case {
    const fn new(batch: usize, rows: usize, depth: usize, cols: usize) -> Self {
        Self {
            batch,
            rows,
            depth,
            cols,
            transpose_lhs: false,
            transpose_rhs: false,
            share_lhs: false,
            share_rhs: false,
            bias: false,
            residual: false,
            activation: 0,
            piece: None,
            nan: false,
            half: false,
        }
    }

    /// The same with a right side of halves, of which two make a word.
    fn in_halves(self) -> Self {
        Self { half: true, depth: self.depth.next_multiple_of(2), ..self }
    }

    pub(crate) fn columns(&self) -> (usize, usize) {
        self.piece.unwrap_or((0, self.cols))
    }

    pub(crate) fn flags(&self) -> u32 {
        u32::from(self.bias) | u32::from(self.residual) << 1
    }

    /// Batch, row and k stride of the left side.
    pub(crate) fn lhs_strides(&self) -> [u32; 3] {
        let batch = if self.share_lhs { 0 } else { u(self.rows * self.depth) };
        if self.transpose_lhs { [batch, 1, u(self.rows)] } else { [batch, u(self.depth), 1] }
    }

    /// Batch, k and column stride of the bound piece of the right side.
    fn rhs_strides(&self) -> [u32; 3] {
        let (start, end) = self.columns();
        let batch = if self.share_rhs { 0 } else { u((end - start) * self.depth) };
        if self.transpose_rhs { [batch, 1, u(self.depth)] } else { [batch, u(end - start), 1] }
    }

    /// The batch stride of so many panels, in vectors of four.
    fn panel_stride(&self, panels: usize) -> u32 {
        let vectors = if self.half { 1 } else { 2 };
        if self.share_rhs { 0 } else { u(panels * self.depth * vectors) }
    }

    fn product(&self) -> Product {
        let &Case { batch, rows, depth, cols, .. } = self;
        let lhs_shape = [if self.share_lhs { 1 } else { batch }, rows, depth];
        let rhs_shape = [if self.share_rhs { 1 } else { batch }, depth, cols];
        let mut lhs_data = data::uniform("matmul.lhs", lhs_shape.iter().product());
        if self.nan {
            lhs_data[depth / 2] = f32::NAN; // in row 0 of the first matrix
        }
        let lhs = Array::from_f32(&lhs_shape, &lhs_data);
        let mut rhs = Array::from_f32(&rhs_shape, &data::uniform("matmul.rhs", rhs_shape.iter().product()));
        if self.half {
            rhs = kiln_reference::unpack_half(&kiln_reference::pack_half(&rhs), &rhs_shape);
        }
        let bias = data::uniform("matmul.bias", cols);
        let residual = data::uniform("matmul.residual", batch * rows * cols);

        let finish = |mut sum: Array, bias: &Array, residual: &Array| {
            if self.bias {
                sum = kiln_reference::add(&sum, bias);
            }
            if let Some(function) = function(self.activation) {
                sum = kiln_reference::unary(function, &sum);
            }
            if self.residual {
                sum = kiln_reference::add(&sum, residual);
            }
            sum
        };
        let bias_array = Array::from_f32(&[cols], &bias);
        let residual_array = Array::from_f32(&[batch, rows, cols], &residual);
        let sum = kiln_reference::matmul(&lhs, &rhs, false, false);
        let mut expected = finish(sum.clone(), &bias_array, &residual_array);
        // No activation here is steeper than 1.13, which its own slack covers.
        let terms = kiln_reference::matmul(&lhs.abs(), &rhs.abs(), false, false);
        let terms = kiln_reference::add(&terms, &bias_array.abs());
        let terms = kiln_reference::add(&terms, &residual_array.abs());
        let linear = self.flags() == 0 && self.activation == 0;
        let mut bounds = if linear { MATMUL } else { LINEAR }.bounds(&terms);
        if let Some(function) = function(self.activation) {
            for (bound, &x) in bounds.iter_mut().zip(&sum.data) {
                *bound += tolerance::unary(function, x);
            }
        }
        let (start, end) = self.columns();
        for (flat, (expected, bound)) in expected.data.iter_mut().zip(&mut bounds).enumerate() {
            if !(start..end).contains(&(flat % cols)) {
                (*expected, *bound) = (f64::from(UNTOUCHED), 0.0);
            }
        }

        let rhs_plain = kiln_reference::slice(&rhs, 2, start, end);
        let lie = |x: &Array, transposed: bool| -> Vec<f32> {
            let lain = if transposed { kiln_reference::permute(x, &[0, 2, 1]) } else { x.clone() };
            lain.data.iter().map(|&x| x as f32).collect()
        };
        let rhs = match self.half {
            true => Bind::u32(&kiln_reference::pack_half(&kiln_reference::permute(&rhs_plain, &[0, 2, 1]))),
            false => Bind::f32(&lie(&rhs_plain, self.transpose_rhs)),
        };
        Product { lhs: lie(&lhs, self.transpose_lhs), rhs, rhs_plain, bias, residual, expected, bounds }
    }

    /// The bindings of every kernel of the family: what a flag leaves out is NaN, as the tail is.
    pub(crate) fn binds(&self, product: &Product, rhs: Bind) -> Vec<Bind> {
        let absent = || Bind::f32(&[f32::NAN]);
        let count = product.expected.data.len();
        vec![
            Bind::f32(&product.lhs),
            rhs,
            if self.bias { Bind::f32(&product.bias) } else { absent() },
            if self.residual { Bind::f32(&product.residual) } else { absent() },
            if self.piece.is_some() { Bind::update(&vec![UNTOUCHED; count]) } else { Bind::output(count) },
        ]
    }
}

/// The function that a kind of `lib/activation.wgsl` stands for.
fn function(kind: u32) -> Option<Unary> {
    [
        None,
        Some(Unary::Relu),
        Some(Unary::Gelu),
        Some(Unary::GeluTanh),
        Some(Unary::Sigmoid),
        Some(Unary::Tanh),
    ]
    .into_iter()
    .chain([Some(Unary::Silu)])
    .nth(kind as usize)
    .expect("there are seven kinds")
}

/// Shapes around the tiles of a kernel, plain; then each option at a shape that divides nothing.
pub(crate) fn cases(tile_rows: usize, tile_cols: usize, tile_depth: usize) -> Vec<Case> {
    let (rows, cols) = (sweep::sizes(tile_rows), sweep::sizes(tile_cols));
    let mut cases: Vec<Case> = sweep::shapes([&[1, 2], &rows, &sweep::sizes(tile_depth), &cols])
        .into_iter()
        .map(|[batch, rows, depth, cols]| Case::new(batch, rows, depth, cols))
        .collect();
    let odd = Case::new(3, tile_rows + 3, 37, tile_cols + 5);
    for transposes in [(true, false), (false, true), (true, true)] {
        cases.push(Case { transpose_lhs: transposes.0, transpose_rhs: transposes.1, ..odd });
    }
    cases.push(Case { share_lhs: true, ..odd });
    cases.push(Case { share_rhs: true, transpose_rhs: true, ..odd });
    cases.push(Case { bias: true, ..odd });
    cases.push(Case { residual: true, ..odd });
    cases.extend((0..7).map(|activation| Case { bias: true, residual: true, activation, ..odd }));
    cases.push(Case { nan: true, activation: 1, ..odd });
    // The first, a middle and the last piece; the bounds of pieces are multiples of the packing's eight.
    let wide =
        Case { batch: 1, cols: 3 * tile_cols.next_multiple_of(8) + 3, bias: true, residual: true, ..odd };
    let step = tile_cols.next_multiple_of(8);
    for piece in [(0, step), (step, 2 * step), (2 * step, wide.cols)] {
        cases.push(Case { piece: Some(piece), ..wide });
        cases.push(Case { piece: Some(piece), transpose_rhs: true, ..wide });
    }
    // A sum long enough for its rounding to show.
    cases.push(Case::new(1, 2, 3001, 3));
    cases
}

pub(crate) fn check(
    gpu: &Gpu,
    kernel: &'static Kernel,
    case: &Case,
    run: impl Fn(&Case, &Product) -> Vec<f32>,
) {
    let product = case.product();
    let what = format!("{kernel} on {}, {case:?}", gpu.profile().name);
    assert_close(what, &run(case, &product), &product.expected, &product.bounds);
}

/// The three kernels that read the right side where it lies take the same parameters.
macro_rules! strided {
    ($test:ident, $kernel:ident { $($free:ident: $value:expr),* }, $variants:expr, |$variant:ident| $cases:expr, |$case:ident| $groups:expr) => {
        #[test]
        fn $test() {
            let Some(gpu) = device::gpu() else { return };
            for &$variant in $variants {
                for case in $cases {
                    check(gpu, $variant.kernel(), &case, |$case, product| {
                        let (start, end) = $case.columns();
                        let [lhs_batch_stride, lhs_row_stride, lhs_k_stride] = $case.lhs_strides();
                        let [rhs_batch_stride, rhs_k_stride, rhs_col_stride] = $case.rhs_strides();
                        let params = $kernel::Params {
                            rows: u($case.rows),
                            cols: u($case.cols),
                            depth: u($case.depth),
                            batch: u($case.batch),
                            lhs_batch_stride,
                            lhs_row_stride,
                            lhs_k_stride,
                            rhs_batch_stride,
                            rhs_k_stride,
                            rhs_col_stride,
                            col_start: u(start),
                            piece_cols: u(end - start),
                            output_cols: u($case.cols),
                            flags: $case.flags(),
                        };
                        let overrides =
                            $kernel::Overrides { activation: $case.activation, $($free: u32::from($value)),* }.pairs();
                        let binds = $case.binds(product, product.rhs.clone());
                        Run::new($variant.kernel(), &params, binds, $groups).with(&overrides).output(gpu)
                    });
                }
            }
        }
    };
}

fn piece_cols(case: &Case) -> usize {
    let (start, end) = case.columns();
    end - start
}

strided! {
    naive, matmul_naive {}, matmul_naive::Variant::ALL,
    |variant| cases(8, 8, 8),
    |case| (case.batch * case.rows * piece_cols(case)).div_ceil(variant.threads() as usize)
}

strided! {
    shared, matmul_shared { lhs_along_k: case.lhs_strides()[2] == 1, rhs_along_k: case.rhs_strides()[1] == 1 },
    matmul_shared::Variant::ALL,
    |variant| shared_cases(variant),
    |case| {
        let (tile_rows, tile_cols) = (variant.tile_rows() as usize, variant.tile_cols() as usize);
        case.batch * case.rows.div_ceil(tile_rows) * piece_cols(case).div_ceil(tile_cols)
    }
}

/// Sides that lie along k, in fours of it, where a variant reads four at once; and a right side of halves, if it is made for
/// them. All share an epilogue, of which a small one proves every activation: each is a pipeline more.
fn shared_cases(variant: matmul_shared::Variant) -> Vec<Case> {
    let (tile_rows, tile_cols) = (variant.tile_rows() as usize, variant.tile_cols() as usize);
    let (wide_left, wide_right, half) = (variant.wide_lhs() > 1, variant.wide_rhs() > 1, variant.half() == 1);
    let mut cases = cases(tile_rows, tile_cols, 16);
    let all = variant == matmul_shared::Variant::T32;
    cases.retain(|case| case.activation <= 1 || all);
    for case in &mut cases {
        case.half = half;
        case.transpose_lhs &= !wide_left;
        case.transpose_rhs |= wide_right || half;
        case.depth =
            case.depth.next_multiple_of(if wide_left || wide_right { 4 } else { 1 + usize::from(half) });
    }
    cases
}

strided! {
    vector, matmul_vector {}, matmul_vector::Variant::ALL,
    |variant| vector_cases(variant),
    |case| case.batch * piece_cols(case).div_ceil(variant.tile_cols() as usize)
}

strided! {
    vector_subgroup, matmul_vector_subgroup {}, subgroup_variants(),
    |variant| subgroup_cases(variant),
    |case| case.batch * piece_cols(case).div_ceil(4)
}

/// All variants, where the device has operations across subgroups.
fn subgroup_variants() -> &'static [matmul_vector_subgroup::Variant] {
    let missing = device::gpu().is_some_and(|gpu| !gpu.profile().subgroups);
    if missing {
        report::skip("the adapter has no operations across subgroups");
        return &[];
    }
    matmul_vector_subgroup::Variant::ALL
}

/// Sides that lie along k in fours, or eights.
fn subgroup_cases(variant: matmul_vector_subgroup::Variant) -> Vec<Case> {
    let (rows, half) = (variant.rows() as usize, variant.half() == 1);
    let step = if half { 8 } else { 4 };
    let mut cases = cases(rows, 4, 64 * step);
    for case in &mut cases {
        case.rows = case.rows.min(rows);
        case.depth = case.depth.next_multiple_of(step);
        case.half = half;
        case.transpose_lhs = false;
        case.transpose_rhs = true;
    }
    cases
}

/// No more rows than a variant makes; along k in fours, with both sides contiguous there, where it reads four at once; and
/// of halves, if it is made for them.
fn vector_cases(variant: matmul_vector::Variant) -> Vec<Case> {
    let (rows, wide, half) = (variant.rows() as usize, variant.wide() as usize, variant.half() == 1);
    let step = if half { 2 * wide } else { wide };
    let mut cases = cases(rows, variant.tile_cols() as usize, variant.share() as usize * step);
    for case in &mut cases {
        case.rows = case.rows.min(rows);
        case.depth = case.depth.next_multiple_of(step);
        case.half = half;
        case.transpose_lhs &= wide == 1;
        case.transpose_rhs |= wide > 1 || half;
    }
    cases
}

/// `[batch][panel][k][8]`, zero past the last column.
pub(crate) fn packed(plain: &Array) -> Vec<f32> {
    let &[batch, depth, cols] = plain.shape.as_slice() else { panic!("a batch of matrices") };
    let panels = cols.div_ceil(8);
    let packed = Array::from_fn(&[batch, panels, depth, 8], |at| {
        let col = 8 * at[1] + at[3];
        if col < cols { plain.at(&[at[0], at[2], col]) } else { 0.0 }
    });
    packed.data.iter().map(|&x| x as f32).collect()
}

/// `[batch][panel][k][4]`, two columns in a word.
fn packed_halves(plain: &Array) -> Vec<u32> {
    let numbers: Vec<f64> = packed(plain).into_iter().map(f64::from).collect();
    kiln_reference::pack_half(&Array::new(&[numbers.len()], numbers))
}

/// A right side in the panels of a case.
pub(crate) fn panels(case: &Case, product: &Product) -> Bind {
    match case.half {
        true => Bind::u32(&packed_halves(&product.rhs_plain)),
        false => Bind::f32(&packed(&product.rhs_plain)),
    }
}

/// In f32 and in halves.
pub(crate) fn panel_cases(cases: Vec<Case>) -> Vec<Case> {
    let both = |case: Case| [case, case.in_halves()];
    cases.into_iter().filter(|case| !case.transpose_rhs).flat_map(both).collect()
}

#[test]
fn flat() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in matmul_flat::Variant::ALL {
        if variant.kernel().needs.int64 && !device::has_int64(gpu) {
            continue;
        }
        let rows = variant.rows() as usize;
        let mut cases = panel_cases(cases(rows, 64, 8));
        for case in &mut cases {
            case.depth = case.depth.next_multiple_of(8);
            case.transpose_lhs = false;
        }
        for case in cases {
            check(gpu, variant.kernel(), &case, |case, product| {
                let (start, end) = case.columns();
                let count = (end - start).div_ceil(8);
                let [lhs_batch_stride, lhs_row_stride, _] = case.lhs_strides();
                let row_tiles = case.rows.div_ceil(rows);
                let params = matmul_flat::Params {
                    rows: u(case.rows),
                    cols: u(case.cols),
                    depth: u(case.depth),
                    batch: u(case.batch),
                    lhs_batch_stride,
                    lhs_row_stride,
                    rhs_batch_stride: if case.share_rhs { 0 } else { u(count * case.depth) },
                    col_start: u(start),
                    panels: u(count),
                    output_cols: u(case.cols),
                    row_tiles: u(row_tiles),
                    flags: case.flags(),
                };
                let half = u32::from(case.half);
                let overrides = matmul_flat::Overrides { activation: case.activation, half }.pairs();
                let binds = case.binds(product, panels(case, product));
                let groups = case.batch * row_tiles * count.div_ceil(8);
                Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu)
            });
        }
    }
}

#[test]
fn register() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in matmul_register::Variant::ALL {
        let (tile_rows, tile_cols) = (variant.tile_rows() as usize, 8 * variant.tile_panels() as usize);
        for case in panel_cases(cases(tile_rows, tile_cols, 8)) {
            check(gpu, variant.kernel(), &case, |case, product| {
                let (start, end) = case.columns();
                let count = (end - start).div_ceil(8);
                let [lhs_batch_stride, lhs_row_stride, lhs_k_stride] = case.lhs_strides();
                let row_tiles = case.rows.div_ceil(tile_rows);
                let params = matmul_register::Params {
                    rows: u(case.rows),
                    cols: u(case.cols),
                    depth: u(case.depth),
                    batch: u(case.batch),
                    lhs_batch_stride,
                    lhs_row_stride,
                    lhs_k_stride,
                    rhs_batch_stride: case.panel_stride(count),
                    col_start: u(start),
                    panels: u(count),
                    output_cols: u(case.cols),
                    row_tiles: u(row_tiles),
                    flags: case.flags(),
                };
                let half = u32::from(case.half);
                let overrides = matmul_register::Overrides { activation: case.activation, half }.pairs();
                let binds = case.binds(product, panels(case, product));
                let groups = case.batch * row_tiles * (end - start).div_ceil(tile_cols);
                Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu)
            });
        }
    }
}

/// Packs the columns `[col_first, col_end)` of a matrix into a destination of all its panels.
fn pack(
    gpu: &Gpu,
    variant: matmul_pack::Variant,
    case: &Case,
    product: &Product,
    panels: (usize, usize),
    before: Option<&[f32]>,
) -> Vec<f32> {
    let (col_first, col_end) = case.columns();
    let [src_batch_stride, src_k_stride, src_col_stride] = case.rhs_strides();
    let count = case.batch * (panels.1 - panels.0) * case.depth * 8;
    let params = matmul_pack::Params {
        count: u(count),
        cols: u(case.cols),
        depth: u(case.depth),
        batch: u(case.batch),
        src_batch_stride,
        src_k_stride,
        src_col_stride,
        panel_start: u(panels.0),
        panels: u(panels.1 - panels.0),
        col_first: u(col_first),
        col_end: u(col_end),
    };
    let output = before.map_or_else(|| Bind::output(count), Bind::update);
    let groups = count.div_ceil(variant.threads() as usize);
    Run::new(variant.kernel(), &params, vec![product.rhs.clone(), output], groups).output(gpu)
}

#[test]
fn packs_in_panels() {
    let Some(gpu) = device::gpu() else { return };
    for [batch, depth, cols] in sweep::shapes([&[1, 3], &sweep::sizes(8), &sweep::sizes(16)]) {
        for (&variant, transpose_rhs) in
            matmul_pack::Variant::ALL.iter().flat_map(|v| [(v, false), (v, true)])
        {
            let case = Case { transpose_rhs, ..Case::new(batch, 1, depth, cols) };
            let product = case.product();
            let got = pack(gpu, variant, &case, &product, (0, cols.div_ceil(8)), None);
            let expected = Array::from_f32(&[got.len()], &packed(&product.rhs_plain));
            assert_close(format_args!("{case:?}"), &got, &expected, &EXACT.bounds(&expected));
        }
    }
}

/// Source pieces that end inside a panel, as a split of a weight by rows leaves them, fill the destination in turns;
/// and a destination piece holds a range of the panels.
#[test]
fn packs_in_pieces() {
    let Some(gpu) = device::gpu() else { return };
    let whole = Case { transpose_rhs: true, ..Case::new(1, 1, 5, 37) };
    let expected: Vec<u32> = packed(&whole.product().rhs_plain).iter().map(|x| x.to_bits()).collect();
    let a_panel = 8 * whole.depth;
    let rows = matmul_pack::Variant::ALL.iter();
    for (&variant, panels) in
        rows.flat_map(|variant| [(0, 5), (0, 2), (2, 5)].map(|panels| (variant, panels)))
    {
        let mut output = vec![UNTOUCHED; (panels.1 - panels.0) * a_panel];
        for piece in [(0, 13), (13, 14), (14, 37)] {
            let case = Case { piece: Some(piece), ..whole };
            output = pack(gpu, variant, &case, &case.product(), panels, Some(&output));
        }
        let got: Vec<u32> = output.iter().map(|x| x.to_bits()).collect();
        let expected = &expected[panels.0 * a_panel..panels.1 * a_panel];
        assert_same_bits(format_args!("panels {panels:?}"), &got, expected, &[panels.1 - panels.0, 5, 8]);
    }
}

/// Packs the columns `[col_first, col_end)` of a matrix of halves into a destination of some of its panels.
fn pack_halves(
    gpu: &Gpu,
    variant: matmul_pack_half::Variant,
    case: &Case,
    panels: (usize, usize),
    before: Option<&[u32]>,
) -> Vec<u32> {
    let per_word = if case.half { 2 } else { 1 };
    let (col_first, col_end) = case.columns();
    let count = case.batch * (panels.1 - panels.0) * case.depth * 4;
    let params = matmul_pack_half::Params {
        count: u(count),
        cols: u(case.cols),
        depth: u(case.depth),
        batch: u(case.batch),
        src_batch_stride: u(case.cols * case.depth / per_word),
        panel_start: u(panels.0),
        panels: u(panels.1 - panels.0),
        col_first: u(col_first),
        col_end: u(col_end),
    };
    let before = before
        .map_or(vec![f32::NAN; count], |words| words.iter().map(|&bits| f32::from_bits(bits)).collect());
    let binds = vec![case.product().rhs, Bind::update(&before)];
    let overrides = matmul_pack_half::Overrides { packed: u32::from(case.half) }.pairs();
    let groups = count.div_ceil(variant.threads() as usize);
    Run::new(variant.kernel(), &params, binds, groups).with(&overrides).words(gpu)
}

/// Of words of halves, and of numbers that are rounded.
#[test]
fn packs_halves_in_panels() {
    let Some(gpu) = device::gpu() else { return };
    let rows = matmul_pack_half::Variant::ALL.iter();
    for (&variant, half) in rows.flat_map(|variant| [(variant, true), (variant, false)]) {
        for [batch, words, cols] in sweep::shapes([&[1, 3], &sweep::sizes(8), &sweep::sizes(16)]) {
            let case = Case { half, transpose_rhs: true, ..Case::new(batch, 1, 2 * words, cols) };
            let got = pack_halves(gpu, variant, &case, (0, cols.div_ceil(8)), None);
            let expected = packed_halves(&case.product().rhs_plain);
            assert_same_bits(format_args!("{case:?}"), &got, &expected, &[got.len()]);
        }
        // Source pieces that end inside a panel and between the two columns of a word.
        let whole = Case { half, transpose_rhs: true, ..Case::new(1, 1, 6, 37) };
        let all = packed_halves(&whole.product().rhs_plain);
        let a_panel = 4 * whole.depth;
        for panels in [(0, 5), (0, 2), (2, 5)] {
            let mut output = vec![u32::MAX; (panels.1 - panels.0) * a_panel];
            for piece in [(0, 13), (13, 14), (14, 37)] {
                let case = Case { piece: Some(piece), ..whole };
                output = pack_halves(gpu, variant, &case, panels, Some(&output));
            }
            let expected = &all[panels.0 * a_panel..panels.1 * a_panel];
            assert_same_bits(
                format_args!("panels {panels:?}"),
                &output,
                expected,
                &[panels.1 - panels.0, 6, 4],
            );
        }
    }
}
