//! Attention over packed sequences, by a head width known to the kernel and by any, for many tokens and for few.

use kiln_kernels::{Kernel, attention_any, attention_packed, attention_row};
use kiln_reference::{Array, Attention};
use kiln_tests::compare::assert_close;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::ATTENTION;
use kiln_tests::{data, device};

use crate::support::u;

/// Spans of sequences of these lengths, one behind the other, then tokens that belong to none.
fn packed(lengths: &[u32], padding: usize) -> Vec<[u32; 2]> {
    let mut spans = Vec::new();
    let mut start = 0;
    for &length in lengths {
        spans.extend((0..length).map(|_| [start, start + length]));
        start += length;
    }
    spans.extend((0..padding).map(|_| [0, 0]));
    spans
}

/// What an attention is run on: queries, keys and values, each with a row stride of its own.
struct Case {
    heads: usize,
    head_dim: usize,
    spans: Vec<[u32; 2]>,
    kv_tokens: usize,
    /// Words between the end of a row and the next one's start, for q, k, v and the output.
    gaps: [usize; 4],
    /// Keys and values are laid head by head.
    by_head: bool,
    /// A key of this row is NaN.
    nan: Option<usize>,
    /// How far a bias reaches, if there is one, and the position of the first token.
    bias: Option<(usize, usize)>,
}

impl Case {
    fn new(heads: usize, head_dim: usize, lengths: &[u32], padding: usize) -> Self {
        let spans = packed(lengths, padding);
        Self {
            heads,
            head_dim,
            kv_tokens: spans.len(),
            spans,
            gaps: [0; 4],
            by_head: false,
            nan: None,
            bias: None,
        }
    }

    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Rows of the width, `gap` NaN words after each.
    fn rows(&self, name: &str, rows: usize, gap: usize, scale: f32) -> (Vec<f32>, Array) {
        let width = self.width();
        let mut dense: Vec<f32> = data::uniform(name, rows * width).iter().map(|x| scale * x).collect();
        if let (Some(row), "attention.k") = (self.nan, name) {
            dense[row * width] = f32::NAN;
        }
        let mut strided = Vec::new();
        let (laid, row) = match self.by_head && name != "attention.q" {
            true => (data::by_head(&dense, self.heads, self.head_dim), self.head_dim),
            false => (dense.clone(), width),
        };
        for row in laid.chunks(row) {
            strided.extend_from_slice(row);
            strided.extend(std::iter::repeat_n(f32::NAN, gap));
        }
        (strided, Array::from_f32(&[rows, width], &dense))
    }
}

/// The numbers that the kernels take, in the order of their `Params`; the last two are for those that know a bias.
struct Numbers {
    tokens: u32,
    heads: u32,
    head_dim: u32,
    strides: [u32; 4],
    kv_head_stride: u32,
    kv_tokens: u32,
    scale: f32,
    first_token: u32,
    reach: u32,
}

