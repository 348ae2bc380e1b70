//! Each variant in the languages that users' GPUs get: SPIR-V (Vulkan), MSL (Metal), HLSL (DX12).
//!
//! The results are not kept: wgpu translates again for the device at hand. That it can is what is proved here.

use std::panic::{self, AssertUnwindSafe};

use naga::{
    Scalar, ShaderStage,
    back::{hlsl, msl, spv},
    proc::{BoundsCheckPolicies, BoundsCheckPolicy},
};

use crate::{check::Checked, diagnostic::Diagnostic, reflect};

// As Kiln makes its modules: bounds checks kept, loops not bounded, workgroup memory not zeroed.
const CHECKS: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Restrict,
    buffer: BoundsCheckPolicy::Restrict,
    image_load: BoundsCheckPolicy::Restrict,
    binding_array: BoundsCheckPolicy::Restrict,
};

/// Translates the resolved module: a diagnostic, yet without a place, for each language that cannot say it.
pub(crate) fn translate(checked: &Checked) -> Vec<Diagnostic> {
    let has_f16 = checked.resolved.types.iter().any(|(_, ty)| ty.inner.scalar() == Some(Scalar::F16));
    // 16-bit arithmetic came to HLSL with 6.2: a device that has it takes that.
    let model = if has_f16 { hlsl::ShaderModel::V6_2 } else { hlsl::ShaderModel::V6_0 };
    // 64-bit integers are there from Metal 2.3 on.
    let metal = if reflect::int64(checked) { (2, 3) } else { (2, 0) };
    [
        ("SPIR-V", caught(|| to_spirv(checked))),
        ("MSL", caught(|| to_msl(checked, metal))),
        ("HLSL", caught(|| to_hlsl(checked, model))),
    ]
    .into_iter()
    .filter_map(|(language, result)| Some((language, result.err()?)))
    .map(|(language, error)| Diagnostic::new(format!("no translation to {language}: {error}")))
    .collect()
}

/// What a writer of naga's says. Some valid modules make one panic; that is an error like any other then, since a panic
/// would name neither shader nor variant.
fn caught(write: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    panic::catch_unwind(AssertUnwindSafe(write)).unwrap_or_else(|payload| {
        let words = payload.downcast_ref::<&str>().copied();
        let words = words.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Err(format!("naga panicked: {}", words.unwrap_or("it does not say why")))
    })
}

fn to_spirv(checked: &Checked) -> Result<(), String> {
    let options = spv::Options {
        lang_version: (1, 3),
        flags: spv::WriterFlags::empty(),
        bounds_check_policies: CHECKS,
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..Default::default()
    };
    let pipeline = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".into() };
    spv::write_vec(&checked.resolved, &checked.resolved_info, &options, Some(&pipeline))
        .map(drop)
        .map_err(|error| error.to_string())
}

fn to_msl(checked: &Checked, lang_version: (u8, u8)) -> Result<(), String> {
    let options = msl::Options {
        lang_version,
        fake_missing_bindings: true,
        bounds_check_policies: CHECKS,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    let entry_point = Some((ShaderStage::Compute, "main".into()));
    let pipeline = msl::PipelineOptions { entry_point, ..Default::default() };
    let (_, info) = msl::write_string(&checked.resolved, &checked.resolved_info, &options, &pipeline)
        .map_err(|error| error.to_string())?;
    // The whole text may be written and the entry point still be out of reach.
    info.entry_point_names.into_iter().try_for_each(|name| name.map(drop).map_err(|error| error.to_string()))
}

fn to_hlsl(checked: &Checked, shader_model: hlsl::ShaderModel) -> Result<(), String> {
    let options = hlsl::Options {
        shader_model,
        fake_missing_bindings: true,
        restrict_indexing: true,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, "main".into())) };
    let mut text = String::new();
    let info = hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(&checked.resolved, &checked.resolved_info, None)
        .map_err(|error| error.to_string())?;
    info.entry_point_names.into_iter().try_for_each(|name| name.map(drop).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::{caught, to_msl, translate};
    use crate::{
        check::{Checked, check},
        diagnostic::SourceFile,
        header::Header,
        join::{Joined, Part},
    };

    fn checked(text: &str) -> Checked {
        let text = format!("//! probe\n//!\n//! A test.\n//!\n//! variants:\n//!   base\n{text}");
        let file = Rc::new(SourceFile { path: "probe.wgsl".into(), text });
        let header = Header::parse(&file, "probe").expect("the header should be sound");
        let part = Part { file, header };
        let joined = Joined::new(&part, &[], &part.header.rows[0]).expect("the row should be sound");
        check(&joined, &part.header).expect("the shader should be valid")
    }

    #[test]
    fn core_wgsl_has_words_in_every_language() {
        let checked = checked(
            "@group(0) @binding(0) var<storage, read_write> x: array<u32>;
            var<workgroup> tile: array<vec4<f32>, 4>;
            @compute @workgroup_size(4) fn main(@builtin(local_invocation_index) i: u32) {
                tile[i] = vec4<f32>(unpack2x16float(x[i]), 1.0, 2.0);
                workgroupBarrier();
                x[i] = bitcast<u32>(dot(tile[i % 3u], tile[0])) / x[2];
            }",
        );
        assert_eq!(translate(&checked), []);
    }

    #[test]
    fn a_panic_is_an_error() {
        assert_eq!(caught(|| Ok(())), Ok(()));
        assert_eq!(caught(|| Err("words".into())), Err("words".to_string()));
        assert_eq!(caught(|| panic!("words")), Err("naga panicked: words".to_string()));
        assert_eq!(caught(|| panic!("{} words", 2)), Err("naga panicked: 2 words".to_string()));
        assert_eq!(
            caught(|| std::panic::panic_any(7)),
            Err("naga panicked: it does not say why".to_string())
        );
    }

    #[test]
    fn a_language_may_lack_a_word() {
        // Old Metal is the one case where core WGSL has no translation.
        let checked = checked(
            "@group(0) @binding(0) var<storage, read_write> x: array<u32>;
            @compute @workgroup_size(1) fn main() { x[0] = reverseBits(x[0]); }",
        );
        assert!(to_msl(&checked, (1, 0)).is_err_and(|error| error.contains("reverse_bits")));
        assert!(to_msl(&checked, (2, 0)).is_ok());
    }
}
