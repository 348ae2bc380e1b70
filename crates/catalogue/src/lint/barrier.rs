//! No barrier where some invocations of a workgroup may be missing: on real GPUs that hangs or races.
//!
//! naga accepts such shaders, so this is a taint analysis of our own. An expression is *varying* if it may differ
//! among the invocations of one workgroup; so is a variable that is given a varying value, or any value in varying
//! control flow. Control flow is varying within a branch or loop whose condition is, and after a `return`, `break`
//! or `continue` that only some invocations take. It knows no values: what it accepts is safe, and what it rejects
//! can be written in another way.

use std::collections::HashSet;

use naga::{
    AddressSpace, Binding, Block, BuiltIn, Expression, Function, Handle, LocalVariable, Module, Span,
    Statement, TypeInner,
};

use super::{
    Subject, callers_first,
    flow::{self, Root},
};
use crate::diagnostic::Diagnostic;

pub(super) fn lint(subject: &Subject<'_>, found: &mut Vec<Diagnostic>) {
    let module = &subject.checked.resolved;
    let mut summaries: Vec<Summary> = Vec::new();
    for (_, function) in module.functions.iter() {
        let uniform = vec![false; function.arguments.len()];
        let mut analysis = Analysis::new(module, function, &summaries, uniform);
        analysis.settle();
        let summary = analysis.summary();
        summaries.push(summary);
    }
    if !summaries.iter().any(|summary| summary.has_barrier)
        && !module.entry_points.iter().any(|entry| has_barrier(&entry.function, &summaries))
    {
        return;
    }
    let mut arguments: Vec<Vec<bool>> =
        module.functions.iter().map(|(_, function)| vec![false; function.arguments.len()]).collect();
    for (handle, function) in callers_first(module) {
        let varying = match handle {
            Some(handle) => arguments[handle.index()].clone(),
            None => function.arguments.iter().map(|argument| is_varying_argument(module, argument)).collect(),
        };
        let mut analysis = Analysis::new(module, function, &summaries, varying);
        analysis.settle();
        analysis.faults = Some(Vec::new());
        analysis.block(&function.body, None);
        for fault in analysis.faults.take().unwrap_or_default() {
            found.push(
                Diagnostic::new(fault.message)
                    .at(subject
                        .joined
                        .mark(fault.barrier, "not every invocation of the workgroup may come here"))
                    .at(subject.joined.mark(fault.cause, "which invocations do depends on this"))
                    .or_in(&subject.joined.file),
            );
        }
        for (callee, at, is_varying) in analysis.passed {
            arguments[callee.index()][at] |= is_varying;
        }
    }
}

/// Whether an argument of the entry point differs among the invocations of a workgroup.
fn is_varying_argument(module: &Module, argument: &naga::FunctionArgument) -> bool {
    let is_varying = |binding: &Option<Binding>| {
        !matches!(
            binding,
            Some(Binding::BuiltIn(BuiltIn::WorkGroupId | BuiltIn::NumWorkGroups | BuiltIn::WorkGroupSize))
        )
    };
    match &module.types[argument.ty].inner {
        TypeInner::Struct { members, .. } => members.iter().any(|member| is_varying(&member.binding)),
        _ => is_varying(&argument.binding),
    }
}

/// What a caller must know of a function.
#[derive(Debug, Clone, Copy)]
struct Summary {
    /// It, or what it calls, waits for the workgroup.
    has_barrier: bool,
    /// Its result varies even if its arguments do not.
    result: bool,
    /// Something in it varies even if its arguments do not: so may what it leaves behind a pointer.
    anything: bool,
}

fn has_barrier(function: &Function, summaries: &[Summary]) -> bool {
    let mut found = false;
    flow::statements(&function.body, &mut |statement, _| {
        found |= match statement {
            Statement::ControlBarrier(_) | Statement::WorkGroupUniformLoad { .. } => true,
            Statement::Call { function, .. } => summaries[function.index()].has_barrier,
            _ => false,
        };
    });
    found
}

struct Fault {
    message: String,
    barrier: Span,
    cause: Span,
}

