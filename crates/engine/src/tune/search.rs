//! How the questions are gone through, and when a candidate has won. Knows no device: a [`Bench`] has the clock and the
//! candidates' times, so that tests can make them up.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use super::{Finding, TuneOptions, TuneProgress};
use crate::choices::{Asked, Choices, Question};
use crate::error::Result;

#[cfg(test)]
mod tests;

/// What measures.
pub(super) trait Bench {
    type Race: Race;

    /// Time since the start.
    fn now(&self) -> Duration;

    /// What is asked when the op of a question is compiled alone, with some choices.
    fn questions(&mut self, question: &Question, choices: &Choices) -> Result<Vec<Asked>>;

    /// Prepares to measure the op of a question.
    fn race(&mut self, question: &Question) -> Result<Self::Race>;
}

/// Candidates for one op, side by side.
pub(super) trait Race {
    /// Compiles the op with some choices; gives the number of the entrant.
    fn enter(&mut self, choices: &Choices) -> Result<usize>;

    /// Runs an entrant once: seconds, which may be nonsense.
    fn sample(&mut self, entrant: usize) -> Result<f64>;

    /// Lets go of all entrants.
    fn clear(&mut self);
}

/// Fewer plausible samples decide nothing.
const FEWEST: usize = 3;

/// Runs of each candidate before the race proper, after the one that is not counted.
const LOOKS: usize = 2;

/// What takes so many times as long as the fastest in them is out: what is settled inside of it would not help.
const HOPELESS: f64 = 1.5;

/// A sample of so many times the shortest one of its candidate is of something else.
const STRAY: f64 = 20.0;

/// No device computes more floating-point operations a second.
const MOST_FLOPS: f64 = 1e16;

/// Of the rounds, those that the winner must win.
const SHARE_WON: f64 = 0.7;

/// Questions inside of candidates, inside of candidates: no deeper.
const DEEPEST: usize = 3;

pub(super) struct Search<'a, B: Bench> {
    bench: &'a mut B,
    options: &'a TuneOptions,
    progress: &'a mut dyn FnMut(TuneProgress<'_>) -> ControlFlow<()>,
    choices: Choices,
    findings: Vec<Finding>,
    /// Questions that could not be settled.
    given_up: BTreeSet<String>,
    open: usize,
    broken_off: bool,
}

/// Candidates with the medians of their times, and the winner.
type Outcome = (Vec<(String, Duration)>, String);

/// A candidate in a race.
struct Entrant {
    name: String,
    number: usize,
    /// The shortest run of the first look.
    look: Option<f64>,
    /// By round; none where the sample was implausible.
    samples: Vec<Option<f64>>,
    /// Whether it may still win.
    running: bool,
}

