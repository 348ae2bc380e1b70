//! The gradients of attention over packed sequences, and what they need of each row.

use kiln_kernels::{
    Kernel, attention_grad_any, attention_grad_packed, attention_grad_sums, attention_grad_sums_packed,
};
use kiln_reference::{Array, Attention};
use kiln_tests::compare::assert_close;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::{ATTENTION, ATTENTION_GRAD};
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

/// An attention, its tensors and the gradient of its result.
struct Case {
    desc: Attention,
    spans: Vec<[u32; 2]>,
    q: Array,
    k: Array,
    v: Array,
    grad: Array,
}

fn floats(array: &Array) -> Vec<f32> {
    array.data.iter().map(|&x| x as f32).collect()
}

impl Case {
    fn new(heads: usize, head_dim: usize, spans: Vec<[u32; 2]>, kv_tokens: usize) -> Case {
        let width = heads * head_dim;
        let tensor = |name: &str, rows: usize, scale: f32| {
            let data: Vec<f32> = data::uniform(name, rows * width).iter().map(|x| scale * x).collect();
            Array::from_f32(&[rows, width], &data)
        };
        Case {
            desc: Attention { heads, scale: f64::from(1.0 / (head_dim as f32).sqrt()) },
            q: tensor("attention_grad.q", spans.len(), 3.0),
            k: tensor("attention_grad.k", kv_tokens, 2.0),
            v: tensor("attention_grad.v", kv_tokens, 1.0),
            grad: tensor("attention_grad.grad", spans.len(), 2.0),
            spans,
        }
    }

    /// A key of one row is NaN.
    fn with_nan(mut self, row: usize) -> Case {
        let width = self.q.shape[1];
        self.k.data[row * width] = f64::NAN;
        self
    }

    fn head_dim(&self) -> u32 {
        u(self.q.shape[1] / self.desc.heads)
    }

    fn what(&self) -> String {
        let Case { desc, spans, k, .. } = self;
        format!("{} heads of {}, {} tokens on {}", desc.heads, self.head_dim(), spans.len(), k.shape[0])
    }

    /// The result, rounded as a kernel would have it.
    fn result(&self) -> Array {
        let result = kiln_reference::attention(&self.q, &self.k, &self.v, &self.spans, self.desc);
        Array::from_f32(&result.shape, &floats(&result))
    }

    fn sums(&self) -> Array {
        let Case { q, k, spans, grad, desc, .. } = self;
        kiln_reference::attention_grad_sums(q, k, spans, &self.result(), grad, *desc)
    }

    fn check_sums(&self, kernel: &'static Kernel, run: impl Fn(&Case, Vec<Bind>) -> Vec<f32>) {
        let Case { q, k, spans, grad, desc, .. } = self;
        let result = self.result();
        let binds = vec![
            Bind::f32(&floats(q)),
            Bind::f32(&floats(k)),
            Bind::u32(&spans.concat()),
            Bind::f32(&floats(&result)),
            Bind::f32(&floats(grad)),
            Bind::output(2 * spans.len() * desc.heads),
        ];
        let got = run(self, binds);
        let terms = kiln_reference::attention_grad_sums_terms(q, k, spans, &result, grad, *desc);
        assert_close(
            format_args!("{kernel}, {}", self.what()),
            &got,
            &self.sums(),
            &ATTENTION.bounds(&terms),
        );
    }

    /// The binds of own rows, other rows, spans and sums for one kind.
    fn binds(&self, kind: usize) -> Vec<Bind> {
        let tensors = match kind {
            0 => [&self.q, &self.grad, &self.k, &self.v],
            _ => [&self.k, &self.v, &self.q, &self.grad],
        };
        let mut binds: Vec<Bind> = tensors.map(|tensor| Bind::f32(&floats(tensor))).into();
        binds.push(Bind::u32(&self.spans.concat()));
        binds.push(Bind::f32(&floats(&self.sums())));
        binds
    }