/// Ways out of a block that only some invocations take, each with what decides it.
#[derive(Debug, Clone, Copy, Default)]
struct Escapes {
    breaks: Option<Span>,
    continues: Option<Span>,
    returns: Option<Span>,
}

impl Escapes {
    fn any(self) -> Option<Span> {
        self.breaks.or(self.continues).or(self.returns)
    }

    fn and(self, other: Self) -> Self {
        Self {
            breaks: self.breaks.or(other.breaks),
            continues: self.continues.or(other.continues),
            returns: self.returns.or(other.returns),
        }
    }
}

struct Analysis<'a> {
    module: &'a Module,
    function: &'a Function,
    summaries: &'a [Summary],
    /// For each argument, whether it varies.
    arguments: Vec<bool>,
    locals: HashSet<Handle<LocalVariable>>,
    expressions: HashSet<Handle<Expression>>,
    /// Results of calls that vary.
    results: HashSet<Handle<Expression>>,
    /// Whether what the function returns varies.
    returns: bool,
    /// For each call: the function, the argument's position, whether it varies.
    passed: Vec<(Handle<Function>, usize, bool)>,
    /// Barriers in varying flow; none while the analysis still settles.
    faults: Option<Vec<Fault>>,
}

impl<'a> Analysis<'a> {
    fn new(
        module: &'a Module,
        function: &'a Function,
        summaries: &'a [Summary],
        arguments: Vec<bool>,
    ) -> Self {
        Self {
            module,
            function,
            summaries,
            arguments,
            locals: HashSet::new(),
            expressions: HashSet::new(),
            results: HashSet::new(),
            returns: false,
            passed: Vec::new(),
            faults: None,
        }
    }

    fn summary(&self) -> Summary {
        Summary {
            has_barrier: has_barrier(self.function, self.summaries),
            result: self.returns,
            anything: !self.expressions.is_empty(),
        }
    }

    /// Follows values and control flow until nothing more is found to vary.
    fn settle(&mut self) {
        loop {
            let before = (self.locals.len(), self.expressions.len(), self.results.len(), self.returns);
            for (handle, expression) in self.function.expressions.iter() {
                if self.varies(handle, expression) {
                    self.expressions.insert(handle);
                }
            }
            self.block(&self.function.body, None);
            if before == (self.locals.len(), self.expressions.len(), self.results.len(), self.returns) {
                return;
            }
        }
    }

    fn varies(&self, handle: Handle<Expression>, expression: &Expression) -> bool {
        let mut varies = match expression {
            Expression::FunctionArgument(position) => self.arguments[*position as usize],
            Expression::Load { pointer } => self.is_varying_memory(*pointer),
            Expression::CallResult(_) => self.results.contains(&handle),
            // A length is the same for all; a uniform load is so by definition.
            Expression::ArrayLength(_) | Expression::WorkGroupUniformLoadResult { .. } => return false,
            Expression::AtomicResult { .. }
            | Expression::SubgroupBallotResult
            | Expression::SubgroupOperationResult { .. }
            | Expression::RayQueryProceedResult => true,
            _ => false,
        };
        flow::operands(expression, |operand| varies |= self.expressions.contains(&operand));
        varies
    }

    /// Whether what lies behind `pointer` may differ among invocations, its index set aside.
    fn is_varying_memory(&self, pointer: Handle<Expression>) -> bool {
        match flow::root(self.function, pointer) {
            Root::Local(local) => self.locals.contains(&local),
            Root::Global(global) => {
                let space = self.module.global_variables[global].space;
                space != AddressSpace::Handle && !flow::is_constant_memory(space)
            }
            Root::Argument(position) => self.arguments[position as usize],
            Root::Value => false,
        }
    }

    /// Follows `block`, which runs in varying flow if there is a `cause`.
    fn block(&mut self, block: &Block, cause: Option<Span>) -> Escapes {
        let mut cause = cause;
        let mut all = Escapes::default();
        for (statement, span) in block.span_iter() {
            let escapes = self.statement(statement, *span, cause);
            cause = cause.or(escapes.any());
            all = all.and(escapes);
        }
        all
    }

