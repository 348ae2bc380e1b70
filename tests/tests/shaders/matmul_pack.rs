//! Right sides packed in vectors.

use kiln_kernels::matmul_pack_wide;
use kiln_reference::Array;
use kiln_tests::compare::assert_same_bits;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::{data, device, sweep};

use crate::support::u;

#[test]
fn packs_in_vectors() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in matmul_pack_wide::Variant::ALL {
        let along = variant.along() == 1;
        for [batch, depth, cols] in sweep::shapes([&[1, 3], &sweep::sizes(8), &sweep::sizes(16)]) {
            // What a row is made of comes in vectors.
            let width = variant.bits() as usize / 8;
            let (depth, cols) = if along { (width * depth, cols) } else { (depth, width * cols) };
            let input = data::uniform("input", batch * depth * cols);
            let all = cols.div_ceil(8);
            for (start, end) in [(0, all), (all / 2, all)] {
                let panels = end - start;
                let params = matmul_pack_wide::Params {
                    batch: u(batch),
                    cols: u(cols),
                    depth: u(depth),
                    spans: u(depth.div_ceil(width)),
                    batch_stride: u(depth * cols / width),
                    panel_start: u(start),
                    panels: u(panels),
                };
                let count = batch * panels * depth * 8;
                let groups = (batch * panels * depth.div_ceil(width)).div_ceil(variant.threads() as usize);
                let binds = vec![Bind::f32(&input), Bind::output(count)];
                let overrides = matmul_pack_wide::Overrides { half: 0 }.pairs();
                let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides).words(gpu);
                let expected: Vec<u32> = (0..count)
                    .map(|flat| {
                        let (j, k) = (flat % 8, flat / 8 % depth);
                        let (panel, b) = (flat / 8 / depth % panels, flat / 8 / depth / panels);
                        let col = 8 * (start + panel) + j;
                        let at = if along { col * depth + k } else { k * cols + col };
                        if col < cols { input[b * depth * cols + at].to_bits() } else { 0 }
                    })
                    .collect();
                let what = format!("{} of {batch} x {depth} x {cols} from {start}", variant.kernel());
                assert_same_bits(&what, &got, &expected, &[batch, panels, depth, 8]);
                if width == 8 {
                    continue;
                }
                let numbers =
                    Array::new(&[count], expected.iter().map(|&x| f64::from(f32::from_bits(x))).collect());
                let overrides = matmul_pack_wide::Overrides { half: 1 }.pairs();
                let binds = vec![Bind::f32(&input), Bind::output(count / 2)];
                let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides).words(gpu);
                let expected = kiln_reference::pack_half(&numbers);
                assert_same_bits(format_args!("{what}, halves"), &got, &expected, &[batch, panels, depth, 4]);
            }
        }
    }
}
