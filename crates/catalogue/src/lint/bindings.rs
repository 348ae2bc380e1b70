//! `params: Params` at binding 0, storage buffers dense from binding 1, and none that nothing uses: the host binds by
//! position, and a binding that naga drops would be missing from the pipeline's layout.

use naga::{AddressSpace, GlobalVariable, Handle};

use super::Subject;
use crate::{check::declaration, diagnostic::Diagnostic, reflect};

pub(super) fn lint(subject: &Subject<'_>, found: &mut Vec<Diagnostic>) {
    let module = &subject.checked.module;
    let mut report = |handle: Handle<GlobalVariable>, message: String| {
        let mark = subject.joined.mark(module.global_variables.get_span(handle), "");
        found.push(Diagnostic::new(message).at(mark).or_in(&subject.joined.file));
    };
    let main = subject.checked.info.get_entry_point(0);
    let mut has_params = false;
    for (handle, global) in module.global_variables.iter() {
        let name = global.name.as_deref().unwrap_or_default();
        if main[handle].is_empty() {
            report(handle, format!("nothing uses `{name}`"));
        }
        let Some(binding) = &global.binding else { continue };
        if binding.group != 0 {
            report(handle, format!("`{name}` is in group {}; a kernel has group 0 only", binding.group));
        }
        match global.space {
            AddressSpace::Uniform => {
                let ty = module.types[global.ty].name.as_deref();
                if name == "params" && ty == Some("Params") && binding.binding == 0 {
                    has_params = true;
                } else {
                    let at = binding.binding;
                    report(
                        handle,
                        format!(
                            "uniform `{name}` at binding {at}; the one uniform is `params: Params` at binding 0"
                        ),
                    );
                    has_params |= binding.binding == 0;
                }
            }
            AddressSpace::Storage { .. } => {}
            _ => report(handle, format!("`{name}` is neither a uniform nor a storage buffer")),
        }
    }
    let buffers = reflect::buffers(module);
    // The first that is out of place says it all.
    let misplaced = buffers.iter().enumerate().find(|(position, (at, ..))| *at as usize != position + 1);
    if let Some((position, (at, handle, binding))) = misplaced {
        let expected = position + 1;
        report(
            *handle,
            format!("`{}` is at binding {at}, expected {expected}: buffers are dense from 1", binding.name),
        );
    }
    if !has_params {
        found.push(Diagnostic::new("no uniform `params: Params` at binding 0").at(declaration(
            &subject.joined.file,
            "fn main",
            "it needs at least the count of its elements",
        )));
    }
    if !buffers.iter().any(|(.., binding)| binding.writes) {
        found.push(
            Diagnostic::new("no storage buffer is `read_write`: the kernel has no result").at(declaration(
                &subject.joined.file,
                "fn main",
                "",
            )),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{messages_with, none, only};

    const PARAMS: &str = "@group(0) @binding(0) var<uniform> params: Params;";
    const INPUT: &str = "@group(0) @binding(1) var<storage, read> input: array<f32>;";
    const OUTPUT: &str = "@group(0) @binding(2) var<storage, read_write> output: array<f32>;";

    fn probe(declarations: &[&str], body: &str) -> Vec<String> {
        messages_with(
            "",
            &format!(
                "struct Params {{ count: u32 }}
{}
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {{
    let index = flat_workgroup(group, groups);
    {body}
}}
",
                declarations.join("\n")
            ),
        )
    }

    const BODY: &str = "if (index < params.count) { output[index] = input[index]; }";

    #[test]
    fn dense() {
        none(&probe(&[PARAMS, INPUT, OUTPUT], BODY));
        none(&probe(&[OUTPUT, INPUT, PARAMS], BODY));
        let far = OUTPUT.replace("binding(2)", "binding(3)");
        only(&probe(&[PARAMS, INPUT, &far], BODY), "`output` is at binding 3, expected 2");
        let none_first = INPUT.replace("binding(1)", "binding(4)");
        only(&probe(&[PARAMS, &none_first, OUTPUT], BODY), "`output` is at binding 2, expected 1");
        let group = OUTPUT.replace("group(0)", "group(1)");
        only(&probe(&[PARAMS, INPUT, &group], BODY), "`output` is in group 1");
    }

    #[test]
    fn params_first() {
        let elsewhere = PARAMS.replace("binding(0)", "binding(3)");
        let messages = probe(&[&elsewhere, INPUT, OUTPUT], BODY);
        assert!(
            messages.iter().any(|message| message.contains("uniform `params` at binding 3")),
            "{messages:?}"
        );
        let other = PARAMS.replace("params:", "uniforms:");
        only(
            &probe(&[&other, INPUT, OUTPUT], &BODY.replace("params", "uniforms")),
            "uniform `uniforms` at binding 0",
        );
        let body = "if (index < arrayLength(&input)) { output[index] = input[index]; }";
        only(&probe(&[INPUT, OUTPUT], body), "no uniform `params: Params`");
    }

    #[test]
    fn unused() {
        only(&probe(&[PARAMS, INPUT, OUTPUT], &BODY.replace("input[index]", "1.0")), "nothing uses `input`");
        let memory = "var<workgroup> tile: array<f32, 4>;";
        only(&probe(&[PARAMS, INPUT, OUTPUT, memory], BODY), "nothing uses `tile`");
    }

    #[test]
    fn no_result() {
        let read_only = OUTPUT.replace("read_write", "read");
        let body = "var x = 0.0; if (index < params.count) { x = output[index] + input[index]; }";
        only(&probe(&[PARAMS, INPUT, &read_only], body), "no storage buffer is `read_write`");
    }
}
