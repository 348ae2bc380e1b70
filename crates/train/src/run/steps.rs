//! The steps of an epoch.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Control, Run, data};
use crate::TrainError;
use crate::config::ScheduleBy;
use crate::events::{Event, Observer, StepDone};
use crate::learner::Learner;
use crate::loader::Loader;

/// Records are looked at when the last look is this long ago, since looking waits for the device,
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// or when this many steps are under way, so that what waits for the device does not pile up.
const MOST_UNDER_WAY: usize = 32;

/// How the steps of an epoch end.
pub(super) enum End {
    /// All of them are done.
    Done,
    /// The run was asked to stop; what is under way has been taken in.
    Interrupted,
}

impl<L: Learner> Run<L> {
    /// Makes the steps of the present epoch that are left. `saved` is when the last checkpoint was written.
    pub(super) fn steps(
        &mut self,
        control: &Control<'_>,
        observer: &mut dyn Observer,
        saved: &mut Instant,
    ) -> Result<End, TrainError> {
        let (epoch, first) = (self.progress.epoch, self.progress.batch);
        let options = data::training(&self.config);
        let loader = Loader::start(&self.data.train, &self.data.normalization, &options, epoch, first)?;
        let batches = loader.batches();
        let mut pace = Pace::start();
        let mut under_way = VecDeque::new();
        for batch in loader {
            let rate = self.rate(self.progress.batch + under_way.len());
            self.learner.step(&batch?, rate)?;
            under_way.push_back(rate);
            let interrupted = (control.interrupted)();
            let due = saved.elapsed() >= control.save_every;
            if !interrupted && !due && !pace.look(under_way.len()) {
                continue;
            }
            self.take_in(&mut under_way)?;
            let left = self.steps_left(batches);
            observer.event(&Event::Step(self.step_done(batches, rate, pace.looked(left))));
            if interrupted {
                return Ok(End::Interrupted);
            }
            if due {
                let path = self.save(false)?;
                *saved = Instant::now();
                observer.event(&Event::saved(&path, self.saved));
            }
        }
        let last = under_way.back().copied();
        self.take_in(&mut under_way)?;
        if let Some(rate) = last {
            let left = self.steps_left(batches);
            observer.event(&Event::Step(self.step_done(batches, rate, pace.looked(left))));
        }
        Ok(End::Done)
    }

    /// The learning rate of a batch of the present epoch.
    pub(super) fn rate(&self, batch: usize) -> f64 {
        let epoch = f64::from(self.progress.epoch);
        match self.config.schedule_by {
            ScheduleBy::Epoch => self.scheduler.rate(epoch),
            ScheduleBy::Step => {
                let batches = self.data.batches(&self.config);
                self.scheduler.rate(epoch + batch as f64 / batches as f64)
            }
        }
    }

    /// Waits for the steps under way and adds up what they came to, in their order.
    fn take_in(&mut self, under_way: &mut VecDeque<f64>) -> Result<(), TrainError> {
        for record in self.learner.records()? {
            let rate = under_way.pop_front().unwrap_or(f64::NAN);
            let step = self.steps_done() + 1;
            if !record.loss.is_finite() {
                return Err(self.not_finite(step, "loss", record.loss.into(), rate));
            }
            if !record.finite {
                return Err(self.not_finite(step, "gradient norm", record.norm.into(), rate));
            }
            self.progress.loss.add(record.loss.into(), record.examples as usize);
            self.progress.accuracy.add_count(record.correct as usize, record.examples as usize);
            self.progress.batch += 1;
        }
        Ok(())
    }

    fn steps_left(&self, batches: usize) -> u64 {
        u64::from(self.config.epochs) * batches as u64 - self.steps_done()
    }

    fn step_done(&self, batches: usize, lr: f64, (steps_per_second, left): (f64, Duration)) -> StepDone {
        StepDone {
            epoch: self.progress.epoch + 1,
            epochs: self.config.epochs,
            batch: self.progress.batch,
            batches,
            step: self.steps_done(),
            lr,
            train: self.score_so_far(),
            steps_per_second,
            left,
        }
    }
}

/// How fast steps are made.
struct Pace {
    looked: Instant,
    /// Steps since then.
    steps: usize,
    /// Seconds a step, an average that forgets.
    seconds: Option<f64>,
}

impl Pace {
    fn start() -> Pace {
        Pace { looked: Instant::now(), steps: 0, seconds: None }
    }

    /// Counts a step. True where it is time to look at what the steps came to.
    fn look(&mut self, under_way: usize) -> bool {
        self.steps = under_way;
        under_way >= MOST_UNDER_WAY || self.looked.elapsed() >= LOOK_EVERY
    }

    /// Steps a second, and how long those left will take. Comes when the device is done with the steps counted.
    fn looked(&mut self, left: u64) -> (f64, Duration) {
        let now = (self.looked.elapsed().as_secs_f64() / self.steps.max(1) as f64).max(1e-9);
        // The first look has the making of pipelines in it.
        let seconds = self.seconds.map_or(now, |before| 0.7 * before + 0.3 * now);
        self.seconds = Some(seconds);
        self.looked = Instant::now();
        self.steps = 0;
        let left = Duration::try_from_secs_f64(seconds * left as f64).unwrap_or(Duration::MAX);
        (1.0 / seconds, left)
    }
}
