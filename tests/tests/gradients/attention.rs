//! Attention over packed sequences: gradients of q, k and v.

use kiln_engine::Attention;
use kiln_tests::graph::{seeded, u32_tensor};
use kiln_tests::{device, gradient};

/// Two sequences and a token that belongs to none; a decoder on an encoder's rows, some of which nobody sees; tokens that
/// see those before them. Head widths that kernels hold in registers, and others.
#[test]
fn packed_sequences() {
    let Some(gpu) = device::gpu() else { return };
    for (heads, head_dim, spans, kv_tokens) in [
        (2, 3, vec![[0, 2], [0, 2], [2, 5], [2, 5], [2, 5], [0, 0]], 6),
        (1, 16, vec![[0, 4], [3, 4], [1, 3]], 5),
        (2, 32, vec![[0, 1], [0, 2], [0, 3]], 3),
        (1, 64, vec![[0, 3], [0, 3]], 3),
        (3, 1, vec![[1, 4]; 2], 4),
    ] {
        let width = heads * head_dim;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let operands = [
            seeded("q", &[spans.len(), width]),
            seeded("k", &[kv_tokens, width]),
            seeded("v", &[kv_tokens, width]),
            u32_tensor(&[spans.len(), 2], spans.concat()),
        ];
        let oracle = kiln_reference::Attention { heads, scale: f64::from(scale) };
        let options = Attention::new(heads, scale);
        gradient::conforms(
            gpu,
            format!("{heads} heads of {head_dim}, {spans:?}"),
            &operands,
            |g, v| g.attention(v[0], v[1], v[2], v[3], options),
            |x| kiln_reference::attention(&x[0], &x[1], &x[2], &spans, oracle),
        );
    }
}
