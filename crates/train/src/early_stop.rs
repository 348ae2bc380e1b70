//! Which epoch was the best, and when to give up waiting for a better one.

use serde::{Deserialize, Serialize};

/// Follows the validation loss over the epochs. A checkpoint carries it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlyStop {
    /// Epochs without a better loss after which the run stops; none: it never stops early.
    patience: Option<u32>,
    best: Option<Best>,
    waited: u32,
}

/// The best epoch so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Which one.
    pub epoch: u32,
    /// Its loss.
    pub loss: f64,
}

/// What an epoch's loss means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the best so far: worth keeping.
    Better,
    /// It is not, and the run goes on.
    Wait,
    /// It is not, for the last time.
    Stop,
}

impl EarlyStop {
    /// At the start of a run. With a patience of N the run stops when N epochs one after the other have not been better
    /// than the best; 0 counts as 1.
    pub fn new(patience: Option<u32>) -> EarlyStop {
        EarlyStop { patience, best: None, waited: 0 }
    }

    /// Takes the loss of an epoch. An equal loss is not better, and one that is not finite never is.
    pub fn observe(&mut self, epoch: u32, loss: f64) -> Verdict {
        if loss.is_finite() && self.best.is_none_or(|best| loss < best.loss) {
            self.best = Some(Best { epoch, loss });
            self.waited = 0;
            return Verdict::Better;
        }
        self.waited += 1;
        match self.patience {
            Some(patience) if self.waited >= patience => Verdict::Stop,
            _ => Verdict::Wait,
        }
    }

    /// The best epoch; none before the first loss that is finite.
    pub fn best(&self) -> Option<Best> {
        self.best
    }

    /// Epochs since the best one.
    pub fn waited(&self) -> u32 {
        self.waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stops_after_as_many_epochs_as_it_bears() {
        use Verdict::{Better, Stop, Wait};
        let mut early = EarlyStop::new(Some(2));
        let losses = [f64::NAN, 1.0, 1.0, 0.5, f64::NEG_INFINITY, 0.6];
        let verdicts: Vec<_> =
            losses.iter().zip(0..).map(|(loss, epoch)| early.observe(epoch, *loss)).collect();
        assert_eq!(verdicts, [Wait, Better, Wait, Better, Wait, Stop]);
        assert_eq!((early.best(), early.waited()), (Some(Best { epoch: 3, loss: 0.5 }), 2));
    }

    #[test]
    fn without_patience_it_only_keeps_the_best() {
        let mut early = EarlyStop::new(None);
        let verdicts: Vec<_> = (0..50).map(|epoch| early.observe(epoch, 1.0)).collect();
        assert!(!verdicts.contains(&Verdict::Stop));
        assert_eq!(early.best(), Some(Best { epoch: 0, loss: 1.0 }));
        assert_eq!(EarlyStop::new(None).best(), None);
    }

    #[test]
    fn it_goes_on_from_what_was_written() {
        let mut early = EarlyStop::new(Some(3));
        let fresh = serde_json::to_string(&early).unwrap();
        assert_eq!(serde_json::from_str::<EarlyStop>(&fresh).unwrap(), early);
        early.observe(0, 0.1);
        early.observe(1, 0.3);
        let text = serde_json::to_string(&early).unwrap();
        let mut resumed: EarlyStop = serde_json::from_str(&text).unwrap();
        for epoch in 2..5 {
            assert_eq!(resumed.observe(epoch, 0.2), early.observe(epoch, 0.2));
        }
    }
}