    fn statement(&mut self, statement: &Statement, span: Span, cause: Option<Span>) -> Escapes {
        let mut escapes = Escapes::default();
        match statement {
            Statement::Block(block) => escapes = self.block(block, cause),
            Statement::If { condition, accept, reject } => {
                let inner = cause.or(self.decides(*condition, span));
                escapes = self.block(accept, inner).and(self.block(reject, inner));
            }
            Statement::Switch { selector, cases } => {
                let inner = cause.or(self.decides(*selector, span));
                for case in cases {
                    escapes = escapes.and(self.block(&case.body, inner));
                }
                escapes.breaks = None;
            }
            Statement::Loop { body, continuing, break_if } => {
                escapes = self.pass(body, continuing, cause);
                let again =
                    escapes.any().or_else(|| break_if.and_then(|condition| self.decides(condition, span)));
                if cause.is_none() && again.is_some() {
                    // Some invocations leave early: from the second round on, not all are here.
                    escapes = self.pass(body, continuing, again);
                }
                escapes.breaks = None;
                escapes.continues = None;
            }
            Statement::Break => escapes.breaks = cause,
            Statement::Continue => escapes.continues = cause,
            Statement::Kill => escapes.returns = cause,
            Statement::Return { value } => {
                escapes.returns = cause;
                self.returns |=
                    value.is_some_and(|value| cause.is_some() || self.expressions.contains(&value));
            }
            Statement::Store { pointer, value } => {
                let varies = [pointer, value].into_iter().any(|part| self.expressions.contains(part));
                if let Root::Local(local) = flow::root(self.function, *pointer)
                    && (varies || cause.is_some())
                {
                    self.locals.insert(local);
                }
            }
            Statement::ControlBarrier(_) => self.barrier("a barrier", span, cause),
            Statement::WorkGroupUniformLoad { .. } => self.barrier("workgroupUniformLoad", span, cause),
            Statement::Call { function, arguments, result } => {
                self.call(*function, arguments, *result, span, cause);
            }
            _ => {}
        }
        escapes
    }

    /// One round of a loop.
    fn pass(&mut self, body: &Block, continuing: &Block, cause: Option<Span>) -> Escapes {
        let first = self.block(body, cause);
        first.and(self.block(continuing, cause.or(first.any())))
    }

    /// Where the flow is decided, if `condition` varies.
    fn decides(&self, condition: Handle<Expression>, statement: Span) -> Option<Span> {
        let span = self.function.expressions.get_span(condition);
        self.expressions.contains(&condition).then_some(if span.is_defined() { span } else { statement })
    }

    fn call(
        &mut self,
        callee: Handle<Function>,
        arguments: &[Handle<Expression>],
        result: Option<Handle<Expression>>,
        span: Span,
        cause: Option<Span>,
    ) {
        let summary = self.summaries[callee.index()];
        let mut any = false;
        for (position, argument) in arguments.iter().enumerate() {
            let varies = self.expressions.contains(argument) || self.is_varying_memory(*argument);
            any |= varies;
            if self.faults.is_some() {
                self.passed.push((callee, position, varies));
            }
        }
        if any || summary.anything || cause.is_some() {
            // What the callee stored through a pointer may vary.
            let pointers =
                arguments.iter().filter_map(|argument| match flow::root(self.function, *argument) {
                    Root::Local(local) => Some(local),
                    _ => None,
                });
            self.locals.extend(pointers);
        }
        if let Some(result) = result
            && (any || summary.result)
        {
            self.results.insert(result);
        }
        if summary.has_barrier {
            let name = self.module.functions[callee].name.as_deref().unwrap_or("a function");
            self.barrier(&format!("a call of `{name}`, which has a barrier,"), span, cause);
        }
    }

    fn barrier(&mut self, what: &str, barrier: Span, cause: Option<Span>) {
        let (Some(cause), Some(faults)) = (cause, &mut self.faults) else { return };
        // A loop's body is followed twice.
        if !faults.iter().any(|fault| fault.barrier == barrier) {
            let message = format!("{what} is under control flow that depends on the thread");
            faults.push(Fault { message, barrier, cause });
        }
    }
}

#[cfg(test)]
mod tests;
