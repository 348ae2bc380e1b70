//! Products: every layout of both sides, batches on either.

use kiln_engine::ops::{LhsLayout, Matmul, RhsLayout};
use kiln_tests::graph::seeded;
use kiln_tests::{device, gradient};

#[test]
fn every_layout() {
    let Some(gpu) = device::gpu() else { return };
    let (rows, depth, cols) = (5, 7, 9);
    for (lhs_batch, rhs_batch) in
        [(&[][..], &[][..]), (&[3], &[3]), (&[2, 3], &[]), (&[], &[3]), (&[2, 2], &[2, 2])]
    {
        for transpose_lhs in [false, true] {
            for rhs in [RhsLayout::RowMajor, RhsLayout::Transposed] {
                let swap = |a: usize, b: usize, swapped: bool| if swapped { [b, a] } else { [a, b] };
                let lhs_shape = [lhs_batch, &swap(rows, depth, transpose_lhs)].concat();
                let rhs_shape = [rhs_batch, &swap(depth, cols, rhs == RhsLayout::Transposed)].concat();
                let operands = [seeded("a", &lhs_shape), seeded("b", &rhs_shape)];
                let lhs = if transpose_lhs { LhsLayout::Transposed } else { LhsLayout::RowMajor };
                let op = Matmul { lhs, rhs, ..Matmul::new() };
                gradient::conforms(
                    gpu,
                    format!("{op:?} of {lhs_shape:?} and {rhs_shape:?}"),
                    &operands,
                    |g, v| g.apply(op, v),
                    |x| kiln_reference::matmul(&x[0], &x[1], transpose_lhs, rhs == RhsLayout::Transposed),
                );
            }
        }
    }
}

#[test]
fn a_linear_layer_with_its_bias() {
    let Some(gpu) = device::gpu() else { return };
    for rows in [1, 2, 13] {
        let operands = [seeded("x", &[rows, 6]), seeded("weight", &[10, 6]), seeded("bias", &[10])];
        gradient::conforms(
            gpu,
            format!("linear of {rows} rows"),
            &operands,
            |g, v| g.linear(v[0], v[1], Some(v[2])),
            |x| kiln_reference::linear(&x[0], &x[1], Some(&x[2])),
        );
    }
}