    /// The gradient of one kind, the other rows met in as many dispatches as there are ends. `run` takes their bounds.
    fn check_gradient(
        &self,
        kernel: &'static Kernel,
        kind: usize,
        ends: &[usize],
        run: impl Fn(Part, Vec<Bind>) -> Vec<f32>,
    ) {
        let (rows, others) = match kind {
            0 => (self.q.shape[0], self.k.shape[0]),
            _ => (self.k.shape[0], self.q.shape[0]),
        };
        let mut output = vec![f32::NAN; rows * self.q.shape[1]];
        let mut other = 0;
        for &other_end in ends.iter().chain([&others]) {
            let mut binds = self.binds(kind);
            binds.push(Bind::update(&output));
            output = run(Part { rows, other, other_end }, binds);
            other = other_end;
        }
        let Case { q, k, v, spans, grad, desc, .. } = self;
        let expected = &kiln_reference::attention_grad(q, k, v, spans, grad, *desc)[kind];
        let terms = &kiln_reference::attention_grad_terms(q, k, v, spans, grad, *desc)[kind];
        assert_close(
            format_args!("{kernel}, kind {kind}, {}", self.what()),
            &output,
            expected,
            &ATTENTION_GRAD.bounds(terms),
        );
    }
}

/// The rows that one dispatch makes, and those that they meet.
struct Part {
    rows: usize,
    other: usize,
    other_end: usize,
}

/// Checks a variant of one of the kernels of the gradients, which have the same parameters.
macro_rules! check_gradient {
    ($gpu:ident, $kernel:ident, $variant:ident, $own:expr, $case:expr, $ends:expr) => {
        for kind in 0..3 {
            $case.check_gradient($variant.kernel(), kind, $ends, |part, binds| {
                let params = $kernel::Params {
                    rows: u(part.rows),
                    heads: u($case.desc.heads),
                    head_dim: $case.head_dim(),
                    first_own: 0,
                    other: u(part.other),
                    other_end: u(part.other_end),
                    scale: $case.desc.scale as f32,
                };
                let overrides = $kernel::Overrides { kind: u(kind) }.pairs();
                let invocations = part.rows.div_ceil($own) * $case.desc.heads;
                let groups = invocations.div_ceil($variant.threads() as usize);
                Run::new($variant.kernel(), &params, binds, groups).with(&overrides).output($gpu)
            });
        }
    };
}

/// The same for the kernels of the sums.
macro_rules! check_sums {
    ($gpu:ident, $kernel:ident, $variant:ident, $queries:expr, $case:expr) => {
        $case.check_sums($variant.kernel(), |case, binds| {
            let params = $kernel::Params {
                tokens: u(case.spans.len()),
                heads: u(case.desc.heads),
                head_dim: case.head_dim(),
                kv_tokens: u(case.k.shape[0]),
                scale: case.desc.scale as f32,
            };
            let invocations = case.spans.len().div_ceil($queries) * case.desc.heads;
            let groups = invocations.div_ceil($variant.threads() as usize);
            Run::new($variant.kernel(), &params, binds, groups).output($gpu)
        })
    };
}

/// Sequences around a tile of eight and beyond, padding at the end, NaN in one of several, and spans into other rows.
fn cases(head_dim: usize) -> Vec<Case> {
    let own = |heads: usize, lengths: &[u32], padding: usize| {
        let spans = packed(lengths, padding);
        let tokens = spans.len();
        Case::new(heads, head_dim, spans, tokens)
    };
    vec![
        own(1, &[1], 0),
        own(2, &[7, 1, 8, 9], 3),
        own(3, &[16, 17], 0),
        own(2, &[67], 5),
        own(2, &[], 4),
        own(2, &[5, 4, 3], 1).with_nan(6),
        // Fewer queries than keys, overlapping spans, the last ending with the keys: a decoder on an encoder's rows.
        Case::new(2, head_dim, vec![[0, 29], [3, 4], [20, 29], [0, 0], [28, 29]], 29),
        // Each token sees those before it and itself.
        Case::new(2, head_dim, (0..19).map(|t| [0, t + 1]).collect(), 19),
    ]
}

