//! The kernel that adds up the parts of a sum.

use kiln_kernels::join_parts;
use kiln_reference::{Array, Unary};
use kiln_tests::compare::assert_close;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::{self, LINEAR};
use kiln_tests::{data, device, sweep};

use crate::support::u;

/// One sum of `[parts][rows][channels][inner]`, of which the rows from `first` on are made.
#[derive(Clone, Copy, Debug)]
struct Case {
    parts: usize,
    rows: usize,
    channels: usize,
    inner: usize,
    first: usize,
    bias: bool,
    residual: bool,
    relu: bool,
}

#[test]
fn parts_are_added_in_order() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in join_parts::Variant::ALL {
        let tile = sweep::sizes(variant.threads() as usize);
        let plain = |[parts, rows, channels, inner]: [usize; 4]| Case {
            parts,
            rows,
            channels,
            inner,
            first: 0,
            bias: false,
            residual: false,
            relu: false,
        };
        let mut cases: Vec<Case> =
            sweep::shapes([&[1, 2, 3, 32], &[1, 2, 3], &tile, &[1, 5]]).into_iter().map(plain).collect();
        let odd = plain([7, 5, 11, 13]);
        cases.extend([
            Case { bias: true, ..odd },
            Case { residual: true, ..odd },
            Case { relu: true, first: 2, ..odd },
            Case { bias: true, residual: true, relu: true, first: 4, ..odd },
        ]);
        for case in cases {
            let Case { parts, rows, channels, inner, first, bias, residual, relu } = case;
            let stride = rows * channels * inner;
            let (start, count) = (first * channels * inner, (rows - first) * channels * inner);
            let given = data::uniform("parts", parts * stride);
            let (biases, added) = (data::uniform("bias", channels), data::uniform("residual", count));
            let (mut expected, mut terms) = (vec![], vec![]);
            for (i, &other) in added.iter().enumerate() {
                let at = start + i;
                let own: Vec<f64> = (0..parts).map(|p| f64::from(given[p * stride + at])).collect();
                let channel = f64::from(biases[at / inner % channels]);
                let sum = own.iter().sum::<f64>() + if bias { channel } else { 0.0 };
                let sum = if relu { sum.max(0.0) } else { sum };
                expected.push(sum + if residual { f64::from(other) } else { 0.0 });
                let whole: f64 = own.iter().map(|x| x.abs()).sum();
                terms.push(whole + channel.abs() + f64::from(other).abs());
            }
            let mut bounds = LINEAR.bounds(&Array::new(&[count], terms));
            if relu {
                bounds.iter_mut().for_each(|bound| *bound += tolerance::unary(Unary::Relu, 1.0));
            }
            let params = join_parts::Params {
                count: u(count),
                start: u(start),
                parts: u(parts),
                stride: u(stride),
                inner: u(inner),
                channels: u(channels),
                flags: u32::from(bias) | u32::from(residual) << 1,
            };
            let absent = || Bind::f32(&[f32::NAN]);
            let binds = vec![
                Bind::f32(&given),
                if bias { Bind::f32(&biases) } else { absent() },
                if residual { Bind::f32(&added) } else { absent() },
                Bind::output(count),
            ];
            let overrides = join_parts::Overrides { activation: u32::from(relu) }.pairs();
            let groups = count.div_ceil(variant.threads() as usize);
            let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu);
            assert_close(format_args!("{case:?}"), &got, &Array::new(&[count], expected), &bounds);
        }
    }
}
