//! The device that the tests of a process share: software drivers keep some memory of every device ever opened, and
//! opening one takes longer than most tests.

use std::sync::OnceLock;

use kiln_gpu::{AdapterChoice, Gpu};

use crate::report;

/// The device that `KILN_ADAPTER` picks by index or name, or the strongest; opened on the first call.
///
/// `None`, and the test is reported as skipped, only where `KILN_ADAPTER` is `none`: then the test returns.
///
/// # Panics
/// Where no adapter can be opened: a machine without a device fails its tests unless it says that it has none.
#[track_caller]
pub fn gpu() -> Option<&'static Gpu> {
    static DEVICE: OnceLock<Option<Result<Gpu, String>>> = OnceLock::new();
    let device = DEVICE.get_or_init(|| {
        let choice = std::env::var("KILN_ADAPTER").unwrap_or_default();
        let choice = choice_of(&choice)?;
        let opened = Gpu::open(&choice);
        if let Ok(gpu) = &opened {
            report::adapter(&gpu.profile().to_string());
        }
        Some(opened.map_err(|e| e.to_string()))
    });
    match device {
        Some(Ok(gpu)) => Some(gpu),
        Some(Err(message)) => {
            panic!("{message} (set KILN_ADAPTER=none to skip the tests that need a device)")
        }
        None => {
            report::skip("KILN_ADAPTER is none");
            None
        }
    }
}

/// Whether workgroups of eight invocations are subgroups of this device, as kernels for lavapipe's vectors ask. Where they
/// are not the test is reported as skipped, and returns.
#[track_caller]
pub fn shares_by_subgroup(gpu: &Gpu) -> bool {
    let shares = gpu.profile().subgroups && gpu.profile().subgroup == (8, 8);
    if !shares {
        report::skip("needs subgroups of eight invocations");
    }
    shares
}

/// Whether kernels may use 64-bit integers. Where they may not, the test of such kernels is reported as skipped, and goes on
/// without them.
#[track_caller]
pub fn has_int64(gpu: &Gpu) -> bool {
    if !gpu.profile().int64 {
        report::skip("needs 64-bit integers");
    }
    gpu.profile().int64
}

/// What `KILN_ADAPTER` asks for; `None` for no device at all.
fn choice_of(text: &str) -> Option<AdapterChoice> {
    if text.trim().eq_ignore_ascii_case("none") {
        return None;
    }
    Some(text.parse().unwrap_or_else(|never| match never {}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_none_means_no_device() {
        assert_eq!(choice_of("none"), None);
        assert_eq!(choice_of(" None "), None);
        assert_eq!(choice_of(""), Some(AdapterChoice::Strongest));
        assert_eq!(choice_of("1"), Some(AdapterChoice::Index(1)));
        assert_eq!(choice_of("nonesuch"), Some(AdapterChoice::Name("nonesuch".into())));
    }
}
