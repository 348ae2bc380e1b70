//! How the learning rate changes over a run.
//!
//! A schedule is written as words, separated by commas: one of
//!
//! | word | the rate after `t` epochs, from the base rate | PyTorch |
//! |---|---|---|
//! | `constant` | base | |
//! | `step30x0.1` | base · 0.1^⌊t / 30⌋ | `StepLR(30, 0.1)` |
//! | `cosine`, `cosine0.001` | m + (base - m) · (1 + cos(π t / T)) / 2, with the last rate m (0 if not given) and the run's epochs T | `CosineAnnealingLR(T, m)` |
//! | `plateau10x0.1` | times 0.1 whenever the loss has not become better for more than 10 epochs | `ReduceLROnPlateau(patience=10, factor=0.1)` |
//!
//! and before or without it `warmup5`, for which the rate rises from base / 6 in equal steps and reaches base after 5
//! epochs: `LinearLR(1/6, 1, 5)`. The other schedule starts then, and has so many epochs fewer, as in `SequentialLR`.
//!
//! Time is counted in epochs and may have a fraction. At whole epochs the rates are those of a PyTorch scheduler that
//! steps once an epoch; at `step / steps_per_epoch` they are those of one that steps with every batch and has its
//! epochs given in batches.

mod plateau;
mod scheduler;

use std::fmt;
use std::str::FromStr;

pub use plateau::{Plateau, PlateauState};
pub use scheduler::Scheduler;

use crate::TrainError;
use crate::words::Words;

const WORDS: Words = Words {
    list: "schedule",
    known: "constant, step30x0.1, cosine, cosine0.001, plateau10x0.1, warmup5 (numbers vary)",
};

/// A schedule, before it is known where it starts and how long it runs.
///
/// Written and read as words: `"warmup5,cosine".parse()`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    /// Epochs until the rate has reached its base; 0 for none.
    pub warmup: u32,
    /// What comes then.
    pub decay: Decay,
}

/// How the rate falls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Decay {
    /// Not at all.
    #[default]
    Constant,
    /// In steps.
    Step {
        /// Epochs between two steps; at least 1.
        every: u32,
        /// What the rate is multiplied by at each; above 0.
        factor: f64,
    },
    /// Along half a wave of the cosine.
    Cosine {
        /// The rate at the end; at least 0, and not above the base rate.
        last: f64,
    },
    /// When the loss stays as it is.
    Plateau(Plateau),
}

impl Schedule {
    /// The schedule of a run of so many epochs from a base rate.
    ///
    /// # Errors
    /// Where the rate is not a finite number above 0, a number of the schedule is out of its range, or the warm-up
    /// leaves no epoch.
    pub fn start(&self, base: f64, epochs: u32) -> Result<Scheduler, TrainError> {
        let refuse = |value: String, expected: String| Err(TrainError::option("schedule", value, expected));
        if !(base.is_finite() && base > 0.0) {
            return Err(TrainError::option("learning rate", base, "expected a finite number above 0"));
        }
        if self.warmup >= epochs && self.warmup > 0 {
            return refuse(
                self.to_string(),
                format!("a warm-up of fewer than the {epochs} epochs was expected"),
            );
        }
        let problem = match self.decay {
            Decay::Step { every, factor } if every == 0 || !(factor.is_finite() && factor > 0.0) => {
                "expected steps of at least 1 epoch and a finite factor above 0".to_owned()
            }
            Decay::Cosine { last } if !(0.0..=base).contains(&last) => {
                format!("expected a last rate from 0 to the base rate of {base}")
            }
            Decay::Plateau(plateau) if !(plateau.factor > 0.0 && plateau.factor < 1.0) => {
                "expected a factor above 0 and below 1".to_owned()
            }
            _ => return Ok(Scheduler::new(self.clone(), base, epochs)),
        };
        refuse(self.to_string(), problem)
    }
}

impl Decay {
    fn parse(word: &str) -> Result<Decay, TrainError> {
        let (name, rest) = WORDS.name(word);
        match name {
            "constant" => WORDS.alone(word, rest).map(|()| Decay::Constant),
            "step" => {
                let expected = "epochs from 1 and a factor above 0, such as step30x0.1";
                let (every, factor) =
                    pair(word, rest, expected, |every| *every >= 1, |factor| *factor > 0.0)?;
                Ok(Decay::Step { every, factor })
            }
            "cosine" if rest.is_empty() => Ok(Decay::Cosine { last: 0.0 }),
            "cosine" => {
                let expected = "a last rate from 0, such as cosine0.001";
                Ok(Decay::Cosine { last: WORDS.number(word, rest, expected, |last: &f64| *last >= 0.0)? })
            }
            "plateau" => {
                let expected = "epochs and a factor between 0 and 1, such as plateau10x0.1";
                let fits = |factor: &f64| *factor > 0.0 && *factor < 1.0;
                let (patience, factor) = pair(word, rest, expected, |_| true, fits)?;
                Ok(Decay::Plateau(Plateau { patience, factor, ..Plateau::default() }))
            }
            _ => Err(WORDS.unknown(word)),
        }
    }
}

/// The numbers of `30x0.1`.
fn pair(
    word: &str,
    numbers: &str,
    expected: &str,
    fits: impl Fn(&u32) -> bool,
    factor_fits: impl Fn(&f64) -> bool,
) -> Result<(u32, f64), TrainError> {
    let (epochs, factor) = numbers.split_once('x').unwrap_or((numbers, ""));
    let factor_fits = |factor: &f64| factor.is_finite() && factor_fits(factor);
    Ok((WORDS.number(word, epochs, expected, fits)?, WORDS.number(word, factor, expected, factor_fits)?))
}

