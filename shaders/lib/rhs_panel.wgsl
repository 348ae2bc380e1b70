//! rhs_panel
//!
//! Loads panels of eight columns as matmul_pack lays them out, [panel][k][8], or with HALF, in halves, matmul_pack_half:
//! [panel][k][4] words, of which two k make a vector of 64-bit words.
//!
//! The kernel declares override HALF, binds the panels as rhs: array<vec4<WORD>>, and uses half, eight and panel.

// `at` counts k, from the first of the first panel, and is a multiple of 4.
fn panel_load(at: u32) -> Panel {
    if (HALF == 1u) {
        let first = rhs[at * STEP / 2u];
        let second = rhs[at * STEP / 2u + 1u];
        if (BITS == 64u) {
            let a = vec4<u32>(first);
            let b = vec4<u32>(first >> vec4<u32>(BITS / 2u));
            let c = vec4<u32>(second);
            let d = vec4<u32>(second >> vec4<u32>(BITS / 2u));
            return Panel(
                eight_halves(vec4<u32>(a.x, b.x, a.y, b.y)),
                eight_halves(vec4<u32>(a.z, b.z, a.w, b.w)),
                eight_halves(vec4<u32>(c.x, d.x, c.y, d.y)),
                eight_halves(vec4<u32>(c.z, d.z, c.w, d.w)),
            );
        }
        let third = vec4<u32>(rhs[at + 2u]);
        let fourth = vec4<u32>(rhs[at + 3u]);
        return Panel(
            eight_halves(vec4<u32>(first)),
            eight_halves(vec4<u32>(second)),
            eight_halves(third),
            eight_halves(fourth),
        );
    }
    return Panel(panel_row(at), panel_row(at + 1u), panel_row(at + 2u), panel_row(at + 3u));
}

fn panel_row(at: u32) -> mat2x4<f32> {
    return eight(rhs[at * STEP], rhs[at * STEP + LAST]);
}

fn eight_halves(words: vec4<u32>) -> mat2x4<f32> {
    return mat2x4<f32>(four_halves(words.xy), four_halves(words.zw));
}
