//! Sums down the columns of a matrix.

use kiln_kernels::reduce_columns;
use kiln_reference::Array;
use kiln_tests::compare::assert_close;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::SUM;
use kiln_tests::{data, device, sweep};

use crate::support::u;

#[test]
fn sums_and_means_of_columns() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in reduce_columns::Variant::ALL {
        let width = if variant == reduce_columns::Variant::CpuVector { 4 } else { 1 };
        let rows = [1, 2, 63, 64, 65, 200];
        let counts = sweep::sizes(variant.threads() as usize);
        for (turn, [rows, count, before, after]) in
            sweep::shapes([&rows, &counts, &[0, 1, 5], &[0, 2]]).into_iter().enumerate()
        {
            let cols = before + count + after;
            let mut x = data::uniform("x", rows * cols * width);
            // The last column that is summed.
            x[((rows - 1) * cols + before + count) * width - 1] = f32::NAN;
            let op = u(turn % 2);
            let params =
                reduce_columns::Params { rows: u(rows), cols: u(cols), start: u(before), count: u(count) };
            let binds = vec![Bind::f32(&x), Bind::output(count * width)];
            let overrides = reduce_columns::Overrides { op }.pairs();
            let groups = count.div_ceil(variant.threads() as usize);
            let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu);
            let x = Array::from_f32(&[rows, cols * width], &x);
            let x = kiln_reference::slice(&x, 1, before * width, (before + count) * width);
            let of = |x: &Array| match op {
                0 => kiln_reference::sum(x, &[0], false),
                _ => kiln_reference::mean(x, &[0], false),
            };
            let what = format!("{} of {rows} x {cols} from {before}, op {op}", variant.kernel());
            assert_close(what, &got, &of(&x), &SUM.bounds(&of(&x.abs())));
        }
    }
}
