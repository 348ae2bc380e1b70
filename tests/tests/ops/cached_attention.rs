//! Attention of new tokens to those behind them, whose keys and values lie in a cache.

use kiln_engine::CachedAttention;
use kiln_tests::graph::{array, conforms, f32_tensor, seeded, u32_tensor};
use kiln_tests::tolerance::ATTENTION;
use kiln_tests::{data, device};

/// Slots of so many tokens of each row, those of all rows mixed up: position `p` of row `r` stands at a step that meets
/// every slot once.
fn scattered(lengths: &[usize], slots: usize) -> Vec<Vec<usize>> {
    let mut next = (0..).map(|i| (7 * i + 3) % slots);
    lengths.iter().map(|&length| next.by_ref().take(length).collect()).collect()
}

/// The table as the op takes it: lengths, then slots, then places that must not be looked at.
fn table(past: &[Vec<usize>], length: usize) -> Vec<u32> {
    let row = |slots: &Vec<usize>| {
        let mut row = vec![slots.len() as u32];
        row.extend(slots.iter().map(|&slot| slot as u32));
        row.resize(1 + length, u32::MAX);
        row
    };
    past.iter().flat_map(row).collect()
}

fn check(heads: usize, head_dim: usize, past: &[Vec<usize>], length: usize, slots: usize, reach: usize) {
    let Some(gpu) = device::gpu() else { return };
    let (rows, inner) = (past.len(), heads * head_dim);
    let scaled = |name: &str, shape: [usize; 2], scale: f32| {
        let data = data::uniform(name, shape[0] * shape[1]).iter().map(|x| scale * x).collect();
        f32_tensor(&shape, data)
    };
    let cache = scaled("cache", [slots, 2 * inner], 2.0);
    let laid = data::by_head(cache.as_f32().expect("a cache is of numbers"), 2 * heads, head_dim);
    let operands = [
        scaled("qkv", [rows, 3 * inner], 2.0),
        f32_tensor(&[2 * heads, slots, head_dim], laid),
        u32_tensor(&[rows, 1 + length], table(past, length)),
        seeded("bias", &[heads, reach + 1]),
    ];
    let [qkv, cache, bias] = [&operands[0], &cache, &operands[3]].map(array);
    let scale = 1.0 / (head_dim as f32).sqrt();
    let oracle = kiln_reference::Attention { heads, scale: f64::from(scale) };
    let expected = kiln_reference::cached_attention(&qkv, &cache, past, &bias, oracle);
    let bounds = ATTENTION.bounds(&kiln_reference::cached_attention_terms(&qkv, &cache, past, &bias, oracle));
    let lengths: Vec<usize> = past.iter().map(Vec::len).collect();
    let what =
        format!("{heads} heads of {head_dim}, {lengths:?} of {length} behind, a bias that reaches {reach}");
    let options = CachedAttention::new(heads, scale);
    conforms(
        gpu,
        what,
        &operands,
        |g, v| g.cached_attention(v[0], v[1], v[2], v[3], options),
        &expected,
        &bounds,
    );
}

/// The head widths of all kernels, rows at different lengths: none behind, one, a workgroup's worth, all that fit.
#[test]
fn rows_of_different_lengths() {
    for (heads, head_dim) in [(6, 64), (2, 32), (1, 128), (3, 16), (2, 8), (2, 20), (1, 1), (1, 256)] {
        check(heads, head_dim, &scattered(&[0, 1, 7, 8, 9, 20], 64), 20, 64, 3);
    }
}

/// The first step, whose cache holds nothing, and a bias of a single number.
#[test]
fn nothing_behind() {
    for head_dim in [64, 8, 12] {
        check(2, head_dim, &scattered(&[0], 1), 5, 1, 1);
        check(2, head_dim, &scattered(&[0, 0, 0], 4), 1, 4, 0);
    }
}

/// Beams that share their beginning, and distances up to the reach and past it.
#[test]
fn beams_share_slots() {
    let beams = [vec![0, 4, 9, 14], vec![0, 4, 8, 13], vec![0, 4, 9, 13], vec![0, 4, 8, 12]];
    for reach in [1, 3, 4, 128] {
        check(6, 64, &beams, 8, 16, reach);
        check(2, 10, &beams, 8, 16, reach);
    }
}

/// More positions than a workgroup has invocations, on any device.
#[test]
fn long_sequences() {
    for (heads, head_dim) in [(6, 64), (1, 128), (2, 8), (1, 48)] {
        check(heads, head_dim, &scattered(&[511, 64, 200], 1021), 511, 1021, 127);
    }
}