fn check(kernel: &'static Kernel, case: &Case, run: impl Fn(Numbers, Vec<Bind>) -> Vec<f32>) {
    let (tokens, width) = (case.spans.len(), case.width());
    let (q_data, q) = case.rows("attention.q", tokens, case.gaps[0], 3.0);
    let (k_data, k) = case.rows("attention.k", case.kv_tokens, case.gaps[1], 2.0);
    let (v_data, v) = case.rows("attention.v", case.kv_tokens, case.gaps[2], 1.0);
    let scale = 1.0 / (case.head_dim as f32).sqrt();
    let mut strides = case.gaps.map(|gap| width + gap);
    let mut kv_head_stride = case.head_dim;
    if case.by_head {
        assert_eq!(case.gaps[1], case.gaps[2], "keys and values should have one stride between heads");
        strides[1..3].fill(case.head_dim + case.gaps[1]);
        kv_head_stride = case.kv_tokens * strides[1];
    }
    let numbers = Numbers {
        tokens: u(tokens),
        heads: u(case.heads),
        head_dim: u(case.head_dim),
        strides: strides.map(u),
        kv_head_stride: u(kv_head_stride),
        kv_tokens: u(case.kv_tokens),
        scale,
        first_token: case.bias.map_or(0, |(_, first_token)| u(first_token)),
        reach: case.bias.map_or(0, |(reach, _)| u(reach)),
    };
    const UNTOUCHED: f32 = 7.5;
    let spans: Vec<u32> = case.spans.concat();
    let stride = width + case.gaps[3];
    let output = match case.gaps[3] {
        0 => Bind::output(tokens * width),
        _ => Bind::update(&vec![UNTOUCHED; tokens * stride]),
    };
    let bias = case.bias.map(|(reach, _)| {
        let bias = data::uniform("attention.bias", case.heads * (2 * reach + 1));
        (Bind::f32(&bias), Array::from_f32(&[case.heads, 2 * reach + 1], &bias))
    });
    let mut binds = vec![Bind::f32(&q_data), Bind::f32(&k_data), Bind::f32(&v_data), Bind::u32(&spans)];
    binds.extend(bias.iter().map(|(bind, _)| bind.clone()));
    binds.push(output);
    let got = run(numbers, binds);
    assert!(
        got.chunks(stride).all(|row| row[width..].iter().all(|&x| x == UNTOUCHED)),
        "{kernel} wrote a gap"
    );
    let got: Vec<f32> = got.chunks(stride).flat_map(|row| row[..width].to_vec()).collect();
    let desc = Attention { heads: case.heads, scale: f64::from(scale) };
    let (expected, terms) = match (&bias, case.bias) {
        (Some((_, bias)), Some((_, first_token))) => {
            // Tokens before the first one, of which the kernel knows nothing, shift the positions.
            let before = |x: &Array| {
                let padding = vec![0.0; first_token * width];
                Array::new(&[first_token + tokens, width], [padding, x.data.clone()].concat())
            };
            let spans = [vec![[0, 0]; first_token], case.spans.clone()].concat();
            let operands = [&before(&q), &k, &v];
            let own = |x: Array| Array::new(&[tokens, width], x.data[first_token * width..].to_vec());
            (
                own(kiln_reference::relative_attention(operands, &spans, bias, desc)),
                own(kiln_reference::relative_attention_terms(operands, &spans, bias, desc)),
            )
        }
        _ => (
            kiln_reference::attention(&q, &k, &v, &case.spans, desc),
            kiln_reference::attention_terms(&q, &k, &v, &case.spans, desc),
        ),
    };
    let bounds = ATTENTION.bounds(&terms);
    let what = format!("{kernel}, {} heads of {}, {} tokens", case.heads, case.head_dim, tokens);
    assert_close(what, &got, &expected, &bounds);
}

/// Sequences around a tile of eight and beyond, padding at the end, rows with gaps, and spans into other rows.
fn cases(head_dim: usize, gaps: [usize; 4]) -> Vec<Case> {
    let mut cases = vec![
        Case::new(1, head_dim, &[1], 0),
        Case::new(2, head_dim, &[7, 1, 8, 9], 3),
        Case::new(3, head_dim, &[16, 17], 0),
        Case::new(2, head_dim, &[131], 5),
        Case::new(2, head_dim, &[], 4),
    ];
    cases.push(Case { gaps, ..Case::new(2, head_dim, &[5, 12], 2) });
    cases.push(Case { nan: Some(6), ..Case::new(2, head_dim, &[5, 4, 3], 1) });
    cases.push(Case { by_head: true, ..Case::new(3, head_dim, &[7, 1, 8, 9], 3) });
    let [q_gap, _, kv_gap, output_gap] = gaps;
    cases.push(Case {
        by_head: true,
        gaps: [q_gap, kv_gap, kv_gap, output_gap],
        ..Case::new(2, head_dim, &[5, 12], 2)
    });
    // Fewer queries than keys, overlapping spans, the last ending with the keys: a decoder on an encoder's rows.
    let spans = vec![[0, 29], [3, 4], [20, 29], [0, 0], [28, 29]];
    cases.push(Case { spans, kv_tokens: 29, ..Case::new(2, head_dim, &[], 0) });
    cases
}

