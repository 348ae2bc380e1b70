//! back_product
//!
//! What a workgroup's head contributes to the product that leads back into the residual stream, by the weight of that
//! product: part[col] = sum_d mixed[d] * weight[head][d][col]. Other workgroups make the other heads' parts, and who reads
//! the stream next adds them up (row_parts): there is no kernel for the product.
//!
//! The weight lies behind that of row_product in the same binding, [head][panel][HEAD_DIM][8]: each invocation makes
//! neighbouring panels, and so reads in one stretch. With the panels of the plain product, [panel][heads * HEAD_DIM][8], each
//! read HEAD_DIM rows of eight here and as many there, and nothing was won by the kernels that were saved. The kernel declares
//! HEAD_DIM, binds output as array<vec4<f32>>, puts what it has mixed into tile_mixed, and uses row_product and all that this
//! uses.

var<workgroup> tile_mixed: array<vec4<f32>, HEAD_DIM / 4u>;

// Makes the part of `head`; `first` is the first pair of the weight, and the part goes to the output's vectors from `to` on.
fn put_part(lane: u32, head: u32, first: u32, to: u32) {
    let panels = params.depth / 8u;
    let each = (panels + 7u) / 8u;
    // As many turns for all: an end that depends on the params alone would be compiled in, anew whenever the kernel is bound.
    let end = (lane + 1u) * each;
    for (var panel = lane * each; panel < end; panel++) {
        // All invocations are needed for what they hold.
        let present = min(panel, u32(i32(panels) - 1));
        let at = first + (head * panels + present) * (HEAD_DIM / 2u);
        var sum: mat2x4<f32>;
        for (var i = 0u; i < HEAD_DIM / 32u; i++) {
            add_sixteen_pairs(&sum, at + 16u * i, tile_mixed[8u * i + lane]);
        }
        if (panel < panels) {
            output[to + 2u * panel] = sum[0];
            output[to + 2u * panel + 1u] = sum[1];
        }
    }
}
