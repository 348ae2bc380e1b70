//! Every write to a storage buffer is under a comparison with a bound that is known at run time.
//!
//! Surplus workgroups run, and Metal's memory has no edges. A bound is something that comes from `params`, from a
//! buffer or from `arrayLength`; what is held against it comes from the invocation's position; the comparison is that
//! of an enclosing `if` or loop, or of an earlier `if` that left. Whether it is the right bound, and one for each
//! dimension, cannot be told here: that is for the guard words of the tests.

use std::collections::{HashMap, HashSet};

use naga::{
    AddressSpace, BinaryOperator, Block, Expression, Function, Handle, Literal, LocalVariable, MathFunction,
    Module, RelationalFunction, Span, Statement, UnaryOperator,
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
        let summary = Summary::of(module, function, &summaries);
        summaries.push(summary);
    }
    // A helper is as guarded as the least guarded of its calls, its arguments as bound as the most bound.
    let mut calls: Vec<Call> = module.functions.iter().map(|(_, function)| Call::none(function)).collect();
    for (handle, function) in callers_first(module) {
        let call = handle.map_or_else(|| Call::entry(function), |handle| calls[handle.index()].clone());
        let mut walk = Walk::new(module, function, &summaries, call.arguments);
        walk.settle();
        walk.block(&function.body, call.guarded);
        for (callee, made) in walk.calls {
            calls[callee.index()].join(made);
        }
        for span in walk.unguarded {
            found.push(
                Diagnostic::new("a write to a storage buffer that no comparison with a bound guards")
                    .at(subject.joined.mark(span, "an invocation past the end may come here"))
                    .or_in(&subject.joined.file)
                    .note("guard it: `if (index >= params.count) { return; }`"),
            );
        }
    }
}

/// What a value is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Makeup {
    /// From `params`, a buffer or the length of one: known at run time.
    bound: bool,
    /// From the invocation's or the workgroup's position, by arithmetic.
    position: bool,
    /// From the position in any way: through a buffer's content or a choice too.
    varied: bool,
}

impl Makeup {
    fn and(self, other: Self) -> Self {
        Self {
            bound: self.bound || other.bound,
            position: self.position || other.position,
            varied: self.varied || other.varied,
        }
    }

    /// A limit that is `varied` or the same for all.
    const fn limit(varied: bool) -> Self {
        Self { bound: true, position: false, varied }
    }

    /// A position, which no bound went into.
    const fn place() -> Self {
        Self { bound: false, position: true, varied: true }
    }

    /// A limit rather than something that is held against one.
    fn is_limit(self) -> bool {
        self.bound && !self.position
    }
}

/// What a caller must know of a function.
#[derive(Debug, Clone, Copy)]
struct Summary {
    /// It reads a bound by itself.
    reads_bound: bool,
    /// It compares by order.
    compares: bool,
}

impl Summary {
    fn of(module: &Module, function: &Function, summaries: &[Self]) -> Self {
        let mut summary = Self { reads_bound: false, compares: false };
        for (_, expression) in function.expressions.iter() {
            match expression {
                Expression::Load { pointer } => summary.reads_bound |= is_bound(module, function, *pointer),
                Expression::ArrayLength(_) => summary.reads_bound = true,
                Expression::Binary { op, .. } => summary.compares |= order(*op).is_some(),
                Expression::CallResult(callee) => {
                    summary.reads_bound |= summaries[callee.index()].reads_bound;
                    summary.compares |= summaries[callee.index()].compares;
                }
                _ => {}
            }
        }
        summary
    }
}

/// Whether a load through `pointer` gives what the host wrote.
fn is_bound(module: &Module, function: &Function, pointer: Handle<Expression>) -> bool {
    matches!(flow::root(function, pointer), Root::Global(global)
        if matches!(module.global_variables[global].space, AddressSpace::Uniform | AddressSpace::Storage { .. }))
}

