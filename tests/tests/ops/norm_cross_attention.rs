//! The norm, query and cross attention of a single row, which a software adapter runs as one kernel.

use kiln_engine::Attention;
use kiln_tests::graph::{array, conforms, f32_tensor, seeded, u32_tensor};
use kiln_tests::tolerance::{ATTENTION, LINEAR, RMS_NORM, moved_scores};
use kiln_tests::{data, device};

const EPSILON: f32 = 1e-6;

fn check(depth: usize, heads: usize, head_dim: usize, kv_tokens: usize, span: [u32; 2]) {
    let Some(gpu) = device::gpu() else { return };
    let inner = heads * head_dim;
    let scaled = |name: &str, shape: [usize; 2], scale: f32| {
        let data = data::uniform(name, shape[0] * shape[1]).iter().map(|x| scale * x).collect();
        f32_tensor(&shape, data)
    };
    let kept = |name: &str| scaled(name, [kv_tokens, inner], 2.0);
    let laid = |name: &str| {
        let rows = kept(name).into_f32().expect("keys and values are numbers");
        f32_tensor(&[heads, kv_tokens, head_dim], data::by_head(&rows, heads, head_dim))
    };
    let operands = [
        seeded("x", &[1, depth]),
        seeded("norm", &[depth]),
        scaled("weight", [inner, depth], 1.0 / (depth as f32).sqrt()),
        laid("k"),
        laid("v"),
        u32_tensor(&[1, 2], span.to_vec()),
    ];
    let [x, norm, weight] = [0, 1, 2].map(|i| array(&operands[i]));
    let [k, v] = ["k", "v"].map(|name| array(&kept(name)));
    let desc = kiln_reference::Attention { heads, scale: 0.5 };
    let normed = kiln_reference::rms_norm(&x, &norm, f64::from(EPSILON));
    let query = kiln_reference::linear(&normed, &weight, None);
    let expected = kiln_reference::attention(&query, &k, &v, &[span], desc);
    // The query's own error, then what it does to the scores.
    let terms = kiln_reference::linear(&normed.abs(), &weight.abs(), None);
    let errors: Vec<f64> = LINEAR
        .bounds(&terms)
        .iter()
        .zip(RMS_NORM.bounds(&terms))
        .map(|(linear, norm)| linear + norm)
        .collect();
    let seen: Vec<&[f64]> = (span[0]..span[1]).map(|j| &k.data[j as usize * inner..][..inner]).collect();
    let mixed = kiln_reference::attention(&query, &k, &v.abs(), &[span], desc);
    let moved = moved_scores(&errors, &seen, &mixed.data, desc);
    let own = ATTENTION.bounds(&kiln_reference::attention_terms(&query, &k, &v, &[span], desc));
    let bounds: Vec<f64> = own.iter().zip(moved).map(|(own, moved)| own + moved).collect();
    let options = Attention::new(heads, 0.5);
    conforms(
        gpu,
        format_args!("{depth} to {heads} heads of {head_dim}, {span:?} of {kv_tokens}"),
        &operands,
        |g, v| {
            let normed = g.rms_norm(v[0], v[1], EPSILON)?;
            let query = g.linear(normed, v[2], None)?;
            g.attention(query, v[3], v[4], v[5], options)
        },
        &expected,
        &bounds,
    );
}

/// Both widths of a head that are fused, others that are not, and a depth that is not; spans of nothing, of one row, of
/// less than a workgroup's worth and of more.
#[test]
fn widths_and_spans() {
    for (depth, heads, head_dim) in [(64, 6, 64), (32, 1, 128), (512, 2, 64), (64, 3, 32), (40, 1, 64)] {
        for span in [[0, 0], [3, 4], [2, 9], [0, 70], [69, 70], [5, 5]] {
            check(depth, heads, head_dim, 70, span);
        }
    }
}

#[test]
fn a_long_source() {
    check(512, 6, 64, 1030, [17, 1030]);
}
