//! Attention of new tokens to those whose keys and values lie in a cache, by a head width known to the kernel and by any.

use kiln_kernels::{Kernel, cached_attention_any, cached_attention_row};
use kiln_reference::{Array, Attention};
use kiln_tests::compare::assert_close;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::ATTENTION;
use kiln_tests::{data, device};

use crate::support::u;

/// A step of decoding.
struct Case {
    heads: usize,
    head_dim: usize,
    /// The slots of the tokens behind each row.
    past: Vec<Vec<usize>>,
    length: usize,
    slots: usize,
    reach: usize,
    /// The value in this slot is NaN.
    nan: Option<usize>,
}

/// The numbers that the kernels take, in the order of their `Params`.
struct Numbers {
    rows: u32,
    heads: u32,
    head_dim: u32,
    slots: u32,
    length: u32,
    reach: u32,
    scale: f32,
}

fn check(kernel: &'static Kernel, case: &Case, run: impl Fn(Numbers, Vec<Bind>) -> Vec<f32>) {
    let (rows, inner) = (case.past.len(), case.heads * case.head_dim);
    let numbers = |name: &str, shape: [usize; 2]| -> Vec<f32> {
        data::uniform(name, shape[0] * shape[1]).iter().map(|x| 2.0 * x).collect()
    };
    let shapes = [[rows, 3 * inner], [case.slots, 2 * inner], [case.heads, case.reach + 1]];
    let mut operands = [
        numbers("cached.qkv", shapes[0]),
        numbers("cached.cache", shapes[1]),
        numbers("cached.bias", shapes[2]),
    ];
    // What no row sees is NaN.
    for slot in (0..case.slots).filter(|slot| !case.past.iter().flatten().any(|seen| seen == slot)) {
        operands[1][slot * 2 * inner..][..2 * inner].fill(f32::NAN);
    }
    if let Some(slot) = case.nan {
        operands[1][slot * 2 * inner + inner] = f32::NAN;
    }
    let mut past = Vec::new();
    for slots in &case.past {
        let mut row = vec![u(slots.len())];
        row.extend(slots.iter().map(|&slot| u(slot)));
        row.resize(1 + case.length, u32::MAX);
        past.extend(row);
    }
    let scale = 1.0 / (case.head_dim as f32).sqrt();
    let given = Numbers {
        rows: u(rows),
        heads: u(case.heads),
        head_dim: u(case.head_dim),
        slots: u(case.slots),
        length: u(case.length),
        reach: u(case.reach),
        scale,
    };
    let laid = data::by_head(&operands[1], 2 * case.heads, case.head_dim);
    let [qkv, cache, bias] = [&operands[0], &laid, &operands[2]].map(|numbers| Bind::f32(numbers));
    let got = run(given, vec![qkv, cache, Bind::u32(&past), bias, Bind::output(rows * inner)]);

    let [qkv, cache, bias] = [0, 1, 2].map(|i| Array::from_f32(&shapes[i], &operands[i]));
    let desc = Attention { heads: case.heads, scale: f64::from(scale) };
    let expected = kiln_reference::cached_attention(&qkv, &cache, &case.past, &bias, desc);
    let terms = kiln_reference::cached_attention_terms(&qkv, &cache, &case.past, &bias, desc);
    let lengths: Vec<usize> = case.past.iter().map(Vec::len).collect();
    let what = format!("{kernel}, {} heads of {}, {lengths:?} behind", case.heads, case.head_dim);
    assert_close(what, &got, &expected, &ATTENTION.bounds(&terms));
}

/// Rows with nothing behind them, with less than a workgroup's worth and more, slots shared and mixed up, NaN in one.
fn cases(heads: usize, head_dim: usize) -> Vec<Case> {
    let case = |past: Vec<Vec<usize>>, length: usize, slots: usize, reach: usize| Case {
        heads,
        head_dim,
        past,
        length,
        slots,
        reach,
        nan: None,
    };
    let mixed = |row: usize, length: usize| (0..length).map(|p| (5 * p + row) % 149).collect::<Vec<_>>();
    let beams = || vec![vec![0, 4, 9, 14], vec![0, 4, 8, 13], vec![], vec![2]];
    vec![
        case(vec![vec![]], 1, 1, 1),
        case(beams(), 4, 16, 2),
        case([0, 1, 7, 8, 9, 64, 131].iter().map(|&n| mixed(n, n)).collect(), 131, 149, 30),
        case(vec![mixed(3, 65)], 70, 149, 0),
        Case { nan: Some(13), ..case(beams(), 5, 16, 9) },
    ]
}

macro_rules! params {
    ($kernel:ident, $numbers:ident) => {
        $kernel::Params {
            rows: $numbers.rows,
            heads: $numbers.heads,
            head_dim: $numbers.head_dim,
            slots: $numbers.slots,
            length: $numbers.length,
            reach: $numbers.reach,
            scale: $numbers.scale,
        }
    };
}

#[test]
fn known_widths() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in cached_attention_row::Variant::ALL {
        if variant.kernel().needs.int64 && !device::has_int64(gpu) {
            continue;
        }
        for heads in [1, 3] {
            for case in cases(heads, variant.head_dim() as usize) {
                check(variant.kernel(), &case, |numbers, binds| {
                    let params = params!(cached_attention_row, numbers);
                    Run::new(variant.kernel(), &params, binds, heads * case.past.len()).output(gpu)
                });
            }
        }
    }
}

#[test]
fn any_width() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in cached_attention_any::Variant::ALL {
        for head_dim in [1, 3, 32, 80, 255] {
            for case in cases(2, head_dim) {
                check(variant.kernel(), &case, |numbers, binds| {
                    let params = params!(cached_attention_any, numbers);
                    let groups = (case.heads * case.past.len()).div_ceil(variant.threads() as usize);
                    Run::new(variant.kernel(), &params, binds, groups).output(gpu)
                });
            }
        }
    }
}

/// More behind a row than the table holds, or a slot that is not there, must not lead out of the tensors: inputs end in
/// NaN.
#[test]
fn a_wrong_table_stays_within_the_tensors() {
    let Some(gpu) = device::gpu() else { return };
    let (heads, slots) = (2, 3);
    let run = |kernel: &'static Kernel, groups: usize, past: &[u32]| {
        let inner = heads * 16;
        let params = cached_attention_row::Params {
            rows: 1,
            heads: u(heads),
            head_dim: 16,
            slots: u(slots),
            length: u(past.len() - 1),
            reach: 1,
            scale: 1.0,
        };
        let binds = vec![
            Bind::f32(&data::uniform("qkv", 3 * inner)),
            Bind::f32(&data::uniform("cache", slots * 2 * inner)),
            Bind::u32(past),
            Bind::f32(&data::uniform("bias", heads * 2)),
            Bind::output(inner),
        ];
        Run::new(kernel, &params, binds, groups).output(gpu)
    };
    for (kernel, groups) in [
        (cached_attention_row::Variant::CpuH16.kernel(), heads),
        (cached_attention_row::Variant::GpuH16.kernel(), heads),
        (cached_attention_any::Variant::Base.kernel(), 1),
    ] {
        assert_eq!(run(kernel, groups, &[9, 0, 1]), run(kernel, groups, &[2, 0, 1]), "{kernel}");
        assert_eq!(run(kernel, groups, &[2, 0, 9]), run(kernel, groups, &[2, 0, 2]), "{kernel}");
    }
}
