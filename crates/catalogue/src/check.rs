//! One variant row through naga: parsed, validated, its overrides applied.

use std::{error::Error, rc::Rc};

use naga::{
    Module, ScalarKind, ShaderStage,
    back::PipelineConstants,
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

use crate::{
    diagnostic::{Diagnostic, Mark, SourceFile},
    header::Header,
    join::Joined,
};

/// A valid module, before and after the row's overrides were applied.
#[derive(Debug)]
pub(crate) struct Checked {
    /// As written: overrides open.
    pub(crate) module: Module,
    pub(crate) info: ModuleInfo,
    /// As a pipeline has it: overrides replaced by the row's values and the shader's defaults.
    pub(crate) resolved: Module,
    pub(crate) resolved_info: ModuleInfo,
}

/// Parses and validates `joined`, with no capability beyond those that `header` names.
pub(crate) fn check(joined: &Joined, header: &Header) -> Result<Checked, Diagnostic> {
    let module = naga::front::wgsl::parse_str(&joined.text).map_err(|error| {
        let labels: Vec<_> = error.labels().collect();
        let mut diagnostic = Diagnostic::new(error.message());
        for (span, note) in labels {
            diagnostic = diagnostic.at(joined.mark(span, note));
        }
        error.notes().fold(diagnostic, |diagnostic, note| diagnostic.note(note)).or_in(&joined.file)
    })?;
    let [entry] = module.entry_points.as_slice() else {
        return Err(Diagnostic::new(format!(
            "{} entry points; expected one, `main`",
            module.entry_points.len()
        ))
        .or_in(&joined.file));
    };
    if entry.name != "main" || entry.stage != ShaderStage::Compute {
        return Err(Diagnostic::new(format!(
            "the entry point is `{}` ({:?}); expected a compute shader named `main`",
            entry.name, entry.stage
        ))
        .or_in(&joined.file));
    }
    let info = Validator::new(ValidationFlags::all(), capabilities(header))
        .validate(&module)
        .map_err(|error| invalid(joined, &error))?;
    whole(joined, &module)?;
    let constants: PipelineConstants = joined.constants.iter().cloned().collect();
    let (resolved, resolved_info) = naga::back::pipeline_constants::process_overrides(
        &module,
        &info,
        Some((ShaderStage::Compute, "main")),
        &constants,
    )
    .map_err(|error| match error {
        naga::back::pipeline_constants::PipelineConstantError::ValidationError(error) => {
            invalid(joined, &error)
        }
        error => with_sources(Diagnostic::new(error.to_string()), &error).or_in(&joined.file),
    })?;
    let (resolved, resolved_info) = (resolved.into_owned(), resolved_info.into_owned());
    Ok(Checked { module, info, resolved, resolved_info })
}

/// Refuses a fraction for an override that is an integer: naga would cut it off.
fn whole(joined: &Joined, module: &Module) -> Result<(), Diagnostic> {
    for (key, value) in joined.constants.iter().filter(|(_, value)| value.fract() != 0.0) {
        let over = module.overrides.iter().find(|(_, over)| over.name.as_deref() == Some(key));
        let Some((handle, over)) = over else { continue };
        if matches!(module.types[over.ty].inner.scalar_kind(), Some(ScalarKind::Uint | ScalarKind::Sint)) {
            return Err(Diagnostic::new(format!("`{key}={value}`: the override is an integer"))
                .at(joined.mark(module.overrides.get_span(handle), ""))
                .or_in(&joined.file));
        }
    }
    Ok(())
}

/// What naga may accept: the core of WGSL, and what the header enables.
fn capabilities(header: &Header) -> Capabilities {
    // `unpack2x16float` is core WGSL; naga counts it as a capability for the sake of old GLSL.
    // 64-bit integers have no directive: `reflect::int64` says which variants use them.
    let mut allowed = Capabilities::SHADER_FLOAT16_IN_FLOAT32 | Capabilities::SHADER_INT64;
    if header.enables("f16") {
        allowed |= Capabilities::SHADER_FLOAT16;
    }
    // Nor have those across subgroups: naga refuses theirs.
    if header.subgroups.is_some() {
        allowed |= Capabilities::SUBGROUP | Capabilities::SUBGROUP_BARRIER;
    }
    allowed
}

fn invalid<E: Error + 'static>(joined: &Joined, error: &naga::WithSpan<E>) -> Diagnostic {
    let mut diagnostic = Diagnostic::new(error.to_string());
    for (span, note) in error.spans() {
        diagnostic = diagnostic.at(joined.mark(*span, note.as_str()));
    }
    with_sources(diagnostic, error.as_inner()).or_in(&joined.file)
}

fn with_sources(mut diagnostic: Diagnostic, error: &(dyn Error + 'static)) -> Diagnostic {
    let mut next = error.source();
    while let Some(source) = next {
        diagnostic = diagnostic.note(source.to_string());
        next = source.source();
    }
    diagnostic
}

/// A mark at the first line that declares `name` (`fn main`, `struct Params`), else at the file's first line.
pub(crate) fn declaration(file: &Rc<SourceFile>, declaration: &str, note: &str) -> Mark {
    let line = file.text.lines().position(|line| line.contains(declaration)).map_or(1, |at| at + 1);
    file.mark_line(line, note)
}