/// How a function is called, over all its calls.
#[derive(Debug, Clone)]
struct Call {
    guarded: bool,
    arguments: Vec<Makeup>,
}

impl Call {
    fn none(function: &Function) -> Self {
        Self { guarded: true, arguments: vec![Makeup::default(); function.arguments.len()] }
    }

    fn entry(function: &Function) -> Self {
        Self { guarded: false, arguments: vec![Makeup::place(); function.arguments.len()] }
    }

    fn join(&mut self, other: Self) {
        self.guarded &= other.guarded;
        for (mine, others) in self.arguments.iter_mut().zip(other.arguments) {
            *mine = mine.and(others);
        }
    }
}

/// Whether `op` orders its operands: `Some(true)` if the left is the lesser.
fn order(op: BinaryOperator) -> Option<bool> {
    match op {
        BinaryOperator::Less | BinaryOperator::LessEqual => Some(true),
        BinaryOperator::Greater | BinaryOperator::GreaterEqual => Some(false),
        _ => None,
    }
}

/// A condition that naga spread over an `if`, as it does with `&&` and `||`.
#[derive(Debug, Clone, Copy)]
struct Logic {
    condition: Handle<Expression>,
    /// What it is if the condition holds, and if not.
    accept: Handle<Expression>,
    reject: Handle<Expression>,
}

struct Walk<'a> {
    module: &'a Module,
    function: &'a Function,
    summaries: &'a [Summary],
    arguments: Vec<Makeup>,
    expressions: HashMap<Handle<Expression>, Makeup>,
    locals: HashMap<Handle<LocalVariable>, Makeup>,
    results: HashMap<Handle<Expression>, Makeup>,
    logic: HashMap<Handle<LocalVariable>, Logic>,
    /// Every value that each local variable is given.
    given: HashMap<Handle<LocalVariable>, Vec<Handle<Expression>>>,
    calls: Vec<(Handle<Function>, Call)>,
    unguarded: Vec<Span>,
}

impl<'a> Walk<'a> {
    fn new(
        module: &'a Module,
        function: &'a Function,
        summaries: &'a [Summary],
        arguments: Vec<Makeup>,
    ) -> Self {
        let mut logic = HashMap::new();
        let mut given: HashMap<_, Vec<_>> = HashMap::new();
        let store = |statement: Option<&Statement>| match statement {
            Some(Statement::Store { pointer, value }) => match function.expressions[*pointer] {
                Expression::LocalVariable(local) => Some((local, *value)),
                _ => None,
            },
            _ => None,
        };
        flow::statements(&function.body, &mut |statement, _| {
            if let Some((local, value)) = store(Some(statement)) {
                given.entry(local).or_default().push(value);
            }
            if let Statement::If { condition, accept, reject } = statement
                && let (Some((local, accept)), Some((other, reject))) =
                    (store(accept.last()), store(reject.last()))
                && local == other
                && function.local_variables[local].name.is_none()
            {
                logic.insert(local, Logic { condition: *condition, accept, reject });
            }
        });
        Self {
            module,
            function,
            summaries,
            arguments,
            expressions: HashMap::new(),
            locals: HashMap::new(),
            results: HashMap::new(),
            logic,
            given,
            calls: Vec::new(),
            unguarded: Vec::new(),
        }
    }

