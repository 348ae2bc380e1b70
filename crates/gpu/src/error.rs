//! What can go wrong on a device, in words a user can act on.

use std::fmt;

/// Everything that this crate reports. Each message is one line that names the thing concerned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// No adapter could be found at all.
    #[error(
        "no GPU adapter found (tried {tried}); install a graphics driver, or Mesa's software Vulkan driver"
    )]
    NoAdapter {
        /// The back ends that were asked.
        tried: String,
    },
    /// The adapter that was asked for does not exist.
    #[error("unknown adapter {asked}; present: {present}")]
    UnknownAdapter {
        /// What was asked for: an index, or a quoted name.
        asked: String,
        /// Every adapter present, as `index: name`.
        present: String,
    },
    /// The device has no memory left for an allocation.
    #[error("{adapter} is out of memory: {label} needs {}", Bytes(*.bytes))]
    OutOfMemory {
        /// What the memory was for.
        label: String,
        /// The size of the request in bytes.
        bytes: u64,
        /// The adapter's name.
        adapter: String,
    },
    /// A buffer larger than the adapter can ever hold.
    #[error("{label} needs {}, but a buffer on {adapter} holds at most {}", Bytes(*.bytes), Bytes(*.limit))]
    BufferTooLarge {
        /// What the buffer was for.
        label: String,
        /// The size of the request in bytes.
        bytes: u64,
        /// The adapter's limit in bytes.
        limit: u64,
        /// The adapter's name.
        adapter: String,
    },
    /// The device went away: driver reset, watchdog, unplugged. Every buffer on it is gone.
    #[error("the device was lost: {reason}")]
    Lost {
        /// What the driver said.
        reason: String,
    },
    /// A call broke a rule of the device: a mistake in the program, not in a user's data.
    #[error("{label}: {message}")]
    Validation {
        /// The buffer, dispatch or call concerned.
        label: String,
        /// Which rule, what was expected and what came.
        message: String,
    },
    /// The driver refused a kernel.
    #[error("kernel {kernel} does not compile on this adapter: {message}")]
    ShaderCompile {
        /// The kernel, as `name/variant`.
        kernel: String,
        /// The compiler's diagnostic, on one line.
        message: String,
    },
    /// The adapter computed a wrong answer in the start-up probe.
    #[error("{adapter} fails the start-up probe: expected {expected}, got {got}; its driver is broken")]
    ProbeFailed {
        /// The adapter's name.
        adapter: String,
        /// The right value, and where.
        expected: String,
        /// What the adapter made of it.
        got: String,
    },
    /// The adapter cannot do what was asked of it.
    #[error("unsupported: {0}")]
    Unsupported(String),
}

impl GpuError {
    /// A broken rule, told by whoever found it.
    pub(crate) fn validation(label: impl Into<String>, message: impl Into<String>) -> GpuError {
        GpuError::Validation { label: label.into(), message: message.into() }
    }

    /// Translates what an error scope or the uncaptured-error handler caught.
    pub(crate) fn from_wgpu(error: &wgpu::Error, label: &str, bytes: u64, adapter: &str) -> GpuError {
        match error {
            wgpu::Error::OutOfMemory { .. } => {
                GpuError::OutOfMemory { label: label.into(), bytes, adapter: adapter.into() }
            }
            wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
                GpuError::validation(label, one_line(description))
            }
        }
    }
}

/// Folds wgpu's indented, many-line reports into one line, and drops its headings.
pub(crate) fn one_line(report: &str) -> String {
    let lines: Vec<&str> = report
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && *line != "Validation Error" && *line != "Caused by:")
        .collect();
    lines.join("; ")
}

/// A size in bytes for people to read: in the largest binary unit that gives at least 1, rounded to one
/// decimal where it is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
        let power = (self.0.max(1).ilog2() / 10).min(UNITS.len() as u32 - 1);
        let unit = 1u64 << (10 * power);
        let name = UNITS[power as usize];
        let text = if self.0.is_multiple_of(unit) {
            format!("{} {name}", self.0 / unit)
        } else {
            format!("{:.1} {name}", self.0 as f64 / unit as f64)
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (411_041_792, "392 MiB"),
            (6_442_450_944, "6 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn reports_fold_to_one_line() {
        let report = "Validation Error\n\nCaused by:\n  In Device::create_buffer, label = 'x'\n    too big\n";
        assert_eq!(one_line(report), "In Device::create_buffer, label = 'x'; too big");
    }

    #[test]
    fn messages_are_one_line_and_name_the_thing() {
        let error = GpuError::BufferTooLarge {
            label: "classifier.0.weight".into(),
            bytes: 411_041_792,
            limit: 268_435_456,
            adapter: "llvmpipe".into(),
        };
        let text = error.to_string();
        assert_eq!(text, "classifier.0.weight needs 392 MiB, but a buffer on llvmpipe holds at most 256 MiB");
    }
}
