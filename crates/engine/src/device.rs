//! A GPU together with what is known of the kernels that are best on it.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kiln_gpu::{DeviceProfile, Gpu};

use crate::choices::{Choices, Journal, Target};
use crate::compile::{Planned, plan};
use crate::error::Result;
use crate::graph::Graph;
use crate::tune::{Finding, TuneOptions, TuneProgress, tune};

/// What sessions are made on: a GPU, and a [`Tuner`] that they share. A GPU alone is a device on which the table
/// chooses all kernels, which is what training wants: the same bytes from run to run, on any build.
///
/// It does not stand in for its GPU by itself: sessions that were made on that would lose the tuner without a word.
#[derive(Clone, Debug)]
pub struct Device {
    gpu: Gpu,
    tuner: Option<Tuner>,
}

impl Device {
    /// A GPU whose kernels are chosen by a tuner.
    pub fn tuned(gpu: &Gpu, tuner: Tuner) -> Self {
        Self { gpu: gpu.clone(), tuner: Some(tuner) }
    }

    /// The GPU, for those that choose no kernels.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// What the GPU is and can do.
    pub fn profile(&self) -> &DeviceProfile {
        self.gpu.profile()
    }

    /// The choices that are known by now.
    pub fn choices(&self) -> Choices {
        self.tuner.as_ref().map(Tuner::choices).unwrap_or_default()
    }

    pub(crate) fn into_parts(self) -> (Gpu, Option<Tuner>) {
        (self.gpu, self.tuner)
    }
}

impl From<&Gpu> for Device {
    fn from(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), tuner: None }
    }
}

impl From<Gpu> for Device {
    fn from(gpu: Gpu) -> Self {
        Self { gpu, tuner: None }
    }
}

impl From<&Device> for Device {
    fn from(device: &Device) -> Self {
        device.clone()
    }
}

/// Choices for one GPU, and a limited time to find out more of them, shared by all sessions that have it.
#[derive(Clone)]
pub struct Tuner(Arc<Mutex<State>>);

/// Keeps what was found.
type Keep = Box<dyn FnMut(&[Finding]) + Send>;

struct State {
    choices: Choices,
    /// What is left of the time.
    budget: Duration,
    keep: Keep,
    /// Whether the log is told what is chosen.
    told: bool,
}

impl Tuner {
    /// Choices that stay as they are.
    pub fn fixed(choices: Choices) -> Self {
        Self::within(choices, Duration::ZERO, |_| {})
    }

    /// The same, without a word: for what is tried out.
    pub(crate) fn on_trial(choices: Choices) -> Self {
        let tuner = Self::fixed(choices);
        tuner.state().told = false;
        tuner
    }

    /// Choices to start with. What else comes up when graphs are loaded is measured, for no longer than `budget` in all,
    /// and `keep` gets what is settled.
    pub fn within(choices: Choices, budget: Duration, keep: impl FnMut(&[Finding]) + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(State { choices, budget, keep: Box::new(keep), told: true })))
    }

    /// The choices that are known by now.
    pub fn choices(&self) -> Choices {
        self.state().choices.clone()
    }

    /// Compiles a graph by the choices, after measuring what they do not say. Where the time is up, or measuring fails, the
    /// table chooses: tuning never stands in the way of a run.
    pub(crate) fn plan(&self, gpu: &Gpu, profile: &DeviceProfile, graph: &Graph) -> Result<Planned> {
        let mut state = self.state();
        let (mut planned, mut journal) = state.plan(profile, graph)?;
        if !state.budget.is_zero() && !journal.is_answered(&state.choices) {
            state.measure(gpu, profile, graph);
            (planned, journal) = state.plan(profile, graph)?;
        }
        if state.told {
            journal.tell(&state.choices);
        }
        Ok(planned)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn plan(&self, profile: &DeviceProfile, graph: &Graph) -> Result<(Planned, Journal)> {
        let journal = Journal::default();
        match plan(graph, Target::new(profile, &self.choices).noting(&journal)) {
            Ok(planned) => Ok((planned, journal)),
            Err(error) if self.told && !self.choices.is_empty() => {
                // Kept choices must not break what works without them.
                let planned = plan(graph, Target::from(profile))?;
                log::warn!("{}: tuned choices are not used: {error}", graph.name());
                Ok((planned, Journal::default()))
            }
            Err(error) => Err(error),
        }
    }

    fn measure(&mut self, gpu: &Gpu, profile: &DeviceProfile, graph: &Graph) {
        let start = Instant::now();
        let options = TuneOptions::within(self.budget);
        let mut go_on = |_: TuneProgress<'_>| ControlFlow::Continue(());
        match tune(gpu, profile, &[graph], &self.choices, &options, &mut go_on) {
            Ok(mut findings) => {
                let open = findings.len();
                findings.retain(|finding| finding.settled);
                let (settled, taken) = (findings.len(), start.elapsed().as_secs_f64());
                log::info!("{}: {settled} of {open} kernels tuned in {taken:.1} s", graph.name());
                self.choices.extend(findings.iter().map(|found| (found.key.clone(), found.chosen.clone())));
                (self.keep)(&findings);
            }
            Err(error) => {
                log::warn!("kernels are not tuned: {error}");
                self.budget = Duration::ZERO;
            }
        }
        // What was made for measuring is gone before the model's weights come. A failure shows again where it matters.
        let _ = gpu.wait();
        self.budget = self.budget.saturating_sub(start.elapsed());
    }
}

impl fmt::Debug for Tuner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Tuner").field("choices", &state.choices.len()).field("budget", &state.budget).finish()
    }
}
