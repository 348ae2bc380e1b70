//! The project's own rules, which naga does not know. One file a rule, each with a shader that must fail.

use naga::{Function, Handle, Module};

use crate::{check::Checked, diagnostic::Diagnostic, join::Joined};

mod barrier;
mod bindings;
mod flow;
mod guard;
mod params;
mod size;
mod subtraction;

/// What a lint looks at: one valid variant row.
pub(crate) struct Subject<'a> {
    pub(crate) joined: &'a Joined,
    pub(crate) checked: &'a Checked,
}

/// All that the rules find in `subject`.
pub(crate) fn run(subject: &Subject<'_>) -> Vec<Diagnostic> {
    const LINTS: &[fn(&Subject<'_>, &mut Vec<Diagnostic>)] =
        &[bindings::lint, params::lint, size::lint, barrier::lint, guard::lint, subtraction::lint];
    let mut found = Vec::new();
    for lint in LINTS {
        lint(subject, &mut found);
    }
    found
}

/// Every function of `module`, each after all that call it; `None` stands for the entry point.
fn callers_first(module: &Module) -> impl Iterator<Item = (Option<Handle<Function>>, &Function)> {
    // naga keeps the arena such that a function calls earlier ones only.
    let others: Vec<_> = module.functions.iter().collect();
    let entry = module.entry_points.iter().map(|entry| (None, &entry.function));
    entry.chain(others.into_iter().rev().map(|(handle, function)| (Some(handle), function)))
}
