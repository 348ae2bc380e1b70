//! channel_sum_eights
//!
//! output[i][s][0][c] = sum over the images n of group i and the elements e of segment s of a(n, c, e)
//! output[i][s][1][c] = the same sum of b(n, c, e), where KIND has one
//!
//! KIND 0: a = first
//! KIND 1: a = first * second
//! KIND 2: a = first, b = first * z,  z = (second - mean[c]) / sqrt(variance[c] + epsilon)
//! KIND 3: the same with 0 in place of each first whose z * weight[c] + bias[c] is not above 0, as a relu's gradient is
//!
//! channel_sum for software adapters, by eights, which may begin in the plane before and end in the one behind. Tensors
//! are [images][channels][inner], where `inner` and `length` count fours, and 8 divides all elements; mean and
//! variance are the rows of moments[2][channels], and the parts those of channel_sum. One invocation makes a part of one
//! channel, a workgroup THREADS neighbours. An invocation adds two eights before it goes on, since a loop's variables
//! are written under the mask of its lanes, and BLOCK eights before they join the rest: rounding errors grow with the
//! length of a chain of additions.
//!
//! uses: channel_part, eight, grid
//! variants:
//!   wide    WORD=u64 BITS=64
//!   plain   WORD=u32 BITS=32

alias WORD = u64;
const BITS: u32 = 64u;
const THREADS: u32 = 8u;
const BLOCK: u32 = 64u;
override KIND: u32 = 0u;

struct Params {
    count: u32,
    start: u32,
    images: u32,
    channels: u32,
    inner: u32,
    part_images: u32,
    segments: u32,
    length: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> first: array<vec4<WORD>>;
@group(0) @binding(2) var<storage, read> second: array<vec4<WORD>>;
@group(0) @binding(3) var<storage, read> moments: array<f32>;
@group(0) @binding(4) var<storage, read> weight: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> output: array<f32>;

struct Terms {
    a: vec4<f32>,
    b: vec4<f32>,
}

// What four numbers bring, if they are in the part.
fn terms(a: vec4<f32>, x: vec4<f32>, by: vec3<f32>, inside: bool) -> Terms {
    let zero = vec4<f32>();
    if (KIND == 0u) {
        return Terms(select(zero, a, inside), zero);
    }
    if (KIND == 1u) {
        return Terms(select(zero, a * x, inside), zero);
    }
    let d = x - by.x;
    var g = a;
    if (KIND == 3u) {
        g = select(g, zero, d * by.y + by.z <= zero);
    }
    return Terms(select(zero, g, inside), select(zero, g * d, inside));
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = flat_workgroup(group, groups) * THREADS + thread;
    if (index >= params.count) {
        return;
    }
    let part = channel_part(index);
    let c = part.channel;
    var by = vec3<f32>();
    var scale = 1.0;
    if (KIND >= 2u) {
        scale = inverseSqrt(moments[params.channels + c] + params.epsilon);
        by.x = moments[c];
    }
    if (KIND == 3u) {
        by.y = scale * weight[c];
        by.z = bias[c];
    }
    var sum = vec4<f32>();
    var products = vec4<f32>();
    for (var n = part.image; n < part.last_image; n++) {
        let base = (n * params.channels + c) * params.inner;
        let stop = (base + part.end + 1u) / 2u;
        for (var block = (base + part.begin) / 2u; block < stop; block += BLOCK) {
            let block_end = min(block + BLOCK, stop);
            var block_sum = vec4<f32>();
            var block_products = vec4<f32>();
            for (var i = block; i < block_end; i += 2u) {
                let more = i + 1u < block_end;
                let j = select(i, i + 1u, more);
                let a = eight(first[i * STEP], first[i * STEP + LAST]);
                let b = eight(first[j * STEP], first[j * STEP + LAST]);
                var x = mat2x4<f32>();
                var y = mat2x4<f32>();
                if (KIND > 0u) {
                    x = eight(second[i * STEP], second[i * STEP + LAST]);
                    y = eight(second[j * STEP], second[j * STEP + LAST]);
                }
                let a0 = terms(a[0], x[0], by, 2u * i >= base + part.begin);
                let a1 = terms(a[1], x[1], by, 2u * i + 1u < base + part.end);
                let b0 = terms(b[0], y[0], by, more);
                let b1 = terms(b[1], y[1], by, more && 2u * j + 1u < base + part.end);
                block_sum += (a0.a + a1.a) + (b0.a + b1.a);
                if (KIND >= 2u) {
                    block_products += (a0.b + a1.b) + (b0.b + b1.b);
                }
            }
            sum += block_sum;
            products += block_products;
        }
    }
    let rows = select(1u, 2u, KIND >= 2u);
    let place = (params.start + part.number) * rows * params.channels + c;
    if (index < params.count) {
        output[place] = (sum.x + sum.y) + (sum.z + sum.w);
        if (KIND >= 2u) {
            output[place + params.channels] = ((products.x + products.y) + (products.z + products.w)) * scale;
        }
    }
}