impl<'a, B: Bench> Search<'a, B> {
    pub(super) fn new(
        bench: &'a mut B,
        known: &Choices,
        options: &'a TuneOptions,
        progress: &'a mut dyn FnMut(TuneProgress<'_>) -> ControlFlow<()>,
    ) -> Self {
        Self {
            bench,
            options,
            progress,
            choices: known.clone(),
            findings: vec![],
            given_up: BTreeSet::new(),
            open: 0,
            broken_off: false,
        }
    }

    /// Settles what `questions` gives, and what it gives with the choices that come of it.
    pub(super) fn run(
        mut self,
        mut questions: impl FnMut(&Choices) -> Result<Vec<Asked>>,
    ) -> Result<Vec<Finding>> {
        let mut left = vec![];
        let asked = loop {
            let asked = questions(&self.choices)?;
            let mut open: Vec<Asked> =
                asked.iter().filter(|asked| !self.is_settled(asked)).cloned().collect();
            if open.is_empty() {
                break asked;
            }
            // Stable: of equals, the one that is asked first is settled first, with what is inside of it.
            open.sort_by_key(|asked| std::cmp::Reverse(asked.weight()));
            for (index, asked) in open.iter().enumerate() {
                self.open = open.len() - index;
                if !self.is_settled(asked) {
                    self.settle(asked, 0)?;
                }
            }
            left.extend(open.into_iter().filter(|asked| self.given_up.contains(&asked.key)));
        };
        // The table's choice stands where nothing was measured.
        self.findings.extend(left.iter().map(Finding::table));
        // What came up inside of a candidate that has not won is of no use here.
        for finding in &mut self.findings {
            let used = asked.iter().find(|asked| asked.key == finding.key);
            finding.uses = used.map_or(0, |asked| asked.times);
        }
        Ok(self.findings)
    }

    fn is_settled(&self, asked: &Asked) -> bool {
        asked.is_answered(&self.choices) || self.given_up.contains(&asked.key)
    }

    fn is_over(&self) -> bool {
        self.broken_off || self.bench.now() >= self.options.budget
    }

    /// Settles a question, after those that come up inside its better candidates: each of them runs at its best.
    fn settle(&mut self, asked: &Asked, depth: usize) -> Result<()> {
        let outcome = if self.is_over() { None } else { self.decide(asked, depth)? };
        let Some((times, chosen)) = outcome else {
            self.given_up.insert(asked.key.clone());
            return Ok(());
        };
        self.choices.set(asked.key.clone(), chosen.clone());
        self.findings.push(Finding { times, chosen, settled: true, ..Finding::table(asked) });
        Ok(())
    }

    fn forced(&self, asked: &Asked, name: &str) -> Choices {
        let mut choices = self.choices.clone();
        choices.set(asked.key.clone(), name);
        choices
    }

    /// The winner; nothing where the time was too short for a verdict.
    fn decide(&mut self, asked: &Asked, depth: usize) -> Result<Option<Outcome>> {
        let progress = TuneProgress {
            key: &asked.key,
            settled: self.findings.len(),
            open: self.open,
            elapsed: self.bench.now(),
        };
        if (self.progress)(progress).is_break() {
            self.broken_off = true;
            return Ok(None);
        }
        let mut race = self.bench.race(&asked.question)?;
        let mut entrants: Vec<Entrant> = asked.names.iter().map(|name| Entrant::new(name)).collect();
        if !self.enter(asked, &mut race, &mut entrants) {
            return Ok(None);
        }
        look(asked, &mut race, &mut entrants)?;
        if self.settle_inside(asked, &entrants, depth, &mut race)?
            && !self.enter(asked, &mut race, &mut entrants)
        {
            return Ok(None);
        }
        if !self.run_rounds(asked, &mut race, &mut entrants)? {
            return Ok(None);
        }
        Ok(Some(verdict(entrants, self.options.gain)))
    }

    /// Brings all that may win into a race, but for those that cannot run; false where the time is up before.
    fn enter(&self, asked: &Asked, race: &mut B::Race, entrants: &mut [Entrant]) -> bool {
        for entrant in entrants.iter_mut().filter(|entrant| entrant.running) {
            // Compiling takes a good part of the time.
            if self.is_over() {
                return false;
            }
            match race.enter(&self.forced(asked, &entrant.name)) {
                Ok(number) => entrant.number = number,
                Err(error) => {
                    log::info!("{}: {} cannot run here: {error}", asked.key, entrant.name);
                    entrant.running = false;
                }
            }
        }
        true
    }

    /// Settles what is asked inside of the candidates that may still win. True where that has emptied the race.
    fn settle_inside(
        &mut self,
        asked: &Asked,
        entrants: &[Entrant],
        depth: usize,
        race: &mut B::Race,
    ) -> Result<bool> {
        let mut emptied = false;
        if depth == DEEPEST {
            return Ok(false);
        }
        for entrant in entrants.iter().filter(|entrant| entrant.running) {
            let forced = self.forced(asked, &entrant.name);
            for inner in self.bench.questions(&asked.question, &forced)? {
                if inner.key != asked.key && !self.is_settled(&inner) && !self.is_over() {
                    // What the outer race holds of the device is let go first.
                    race.clear();
                    emptied = true;
                    self.settle(&Asked { times: asked.times, ..inner }, depth + 1)?;
                }
            }
        }
        Ok(emptied)
    }

    /// Takes samples, round by round, until all are taken or nobody is left who might win. False where the time is up too
    /// soon.
    fn run_rounds(&mut self, asked: &Asked, race: &mut B::Race, entrants: &mut [Entrant]) -> Result<bool> {
        let mut running: Vec<usize> = (0..entrants.len()).filter(|&index| entrants[index].running).collect();
        for round in 0..self.options.rounds {
            // Without the table's there is nothing to compare with.
            if running.len() < 2 || !entrants[0].running {
                break;
            }
            if self.is_over() {
                return Ok(round >= FEWEST);
            }
            // There and back again: what drifts in between does not favour anybody.
            running.reverse();
            for &index in &running {
                let entrant = &mut entrants[index];
                entrant.samples.push(plausible(asked, race.sample(entrant.number)?));
            }
            if round + 1 >= FEWEST {
                let table = entrants[0].median();
                let may_win = |index: usize| match (entrants[index].median(), table) {
                    (Some(own), Some(table)) => own < table,
                    _ => true,
                };
                running.retain(|&index| index == 0 || may_win(index));
            }
        }
        Ok(true)
    }
}

