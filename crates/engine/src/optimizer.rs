//! Optimizers as a user names them, and what each step gives to their rules.

use std::fmt;
use std::str::FromStr;

use crate::error::Mismatch;
use crate::ops::Scalar;
use crate::updates::{Adam, RATES, RmsProp, Rule, Sgd};

/// Options of [`Optimizer::Sgd`]; all are 0 or off by default, as in PyTorch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SgdOptions {
    /// How much of the last direction stays; at least 0.
    pub momentum: f64,
    /// How much of the gradient is left out of the direction after the first step.
    pub dampening: f64,
    /// Nesterov's look ahead; with a momentum and no dampening alone.
    pub nesterov: bool,
    /// How much of a parameter is added to its gradient; at least 0.
    pub weight_decay: f64,
}

/// Options of [`Optimizer::Adam`] and [`Optimizer::AdamW`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamOptions {
    /// How much of the gradient's running mean stays; at least 0, below 1.
    pub beta1: f64,
    /// How much of the squared gradient's running mean stays; at least 0, below 1.
    pub beta2: f64,
    /// Added to the root of the squared gradient's mean; at least 0.
    pub eps: f64,
    /// How much of a parameter is added to its gradient (Adam), or taken off it at the learning rate (AdamW); at least 0.
    pub weight_decay: f64,
}

impl AdamOptions {
    /// PyTorch's for Adam: betas of 0.9 and 0.999, an epsilon of 1e-8, no weight decay.
    pub const ADAM: Self = Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
    /// PyTorch's for AdamW: the same with a weight decay of 0.01.
    pub const ADAM_W: Self = Self { weight_decay: 0.01, ..Self::ADAM };
}

/// Options of [`Optimizer::RmsProp`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsPropOptions {
    /// How much of the squared gradient's running mean stays; at least 0, at most 1.
    pub alpha: f64,
    /// Added to the root of that mean; at least 0.
    pub eps: f64,
    /// How much of a parameter is added to its gradient; at least 0.
    pub weight_decay: f64,
    /// How much of the last direction stays; at least 0.
    pub momentum: f64,
}

impl Default for RmsPropOptions {
    /// PyTorch's: an alpha of 0.99, an epsilon of 1e-8, neither weight decay nor momentum.
    fn default() -> Self {
        Self { alpha: 0.99, eps: 1e-8, weight_decay: 0.0, momentum: 0.0 }
    }
}

/// How parameters follow their gradients: the optimizers of `torch.optim`, by their formulas there.
///
/// Its name, such as `adamw`, parses to the optimizer with PyTorch's default options.
/// [`GraphBuilder::optimize`](crate::GraphBuilder::optimize) puts a step into a graph.
///
/// ```
/// use kiln_engine::{Optimizer, SgdOptions};
///
/// let plain: Optimizer = "sgd".parse().unwrap();
/// assert_eq!(plain, Optimizer::Sgd(SgdOptions::default()));
/// let heavy = Optimizer::Sgd(SgdOptions { momentum: 0.9, ..SgdOptions::default() });
/// assert_eq!(heavy.state(), ["momentum_buffer"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// `torch.optim.SGD`.
    Sgd(SgdOptions),
    /// `torch.optim.Adam`.
    Adam(AdamOptions),
    /// `torch.optim.AdamW`.
    AdamW(AdamOptions),
    /// `torch.optim.RMSprop`, not centred.
    RmsProp(RmsPropOptions),
}

impl Optimizer {
    /// The names that parse.
    pub const NAMES: [&'static str; 4] = ["sgd", "adam", "adamw", "rmsprop"];

    /// The name, as it parses.
    pub fn name(&self) -> &'static str {
        match self {
            Optimizer::Sgd(_) => Self::NAMES[0],
            Optimizer::Adam(_) => Self::NAMES[1],
            Optimizer::AdamW(_) => Self::NAMES[2],
            Optimizer::RmsProp(_) => Self::NAMES[3],
        }
    }

    /// PyTorch's default learning rate.
    pub fn default_rate(&self) -> f64 {
        match self {
            Optimizer::Sgd(_) | Optimizer::Adam(_) | Optimizer::AdamW(_) => 1e-3,
            Optimizer::RmsProp(_) => 1e-2,
        }
    }

