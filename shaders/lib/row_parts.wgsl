//! row_parts
//!
//! A row that comes with ADDENDS parts, which lib/back_product makes: the sum of all is the row that is wanted. To add them
//! up in every workgroup takes less than to start a kernel that does it once. Workgroups are of eight.
//!
//! The kernel declares override ADDENDS; binds row as array<vec4<f32>>, parts as array<vec4<WORD>>, [ADDENDS][depth], and
//! output as array<vec4<f32>>; has depth among its params; and uses eight. 8 divides the depth; with parts it is at most
//! 1024.

var<workgroup> tile_row: array<vec4<f32>, 256>;

// Adds the parts up, where there are any; then row_vector gives the sum. The first workgroup also puts it into the output,
// from vector `to` on.
fn add_parts(thread: u32, group: u32, to: u32) {
    if (ADDENDS > 0u) {
        let eights = params.depth / 8u;
        for (var i = thread; i < eights; i += 8u) {
            var sum = mat2x4<f32>(row[2u * i], row[2u * i + 1u]);
            for (var part = 0u; part < ADDENDS; part++) {
                let at = (part * eights + i) * STEP;
                sum += eight(parts[at], parts[at + LAST]);
            }
            tile_row[2u * i] = sum[0];
            tile_row[2u * i + 1u] = sum[1];
            if (group == 0u && i < params.depth / 8u) {
                output[to + 2u * i] = sum[0];
                output[to + 2u * i + 1u] = sum[1];
            }
        }
        workgroupBarrier();
    }
}

fn row_vector(i: u32) -> vec4<f32> {
    if (ADDENDS > 0u) {
        return tile_row[i];
    }
    return row[i];
}
