//! The kernels of the matmul family whose lanes share one side by shuffles.

use kiln_kernels::{matmul_lanes, matmul_lanes_rows};
use kiln_reference::Array;
use kiln_tests::device;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;

use crate::matmul::{Case, cases, check, packed, panel_cases, panels};
use crate::support::u;

/// Depth and columns in fours; the left side either way, and then in fours of rows.
fn lanes_cases(variant: matmul_lanes::Variant) -> Vec<Case> {
    let own = variant == matmul_lanes::Variant::Wide32;
    let mut cases = panel_cases(cases(variant.rows() as usize, 64, 8));
    let transposed: Vec<Case> =
        cases.iter().map(|case| Case { transpose_lhs: !case.transpose_lhs, ..*case }).collect();
    cases.extend(transposed);
    // All share an epilogue, of which one proves every activation: each is a pipeline more.
    cases.retain(|case| case.activation <= 1 || own && !case.transpose_lhs);
    for case in &mut cases {
        case.depth = case.depth.next_multiple_of(4);
        case.cols = case.cols.next_multiple_of(4);
        case.piece = case.piece.map(|(start, end)| (start, end.next_multiple_of(4)));
        case.rows = if case.transpose_lhs { case.rows.next_multiple_of(4) } else { case.rows };
    }
    cases
}

#[test]
fn lanes() {
    let Some(gpu) = device::gpu() else { return };
    if !device::shares_by_subgroup(gpu) {
        return;
    }
    for &variant in matmul_lanes::Variant::ALL {
        if variant.kernel().needs.int64 && !device::has_int64(gpu) {
            continue;
        }
        for case in lanes_cases(variant) {
            check(gpu, variant.kernel(), &case, |case, product| {
                let (start, end) = case.columns();
                let count = (end - start).div_ceil(8);
                let [lhs_batch_stride, lhs_row_stride, lhs_k_stride] = case.lhs_strides();
                let row_tiles = case.rows.div_ceil(variant.rows() as usize);
                let params = matmul_lanes::Params {
                    rows: u(case.rows),
                    depth: u(case.depth),
                    batch: u(case.batch),
                    lhs_batch_stride,
                    lhs_row_stride,
                    lhs_k_stride,
                    rhs_batch_stride: if case.share_rhs { 0 } else { u(count * case.depth) },
                    panel_start: u(start / 8),
                    panels: u(count),
                    output_cols: u(case.cols),
                    row_tiles: u(row_tiles),
                    flags: case.flags(),
                };
                let (by_rows, half) = (u32::from(case.transpose_lhs), u32::from(case.half));
                let overrides = matmul_lanes::Overrides { activation: case.activation, by_rows, half };
                let groups = case.batch * row_tiles * count.div_ceil(8);
                let binds = case.binds(product, panels(case, product));
                Run::new(variant.kernel(), &params, binds, groups).with(&overrides.pairs()).output(gpu)
            });
        }
    }
}

/// As [`lanes_cases`] with the tile's extents exchanged, of a left side in panels; none of halves.
fn lanes_rows_cases(variant: matmul_lanes_rows::Variant) -> Vec<Case> {
    let own = variant == matmul_lanes_rows::Variant::Wide32;
    let mut cases = cases(64, variant.cols() as usize, 8);
    cases.retain(|case| !case.transpose_rhs && !case.transpose_lhs && (case.activation <= 1 || own));
    for case in &mut cases {
        case.depth = case.depth.next_multiple_of(4);
        case.cols = case.cols.next_multiple_of(8);
        case.piece = case.piece.map(|(start, end)| (start, end.next_multiple_of(8)));
    }
    cases
}

#[test]
fn lanes_rows() {
    let Some(gpu) = device::gpu() else { return };
    if !device::shares_by_subgroup(gpu) {
        return;
    }
    for &variant in matmul_lanes_rows::Variant::ALL {
        if variant.kernel().needs.int64 && !device::has_int64(gpu) {
            continue;
        }
        for case in lanes_rows_cases(variant) {
            check(gpu, variant.kernel(), &case, |case, product| {
                let (start, end) = case.columns();
                let (count, lhs_panels) = ((end - start) / 8, case.rows.div_ceil(8));
                let shape = [if case.share_lhs { 1 } else { case.batch }, case.rows, case.depth];
                let lhs = kiln_reference::permute(&Array::from_f32(&shape, &product.lhs), &[0, 2, 1]);
                let params = matmul_lanes_rows::Params {
                    rows: u(case.rows),
                    depth: u(case.depth),
                    batch: u(case.batch),
                    lhs_batch_stride: if case.share_lhs { 0 } else { u(lhs_panels * case.depth) },
                    lhs_panels: u(lhs_panels),
                    rhs_batch_stride: if case.share_rhs { 0 } else { u(count * case.depth) },
                    panel_start: u(start / 8),
                    panels: u(count),
                    output_panels: u(case.cols / 8),
                    col_tiles: u((end - start).div_ceil(variant.cols() as usize)),
                    flags: case.flags(),
                };
                let overrides = matmul_lanes_rows::Overrides { activation: case.activation };
                let groups = case.batch * lhs_panels.div_ceil(8) * params.col_tiles as usize;
                let mut binds = case.binds(product, panels(case, product));
                binds[0] = Bind::f32(&packed(&lhs));
                Run::new(variant.kernel(), &params, binds, groups).with(&overrides.pairs()).output(gpu)
            });
        }
    }
}