    /// What is kept for each parameter from step to step, by PyTorch's names: tensors of the parameter's shape that start
    /// as zeros.
    pub fn state(&self) -> &'static [&'static str] {
        match self {
            Optimizer::Sgd(options) if options.momentum == 0.0 => &[],
            Optimizer::Sgd(_) => &["momentum_buffer"],
            Optimizer::Adam(_) | Optimizer::AdamW(_) => &["exp_avg", "exp_avg_sq"],
            Optimizer::RmsProp(options) if options.momentum == 0.0 => &["square_avg"],
            Optimizer::RmsProp(_) => &["square_avg", "momentum_buffer"],
        }
    }

    /// What the host gives to the rules with step `step`, counted from 1, at the learning rate `lr`: computed in double
    /// precision, bias corrections included.
    pub fn rates(&self, step: u64, lr: f64) -> [f32; RATES] {
        let rates = match self {
            Optimizer::Sgd(options) if step > 1 => [lr, options.momentum, 1.0 - options.dampening, 0.0],
            // The buffer takes the first gradient as it is, whatever the dampening.
            Optimizer::Sgd(_) => [lr, 0.0, 1.0, 0.0],
            Optimizer::Adam(options) => adam_rates(options, step, lr, 0.0),
            Optimizer::AdamW(options) => adam_rates(options, step, lr, lr * options.weight_decay),
            Optimizer::RmsProp(_) => [lr, 0.0, 0.0, 0.0],
        };
        rates.map(|rate| rate as f32)
    }

    /// The update rule, its options in single precision.
    pub(crate) fn rule(&self) -> Rule {
        let scalar = |number: f64| Scalar::new(number as f32);
        let adam = |options: &AdamOptions, weight_decay: f64| Adam {
            gain: scalar(1.0 - options.beta1),
            gain_sq: scalar(1.0 - options.beta2),
            eps: scalar(options.eps),
            weight_decay: scalar(weight_decay),
        };
        match self {
            Optimizer::Sgd(options) => Sgd {
                momentum: scalar(options.momentum),
                nesterov: options.nesterov,
                weight_decay: scalar(options.weight_decay),
            }
            .into(),
            Optimizer::Adam(options) => adam(options, options.weight_decay).into(),
            // Its decay comes with the rates.
            Optimizer::AdamW(options) => adam(options, 0.0).into(),
            Optimizer::RmsProp(options) => RmsProp {
                gain: scalar(1.0 - options.alpha),
                eps: scalar(options.eps),
                weight_decay: scalar(options.weight_decay),
                momentum: scalar(options.momentum),
            }
            .into(),
        }
    }

    /// Refuses options with which the formulas make no sense, as PyTorch does.
    ///
    /// # Errors
    /// A [`Mismatch`] that names the option.
    pub fn check(&self) -> Result<(), Mismatch> {
        // All asked this way round, so that NaN is refused.
        let not_negative = |what: &str, number: f64| match number >= 0.0 && number.is_finite() {
            true => Ok(()),
            false => Err(Mismatch::new(what, "a finite number of at least 0", number)),
        };
        let share = |what: &str, number: f64| match (0.0..1.0).contains(&number) {
            true => Ok(()),
            false => Err(Mismatch::new(what, "at least 0 and below 1", number)),
        };
        match self {
            Optimizer::Sgd(options) => {
                not_negative("momentum", options.momentum)?;
                not_negative("weight decay", options.weight_decay)?;
                if !options.dampening.is_finite() {
                    return Err(Mismatch::new("dampening", "a finite number", options.dampening));
                }
                if options.nesterov && (options.momentum == 0.0 || options.dampening != 0.0) {
                    let got = format!("{} and {}", options.momentum, options.dampening);
                    return Err(Mismatch::new(
                        "momentum and dampening",
                        "a momentum and no dampening for nesterov",
                        got,
                    ));
                }
                Ok(())
            }
            Optimizer::Adam(options) | Optimizer::AdamW(options) => {
                share("beta1", options.beta1)?;
                share("beta2", options.beta2)?;
                not_negative("eps", options.eps)?;
                not_negative("weight decay", options.weight_decay)
            }
            Optimizer::RmsProp(options) => {
                if !(0.0..=1.0).contains(&options.alpha) {
                    return Err(Mismatch::new("alpha", "at least 0 and at most 1", options.alpha));
                }
                not_negative("eps", options.eps)?;
                not_negative("weight decay", options.weight_decay)?;
                not_negative("momentum", options.momentum)
            }
        }
    }
}