    /// Finds what every value is made of.
    fn settle(&mut self) {
        let mut calls = Vec::new();
        let mut stores = Vec::new();
        flow::statements(&self.function.body, &mut |statement, _| match statement {
            Statement::Call { function, arguments, result: Some(result) } => {
                calls.push((*function, arguments.clone(), *result));
            }
            Statement::Store { pointer, value } => {
                if let Root::Local(local) = flow::root(self.function, *pointer) {
                    stores.push((local, *value));
                }
            }
            _ => {}
        });
        loop {
            let before = (self.expressions.clone(), self.locals.clone(), self.results.clone());
            for (handle, expression) in self.function.expressions.iter() {
                let makeup = self.makeup_of(handle, expression);
                self.expressions.insert(handle, makeup);
            }
            for (local, value) in &stores {
                let makeup = self.makeup(*value);
                let entry = self.locals.entry(*local).or_default();
                *entry = entry.and(makeup);
            }
            for (callee, arguments, result) in &calls {
                let makeup = arguments.iter().fold(Makeup::default(), |all, one| all.and(self.makeup(*one)));
                // What a helper reads from `params` is taken as a limit, `rows_left(row)` for one.
                let makeup = if self.summaries[callee.index()].reads_bound {
                    Makeup::limit(makeup.varied)
                } else {
                    makeup
                };
                self.results.insert(*result, makeup);
            }
            if before.0 == self.expressions && before.1 == self.locals && before.2 == self.results {
                return;
            }
        }
    }

    fn makeup(&self, handle: Handle<Expression>) -> Makeup {
        self.expressions.get(&handle).copied().unwrap_or_default()
    }

    fn makeup_of(&self, handle: Handle<Expression>, expression: &Expression) -> Makeup {
        match expression {
            Expression::FunctionArgument(position) => self.arguments[*position as usize],
            Expression::ArrayLength(_) => Makeup::limit(false),
            Expression::CallResult(_) => self.results.get(&handle).copied().unwrap_or_default(),
            // A buffer's content is a limit wherever it was read: `offsets[row + 1]`.
            Expression::Load { pointer } if is_bound(self.module, self.function, *pointer) => {
                Makeup::limit(self.makeup(*pointer).varied)
            }
            Expression::Load { pointer } => match flow::root(self.function, *pointer) {
                Root::Local(local) => self.locals.get(&local).copied().unwrap_or_default(),
                Root::Argument(position) => self.arguments[position as usize],
                Root::Global(_) | Root::Value => Makeup::place(),
            },
            // The lesser of a limit and anything is a limit; a choice is made of what is chosen.
            Expression::Math { fun: MathFunction::Min, arg, arg1: Some(other), .. }
                if self.makeup(*arg).is_limit() || self.makeup(*other).is_limit() =>
            {
                Makeup::limit(self.makeup(*arg).and(self.makeup(*other)).varied)
            }
            Expression::Select { condition, accept, reject } => {
                let chosen = self.makeup(*accept).and(self.makeup(*reject));
                Makeup { varied: chosen.varied || self.makeup(*condition).varied, ..chosen }
            }
            _ => {
                let mut all = Makeup::default();
                flow::operands(expression, |operand| all = all.and(self.makeup(operand)));
                all
            }
        }
    }

    /// Whether it keeps invocations past a bound away if `condition` is `holds`.
    fn guards(&self, condition: Handle<Expression>, holds: bool) -> bool {
        self.guards_within(condition, holds, &mut HashSet::new())
    }

    fn guards_within(
        &self,
        condition: Handle<Expression>,
        holds: bool,
        seen: &mut HashSet<Handle<LocalVariable>>,
    ) -> bool {
        match &self.function.expressions[condition] {
            Expression::Binary { op: BinaryOperator::LogicalAnd | BinaryOperator::And, left, right } => {
                let (left, right) =
                    (self.guards_within(*left, holds, seen), self.guards_within(*right, holds, seen));
                if holds { left || right } else { left && right }
            }
            Expression::Binary {
                op: BinaryOperator::LogicalOr | BinaryOperator::InclusiveOr,
                left,
                right,
            } => {
                let (left, right) =
                    (self.guards_within(*left, holds, seen), self.guards_within(*right, holds, seen));
                if holds { left && right } else { left || right }
            }
            Expression::Binary { op, left, right } => {
                let Some(less) = order(*op) else { return false };
                let (left, right) = (self.makeup(*left), self.makeup(*right));
                // A count held against a count says nothing of who runs.
                if !left.and(right).varied {
                    return false;
                }
                match (left.is_limit(), right.is_limit()) {
                    (false, true) => less == holds,
                    (true, false) => less != holds,
                    // No side is clearly the limit: the order cannot be judged.
                    _ => left.bound || right.bound,
                }
            }
            Expression::Unary { op: UnaryOperator::LogicalNot, expr } => {
                self.guards_within(*expr, !holds, seen)
            }
            Expression::Relational { fun: RelationalFunction::All, argument } => {
                holds && self.guards_within(*argument, holds, seen)
            }
            Expression::Relational { fun: RelationalFunction::Any, argument } => {
                !holds && self.guards_within(*argument, holds, seen)
            }
            Expression::CallResult(callee) => {
                let summary = self.summaries[callee.index()];
                let makeup = self.makeup(condition);
                summary.compares && makeup.bound && makeup.varied
            }
            Expression::Load { pointer } => {
                let Root::Local(local) = flow::root(self.function, *pointer) else { return false };
                if !seen.insert(local) {
                    return false;
                }
                if let Some(logic) = self.logic.get(&local) {
                    return self.logic_guards(*logic, holds, seen);
                }
                let given = self.given.get(&local).map(Vec::as_slice).unwrap_or_default();
                given.iter().any(|value| self.guards_within(*value, holds, seen))
            }
            _ => false,
        }
    }

