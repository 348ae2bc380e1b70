//! token_spans
//!
//! Which rows a token of an attention sees: those from its span's start to before its end.

// The span that holds both; an empty one adds nothing.
fn unite(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let both = vec2<u32>(min(a.x, b.x), max(a.y, b.y));
    return select(select(both, a, b.x >= b.y), b, a.x >= a.y);
}

fn sees(span: vec2<u32>, row: u32) -> bool {
    return row >= span.x && row < span.y;
}
