//! A workgroup, its memory and its bindings stay within `wgpu::Limits::default()`, so that every adapter takes them.

use super::Subject;
use crate::{
    check::declaration,
    diagnostic::Diagnostic,
    reflect::{self, workgroup_memory},
};

/// Invocations of a workgroup.
const THREADS: u32 = 256;
/// Invocations of a workgroup along z.
const DEPTH: u32 = 64;
/// Bytes of workgroup memory.
const MEMORY: u32 = 16 * 1024;
/// Storage buffers of a stage.
const BUFFERS: usize = 8;

pub(super) fn lint(subject: &Subject<'_>, found: &mut Vec<Diagnostic>) {
    let file = &subject.joined.file;
    let [x, y, z] = subject.checked.resolved.entry_points[0].workgroup_size;
    let threads = x.saturating_mul(y).saturating_mul(z);
    if threads > THREADS || z > DEPTH {
        found.push(
            Diagnostic::new(format!(
                "a workgroup of {x} x {y} x {z} is {threads} invocations; the most is {THREADS}"
            ))
            .at(declaration(file, "@workgroup_size", "")),
        );
    }
    if let Some(said) =
        subject.joined.values.iter().find(|(key, _)| key == "THREADS").and_then(|(_, value)| {
            let said = crate::join::integer(value.as_deref()?)?;
            (said != threads).then_some(said)
        })
    {
        found.push(
            Diagnostic::new(format!(
                "THREADS is {said}, but a workgroup of {x} x {y} x {z} is {threads} invocations"
            ))
            .at(declaration(file, "@workgroup_size", ""))
            .note("THREADS means all invocations of a workgroup; call one side of it by another name"),
        );
    }
    let memory = workgroup_memory(subject.checked);
    if memory > MEMORY {
        found.push(
            Diagnostic::new(format!("{memory} bytes of workgroup memory; the most is {MEMORY}"))
                .at(declaration(file, "var<workgroup>", "")),
        );
    }
    let buffers = reflect::buffers(&subject.checked.module).len();
    if buffers > BUFFERS {
        found.push(Diagnostic::new(format!("{buffers} storage buffers; the most is {BUFFERS}")).or_in(file));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{messages_with, none, only};

    fn shader(before: &str, size: &str, buffers: usize) -> String {
        let declared: String = (1..=buffers)
            .map(|at| format!("@group(0) @binding({at}) var<storage, read_write> b{at}: array<f32>;\n"))
            .collect();
        let written: String = (1..=buffers).map(|at| format!("b{at}[i] = 1.0;\n")).collect();
        format!(
            "override THREADS: u32 = 64u;
override SIDE: u32 = 8u;
struct Params {{ count: u32 }}
@group(0) @binding(0) var<uniform> params: Params;
{declared}
var<workgroup> tile: array<f32, {before}>;
@compute @workgroup_size({size})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {{
    let i = flat_workgroup(group, groups) + THREADS + SIDE;
    tile[0] = 1.0;
    if (i < params.count) {{ {written} }}
}}
"
        )
    }

    #[test]
    fn threads() {
        none(&messages_with("THREADS=256", &shader("1", "THREADS", 1)));
        only(
            &messages_with("THREADS=257", &shader("1", "THREADS", 1)),
            "is 257 invocations; the most is 256",
        );
        none(&messages_with("SIDE=16", &shader("1", "SIDE, SIDE", 1)));
        only(&messages_with("SIDE=17", &shader("1", "SIDE, SIDE", 1)), "is 289 invocations");
        only(&messages_with("SIDE=65", &shader("1", "1, 1, SIDE", 1)), "1 x 1 x 65");
    }

    #[test]
    fn threads_means_all_of_them() {
        only(&messages_with("THREADS=16", &shader("1", "THREADS, THREADS", 1)), "THREADS is 16, but");
        none(&messages_with("THREADS=64", &shader("1", "SIDE, SIDE", 1)));
    }

    #[test]
    fn workgroup_memory() {
        none(&messages_with("", &shader("4096", "1", 1)));
        only(
            &messages_with("", &shader("4097", "1", 1)),
            "16400 bytes of workgroup memory; the most is 16384",
        );
        // The row's own value counts, through an expression too.
        none(&messages_with("SIDE=64", &shader("SIDE * 64", "1", 1)));
        only(&messages_with("SIDE=65", &shader("SIDE * 64", "1", 1)), "16640 bytes of workgroup memory");
        only(&messages_with("SIDE=5000", &shader("SIDE", "1", 1)), "20000 bytes of workgroup memory");
    }

    #[test]
    fn buffers() {
        none(&messages_with("", &shader("1", "1", 8)));
        only(&messages_with("", &shader("1", "1", 9)), "9 storage buffers; the most is 8");
    }
}
