//! Walking naga's IR: the operands of expressions, what pointers point at, the blocks within statements.

use naga::{
    AddressSpace, Block, Expression, Function, GlobalVariable, Handle, LocalVariable, Module, SampleLevel,
    Span, Statement, StorageAccess, TypeInner,
};

/// Calls `visit` for each expression that `expression` is made of.
pub(super) fn operands(expression: &Expression, mut visit: impl FnMut(Handle<Expression>)) {
    match expression {
        Expression::Literal(_)
        | Expression::Constant(_)
        | Expression::Override(_)
        | Expression::ZeroValue(_)
        | Expression::FunctionArgument(_)
        | Expression::GlobalVariable(_)
        | Expression::LocalVariable(_)
        | Expression::CallResult(_)
        | Expression::AtomicResult { .. }
        | Expression::WorkGroupUniformLoadResult { .. }
        | Expression::RayQueryProceedResult
        | Expression::SubgroupBallotResult
        | Expression::SubgroupOperationResult { .. } => {}
        Expression::Compose { components, .. } => components.iter().copied().for_each(visit),
        Expression::Access { base, index } => {
            visit(*base);
            visit(*index);
        }
        Expression::AccessIndex { base, .. } => visit(*base),
        Expression::Splat { value, .. } => visit(*value),
        Expression::Swizzle { vector, .. } => visit(*vector),
        Expression::Load { pointer } => visit(*pointer),
        Expression::ImageSample {
            image, sampler, coordinate, array_index, offset, level, depth_ref, ..
        } => {
            visit(*image);
            visit(*sampler);
            visit(*coordinate);
            [*array_index, *offset, *depth_ref].into_iter().flatten().for_each(&mut visit);
            match level {
                SampleLevel::Auto | SampleLevel::Zero => {}
                SampleLevel::Exact(level) | SampleLevel::Bias(level) => visit(*level),
                SampleLevel::Gradient { x, y } => {
                    visit(*x);
                    visit(*y);
                }
            }
        }
        Expression::ImageLoad { image, coordinate, array_index, sample, level } => {
            visit(*image);
            visit(*coordinate);
            [*array_index, *sample, *level].into_iter().flatten().for_each(visit);
        }
        Expression::ImageQuery { image, .. } => visit(*image),
        Expression::Unary { expr, .. }
        | Expression::Derivative { expr, .. }
        | Expression::As { expr, .. } => {
            visit(*expr);
        }
        Expression::Binary { left, right, .. } => {
            visit(*left);
            visit(*right);
        }
        Expression::Select { condition, accept, reject } => {
            visit(*condition);
            visit(*accept);
            visit(*reject);
        }
        Expression::Relational { argument, .. } => visit(*argument),
        Expression::Math { arg, arg1, arg2, arg3, .. } => {
            visit(*arg);
            [*arg1, *arg2, *arg3].into_iter().flatten().for_each(visit);
        }
        Expression::ArrayLength(array) => visit(*array),
        Expression::RayQueryVertexPositions { query, .. }
        | Expression::RayQueryGetIntersection { query, .. } => {
            visit(*query);
        }
        Expression::CooperativeLoad { data, .. } => {
            visit(data.pointer);
            visit(data.stride);
        }
        Expression::CooperativeMultiplyAdd { a, b, c } => {
            visit(*a);
            visit(*b);
            visit(*c);
        }
    }
}

/// What a pointer expression points into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Local(Handle<LocalVariable>),
    Global(Handle<GlobalVariable>),
    Argument(u32),
    /// No pointer.
    Value,
}

/// The variable that `pointer` points into.
pub(super) fn root(function: &Function, pointer: Handle<Expression>) -> Root {
    match function.expressions[pointer] {
        Expression::LocalVariable(local) => Root::Local(local),
        Expression::GlobalVariable(global) => Root::Global(global),
        Expression::FunctionArgument(position) => Root::Argument(position),
        Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => root(function, base),
        _ => Root::Value,
    }
}

/// Whether a store through `pointer` writes to a storage buffer.
pub(super) fn is_storage(module: &Module, function: &Function, pointer: Handle<Expression>) -> bool {
    match root(function, pointer) {
        Root::Global(global) => matches!(module.global_variables[global].space, AddressSpace::Storage { .. }),
        Root::Argument(position) => {
            let argument = function.arguments.get(position as usize);
            argument.is_some_and(|argument| {
                matches!(
                    module.types[argument.ty].inner,
                    TypeInner::Pointer { space: AddressSpace::Storage { .. }, .. }
                        | TypeInner::ValuePointer { space: AddressSpace::Storage { .. }, .. }
                )
            })
        }
        Root::Local(_) | Root::Value => false,
    }
}

/// Whether every invocation that reads the same place of `space` sees the same value.
pub(super) fn is_constant_memory(space: AddressSpace) -> bool {
    match space {
        AddressSpace::Uniform | AddressSpace::Immediate => true,
        AddressSpace::Storage { access } => !access.contains(StorageAccess::STORE),
        _ => false,
    }
}

/// Calls `visit` for every statement of `block`, those within others included, outer ones first.
pub(super) fn statements(block: &Block, visit: &mut dyn FnMut(&Statement, Span)) {
    for (statement, span) in block.span_iter() {
        visit(statement, *span);
        match statement {
            Statement::Block(inner) => statements(inner, visit),
            Statement::If { accept, reject, .. } => {
                statements(accept, visit);
                statements(reject, visit);
            }
            Statement::Switch { cases, .. } => cases.iter().for_each(|case| statements(&case.body, visit)),
            Statement::Loop { body, continuing, .. } => {
                statements(body, visit);
                statements(continuing, visit);
            }
            _ => {}
        }
    }
}
