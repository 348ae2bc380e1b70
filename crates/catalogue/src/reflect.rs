//! What the host must know of a shader: its parameters, bindings, overrides, sizes.
//!
//! It is read from modules that passed the lints, and judges only what they leave open.

use naga::{
    AddressSpace, Expression, Function, GlobalVariable, Handle, Literal, Module, Scalar, ScalarKind,
    StorageAccess, Type, TypeInner, VectorSize, valid::FunctionInfo,
};

use crate::{check::Checked, diagnostic::Diagnostic, join::Joined};

/// The part of a shader that all its variants share.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Interface {
    pub(crate) params: Params,
    pub(crate) bindings: Vec<Binding>,
    pub(crate) free: Vec<Free>,
}

/// The uniform block.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Params {
    pub(crate) fields: Vec<Field>,
    /// Bytes, the padding at the end included.
    pub(crate) size: u32,
}

/// One field of the uniform block.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// 1, or 4 for a `vec4`.
    pub(crate) width: u32,
    /// Bytes from the start of the block.
    pub(crate) offset: u32,
}

/// A type that the host can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    U32,
    I32,
    F32,
    /// For overrides only: a uniform holds no truth values.
    Bool,
}

impl Kind {
    fn of(scalar: Scalar) -> Option<Self> {
        match (scalar.kind, scalar.width) {
            (ScalarKind::Uint, 4) => Some(Self::U32),
            (ScalarKind::Sint, 4) => Some(Self::I32),
            (ScalarKind::Float, 4) => Some(Self::F32),
            (ScalarKind::Bool, _) => Some(Self::Bool),
            _ => None,
        }
    }
}

/// One storage buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) name: String,
    pub(crate) writes: bool,
}

/// An override that no row sets: the host sets it, step by step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Free {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) default: f64,
}

/// The interface of a module whose rows set `keys`.
pub(crate) fn interface(
    joined: &Joined,
    module: &Module,
    keys: &[&str],
) -> Result<Interface, Vec<Diagnostic>> {
    let uniform = module.global_variables.iter().find(|(_, global)| global.space == AddressSpace::Uniform);
    Ok(Interface {
        params: uniform.map(|(_, global)| params(module, global.ty)).unwrap_or_default(),
        bindings: buffers(module).into_iter().map(|(.., binding)| binding).collect(),
        free: free(joined, module, keys)?,
    })
}

/// The storage buffers with their binding numbers, in the order of these.
pub(crate) fn buffers(module: &Module) -> Vec<(u32, Handle<GlobalVariable>, Binding)> {
    let mut buffers: Vec<_> = module
        .global_variables
        .iter()
        .filter_map(|(handle, global)| {
            let AddressSpace::Storage { access } = global.space else { return None };
            let at = global.binding.as_ref()?.binding;
            let name = global.name.clone().unwrap_or_default();
            Some((at, handle, Binding { name, writes: access.contains(StorageAccess::STORE) }))
        })
        .collect();
    buffers.sort_by_key(|(at, ..)| *at);
    buffers
}

fn params(module: &Module, ty: Handle<Type>) -> Params {
    let TypeInner::Struct { members, span } = &module.types[ty].inner else { return Params::default() };
    let field = |member: &naga::StructMember| {
        let (kind, width) = scalar(module, member.ty)?;
        Some(Field { name: member.name.clone().unwrap_or_default(), kind, width, offset: member.offset })
    };
    Params { fields: members.iter().filter_map(field).collect(), size: *span }
}

/// What a field of type `ty` holds, and how many of it; none for a type that `Params` may not have.
pub(crate) fn scalar(module: &Module, ty: Handle<Type>) -> Option<(Kind, u32)> {
    let (scalar, width) = match module.types[ty].inner {
        TypeInner::Scalar(scalar) => (scalar, 1),
        TypeInner::Vector { size: VectorSize::Quad, scalar } => (scalar, 4),
        _ => return None,
    };
    Kind::of(scalar).filter(|kind| *kind != Kind::Bool).map(|kind| (kind, width))
}

/// The overrides that `keys` does not name, with their defaults.
fn free(joined: &Joined, module: &Module, keys: &[&str]) -> Result<Vec<Free>, Vec<Diagnostic>> {
    let mut free = Vec::new();
    let mut found = Vec::new();
    for (handle, over) in module.overrides.iter() {
        // Those without a name are naga's own, for array lengths that are override expressions.
        let Some(name) = over.name.clone().filter(|name| !keys.contains(&name.as_str())) else { continue };
        let kind = match module.types[over.ty].inner {
            TypeInner::Scalar(scalar) => Kind::of(scalar),
            _ => None,
        };
        let default = over.init.and_then(|init| literal(&module.global_expressions[init]));
        let message = match (kind, default, over.id) {
            (Some(kind), Some(default), None) => {
                free.push(Free { name, kind, default });
                continue;
            }
            (_, _, Some(_)) => format!("override `{name}` has an @id; overrides go by name"),
            (None, ..) => format!("override `{name}` is not a u32, i32, f32 or bool"),
            (_, None, _) => {
                format!("override `{name}`, which no variant sets, needs a literal as its default")
            }
        };
        let mark = joined.mark(module.overrides.get_span(handle), "");
        found.push(Diagnostic::new(message).at(mark).or_in(&joined.file));
    }
    if found.is_empty() { Ok(free) } else { Err(found) }
}

fn literal(expression: &Expression) -> Option<f64> {
    match *expression {
        Expression::Literal(Literal::U32(value)) => Some(value.into()),
        Expression::Literal(Literal::I32(value)) => Some(value.into()),
        Expression::Literal(Literal::F32(value)) => Some(value.into()),
        Expression::Literal(Literal::Bool(value)) => Some(f64::from(u8::from(value))),
        Expression::ZeroValue(_) => Some(0.0),
        _ => None,
    }
}

/// Whether this variant has 64-bit integers, for which WGSL as naga takes it knows no directive.
pub(crate) fn int64(checked: &Checked) -> bool {
    let (module, info) = (&checked.resolved, &checked.resolved_info);
    let is_int64 = |ty: &TypeInner| matches!(ty.scalar(), Some(Scalar::I64 | Scalar::U64));
    // What only passes through an expression has no entry among the types.
    let within = |function: &Function, info: &FunctionInfo| {
        function.expressions.iter().any(|(at, _)| is_int64(info[at].ty.inner_with(&module.types)))
    };
    module.types.iter().any(|(_, ty)| is_int64(&ty.inner))
        || module.functions.iter().any(|(at, function)| within(function, &info[at]))
        || within(&module.entry_points[0].function, info.get_entry_point(0))
}

/// Bytes of workgroup memory in this variant, each variable rounded up to 16 as WebGPU counts them.
pub(crate) fn workgroup_memory(checked: &Checked) -> u32 {
    let module = &checked.resolved;
    let bytes = |ty: Handle<Type>| module.types[ty].inner.try_size(module.to_ctx());
    module
        .global_variables
        .iter()
        .filter(|(_, global)| global.space == AddressSpace::WorkGroup)
        .map(|(_, global)| {
            bytes(global.ty).and_then(|bytes| bytes.checked_next_multiple_of(16)).unwrap_or(u32::MAX)
        })
        .fold(0, u32::saturating_add)
}
