//! What the gradients of an attention need of each of its rows.

use kiln_engine::ops::AttentionGradSums;
use kiln_tests::device;
use kiln_tests::graph::conforms;
use kiln_tests::tolerance::ATTENTION;

use crate::attention_grad::{Case, cases};

fn check(case: &Case) {
    let Some(gpu) = device::gpu() else { return };
    let [q, k, _] = case.tensors();
    let op = AttentionGradSums { heads: case.heads, scale: case.scale };
    let (result, grad) = (case.result(), case.grad_array());
    let expected = kiln_reference::attention_grad_sums(&q, &k, &case.spans, &result, &grad, case.oracle());
    let terms = kiln_reference::attention_grad_sums_terms(&q, &k, &case.spans, &result, &grad, case.oracle());
    let operands =
        [case.q.clone(), case.k.clone(), case.spans_tensor(), case.result_tensor(), case.grad.clone()];
    let bounds = ATTENTION.bounds(&terms);
    conforms(gpu, case.what(), &operands, |g, v| g.apply(op, v), &expected, &bounds);
}

#[test]
fn sums_of_rows() {
    cases().iter().for_each(check);
}

/// As long as an invocation of a software adapter may loop.
#[test]
fn long_sequences() {
    check(&Case::new(1, 200, vec![[0, 8000], [7, 7990]], 8000));
    check(&Case::new(1, 64, vec![[0, 20_000], [7, 4990]], 20_000));
}
