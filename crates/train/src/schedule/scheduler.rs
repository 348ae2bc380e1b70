//! The rate of a run at each time.

use std::f64::consts::PI;

use super::{Decay, PlateauState, Schedule};

/// The schedule of one run. [`rate`](Scheduler::rate) is a pure function of the time and, for a plateau, of the losses
/// it has been told.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduler {
    schedule: Schedule,
    base: f64,
    epochs: u32,
    plateau: PlateauState,
}

impl Scheduler {
    pub(super) fn new(schedule: Schedule, base: f64, epochs: u32) -> Scheduler {
        Scheduler { schedule, base, epochs, plateau: PlateauState::new(base) }
    }

    /// The learning rate after so many epochs, which may be a fraction: 0 at the first step. The cosine stays at its
    /// last rate when the run goes on longer than it should.
    pub fn rate(&self, epochs: f64) -> f64 {
        let warmup = f64::from(self.schedule.warmup);
        if epochs < warmup {
            let base = self.after_warmup(0.0);
            return base * (1.0 + epochs) / (1.0 + warmup);
        }
        self.after_warmup(epochs - warmup)
    }

    fn after_warmup(&self, epochs: f64) -> f64 {
        match self.schedule.decay {
            Decay::Constant => self.base,
            Decay::Step { every, factor } => self.base * factor.powf((epochs / f64::from(every)).floor()),
            Decay::Cosine { last } => {
                let all = f64::from(self.epochs.saturating_sub(self.schedule.warmup).max(1));
                last + (self.base - last) * (1.0 + (PI * epochs.min(all) / all).cos()) / 2.0
            }
            Decay::Plateau(_) => self.plateau.rate(),
        }
    }

    /// Tells the loss of an epoch: that of validation, or of training where there is none. Only a plateau listens.
    /// True where the rate is lower from now on.
    pub fn observe(&mut self, loss: f64) -> bool {
        match self.schedule.decay {
            Decay::Plateau(plateau) => self.plateau.observe(&plateau, loss),
            _ => false,
        }
    }

    /// What a checkpoint has to carry beside the schedule, the base rate and the number of epochs.
    pub fn state(&self) -> PlateauState {
        self.plateau
    }