/// Runs every entrant a few times; what is hopeless cannot win any more, unless it is the table's. The first run is not
/// counted: drivers finish then what they compile.
fn look(asked: &Asked, race: &mut impl Race, entrants: &mut [Entrant]) -> Result<()> {
    for entrant in entrants.iter().filter(|entrant| entrant.running) {
        race.sample(entrant.number)?;
    }
    for entrant in entrants.iter_mut().filter(|entrant| entrant.running) {
        for _ in 0..LOOKS {
            let sample = plausible(asked, race.sample(entrant.number)?);
            entrant.look = sample.into_iter().chain(entrant.look).min_by(f64::total_cmp);
        }
    }
    let fastest = entrants.iter().filter_map(|entrant| entrant.look).fold(f64::MAX, f64::min);
    for entrant in entrants.iter_mut().skip(1) {
        entrant.running &= entrant.look.is_some_and(|look| look <= HOPELESS * fastest);
    }
    Ok(())
}

/// A sample that may be true.
fn plausible(asked: &Asked, seconds: f64) -> Option<f64> {
    let least = asked.question.flops() as f64 / MOST_FLOPS;
    (seconds.is_finite() && seconds > least).then_some(seconds)
}

/// Who has won: the fastest of those that are clearly faster than the table's choice, else that. Where too few of its
/// samples make sense, there is nothing to compare with.
fn verdict(mut entrants: Vec<Entrant>, gain: f64) -> Outcome {
    for entrant in &mut entrants {
        let shortest = entrant.samples.iter().flatten().copied().fold(f64::MAX, f64::min);
        for sample in &mut entrant.samples {
            *sample = sample.filter(|&seconds| seconds <= STRAY * shortest);
        }
    }
    let (table, others) = entrants.split_first().expect("the table's choice should be there");
    let is_sound = |entrant: &Entrant| entrant.samples.iter().flatten().count() >= FEWEST;
    let limit = table.median().filter(|_| is_sound(table)).map_or(0.0, |time| time * (1.0 - gain));
    let clearly_faster = |entrant: &&Entrant| {
        let pairs = entrant.samples.iter().zip(&table.samples);
        let pairs: Vec<(f64, f64)> = pairs.filter_map(|(own, table)| Some(((*own)?, (*table)?))).collect();
        let won = pairs.iter().filter(|(own, table)| own < table).count();
        let faster = entrant.median().is_some_and(|own| own <= limit);
        is_sound(entrant) && faster && won as f64 >= SHARE_WON * pairs.len() as f64
    };
    let median = |entrant: &Entrant| entrant.median().unwrap_or(f64::MAX);
    let best = others.iter().filter(clearly_faster).min_by(|a, b| median(a).total_cmp(&median(b)));
    let winner = best.unwrap_or(table).name.clone();
    let times = entrants
        .iter()
        .filter_map(|entrant| Some((entrant.name.clone(), entrant.median().or(entrant.look)?)))
        .map(|(name, seconds)| (name, Duration::from_secs_f64(seconds)));
    (times.collect(), winner)
}

impl Finding {
    /// The table's choice, for want of a measurement.
    fn table(asked: &Asked) -> Self {
        let table = asked.names[0].clone();
        let chosen = table.clone();
        Self { key: asked.key.clone(), table, chosen, times: vec![], uses: asked.times, settled: false }
    }
}

impl Entrant {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), number: 0, look: None, samples: vec![], running: true }
    }

    fn median(&self) -> Option<f64> {
        let mut sorted: Vec<f64> = self.samples.iter().flatten().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            count if count % 2 == 1 => Some(sorted[middle]),
            _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
        }
    }
}