const HEAD_DIMS: [usize; 5] = [1, 3, 32, 80, 255];

#[test]
fn sums_of_heads_of_any_width() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in attention_grad_sums::Variant::ALL {
        for case in HEAD_DIMS.into_iter().flat_map(cases) {
            check_sums!(gpu, attention_grad_sums, variant, 1, case);
        }
    }
}

#[test]
fn sums_of_heads_in_registers() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in attention_grad_sums_packed::Variant::ALL {
        for case in cases(variant.head_dim() as usize) {
            check_sums!(gpu, attention_grad_sums_packed, variant, variant.queries() as usize, case);
        }
    }
}

#[test]
fn gradients_of_heads_of_any_width() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in attention_grad_any::Variant::ALL {
        for case in HEAD_DIMS.into_iter().flat_map(cases) {
            check_gradient!(gpu, attention_grad_any, variant, 1, case, &[]);
        }
    }
}

#[test]
fn gradients_of_heads_in_registers() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in attention_grad_packed::Variant::ALL {
        for case in cases(variant.head_dim() as usize) {
            check_gradient!(gpu, attention_grad_packed, variant, variant.own() as usize, case, &[]);
        }
    }
}

/// The rows that are met in several dispatches, whose ends lie in the middle of sequences.
#[test]
fn other_rows_in_parts() {
    let Some(gpu) = device::gpu() else { return };
    let case = |head_dim: usize| Case::new(2, head_dim, packed(&[9, 14], 2), 25);
    for &variant in attention_grad_any::Variant::ALL {
        check_gradient!(gpu, attention_grad_any, variant, 1, case(12), &[3, 8, 20]);
    }
    for &variant in attention_grad_packed::Variant::ALL {
        let case = case(variant.head_dim() as usize);
        check_gradient!(gpu, attention_grad_packed, variant, variant.own() as usize, case, &[3, 8, 20]);
    }
}

/// A block of the rows of k and v: their places go on from where it begins.
#[test]
fn a_block_of_rows() {
    let Some(gpu) = device::gpu() else { return };
    const FIRST: usize = 11;
    for &variant in attention_grad_packed::Variant::ALL {
        let case = Case::new(2, variant.head_dim() as usize, packed(&[9, 14], 2), 25);
        let width = case.q.shape[1];
        let rest = |tensor: &Array| floats(tensor).split_off(FIRST * width);
        let rows = 25 - FIRST;
        let params = attention_grad_packed::Params {
            rows: u(rows),
            heads: 2,
            head_dim: variant.head_dim(),
            first_own: u(FIRST),
            other: 0,
            other_end: 25,
            scale: case.desc.scale as f32,
        };
        let mut binds = case.binds(2);
        binds[0] = Bind::f32(&rest(&case.k));
        binds[1] = Bind::f32(&rest(&case.v));
        binds.push(Bind::output(rows * width));
        let overrides = attention_grad_packed::Overrides { kind: 2 }.pairs();
        let groups = (2 * rows.div_ceil(variant.own() as usize)).div_ceil(variant.threads() as usize);
        let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu);
        let Case { q, k, v, spans, grad, desc } = &case;
        let tail = |whole: &Array| Array::new(&[rows, width], whole.data[FIRST * width..].to_vec());
        let expected = tail(&kiln_reference::attention_grad(q, k, v, spans, grad, *desc)[2]);
        let terms = tail(&kiln_reference::attention_grad_terms(q, k, v, spans, grad, *desc)[2]);
        assert_close(variant.kernel(), &got, &expected, &ATTENTION_GRAD.bounds(&terms));
    }
}