    /// Goes on from a state.
    pub fn restore(&mut self, state: PlateauState) {
        self.plateau = state;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start(words: &str, base: f64, epochs: u32) -> Scheduler {
        words.parse::<Schedule>().unwrap().start(base, epochs).unwrap()
    }

    #[track_caller]
    fn assert_rates(name: &str, rates: impl IntoIterator<Item = f64>, expected: &[f64]) {
        let rates: Vec<f64> = rates.into_iter().collect();
        let near = |(rate, expected): (&f64, &f64)| (rate - expected).abs() <= 1e-12 * expected.abs();
        assert_eq!(rates.len(), expected.len(), "{name}");
        assert!(rates.iter().zip(expected).all(near), "{name}: {rates:?}, expected {expected:?}");
    }

    /// From the schedulers of `torch.optim.lr_scheduler` in PyTorch 1.13, one step an epoch: `StepLR(3, 0.5)`,
    /// `CosineAnnealingLR(10)`, `CosineAnnealingLR(7, 0.001)`, `SequentialLR` of `LinearLR(1/5, 1, 4)` and
    /// `CosineAnnealingLR(6)` at 4, and of `LinearLR(1/4, 1, 3)` and `StepLR(2, 0.1)` at 3.
    #[test]
    fn rates_are_those_of_pytorch() {
        let table: [(&str, f64, &[f64]); 5] = [
            ("step3x0.5", 0.1, &[0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.0125]),
            (
                "cosine",
                0.1,
                &[
                    0.1,
                    0.09755282581475769,
                    0.09045084971874738,
                    0.07938926261462367,
                    0.06545084971874739,
                    0.05000000000000001,
                    0.03454915028125264,
                    0.020610737385376353,
                    0.009549150281252635,
                    0.002447174185242324,
                ],
            ),
            (
                "cosine0.001",
                0.05,
                &[
                    0.05,
                    0.04757373726360927,
                    0.040775500145538976,
                    0.030951762881929707,
                    0.020048237118070304,
                    0.010224499854461031,
                    0.0034262627363907338,
                ],
            ),
            (
                "warmup4,cosine",
                0.2,
                &[
                    0.04000000000000001,
                    0.08000000000000002,
                    0.12000000000000002,
                    0.16000000000000003,
                    0.2,
                    0.1866025403784439,
                    0.15000000000000002,
                    0.1,
                    0.050000000000000024,
                    0.01339745962155613,
                ],
            ),
            ("warmup3,step2x0.1", 0.2, &[0.05, 0.1, 0.15, 0.2, 0.2, 0.02, 0.02, 0.002, 0.002]),
        ];
        for (words, base, expected) in table {
            let scheduler = start(words, base, expected.len() as u32);
            let rates = (0..expected.len()).map(|epoch| scheduler.rate(epoch as f64));
            assert_rates(words, rates, expected);
        }
    }

    /// A scheduler that steps with every batch and has 40 batches for 4 epochs is one of 40 epochs.
    #[test]
    fn time_may_have_a_fraction() {
        for (by_epoch, by_step) in [("step2x0.5", "step20x0.5"), ("cosine", "cosine")] {
            let (by_epoch, by_step) = (start(by_epoch, 0.1, 4), start(by_step, 0.1, 40));
            let expected: Vec<f64> = (0..40).map(|step| by_step.rate(f64::from(step))).collect();
            assert_rates("steps", (0..40).map(|step| by_epoch.rate(f64::from(step) / 10.0)), &expected);
        }
        assert_rates("warm-up", [start("warmup3", 0.1, 9).rate(1.5)], &[0.0625]);
    }

    #[test]
    fn the_end_of_a_cosine_stays() {
        let scheduler = start("cosine0.01", 0.1, 5);
        assert_rates("end", [5.0, 5.5, 9.0].map(|epochs| scheduler.rate(epochs)), &[0.01; 3]);
    }

    #[test]
    fn a_plateau_goes_on_from_its_state() {
        let mut whole = start("warmup1,plateau1x0.5", 0.1, 9);
        assert_rates("warm-up", [0.0, 1.0].map(|epochs| whole.rate(epochs)), &[0.05, 0.1]);
        assert_eq!([1.0, 1.0, 1.0, 1.0].map(|loss| whole.observe(loss)), [false, false, true, false]);
        let text = serde_json::to_string(&whole.state()).unwrap();
        let mut resumed = start("warmup1,plateau1x0.5", 0.1, 9);
        resumed.restore(serde_json::from_str(&text).unwrap());
        assert_eq!(resumed, whole);
        assert!(whole.observe(1.0) && resumed.observe(1.0));
        assert_rates("halved twice", [whole.rate(5.0), resumed.rate(5.0)], &[0.025, 0.025]);
        assert!(!start("cosine", 0.1, 5).observe(1.0));
    }

    /// Before the first loss there is no best one; JSON has no infinity.
    #[test]
    fn a_fresh_state_is_written_and_read() {
        let state = start("plateau1x0.5", 0.1, 9).state();
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<PlateauState>(&text).unwrap(), state);
    }

    proptest! {
        #[test]
        fn rates_are_above_zero_and_fall_after_the_warm_up(
            base in 1e-6..10.0, epochs in 1_u32..50, warmup in 0_u32..50, time in 0.0..1.0,
        ) {
            let warmup = warmup % epochs;
            let schedule = Schedule { warmup, decay: Decay::Cosine { last: base / 10.0 } };
            let scheduler = schedule.start(base, epochs).unwrap();
            let time = time * f64::from(epochs);
            let (now, later) = (scheduler.rate(time), scheduler.rate(time + 0.1));
            prop_assert!(now > 0.0 && now <= base * (1.0 + 1e-12));
            prop_assert!(time < f64::from(warmup) || later <= now);
        }
    }
}
