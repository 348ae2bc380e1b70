//! Which adapters there are, and which one is used.

use std::convert::Infallible;
use std::str::FromStr;

use crate::error::GpuError;
use crate::profile::{DeviceKind, DeviceProfile};

/// Vulkan, Metal and DX12. OpenGL lacks what compute needs and is never tried.
pub(crate) const BACKENDS: wgpu::Backends =
    wgpu::Backends::VULKAN.union(wgpu::Backends::METAL).union(wgpu::Backends::DX12);

/// How the adapter is picked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdapterChoice {
    /// Discrete before integrated before virtual before software; the first of equals.
    #[default]
    Strongest,
    /// By position in the list of [`Gpu::adapters`](crate::Gpu::adapters).
    Index(usize),
    /// By name, without regard to case: the exact name, else the strongest whose name contains it.
    Name(String),
}

impl FromStr for AdapterChoice {
    type Err = Infallible;

    /// Digits are an index, anything else a name, nothing at all the strongest.
    fn from_str(text: &str) -> Result<AdapterChoice, Infallible> {
        let text = text.trim();
        Ok(match text.parse() {
            Ok(index) => AdapterChoice::Index(index),
            Err(_) if text.is_empty() => AdapterChoice::Strongest,
            Err(_) => AdapterChoice::Name(text.to_owned()),
        })
    }
}

/// One adapter of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterReport {
    /// Its position in the list, for [`AdapterChoice::Index`].
    pub index: usize,
    /// What it is and can do.
    pub profile: DeviceProfile,
    /// Why Kiln cannot run on it, where it cannot.
    pub unfit: Option<String>,
}

/// The outcome of a choice among adapters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Position in the list.
    pub index: usize,
    /// Why this one: a clause such as `the only discrete GPU`.
    pub why: String,
}

/// Applies `choice` to a list of adapters. Touches no device, so a listing can show what
/// [`Gpu::open`](crate::Gpu::open) would do.
///
/// # Errors
/// [`GpuError::NoAdapter`] for an empty list, [`GpuError::UnknownAdapter`] where nothing matches and
/// [`GpuError::Unsupported`] where what matches cannot run Kiln.
pub fn choose(adapters: &[AdapterReport], choice: &AdapterChoice) -> Result<Chosen, GpuError> {
    if adapters.is_empty() {
        return Err(GpuError::NoAdapter { tried: "Vulkan, Metal and DX12".into() });
    }
    match choice {
        AdapterChoice::Strongest => {
            let all: Vec<&AdapterReport> = adapters.iter().collect();
            let best = strongest(&all)?;
            Ok(Chosen { index: best.index, why: why_strongest(best, adapters) })
        }
        AdapterChoice::Index(index) => {
            let found = adapters.iter().find(|adapter| adapter.index == *index);
            let found = found.ok_or_else(|| unknown(index.to_string(), adapters))?;
            fit(found).map(|_| Chosen { index: found.index, why: "asked for by index".into() })
        }
        AdapterChoice::Name(name) => {
            let wanted = name.to_lowercase();
            let matching = |test: &dyn Fn(&str) -> bool| -> Vec<&AdapterReport> {
                adapters.iter().filter(|adapter| test(&adapter.profile.name.to_lowercase())).collect()
            };
            let mut found = matching(&|present| present == wanted);
            if found.is_empty() {
                found = matching(&|present| present.contains(&wanted));
            }
            if found.is_empty() {
                return Err(unknown(format!("\"{name}\""), adapters));
            }
            Ok(Chosen { index: strongest(&found)?.index, why: "asked for by name".into() })
        }
    }
}

fn strongest<'a>(adapters: &[&'a AdapterReport]) -> Result<&'a AdapterReport, GpuError> {
    let fit_ones = adapters.iter().copied().filter(|adapter| adapter.unfit.is_none());
    // `max_by_key` returns the last of equals; the driver lists its preferred adapter first.
    let best = fit_ones.rev().max_by_key(|adapter| adapter.profile.kind.strength());
    match (best, adapters.first()) {
        (Some(best), _) => Ok(best),
        (None, Some(first)) => fit(first),
        (None, None) => Err(GpuError::NoAdapter { tried: "an empty list".into() }),
    }
}

fn fit(adapter: &AdapterReport) -> Result<&AdapterReport, GpuError> {
    match &adapter.unfit {
        None => Ok(adapter),
        Some(why) => Err(GpuError::Unsupported(format!("adapter {}: {why}", adapter.profile.name))),
    }
}

fn why_strongest(best: &AdapterReport, adapters: &[AdapterReport]) -> String {
    let kind = best.profile.kind;
    let noun = match kind {
        DeviceKind::Discrete => "discrete GPU",
        DeviceKind::Integrated => "integrated GPU",
        DeviceKind::Virtual => "virtual GPU",
        DeviceKind::Cpu => "software adapter",
        DeviceKind::Other => "adapter of unknown type",
    };
    let fit_ones = adapters.iter().filter(|adapter| adapter.unfit.is_none());
    match (fit_ones.clone().count(), fit_ones.filter(|adapter| adapter.profile.kind == kind).count()) {
        (1, _) if adapters.len() > 1 => "the only one that can run Kiln".into(),
        (1, _) => format!("the only adapter (a {noun})"),
        (_, 1) => format!("the strongest: the only {noun}"),
        (_, same) => format!("the strongest: the first of {same} {noun}s"),
    }
}

