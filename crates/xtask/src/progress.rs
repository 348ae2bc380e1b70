use std::fmt;
use std::time::{Duration, Instant};

/// Announces a part of the task.
pub(crate) fn heading(text: &str) {
    println!("\n== {text}");
}

/// Says one thing, below the present heading.
pub(crate) fn say(text: impl fmt::Display) {
    println!("   {text}");
}

/// A duration as one would say it: `0.4 s`, `12 s`, `3 min 05 s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took(pub(crate) Duration);

impl Took {
    pub(crate) fn since(start: Instant) -> Self {
        Took(start.elapsed())
    }
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        let text = if seconds < 9.95 {
            format!("{seconds:.1} s")
        } else if seconds < 59.5 {
            format!("{seconds:.0} s")
        } else {
            let whole = seconds.round() as u64;
            format!("{} min {:02} s", whole / 60, whole % 60)
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let cases =
            [(40, "0.0 s"), (9_940, "9.9 s"), (9_960, "10 s"), (59_400, "59 s"), (59_600, "1 min 00 s")];
        for (milliseconds, text) in cases {
            assert_eq!(Took(Duration::from_millis(milliseconds)).to_string(), text);
        }
        assert_eq!(Took(Duration::from_secs(185)).to_string(), "3 min 05 s");
        assert_eq!(format!("{:>8}", Took(Duration::from_secs(1))), "   1.0 s");
    }
}
