//! Attention over packed sequences.

use kiln_engine::{Attention, GraphBuilder, Tensor, Value};
use kiln_tests::graph::{array, conforms, f32_tensor, seeded, u32_tensor};
use kiln_tests::tolerance::ATTENTION;
use kiln_tests::{data, device};

/// Spans of sequences of these lengths one behind the other, then tokens that belong to none.
fn packed(lengths: &[u32], padding: usize) -> Vec<[u32; 2]> {
    let mut start = 0;
    let mut spans = Vec::new();
    for length in lengths {
        spans.extend((0..*length).map(|_| [start, start + length]));
        start += length;
    }
    spans.resize(spans.len() + padding, [0, 0]);
    spans
}

/// Rows `[tokens][heads * head_dim]` as `[heads][tokens][head_dim]`.
fn by_head(rows: &Tensor, heads: usize) -> Tensor {
    let [tokens, width] = [0, 1].map(|dim| rows.shape()[dim]);
    let laid = data::by_head(rows.as_f32().expect("rows are numbers"), heads, width / heads);
    f32_tensor(&[heads, tokens, width / heads], laid)
}

fn check(heads: usize, head_dim: usize, spans: &[[u32; 2]], kv_tokens: usize) {
    let Some(gpu) = device::gpu() else { return };
    let width = heads * head_dim;
    let rows = |name: &str, rows: usize, scale: f32| {
        f32_tensor(&[rows, width], data::uniform(name, rows * width).iter().map(|x| scale * x).collect())
    };
    let [q, k, v] = [rows("q", spans.len(), 3.0), rows("k", kv_tokens, 2.0), rows("v", kv_tokens, 1.0)];
    // Keys and values as they come out of a product, and as they are kept.
    let by_head = [&k, &v].map(|rows| by_head(rows, heads));
    let table = u32_tensor(&[spans.len(), 2], spans.concat());
    let [q_array, k_array, v_array] = [&q, &k, &v].map(array);
    let scale = 1.0 / (head_dim as f32).sqrt();
    let oracle = kiln_reference::Attention { heads, scale: f64::from(scale) };
    let expected = kiln_reference::attention(&q_array, &k_array, &v_array, spans, oracle);
    let terms = kiln_reference::attention_terms(&q_array, &k_array, &v_array, spans, oracle);
    let bounds = ATTENTION.bounds(&terms);
    let options = Attention::new(heads, scale);
    for [k, v] in [[k, v], by_head] {
        let what = format!("{heads} heads of {head_dim}, {} tokens on {:?}", spans.len(), k.shape());
        let operands = [q.clone(), k, v, table.clone()];
        let build = |g: &mut GraphBuilder, v: &[Value]| g.attention(v[0], v[1], v[2], v[3], options);
        conforms(gpu, what, &operands, build, &expected, &bounds);
    }
}

/// A bias by distance, of so many positions to either side.
fn check_relative(heads: usize, head_dim: usize, spans: &[[u32; 2]], reach: usize) {
    let Some(gpu) = device::gpu() else { return };
    let (tokens, width) = (spans.len(), heads * head_dim);
    let rows = |name: &str, scale: f32| {
        f32_tensor(&[tokens, width], data::uniform(name, tokens * width).iter().map(|x| scale * x).collect())
    };
    let [q, k, v] = [rows("q", 3.0), rows("k", 2.0), rows("v", 1.0)];
    let by_head = [&k, &v].map(|rows| by_head(rows, heads));
    let (table, biases) = (u32_tensor(&[tokens, 2], spans.concat()), seeded("bias", &[heads, 2 * reach + 1]));
    let [q_array, k_array, v_array, bias] = [&q, &k, &v, &biases].map(array);
    let scale = 1.0 / (head_dim as f32).sqrt();
    let oracle = kiln_reference::Attention { heads, scale: f64::from(scale) };
    let arrays = [&q_array, &k_array, &v_array];
    let expected = kiln_reference::relative_attention(arrays, spans, &bias, oracle);
    let bounds = ATTENTION.bounds(&kiln_reference::relative_attention_terms(arrays, spans, &bias, oracle));
    let options = Attention::new(heads, scale);
    for [k, v] in [[k, v], by_head] {
        let what = format!(
            "{heads} heads of {head_dim}, {tokens} tokens, {:?}, a bias that reaches {reach}",
            k.shape()
        );
        let operands = [q.clone(), k, v, table.clone(), biases.clone()];
        let build =
            |g: &mut GraphBuilder, v: &[Value]| g.relative_attention([v[0], v[1], v[2]], v[3], v[4], options);
        conforms(gpu, what, &operands, build, &expected, &bounds);
    }
}

/// Sequences within the reach of a bias and beyond it, causal ones, and the head widths of all kernels.
#[test]
fn a_bias_by_distance() {
    let causal: Vec<[u32; 2]> = (1..=37).map(|end| [0, end]).collect();
    for (heads, head_dim) in [(6, 64), (2, 32), (1, 128), (3, 16), (2, 8), (2, 20)] {
        check_relative(heads, head_dim, &packed(&[7, 1, 8, 17], 3), 4);
        check_relative(heads, head_dim, &causal, 1);
        check_relative(heads, head_dim, &causal, 50);
    }
    check_relative(2, 64, &packed(&[130, 129], 1), 128);
    check_relative(1, 32, &[[0, 2]; 2], 0);
}

/// Few tokens on many rows: those of one prompt, and of two that a tile straddles.
#[test]
fn decoding() {
    for (heads, head_dim) in [(6, 64), (1, 128), (2, 32), (2, 16), (3, 8), (2, 24)] {
        for spans in [vec![[0, 512]], vec![[0, 301], [0, 301], [0, 301], [301, 512], [301, 512], [301, 512]]]
        {
            check(heads, head_dim, &spans, 512);
        }
    }
    // The most tokens that count as few, and one more.
    for tokens in [32, 33] {
        check(2, 64, &vec![[3, 40]; tokens], 40);
    }
}

/// MiniLM's heads of 32, T5's and BERT's of 64, and widths that no kernel was made for.
#[test]
fn packed_sequences() {
    for (heads, head_dim) in [(12, 32), (8, 64), (1, 1), (2, 17), (3, 80), (1, 256)] {
        let spans = packed(&[7, 1, 8, 17], 3);
        check(heads, head_dim, &spans, spans.len());
    }
}

/// The longest sequence of MiniLM, in a budget of 256 tokens.
#[test]
fn one_long_sequence() {
    let spans = packed(&[251], 5);
    check(2, 32, &spans, spans.len());
}

/// Long sequences of wide heads: the loops of a software driver end after 65,535 iterations in total.
#[test]
fn one_long_sequence_of_wide_heads() {
    for head_dim in [64, 128, 200] {
        let spans = packed(&[512], 0);
        check(1, head_dim, &spans, spans.len());
        check(2, head_dim, &[[0, 2048], [5, 2000]], 2048);
    }
}

/// A decoder's queries on an encoder's rows: other numbers of tokens, spans that overlap.
#[test]
fn queries_on_other_rows() {
    for head_dim in [32, 64, 40] {
        check(2, head_dim, &[[0, 29], [3, 4], [20, 29], [0, 0], [28, 29]], 29);
    }
}

#[test]
fn nothing_to_attend_to_gives_zeros() {
    check(2, 32, &packed(&[], 9), 9);
}
