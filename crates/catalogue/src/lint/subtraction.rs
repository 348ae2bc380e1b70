//! No subtraction of u32 outside `lib/window.wgsl`: below 0 it wraps to four billion, and bounds checks hide that.

use naga::{BinaryOperator, Expression, ScalarKind};

use super::Subject;
use crate::diagnostic::Diagnostic;

/// The library that holds the rules for coordinates, where the order of operands is looked at with care.
const EXEMPT: &str = "lib/window.wgsl";

pub(super) fn lint(subject: &Subject<'_>, found: &mut Vec<Diagnostic>) {
    // Of the resolved module, since what overrides and constants make a constant has been computed there, checked.
    let (module, info) = (&subject.checked.resolved, &subject.checked.resolved_info);
    let functions = module.functions.iter().map(|(handle, function)| (function, &info[handle]));
    let main = (&module.entry_points[0].function, info.get_entry_point(0));
    for (function, info) in functions.chain([main]) {
        for (handle, expression) in function.expressions.iter() {
            let Expression::Binary { op: BinaryOperator::Subtract, left, .. } = expression else { continue };
            if info[*left].ty.inner_with(&module.types).scalar_kind() != Some(ScalarKind::Uint) {
                continue;
            }
            let span = function.expressions.get_span(handle);
            let origin = span.to_range().and_then(|range| subject.joined.origin(range.start));
            if origin.is_some_and(|(file, _)| file.path.replace('\\', "/").ends_with(EXEMPT)) {
                continue;
            }
            found.push(
                Diagnostic::new("subtraction of u32, which wraps below 0")
                    .at(subject.joined.mark(span, "compare sums instead, or compute in i32"))
                    .or_in(&subject.joined.file),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{compile_files, messages, none, only};

    const FAULT: &str = "subtraction of u32, which wraps below 0";

    #[test]
    fn of_coordinates() {
        only(&messages("", "tile[thread - params.depth] = 1.0;"), FAULT);
        only(&messages("", "var k = params.depth; k -= 1u; tile[k] = 1.0;"), FAULT);
        only(&messages("", "var k = params.depth; k--; tile[k] = 1.0;"), FAULT);
        only(&messages("", "tile[(vec2<u32>(thread) - vec2<u32>(params.depth, 1u)).x] = 1.0;"), FAULT);
    }

    #[test]
    fn of_other_types_and_of_constants() {
        none(&messages("", "tile[u32(max(i32(thread) - i32(params.depth), 0))] = 1.0 - tile[0];"));
        none(&messages("const LAST: u32 = 64u - 1u;", "tile[min(thread, LAST - 1u)] = 1.0;"));
        // An override is a constant by the time that a pipeline is made.
        none(&messages("", "tile[min(thread, THREADS - 1u)] = 1.0;"));
    }

    #[test]
    fn within_the_library_for_windows() {
        let shader = |lib: &str| {
            format!(
                "//! probe\n//!\n//! A test.\n//!\n//! uses: {lib}\n//! variants:\n//!   base\n
struct Params {{ count: u32 }}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>) {{
    if (group.x < params.count) {{ output[group.x] = back(group.x); }}
}}
"
            )
        };
        let lib = |name: &str| {
            format!("//! {name}\n//!\n//! A test.\n\nfn back(x: u32) -> u32 {{ return x - 1u; }}\n")
        };
        none(&compile_files(&[("lib/window.wgsl", &lib("window")), ("probe.wgsl", &shader("window"))]));
        only(&compile_files(&[("lib/other.wgsl", &lib("other")), ("probe.wgsl", &shader("other"))]), FAULT);
    }
}
