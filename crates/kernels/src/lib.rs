//! Kiln's typed catalogue of WGSL compute kernels.
//!
//! Each file of `shaders/` is a module here, generated at build time with the same names as the shader: `Params` is
//! its uniform block, `Bindings` its storage buffers, `Variant` its rows, `Overrides` what is left open in them. Each
//! row is a [`Kernel`]: plain data, no device needed. Every row has been validated, linted and translated to SPIR-V,
//! MSL and HLSL before this crate compiles.
//!
//! ```
//! use kiln_kernels::fill;
//!
//! let params = fill::Params { value: 0.5, count: 1000 };
//! let kernel = fill::Variant::Base.kernel();
//! assert_eq!(kernel.params_size as usize, bytemuck::bytes_of(&params).len());
//! assert_eq!(1000u32.div_ceil(kernel.threads()), 16);
//! ```

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use fnv::FnvHasher;

/// One variant of one shader: what a device needs to make a pipeline of it, and a host to dispatch it.
///
/// Equal, and hashed, by name and variant.
#[derive(Clone, Copy)]
pub struct Kernel {
    /// The shader: the stem of its file.
    pub name: &'static str,
    /// The row of its header.
    pub variant: &'static str,
    /// The whole WGSL, libraries joined. Variants that differ in `constants` alone share it.
    pub source: &'static str,
    /// Invocations of a workgroup along x, y and z, with the row's overrides applied.
    pub workgroup_size: [u32; 3],
    /// Bytes of workgroup memory, each variable rounded up to 16.
    pub workgroup_memory: u32,
    /// The overrides that the row sets, by name.
    pub constants: &'static [(&'static str, f64)],
    /// The storage buffers in order: the first is binding 1. The parameters are binding 0.
    pub bindings: &'static [Binding],
    /// Bytes of the uniform block.
    pub params_size: u32,
    /// The overrides that no row sets, which a step may set.
    pub free: &'static [&'static str],
    /// What it asks of a device beyond the baseline.
    pub needs: Needs,
}

impl Kernel {
    /// The entry point of every kernel.
    pub const ENTRY: &'static str = "main";

    /// Invocations of a workgroup.
    pub const fn threads(&self) -> u32 {
        self.workgroup_size[0] * self.workgroup_size[1] * self.workgroup_size[2]
    }
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.variant) == (other.name, other.variant)
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.name, self.variant).hash(state);
    }
}

/// `matmul_register/tall`.
impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.variant)
    }
}

/// The name alone, as in [`Display`](fmt::Display): the source would drown every message.
impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel({self})")
    }
}

/// One storage buffer of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// Its name in the shader.
    pub name: &'static str,
    /// What the shader may do with it.
    pub access: Access,
}

/// What a shader may do with a storage buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// It is only read.
    Read,
    /// It is written, and may be read.
    ReadWrite,
}

/// What a kernel asks of a device beyond the baseline, which is `wgpu::Limits::default()` without features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Needs {
    /// Arithmetic in 16-bit floats (`enable f16;`).
    pub f16: bool,
    /// 64-bit integers (`u64`, `vec4<u64>`): found from the row's types, there is no directive.
    pub int64: bool,
    /// Operations across subgroups.
    pub subgroups: Option<Subgroups>,
}

/// What a kernel asks of subgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subgroups {
    /// That there are operations across them, whatever their size.
    Any,
    /// That each is of so many invocations: the kernel takes its workgroups for subgroups.
    Of(u32),
}

/// The kernel of that shader and variant; none where there is no such row.
pub fn find(name: &str, variant: &str) -> Option<&'static Kernel> {
    ALL.iter().copied().find(|kernel| kernel.name == name && kernel.variant == variant)
}

/// A number that differs wherever a kernel does (64-bit FNV-1a over all rows): what was measured with one catalogue says
/// nothing about another.
pub fn fingerprint() -> u64 {
    let mut hasher = FnvHasher::default();
    let mut add = |text: &str| text.hash(&mut hasher);
    let mut source = "";
    for kernel in ALL {
        add(kernel.name);
        add(kernel.variant);
        for (name, value) in kernel.constants {
            add(&format!("{name}={value}"));
        }
        // Rows of one shader lie together and often share their source.
        if !std::ptr::eq(source, kernel.source) {
            source = kernel.source;
            add(source);
        }
    }
    hasher.finish()
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{ALL, Access, fill, find};

    #[test]
    fn every_row_has_its_own_name() {
        let names: HashSet<String> = ALL.iter().map(|kernel| kernel.to_string()).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn every_row_is_found_by_its_name() {
        for kernel in ALL {
            assert_eq!(find(kernel.name, kernel.variant), Some(*kernel));
        }
        assert_eq!(find("fill", "no_such_row"), None);
        assert_eq!(find("no_such_shader", "base"), None);
    }

    #[test]
    fn every_row_is_whole() {
        for kernel in ALL {
            assert!(kernel.source.contains("fn main("), "{kernel} has no entry point");
            assert!(!kernel.source.contains("//!"), "{kernel} carries its header");
            assert!((1..=256).contains(&kernel.threads()), "{kernel} has {} threads", kernel.threads());
            assert!(kernel.workgroup_memory <= 16 * 1024, "{kernel}");
            assert!((1..=8).contains(&kernel.bindings.len()), "{kernel}");
            assert!(kernel.bindings.iter().any(|binding| binding.access == Access::ReadWrite), "{kernel}");
            assert!(
                kernel.params_size > 0 && kernel.params_size % 4 == 0,
                "{kernel}: {}",
                kernel.params_size
            );
        }
    }

    #[test]
    fn what_needs_64_bit_integers_has_a_row_that_does_not() {
        for kernel in ALL.iter().filter(|kernel| kernel.needs.int64) {
            let plain = ALL.iter().any(|other| other.name == kernel.name && !other.needs.int64);
            assert!(plain, "{kernel} has no fallback");
        }
    }

    #[test]
    fn the_generated_types_agree_with_the_kernel() {
        let kernel = fill::Variant::Base.kernel();
        assert_eq!(kernel.to_string(), "fill/base");
        assert_eq!(kernel.threads(), fill::Variant::Base.threads());
        assert_eq!(kernel.params_size as usize, size_of::<fill::Params>());
        assert_eq!(kernel.constants, [("THREADS", 64.0)]);
        let names = fill::Bindings { output: "output" }.into_array();
        assert!(kernel.bindings.iter().map(|binding| binding.name).eq(names));
    }
}