fn unknown(asked: String, adapters: &[AdapterReport]) -> GpuError {
    let present: Vec<String> =
        adapters.iter().map(|adapter| format!("{}: {}", adapter.index, adapter.profile.name)).collect();
    GpuError::UnknownAdapter { asked, present: present.join(", ") }
}

/// Asks every back end for its adapters, best reported facts included. The reports are in the
/// order of the adapters.
pub(crate) fn enumerate() -> Vec<(wgpu::Adapter, AdapterReport)> {
    let instance = instance();
    let adapters = pollster::block_on(instance.enumerate_adapters(BACKENDS));
    adapters
        .into_iter()
        .enumerate()
        .map(|(index, adapter)| {
            let profile = DeviceProfile::new(&adapter.get_info(), adapter.features(), &adapter.limits());
            let unfit = profile.limits.shortfall();
            (adapter, AdapterReport { index, profile, unfit })
        })
        .collect()
}

fn instance() -> wgpu::Instance {
    crate::quiet::instance_is_made();
    wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: BACKENDS,
        // The debug flags that wgpu switches on in debug builds load the driver's own validation
        // layers, which write to the terminal; the indirect-call flag adds a shader we never use.
        flags: wgpu::InstanceFlags::empty(),
        // An allocation that would leave the system without memory fails with an error of ours
        // instead of an overcommitted process that is killed later.
        memory_budget_thresholds: wgpu::MemoryBudgetThresholds {
            for_resource_creation: Some(95),
            for_device_loss: None,
        },
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Limits;

    fn machine(rows: &[(&str, DeviceKind)]) -> Vec<AdapterReport> {
        let row = |(index, (name, kind)): (usize, &(&str, DeviceKind))| AdapterReport {
            index,
            profile: DeviceProfile {
                name: (*name).into(),
                driver: String::new(),
                backend: "vulkan".into(),
                kind: *kind,
                subgroup: (32, 32),
                f16: false,
                int64: false,
                subgroups: false,
                timestamps: true,
                limits: Limits::BASELINE,
            },
            unfit: None,
        };
        rows.iter().enumerate().map(row).collect()
    }

    fn laptop() -> Vec<AdapterReport> {
        machine(&[
            ("Intel(R) Iris(R) Xe Graphics", DeviceKind::Integrated),
            ("NVIDIA GeForce RTX 4060", DeviceKind::Discrete),
            ("NVIDIA GeForce RTX 4060 Ti", DeviceKind::Discrete),
            ("llvmpipe (LLVM 15.0.6, 256 bits)", DeviceKind::Cpu),
        ])
    }

    fn chosen(choice: &str) -> Result<usize, GpuError> {
        choose(&laptop(), &choice.parse().expect("every text should be a choice")).map(|chosen| chosen.index)
    }

    #[test]
    fn text_becomes_a_choice() {
        for (text, choice) in [
            ("", AdapterChoice::Strongest),
            (" 2 ", AdapterChoice::Index(2)),
            ("llvmpipe", AdapterChoice::Name("llvmpipe".into())),
            ("-1", AdapterChoice::Name("-1".into())),
        ] {
            assert_eq!(text.parse(), Ok(choice));
        }
    }

    #[test]
    fn choices_find_the_right_adapter() {
        for (choice, index) in [
            ("", 1),
            ("0", 0),
            ("3", 3),
            ("LLVMPIPE", 3),
            ("nvidia geforce rtx 4060", 1),
            ("4060 ti", 2),
            ("GeForce", 1),
            ("e", 1),
        ] {
            assert_eq!(chosen(choice), Ok(index), "choice {choice:?}");
        }
    }

    #[test]
    fn an_unknown_adapter_is_answered_with_the_list() {
        for (choice, asked) in [("9", "unknown adapter 9;"), ("Voodoo", "unknown adapter \"Voodoo\";")] {
            let message = chosen(choice).expect_err("nothing should match").to_string();
            assert!(message.starts_with(asked), "{message}");
            assert!(message.contains("0: Intel(R) Iris(R) Xe Graphics, 1: NVIDIA"), "{message}");
        }
        assert!(matches!(choose(&[], &AdapterChoice::Strongest), Err(GpuError::NoAdapter { .. })));
    }

    #[test]
    fn an_unfit_adapter_is_passed_over_and_named_when_asked_for() {
        let mut adapters = laptop();
        for adapter in &mut adapters[1..3] {
            adapter.unfit = Some("it allows 4 storage buffers in a kernel".into());
        }
        let chosen = choose(&adapters, &AdapterChoice::Strongest).expect("the Intel one should do");
        assert_eq!(chosen, Chosen { index: 0, why: "the strongest: the only integrated GPU".into() });
        let error = choose(&adapters, &AdapterChoice::Index(1)).expect_err("it should be refused");
        assert!(error.to_string().contains("NVIDIA GeForce RTX 4060: it allows 4"), "{error}");
        assert!(choose(&adapters[1..2], &AdapterChoice::Strongest).is_err());
    }

    #[test]
    fn the_reason_is_told() {
        let why = |adapters: &[AdapterReport]| {
            choose(adapters, &AdapterChoice::Strongest).expect("an adapter should be chosen").why
        };
        assert_eq!(why(&laptop()), "the strongest: the first of 2 discrete GPUs");
        assert_eq!(why(&laptop()[3..]), "the only adapter (a software adapter)");
    }
}