    /// `logic` is `holds`: in each way that this can be, something must guard.
    fn logic_guards(&self, logic: Logic, holds: bool, seen: &mut HashSet<Handle<LocalVariable>>) -> bool {
        let mut way = |value: Handle<Expression>, condition: bool| {
            // A literal that is not `holds` rules this way out.
            if let Expression::Literal(Literal::Bool(literal)) = self.function.expressions[value]
                && literal != holds
            {
                return true;
            }
            self.guards_within(logic.condition, condition, seen) || self.guards_within(value, holds, seen)
        };
        way(logic.accept, true) && way(logic.reject, false)
    }

    fn block(&mut self, block: &Block, guarded: bool) {
        let mut guarded = guarded;
        for (statement, span) in block.span_iter() {
            match statement {
                Statement::Block(inner) => {
                    self.block(inner, guarded);
                    guarded |= self.guards_after(inner);
                }
                Statement::If { condition, accept, reject } => {
                    let (if_true, if_false) = (self.guards(*condition, true), self.guards(*condition, false));
                    self.block(accept, guarded || if_true);
                    self.block(reject, guarded || if_false);
                    guarded |= (leaves(accept) && if_false) || (leaves(reject) && if_true);
                }
                Statement::Switch { cases, .. } => {
                    cases.iter().for_each(|case| self.block(&case.body, guarded));
                }
                Statement::Loop { body, continuing, .. } => {
                    self.block(body, guarded);
                    self.block(continuing, guarded);
                }
                Statement::Store { pointer, .. } | Statement::Atomic { pointer, .. }
                    if !guarded && flow::is_storage(self.module, self.function, *pointer) =>
                {
                    self.unguarded.push(*span);
                }
                Statement::Call { function, arguments, .. } => {
                    let arguments = arguments.iter().map(|argument| self.makeup(*argument)).collect();
                    self.calls.push((*function, Call { guarded, arguments }));
                }
                _ => {}
            }
        }
    }

    /// Whether what follows the braces of `block` is guarded by an `if` in it that leaves.
    fn guards_after(&self, block: &Block) -> bool {
        block.iter().any(|statement| match statement {
            Statement::Block(inner) => self.guards_after(inner),
            Statement::If { condition, accept, reject } => {
                (leaves(accept) && self.guards(*condition, false))
                    || (leaves(reject) && self.guards(*condition, true))
            }
            _ => false,
        })
    }
}

/// Whether nothing after `block` runs once it has.
fn leaves(block: &Block) -> bool {
    match block.last() {
        Some(Statement::Return { .. } | Statement::Break | Statement::Continue | Statement::Kill) => true,
        Some(Statement::Block(inner)) => leaves(inner),
        Some(Statement::If { accept, reject, .. }) => leaves(accept) && leaves(reject),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
