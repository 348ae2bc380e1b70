//! The gradients of attention over packed sequences, each alone; `tests/gradients` has them in their graph.

use kiln_engine::ops::{AttentionGrad, AttentionInput};
use kiln_engine::{Scalar, Tensor};
use kiln_reference::Array;
use kiln_tests::compare::assert_close;
use kiln_tests::graph::{Source, array, conforms, f32_tensor, profiles, run_op, u32_tensor};
use kiln_tests::tolerance::ATTENTION_GRAD;
use kiln_tests::{data, device};

/// An attention, its tensors and the gradient of its result.
pub(crate) struct Case {
    pub(crate) heads: usize,
    pub(crate) scale: Scalar,
    pub(crate) spans: Vec<[u32; 2]>,
    pub(crate) q: Tensor,
    pub(crate) k: Tensor,
    pub(crate) v: Tensor,
    pub(crate) grad: Tensor,
}

impl Case {
    pub(crate) fn new(heads: usize, head_dim: usize, spans: Vec<[u32; 2]>, kv_tokens: usize) -> Case {
        let width = heads * head_dim;
        let tensor = |name: &str, rows: usize, factor: f32| {
            let numbers = data::uniform(name, rows * width);
            f32_tensor(&[rows, width], numbers.iter().map(|x| factor * x).collect())
        };
        Case {
            heads,
            scale: Scalar::new(1.0 / (head_dim as f32).sqrt()),
            q: tensor("q", spans.len(), 3.0),
            k: tensor("k", kv_tokens, 2.0),
            v: tensor("v", kv_tokens, 1.0),
            grad: tensor("grad", spans.len(), 2.0),
            spans,
        }
    }

    pub(crate) fn oracle(&self) -> kiln_reference::Attention {
        kiln_reference::Attention { heads: self.heads, scale: f64::from(self.scale.get()) }
    }

    pub(crate) fn what(&self) -> String {
        let (width, tokens) = (self.q.shape()[1], self.spans.len());
        format!("{} heads of {}, {tokens} tokens on {}", self.heads, width / self.heads, self.k.shape()[0])
    }

    pub(crate) fn tensors(&self) -> [Array; 3] {
        [&self.q, &self.k, &self.v].map(array)
    }

    pub(crate) fn grad_array(&self) -> Array {
        array(&self.grad)
    }

    pub(crate) fn spans_tensor(&self) -> Tensor {
        u32_tensor(&[self.spans.len(), 2], self.spans.concat())
    }

    /// The attention's result, rounded as a device would have it.
    pub(crate) fn result_tensor(&self) -> Tensor {
        let [q, k, v] = self.tensors();
        let result = kiln_reference::attention(&q, &k, &v, &self.spans, self.oracle());
        f32_tensor(&result.shape, result.data.iter().map(|&x| x as f32).collect())
    }

    pub(crate) fn result(&self) -> Array {
        array(&self.result_tensor())
    }

    /// The inputs of the op.
    fn operands(&self) -> [Tensor; 6] {
        let Case { q, k, v, grad, .. } = self;
        [q.clone(), k.clone(), v.clone(), self.spans_tensor(), grad.clone(), self.sums()]
    }

    fn sums(&self) -> Tensor {
        let [q, k, _] = self.tensors();
        let (result, grad) = (self.result(), self.grad_array());
        let sums = kiln_reference::attention_grad_sums(&q, &k, &self.spans, &result, &grad, self.oracle());
        f32_tensor(&sums.shape, sums.data.iter().map(|&x| x as f32).collect())
    }
}

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

/// MiniLM's heads of 32, T5's and BERT's of 64, and widths that no kernel was made for; then one long sequence, a
/// decoder's queries on an encoder's rows, and tokens that see those before them alone.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (heads, head_dim) in [(12, 32), (4, 64), (3, 16), (1, 1), (2, 17), (3, 80), (1, 256)] {
        let spans = packed(&[7, 1, 8, 17], 3);
        cases.push(Case::new(heads, head_dim, spans, 36));
    }
    cases.push(Case::new(2, 32, packed(&[123], 5), 128));
    for head_dim in [32, 40, 128] {
        cases.push(Case::new(2, head_dim, vec![[0, 29], [3, 4], [20, 29], [0, 0], [28, 29]], 29));
        cases.push(Case::new(2, head_dim, (0..33).map(|t| [0, t + 1]).collect(), 33));
    }
    cases.push(Case::new(2, 32, packed(&[], 9), 9));
    cases
}

fn check(case: &Case) {
    let Some(gpu) = device::gpu() else { return };
    let [q, k, v] = case.tensors();
    let grad = case.grad_array();
    let expected = kiln_reference::attention_grad(&q, &k, &v, &case.spans, &grad, case.oracle());
    let terms = kiln_reference::attention_grad_terms(&q, &k, &v, &case.spans, &grad, case.oracle());
    let operands = case.operands();
    for (index, of) in
        [AttentionInput::Query, AttentionInput::Key, AttentionInput::Value].into_iter().enumerate()
    {
        let op = AttentionGrad { heads: case.heads, scale: case.scale, of };
        let bounds = ATTENTION_GRAD.bounds(&terms[index]);
        let what = format!("{of:?}, {}", case.what());
        conforms(gpu, what, &operands, |g, v| g.apply(op, v), &expected[index], &bounds);
    }
}

#[test]
fn packed_sequences() {
    cases().iter().for_each(check);
}

/// On a device that binds little k and v are cut by their rows: their places go on from piece to piece.
#[test]
fn keys_and_values_in_pieces() {
    let Some(gpu) = device::gpu() else { return };
    for head_dim in [32, 20] {
        let spans = vec![[0, 640], [200, 500], [3, 4], [630, 640], [0, 0]];
        let case = Case::new(2, head_dim, spans, 640);
        let [q, k, v] = case.tensors();
        let grad = case.grad_array();
        let expected = kiln_reference::attention_grad(&q, &k, &v, &case.spans, &grad, case.oracle());
        let terms = kiln_reference::attention_grad_terms(&q, &k, &v, &case.spans, &grad, case.oracle());
        for (index, of) in [(1, AttentionInput::Key), (2, AttentionInput::Value)] {
            let op = AttentionGrad { heads: case.heads, scale: case.scale, of };
            for mut profile in profiles(gpu) {
                profile.limits.max_binding = 64 * 1024;
                let made = run_op(gpu, &profile, Source::Inputs, &case.operands(), |g, v| g.apply(op, v));
                let made = made.expect("the op should run in pieces");
                let what = format!("{of:?} in pieces, {}", case.what());
                let got = made.as_f32().expect("a gradient is f32");
                assert_close(what, got, &expected[index], &ATTENTION_GRAD.bounds(&terms[index]));
            }
        }
    }
}

/// Wide heads, more rows to meet than one invocation of a software adapter may loop over.
#[test]
fn long_sequences_of_wide_heads() {
    check(&Case::new(1, 200, vec![[0, 5000], [7, 4990]], 5000));
    check(&Case::new(1, 200, vec![[0, 2]; 5000], 2));
}
