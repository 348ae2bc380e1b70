//! Lowering the rate when the loss stays as it is.

use serde::{Deserialize, Serialize};

/// When and by how much the rate is lowered: PyTorch's `ReduceLROnPlateau` with `mode="min"` and
/// `threshold_mode="rel"`, and its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plateau {
    /// Epochs without a better loss that are borne; the one after them lowers the rate.
    pub patience: u32,
    /// What the rate is multiplied by; above 0, below 1.
    pub factor: f64,
    /// A loss is better that lies below the best one by more than this fraction of it.
    pub threshold: f64,
    /// Epochs after a lowering in which no loss counts against the rate.
    pub cooldown: u32,
    /// The rate is not lowered below this.
    pub min_rate: f64,
    /// A change of the rate by no more than this is not made.
    pub eps: f64,
}

impl Default for Plateau {
    fn default() -> Self {
        Plateau { patience: 10, factor: 0.1, threshold: 1e-4, cooldown: 0, min_rate: 0.0, eps: 1e-8 }
    }
}

/// What has to be remembered between two losses; a checkpoint carries it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlateauState {
    rate: f64,
    /// The best loss so far.
    best: Option<f64>,
    /// Epochs since then.
    waited: u32,
    /// Epochs of the cooldown that are left.
    cooling: u32,
}

impl PlateauState {
    /// The start of a run.
    pub fn new(rate: f64) -> PlateauState {
        PlateauState { rate, best: None, waited: 0, cooling: 0 }
    }

    /// The learning rate.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Takes the loss of an epoch. True where the rate is lower from now on. A loss that is not a number is never
    /// better.
    pub fn observe(&mut self, plateau: &Plateau, loss: f64) -> bool {
        let bar = self.best.map_or(f64::INFINITY, |best| best * (1.0 - plateau.threshold));
        if loss < bar {
            self.best = Some(loss);
            self.waited = 0;
        } else {
            self.waited += 1;
        }
        if self.cooling > 0 {
            self.cooling -= 1;
            self.waited = 0;
        }
        if self.waited <= plateau.patience {
            return false;
        }
        self.cooling = plateau.cooldown;
        self.waited = 0;
        let lower = (self.rate * plateau.factor).max(plateau.min_rate);
        let lowered = self.rate - lower > plateau.eps;
        if lowered {
            self.rate = lower;
        }
        lowered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: fn() -> Plateau = Plateau::default;

    /// From `torch.optim.lr_scheduler.ReduceLROnPlateau` in PyTorch 1.13: the rate after each loss.
    #[test]
    fn rates_are_those_of_pytorch() {
        let table: [(Plateau, f64, &[f64], &[f64]); 5] = [
            (
                Plateau { patience: 2, ..DEFAULT() },
                0.1,
                &[1.0, 0.9, 0.95, 0.9, 0.89999, 0.91, 0.5, 0.5, 0.5, 0.5, 0.6, 0.7, 0.8],
                &[0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.01, 0.001, 0.001, 0.001, 0.0001],
            ),
            (
                Plateau { patience: 0, factor: 0.5, ..DEFAULT() },
                0.1,
                &[1.0, f64::NAN, 1.1, 0.9, 0.9, 0.9],
                &[0.1, 0.05, 0.025, 0.025, 0.0125, 0.00625],
            ),
            (
                Plateau { patience: 1, factor: 0.5, cooldown: 2, min_rate: 0.02, ..DEFAULT() },
                0.1,
                &[1.0; 12],
                &[0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.025, 0.02, 0.02],
            ),
            (
                Plateau { patience: 0, factor: 0.5, ..DEFAULT() },
                3e-8,
                &[1.0; 5],
                &[3e-8, 1.5e-8, 1.5e-8, 1.5e-8, 1.5e-8],
            ),
            (
                Plateau { patience: 0, factor: 0.5, ..DEFAULT() },
                0.1,
                &[-1.0, -1.00005, -1.2, -1.2],
                &[0.1; 4],
            ),
        ];
        for (plateau, base, losses, expected) in table {
            let mut state = PlateauState::new(base);
            for (epoch, (loss, expected)) in losses.iter().zip(expected).enumerate() {
                let before = state.rate();
                assert_eq!(state.observe(&plateau, *loss), state.rate() < before);
                let rate = state.rate();
                assert!(
                    (rate - expected).abs() <= 1e-12 * expected,
                    "{plateau:?}, epoch {epoch}: {rate}, expected {expected}"
                );
            }
        }
    }
}
