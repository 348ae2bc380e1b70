use crate::testing::{messages, none, only};

const FAULT: &str = "a write to a storage buffer that no comparison with a bound guards";

#[track_caller]
fn rejects(body: &str) {
    only(&messages("", body), FAULT);
}

#[track_caller]
fn accepts(body: &str) {
    none(&messages("", body));
}

#[test]
fn no_guard() {
    rejects("output[index] = 1.0;");
    rejects("if (thread == 0u) { output[index] = 1.0; }");
    rejects("{ output[index] += 1.0; }");
}

#[test]
fn enclosing_branch() {
    accepts("if (index < params.count) { output[index] = 1.0; }");
    accepts("if (params.count > index) { output[index] = 1.0; }");
    accepts("if (index >= params.count) { } else { output[index] = 1.0; }");
    accepts("if (!(index >= params.count)) { output[index] = 1.0; }");
    accepts("if (index <= arrayLength(&output)) { output[index] = 1.0; }");
    accepts("if (index < offsets[group.x + 1u]) { output[index] = 1.0; }");
}

#[test]
fn wrong_way_round() {
    rejects("if (index >= params.count) { output[index] = 1.0; }");
    rejects("if (params.count > index) { } else { output[index] = 1.0; }");
    rejects("if (index < params.count) { return; } output[index] = 1.0;");
}

#[test]
fn earlier_exit() {
    accepts("if (index >= params.count) { return; } output[index] = 1.0;");
    accepts("{ if (index >= params.count) { return; } } output[index] = 1.0;");
    accepts("loop { if (index >= params.count) { break; } output[index] = 1.0; break; }");
    accepts("if (index < params.count) { output[index] = 1.0; } else { return; } output[index] = 2.0;");
    // What left the loop did not leave the function.
    rejects("loop { if (index >= params.count) { break; } break; } output[index] = 1.0;");
    rejects("if (index >= params.count) { tile[0] = 1.0; } output[index] = 1.0;");
}

#[test]
fn loops() {
    accepts("for (var k = index; k < params.count; k += 64u) { output[k] = 1.0; }");
    accepts("var k = index; while (k < params.count) { output[k] = 1.0; k += 64u; }");
    // A tile's own extent is no bound.
    rejects("for (var k = 0u; k < 8u; k++) { output[index + k] = 1.0; }");
    accepts("for (var k = 0u; k < 8u; k++) { if (index + k < params.count) { output[index + k] = 1.0; } }");
    // Nor is a loop that every invocation runs alike, though its end is known at run time only.
    rejects("for (var k = 0u; k < params.depth; k++) { output[index * params.depth + k] = 1.0; }");
    accepts("for (var k = thread; k < min(64u, params.depth); k += 8u) { output[k] = 1.0; }");
    accepts("for (var k = offsets[index]; k < offsets[index + 1u]; k++) { output[k] = 1.0; }");
}

#[test]
fn several_conditions() {
    accepts("if (thread == 0u && index < params.count) { output[index] = 1.0; }");
    accepts("if (index < params.count && thread == 0u && group.x == 1u) { output[index] = 1.0; }");
    accepts("if (index >= params.count || thread > 3u) { return; } output[index] = 1.0;");
    rejects("if (thread == 0u || index < params.count) { output[index] = 1.0; }");
    rejects("if (index >= params.count && thread == 0u) { return; } output[index] = 1.0;");
    accepts("let inside = index < params.count; if (inside) { output[index] = 1.0; }");
    accepts("var inside = false; inside = index < params.count; if (inside) { output[index] = 1.0; }");
    accepts(
        "if (all(vec2<u32>(index, thread) < vec2<u32>(params.count, params.depth))) { output[index] = 1.0; }",
    );
    accepts("let cols = select(0u, params.count, index < 8u); if (thread < cols) { output[thread] = 1.0; }");
}

#[test]
fn helpers() {
    let put = "fn put(at: u32) { output[at] = 1.0; }";
    none(&messages(put, "if (index < params.count) { put(index); }"));
    only(&messages(put, "put(index);"), FAULT);
    only(&messages(put, "if (index < params.count) { put(index); } put(index);"), FAULT);
    let put_within = "fn put(at: u32, end: u32) { if (at < end) { output[at] = 1.0; } }";
    none(&messages(put_within, "put(index, params.count);"));
    only(&messages(put_within, "put(index, 64u);"), FAULT);
    let inside = "fn inside(at: u32) -> bool { return at < params.count; }";
    none(&messages(inside, "if (inside(index)) { output[index] = 1.0; }"));
    let odd = "fn odd(at: u32) -> bool { return (at & 1u) == 1u; }";
    only(&messages(odd, "if (odd(index)) { output[index] = 1.0; }"), FAULT);
}

#[test]
fn other_memory_needs_no_guard() {
    accepts("tile[thread] = 1.0; var x = 1.0; x = 2.0;");
}