/// Adam's step size with both bias corrections, and the decay of the parameter.
fn adam_rates(options: &AdamOptions, step: u64, lr: f64, decay: f64) -> [f64; RATES] {
    let bias = |beta: f64| 1.0 - beta.powf(step as f64);
    [lr / bias(options.beta1), bias(options.beta2).sqrt().recip(), decay, 0.0]
}

impl FromStr for Optimizer {
    type Err = Mismatch;

    fn from_str(name: &str) -> Result<Self, Mismatch> {
        match name {
            "sgd" => Ok(Optimizer::Sgd(SgdOptions::default())),
            "adam" => Ok(Optimizer::Adam(AdamOptions::ADAM)),
            "adamw" => Ok(Optimizer::AdamW(AdamOptions::ADAM_W)),
            "rmsprop" => Ok(Optimizer::RmsProp(RmsPropOptions::default())),
            _ => Err(Mismatch::new("optimizer", format!("one of {}", Self::NAMES.join(", ")), name)),
        }
    }
}

impl fmt::Display for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_to_their_optimizers() {
        for name in Optimizer::NAMES {
            let optimizer: Optimizer = name.parse().unwrap();
            assert_eq!(optimizer.to_string(), name);
            assert_eq!(optimizer.check(), Ok(()));
        }
        let error = "lion".parse::<Optimizer>().map_err(|e| e.to_string());
        assert_eq!(error, Err("optimizer: expected one of sgd, adam, adamw, rmsprop, got lion".to_owned()));
    }

    #[test]
    fn the_first_step_is_not_dampened() {
        let sgd = Optimizer::Sgd(SgdOptions { momentum: 0.9, dampening: 0.25, ..SgdOptions::default() });
        assert_eq!(sgd.rates(1, 0.1), [0.1, 0.0, 1.0, 0.0]);
        assert_eq!(sgd.rates(2, 0.1), [0.1, 0.9, 0.75, 0.0]);
    }

    #[test]
    fn bias_corrections_vanish_with_time() {
        let adam = Optimizer::AdamW(AdamOptions::ADAM_W);
        let [rate, correction, decay, _] = adam.rates(1, 1e-3);
        assert_eq!([rate, decay], [1e-2, 1e-5]);
        assert!((correction - 1000f32.sqrt()).abs() < 1e-5, "{correction}");
        assert_eq!(adam.rates(1_000_000, 1e-3), [1e-3, 1.0, 1e-5, 0.0]);
    }

    #[test]
    fn senseless_options_are_named() {
        let sgd = SgdOptions::default();
        for (optimizer, expected) in [
            (
                Optimizer::Sgd(SgdOptions { momentum: -1.0, ..sgd }),
                "momentum: expected a finite number of at least 0, got -1",
            ),
            (
                Optimizer::Sgd(SgdOptions { nesterov: true, ..sgd }),
                "momentum and dampening: expected a momentum and no dampening for nesterov, got 0 and 0",
            ),
            (
                Optimizer::Sgd(SgdOptions { weight_decay: f64::NAN, ..sgd }),
                "weight decay: expected a finite number of at least 0, got NaN",
            ),
            (
                Optimizer::Adam(AdamOptions { beta2: 1.0, ..AdamOptions::ADAM }),
                "beta2: expected at least 0 and below 1, got 1",
            ),
            (
                Optimizer::RmsProp(RmsPropOptions { alpha: 1.5, ..RmsPropOptions::default() }),
                "alpha: expected at least 0 and at most 1, got 1.5",
            ),
        ] {
            assert_eq!(optimizer.check().map_err(|e| e.to_string()), Err(expected.to_owned()));
        }
    }
}
