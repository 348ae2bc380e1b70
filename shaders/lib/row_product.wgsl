//! row_product
//!
//! A row, divided by its root mean square and multiplied by the norm's weight, times eight columns that lie in a panel,
//! [panel][k][8]. Each weight is read once, and that is what takes the time: a subgroup of eight reads the row together, four
//! numbers each, and its invocations hand them on to each other; the squares are added up by the way.
//!
//! The kernel declares override HALF, which says that a panel is of halves, as matmul_pack_half packs them; it binds norm as
//! array<vec4<f32>> and weight as array<vec4<WORD>>, has row_vector, which gives a vector of the row, and depth and epsilon
//! among its params, and uses half and eight. 32 divides the depth.
//!
//! Of several panels an invocation makes one after the other: in one loop, f32 ones of two take 1.35 times as long on
//! lavapipe. Without the subgroup, with loads of row and norm for eight k at a time, one takes 1.1 times as long, of halves
//! 1.2 times.

// Two neighbouring k of a panel.
struct Pair {
    first: mat2x4<f32>,
    second: mat2x4<f32>,
}

// `at` counts pairs.
fn weight_pair(at: u32) -> Pair {
    if (HALF == 1u) {
        let first = weight[at * STEP];
        if (BITS == 64u) {
            let low = vec4<u32>(first);
            let high = vec4<u32>(first >> vec4<u32>(BITS / 2u));
            return Pair(
                mat2x4<f32>(four_halves(vec2<u32>(low.x, high.x)), four_halves(vec2<u32>(low.y, high.y))),
                mat2x4<f32>(four_halves(vec2<u32>(low.z, high.z)), four_halves(vec2<u32>(low.w, high.w))),
            );
        }
        let words = vec4<u32>(first);
        let more = vec4<u32>(weight[at * STEP + LAST]);
        return Pair(
            mat2x4<f32>(four_halves(words.xy), four_halves(words.zw)),
            mat2x4<f32>(four_halves(more.xy), four_halves(more.zw)),
        );
    }
    let k = 2u * at * STEP;
    return Pair(eight(weight[k], weight[k + LAST]), eight(weight[k + STEP], weight[k + STEP + LAST]));
}

// Adds the products of four pairs of k, from pair `first` of the thirty-two numbers that the subgroup holds.
fn add_pairs(sum: ptr<function, mat2x4<f32>>, panel_at: u32, numbers: vec4<f32>, first: u32) {
    for (var i = first; i < first + 4u; i++) {
        let x = subgroupShuffle(numbers[i % 2u * 2u], i / 2u);
        let y = subgroupShuffle(numbers[i % 2u * 2u + 1u], i / 2u);
        let pair = weight_pair(panel_at + i);
        *sum += pair.first * x + pair.second * y;
    }
}

// The same of all sixteen pairs. A loop of them would be longer than Mesa unrolls, and then no lane is known when the kernel
// is compiled.
fn add_sixteen_pairs(sum: ptr<function, mat2x4<f32>>, panel_at: u32, numbers: vec4<f32>) {
    add_pairs(sum, panel_at, numbers, 0u);
    add_pairs(sum, panel_at, numbers, 4u);
    add_pairs(sum, panel_at, numbers, 8u);
    add_pairs(sum, panel_at, numbers, 12u);
}

// The products with a panel. All invocations of the subgroup come here together, one that has no panel of its own with that
// of another.
fn row_product(lane: u32, panel: u32) -> mat2x4<f32> {
    var sum: mat2x4<f32>;
    var squares = vec4<f32>();
    var left = lane;
    let start = panel * (params.depth / 2u);
    let end = start + params.depth / 2u;
    for (var at = start; at < end; at += 16u) {
        let own = row_vector(left);
        let weighed = own * norm[left];
        squares += own * own;
        left += 8u;
        add_sixteen_pairs(&sum, at, weighed);
    }
    let part = (squares.x + squares.y) + (squares.z + squares.w);
    var total = 0.0;
    for (var i = 0u; i < 8u; i++) {
        total += subgroupShuffle(part, i);
    }
    return sum * inverseSqrt(total / f32(params.depth) + params.epsilon);
}