/// The same sequences with a bias that they exceed and with one that exceeds them, also of later tokens alone.
fn biased_cases(head_dim: usize, gaps: [usize; 4]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (reach, first_token) in [(3, 0), (200, 0), (1, 5), (0, 0)] {
        for case in self::cases(head_dim, gaps) {
            cases.push(Case { bias: Some((reach, first_token)), ..case });
        }
    }
    cases
}

macro_rules! params {
    ($kernel:ident, $numbers:ident $(, $more:ident)*) => {{
        let [q_stride, k_stride, v_stride, output_stride] = $numbers.strides;
        $kernel::Params {
            tokens: $numbers.tokens,
            heads: $numbers.heads,
            head_dim: $numbers.head_dim,
            q_stride,
            k_stride,
            v_stride,
            output_stride,
            kv_head_stride: $numbers.kv_head_stride,
            kv_tokens: $numbers.kv_tokens,
            scale: $numbers.scale,
            $($more: $numbers.$more,)*
        }
    }};
}

/// The bindings of a kernel that knows a bias: where there is none, something readable stands in.
fn with_bias(mut binds: Vec<Bind>) -> Vec<Bind> {
    if binds.len() == 5 {
        binds.insert(4, Bind::f32(&[]));
    }
    binds
}

#[test]
fn packed_sequences() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in attention_packed::Variant::ALL {
        let head_dim = variant.head_dim() as usize;
        if variant.kernel().needs.int64 && !device::has_int64(gpu) {
            continue;
        }
        // It reads rows four elements at a time, those of k and v eight.
        let gaps = [4, 8, 24, 12];
        for case in cases(head_dim, gaps).into_iter().chain(biased_cases(head_dim, gaps)) {
            check(variant.kernel(), &case, |numbers, binds| {
                let params = params!(attention_packed, numbers, first_token, reach);
                let overrides = attention_packed::Overrides { bias: u32::from(case.bias.is_some()) }.pairs();
                let tiles = case.heads * case.spans.len().div_ceil(variant.queries() as usize);
                let groups = tiles.div_ceil(variant.threads() as usize);
                Run::new(variant.kernel(), &params, with_bias(binds), groups).with(&overrides).output(gpu)
            });
        }
    }
}

#[test]
fn heads_of_any_width() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in attention_any::Variant::ALL {
        for head_dim in [1, 3, 32, 80, 255, 256] {
            let gaps = [3, 4, 8, 5];
            for case in cases(head_dim, gaps).into_iter().chain(biased_cases(head_dim, gaps)) {
                check(variant.kernel(), &case, |numbers, binds| {
                    let params = params!(attention_any, numbers, first_token, reach);
                    let overrides = attention_any::Overrides { bias: u32::from(case.bias.is_some()) }.pairs();
                    let groups = (case.heads * case.spans.len()).div_ceil(variant.threads() as usize);
                    Run::new(variant.kernel(), &params, with_bias(binds), groups).with(&overrides).output(gpu)
                });
            }
        }
    }
}

#[test]
fn few_tokens() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in attention_row::Variant::ALL {
        if variant.kernel().needs.int64 && !device::has_int64(gpu) {
            continue;
        }
        let head_dim = variant.head_dim() as usize;
        let mut cases = cases(head_dim, [4, 8, 24, 12]);
        // More rows than a workgroup has invocations, and a tile whose tokens see different ones.
        let spans = vec![[0, 300], [0, 300], [150, 301], [299, 300], [301, 301], [3, 290]];
        cases.push(Case { spans, kv_tokens: 301, ..Case::new(2, head_dim, &[], 0) });
        let spans = vec![[0, 300], [17, 80]];
        cases.push(Case { spans, kv_tokens: 300, by_head: true, ..Case::new(3, head_dim, &[], 0) });
        for case in cases {
            check(variant.kernel(), &case, |numbers, binds| {
                let params = params!(attention_row, numbers);
                let groups = case.heads * case.spans.len().div_ceil(variant.queries() as usize);
                Run::new(variant.kernel(), &params, binds, groups).output(gpu)
            });
        }
    }
}
