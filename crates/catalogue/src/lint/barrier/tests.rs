use crate::testing::{messages, none, only};

const FAULT: &str = "a barrier is under control flow that depends on the thread";

#[track_caller]
fn rejects(body: &str) {
    only(&messages("", body), FAULT);
}

#[track_caller]
fn accepts(body: &str) {
    none(&messages("", body));
}

#[test]
fn branch_on_the_thread() {
    rejects("if (thread < 32u) { workgroupBarrier(); }");
    rejects("if (thread < 32u) { } else { workgroupBarrier(); }");
    rejects("if (thread < 32u) { if (params.depth > 0u) { storageBarrier(); } }");
    rejects("if (params.depth > 0u && thread > 3u) { workgroupBarrier(); }");
    rejects("switch (thread % 2u) { case 0u: { workgroupBarrier(); } default: { } }");
}

#[test]
fn branch_on_what_all_share() {
    accepts("if (params.depth > 0u) { workgroupBarrier(); }");
    accepts("if (group.x < params.depth && groups.x > 2u) { workgroupBarrier(); }");
    accepts("switch (params.depth) { case 0u: { workgroupBarrier(); } default: { } }");
    accepts("if (arrayLength(&input) > 7u) { workgroupBarrier(); }");
}

#[test]
fn flow_joins_after_a_branch() {
    accepts("var x = 0.0; if (thread < 32u) { x = 1.0; tile[thread] = x; } workgroupBarrier();");
    accepts("switch (thread) { case 0u: { break; } default: { } } workgroupBarrier();");
    accepts("for (var k = thread; k < params.count; k += 64u) { tile[thread] += 1.0; } workgroupBarrier();");
    accepts("loop { if (thread > 3u) { break; } break; } workgroupBarrier();");
}

#[test]
fn early_return() {
    rejects("if (index >= params.count) { return; } workgroupBarrier();");
    rejects("for (var k = 0u; k < 4u; k++) { if (k == thread) { return; } } workgroupBarrier();");
    accepts("if (flat_workgroup(group, groups) >= params.count) { return; } workgroupBarrier();");
}

#[test]
fn ordinary_loops() {
    accepts("for (var k = 0u; k < params.depth; k += 8u) { tile[thread] = 0.0; workgroupBarrier(); }");
    accepts("var k = 0u; while (k < params.depth) { k += 2u; workgroupBarrier(); }");
    accepts(
        "for (var half = 32u; half > 0u; half = half / 2u) {
        if (thread < half) { tile[thread] += tile[thread + half]; }
        workgroupBarrier();
    }",
    );
    accepts("var k = 0u; loop { workgroupBarrier(); continuing { k++; break if k >= params.depth; } }");
}

#[test]
fn loops_that_the_thread_decides() {
    rejects("for (var k = thread; k < params.count; k += 64u) { workgroupBarrier(); }");
    rejects("for (var k = 0u; k < index; k++) { workgroupBarrier(); }");
    rejects("var k = 0u; loop { workgroupBarrier(); continuing { k++; break if k >= thread; } }");
    // The barrier comes first, but in the second round some are gone.
    rejects("for (var k = 0u; k < 4u; k++) { workgroupBarrier(); if (thread == k) { break; } }");
    rejects("for (var k = 0u; k < 4u; k++) { if (thread == k) { continue; } workgroupBarrier(); }");
}

#[test]
fn values_in_memory() {
    rejects("if (tile[0] > 0.0) { workgroupBarrier(); }");
    rejects("if (output[0] > 0.0) { workgroupBarrier(); }");
    rejects("if (offsets[thread] > 0u) { workgroupBarrier(); }");
    accepts("if (offsets[group.x] > 0u) { workgroupBarrier(); }");
    accepts("let first = workgroupUniformLoad(&tile[0]); if (first > 0.0) { workgroupBarrier(); }");
}

#[test]
fn values_in_variables() {
    rejects("var n = 0u; if (thread < 3u) { n = 1u; } if (n == 1u) { workgroupBarrier(); }");
    rejects("var n = 0u; n = select(1u, 2u, thread < 3u); if (n == 1u) { workgroupBarrier(); }");
    rejects("var a = array<u32, 4>(); a[thread % 4u] = 1u; if (a[0] == 1u) { workgroupBarrier(); }");
    // Each round depends on the one before, in the order of the text only at last.
    rejects(
        "var a = 0u; var b = 0u; var c = 0u;
        for (var k = 0u; k < 4u; k++) { if (c == 1u) { workgroupBarrier(); } c = b; b = a; a = thread; }",
    );
    accepts("var n = 0u; if (params.depth > 3u) { n = 1u; } if (n == 1u) { workgroupBarrier(); }");
}

#[test]
fn uniform_load_is_a_barrier() {
    only(
        &messages("", "if (thread < 3u) { tile[thread] = workgroupUniformLoad(&tile[0]); }"),
        "workgroupUniformLoad is under control flow",
    );
}

#[test]
fn helpers_with_barriers() {
    let meet = "fn inner() { workgroupBarrier(); } fn meet() { inner(); }";
    only(&messages(meet, "if (thread < 3u) { meet(); }"), "a call of `meet`, which has a barrier,");
    none(&messages(meet, "for (var k = 0u; k < params.depth; k++) { meet(); }"));
    let rounds = "fn rounds(n: u32) { for (var k = 0u; k < n; k++) { workgroupBarrier(); } }";
    only(&messages(rounds, "rounds(thread);"), FAULT);
    // One call is enough.
    only(&messages(rounds, "rounds(params.depth); rounds(thread);"), FAULT);
    none(&messages(rounds, "rounds(params.depth);"));
}

#[test]
fn results_of_helpers() {
    let twice = "fn twice(n: u32) -> u32 { return n * 2u; }";
    only(&messages(twice, "if (twice(thread) > 3u) { workgroupBarrier(); }"), FAULT);
    none(&messages(twice, "if (twice(group.x) > 3u) { workgroupBarrier(); }"));
    let own = "fn own() -> f32 { return tile[0]; }";
    only(&messages(own, "if (own() > 3.0) { workgroupBarrier(); }"), FAULT);
    let either = "fn either(n: u32) -> u32 { if (n > 3u) { return 1u; } return 2u; }";
    only(&messages(either, "if (either(thread) == 1u) { workgroupBarrier(); }"), FAULT);
    none(&messages(either, "if (either(group.x) == 1u) { workgroupBarrier(); }"));
    let out = "fn out(to: ptr<function, u32>, n: u32) { *to = n; }";
    only(&messages(out, "var n = 0u; out(&n, thread); if (n == 1u) { workgroupBarrier(); }"), FAULT);
    none(&messages(out, "var n = 0u; out(&n, group.x); if (n == 1u) { workgroupBarrier(); }"));
}
