//! The fields of `Params` are u32, i32, f32 or a vec4 of these: what Rust lays out as WGSL does.

use naga::TypeInner;

use super::Subject;
use crate::{diagnostic::Diagnostic, reflect};

pub(super) fn lint(subject: &Subject<'_>, found: &mut Vec<Diagnostic>) {
    let module = &subject.checked.module;
    for (handle, ty) in module.types.iter() {
        let (Some("Params"), TypeInner::Struct { members, .. }) = (ty.name.as_deref(), &ty.inner) else {
            continue;
        };
        for member in members.iter().filter(|member| reflect::scalar(module, member.ty).is_none()) {
            let name = member.name.as_deref().unwrap_or_default();
            found.push(
                Diagnostic::new(format!("`Params.{name}` is not a u32, i32, f32 or a vec4 of these"))
                    .at(subject.joined.mark(module.types.get_span(handle), ""))
                    .or_in(&subject.joined.file),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{messages_with, none, only};

    fn probe(field: &str) -> Vec<String> {
        messages_with(
            "",
            &format!(
                "struct Params {{ count: u32, {field} }}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {{
    let index = flat_workgroup(group, groups);
    if (index < params.count) {{ output[index] = 1.0; }}
}}
"
            ),
        )
    }

    #[test]
    fn types() {
        for sound in ["a: f32", "a: i32, b: u32", "a: vec4<u32>", "a: vec4<f32>, b: vec4<i32>, c: f32"] {
            none(&probe(sound));
        }
        for wrong in ["a: vec3<f32>", "a: vec2<u32>", "a: mat4x4<f32>", "a: array<vec4<f32>, 4>"] {
            only(&probe(wrong), "`Params.a` is not a u32, i32, f32 or a vec4 of these");
        }
    }
}
