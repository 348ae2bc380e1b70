//! Random numbers, and the kernel that draws them: dropout.

use kiln_kernels::{Access, Binding, Kernel, Needs, dropout};
use kiln_reference::Array;
use kiln_tests::compare::{assert_close, assert_same_bits};
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::ROUNDED;
use kiln_tests::{data, device, sweep};

use crate::support::u;

/// The library's function alone, for any counter and key.
static PHILOX: Kernel = Kernel {
    name: "philox",
    variant: "base",
    source: concat!(
        include_str!("../../../shaders/lib/random.wgsl"),
        include_str!("../../fixtures/philox.wgsl")
    ),
    workgroup_size: [64, 1, 1],
    workgroup_memory: 0,
    constants: &[],
    bindings: &[
        Binding { name: "input", access: Access::Read },
        Binding { name: "output", access: Access::ReadWrite },
    ],
    params_size: 4,
    free: &[],
    needs: Needs { f16: false, int64: false, subgroups: None },
};

/// The answers that the authors of Philox publish with it (Random123, `kat_vectors`), and those of the oracle, which
/// multiplies in 64 bits.
#[test]
fn philox_on_the_device() {
    let Some(gpu) = device::gpu() else { return };
    let known = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    let (mut input, mut expected) = (Vec::new(), Vec::new());
    for (counter, key, words) in known {
        input.extend(counter.into_iter().chain(key));
        expected.extend(words);
    }
    let words: Vec<u32> =
        data::uniform("philox", 6 * 1000).iter().map(|x| x.to_bits().wrapping_mul(2_654_435_761)).collect();
    for case in words.chunks_exact(6) {
        input.extend(case);
        expected.extend(kiln_reference::philox([case[0], case[1], case[2], case[3]], [case[4], case[5]]));
    }
    let count = u(expected.len() / 4);
    let binds = vec![Bind::u32(&input), Bind::output(expected.len())];
    let got = Run::new(&PHILOX, &count, binds, count.div_ceil(64) as usize).words(gpu);
    assert_same_bits("philox", &got, &expected, &[count as usize, 4]);
}

/// The elements `first..first + count` of a tensor, as blocks of it are made.
fn check(first: usize, count: usize, p: f32) {
    let Some(gpu) = device::gpu() else { return };
    let (random, stream) = ([0x1234_5678, 0x9abc_def0, 7, 0], 3);
    let mut x = data::uniform("dropout", first + count);
    x[first + count / 2] = f32::NAN;
    let whole = Array::from_f32(&[x.len()], &x);
    let expected = kiln_reference::dropout(&whole, f64::from(p), random, stream).data.split_off(first);
    let expected = Array::new(&[count], expected);
    let (threshold, scale) = match p {
        1.0 => (0, 0.0),
        _ => ((f64::from(p) * 2f64.powi(32)).ceil() as u32, 1.0 / (1.0 - p)),
    };
    for variant in dropout::Variant::ALL {
        let params = dropout::Params {
            count: u(count),
            first_block: u(first / 4),
            first_place: u(first % 4),
            stream,
            threshold,
            scale,
        };
        let groups = (first % 4 + count).div_ceil(4).div_ceil(variant.threads() as usize);
        let binds = vec![Bind::f32(&x[first..]), Bind::u32(&random), Bind::output(count)];
        let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
        // The factor is rounded as well.
        let bounds: Vec<f64> = ROUNDED.bounds(&expected).iter().map(|bound| 2.0 * bound).collect();
        assert_close(format_args!("p {p}, {count} from {first}"), &got, &expected, &bounds);
    }
}

#[test]
fn dropout_of_any_part_of_a_tensor() {
    for count in sweep::sizes(64 * 4) {
        check(0, count, 0.5);
    }
    for first in [1, 2, 3, 4, 1021] {
        for count in [1, 2, 5, 300] {
            check(first, count, 0.3);
        }
    }
}

#[test]
fn dropout_of_nothing_and_of_all() {
    check(0, 301, 0.0);
    check(2, 301, 1.0);
}