impl FromStr for Schedule {
    type Err = TrainError;

    /// # Errors
    /// For a word that is not known, lacks a number or has an impossible one; for two schedules, and a warm-up that is
    /// not first.
    fn from_str(text: &str) -> Result<Schedule, TrainError> {
        let mut schedule = Schedule::default();
        let mut decay = None;
        for (place, word) in WORDS.split(text).enumerate() {
            let (name, number) = WORDS.name(word);
            if name == "warmup" {
                if place > 0 {
                    return Err(WORDS.error(word, "a warm-up comes first"));
                }
                let expected = "a whole number of epochs from 1, such as warmup5";
                schedule.warmup = WORDS.number(word, number, expected, |epochs| *epochs >= 1)?;
                continue;
            }
            if decay.replace(Decay::parse(word)?).is_some() {
                return Err(WORDS.error(word, "a second schedule"));
            }
        }
        Ok(Schedule { decay: decay.unwrap_or_default(), ..schedule })
    }
}

impl fmt::Display for Schedule {
    /// The words, which parse to the same again (but for options of a plateau that words do not have).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.warmup > 0 {
            write!(f, "warmup{},", self.warmup)?;
        }
        match self.decay {
            Decay::Constant => write!(f, "constant"),
            Decay::Step { every, factor } => write!(f, "step{every}x{factor}"),
            Decay::Cosine { last: 0.0 } => write!(f, "cosine"),
            Decay::Cosine { last } => write!(f, "cosine{last}"),
            Decay::Plateau(plateau) => write!(f, "plateau{}x{}", plateau.patience, plateau.factor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Schedule, String> {
        words.parse().map_err(|error: TrainError| error.to_string())
    }

    #[test]
    fn words_become_schedules() {
        let plateau = Plateau { patience: 10, factor: 0.5, ..Plateau::default() };
        let table = [
            ("constant", 0, Decay::Constant),
            ("warmup5", 5, Decay::Constant),
            ("step30x0.1", 0, Decay::Step { every: 30, factor: 0.1 }),
            ("warmup2, cosine", 2, Decay::Cosine { last: 0.0 }),
            ("cosine1e-4", 0, Decay::Cosine { last: 1e-4 }),
            ("plateau10x0.5", 0, Decay::Plateau(plateau)),
        ];
        for (words, warmup, decay) in table {
            let schedule = parse(words).unwrap();
            assert_eq!(schedule, Schedule { warmup, decay }, "{words}");
            assert_eq!(parse(&schedule.to_string()).unwrap(), schedule, "{words}");
        }
    }

    #[test]
    fn a_wrong_word_is_named() {
        let known = "known: constant, step30x0.1, cosine, cosine0.001, plateau10x0.1, warmup5 (numbers vary)";
        let table = [
            ("linear", "linear", "unknown word"),
            ("", "", "a word is missing"),
            ("constant5", "constant5", "\"5\" is not expected here"),
            ("step", "step", "expected epochs from 1 and a factor above 0, such as step30x0.1"),
            ("step0x0.1", "step0x0.1", "expected epochs from 1 and a factor above 0, such as step30x0.1"),
            ("step30", "step30", "expected epochs from 1 and a factor above 0, such as step30x0.1"),
            ("step30x-1", "step30x-1", "expected epochs from 1 and a factor above 0, such as step30x0.1"),
            (
                "step30x1e999",
                "step30x1e999",
                "expected epochs from 1 and a factor above 0, such as step30x0.1",
            ),
            ("cosine-1", "cosine-1", "expected a last rate from 0, such as cosine0.001"),
            (
                "plateau5x1",
                "plateau5x1",
                "expected epochs and a factor between 0 and 1, such as plateau10x0.1",
            ),
            ("warmup0", "warmup0", "expected a whole number of epochs from 1, such as warmup5"),
            ("cosine,warmup5", "warmup5", "a warm-up comes first"),
            ("cosine,constant", "constant", "a second schedule"),
        ];
        for (words, word, problem) in table {
            assert_eq!(parse(words).unwrap_err(), format!("schedule {word:?}: {problem}; {known}"));
        }
    }

    #[test]
    fn what_cannot_run_is_refused() {
        let refused = |words: &str, base, epochs| {
            let schedule = parse(words).unwrap();
            schedule.start(base, epochs).expect_err("it should be refused").to_string()
        };
        assert_eq!(refused("constant", 0.0, 5), "learning rate 0: expected a finite number above 0");
        assert_eq!(refused("constant", f64::NAN, 5), "learning rate NaN: expected a finite number above 0");
        assert_eq!(
            refused("warmup5,cosine", 0.1, 5),
            "schedule warmup5,cosine: a warm-up of fewer than the 5 epochs was expected"
        );
        assert_eq!(
            refused("cosine0.2", 0.1, 5),
            "schedule cosine0.2: expected a last rate from 0 to the base rate of 0.1"
        );
        let schedule = Schedule { decay: Decay::Step { every: 0, factor: 0.1 }, warmup: 0 };
        assert!(schedule.start(0.1, 5).is_err());
        let plateau = Plateau { factor: 1.5, ..Plateau::default() };
        assert!(Schedule { decay: Decay::Plateau(plateau), warmup: 0 }.start(0.1, 5).is_err());
        assert!(Schedule::default().start(0.1, 0).is_ok());
    }
}
