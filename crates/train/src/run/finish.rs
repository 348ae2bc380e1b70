//! The end of a run: the test, and its picture.

use std::time::Instant;

use kiln_models::image::Picture;

use super::folder::{BEST, CONFUSION, LAST, RECONSTRUCTIONS};
use super::{Run, Test, looking};
use crate::TrainError;
use crate::checkpoint::Checkpoint;
use crate::events::{Event, Finished, Observer};
use crate::learner::Learner;
use crate::loader::Loader;
use crate::plot;

/// How many test images are shown with their reconstructions.
const SHOWN: usize = 20;

impl<L: Learner> Run<L> {
    /// Tries the network of the best epoch on the test part.
    pub(super) fn finish(&mut self, observer: &mut dyn Observer) -> Result<Finished, TrainError> {
        let epochs = &self.progress.epochs;
        let best_epoch = epochs.iter().rev().find(|epoch| epoch.best).map_or(0, |epoch| epoch.epoch);
        if best_epoch != self.progress.epoch {
            let best = Checkpoint::read(&self.folder.file(BEST))?;
            self.learner.restore(&best.state)?;
        }
        let test = self.data.test.clone();
        observer.event(&Event::Evaluating { part: "test", examples: test.len() });
        let started = Instant::now();
        let loader = Loader::start(&test, &self.data.normalization, &looking(self.config.batch_size), 0, 0)?;
        let evaluation = self.learner.evaluate(loader)?;
        if !evaluation.loss.is_finite() {
            let rate = self.rate(self.data.batches(&self.config).saturating_sub(1));
            return Err(self.not_finite(self.steps_done(), "test loss", evaluation.loss, rate));
        }
        let error = evaluation.accuracy.error().filter(|_| self.tells_apart());
        let score = self.score(evaluation.loss, evaluation.accuracy);
        if self.tells_apart() {
            let picture = plot::confusion(&evaluation.confusion, test.classes());
            self.draw(CONFUSION, &picture?)?;
        } else {
            self.draw_reconstructions()?;
        }
        self.metrics.finish(Test {
            checkpoint: BEST.to_owned(),
            epoch: best_epoch,
            test: score,
            error,
            seconds: started.elapsed().as_secs_f64(),
        });
        self.metrics.write(&self.folder, &self.progress.epochs)?;
        let finished = Finished {
            folder: self.folder.path().to_owned(),
            best_epoch,
            epochs: self.progress.epoch,
            steps: self.steps_done(),
            test: score,
            test_error: error,
            best: self.folder.file(BEST),
            last: self.folder.file(LAST),
        };
        observer.event(&Event::Finished(finished.clone()));
        Ok(finished)
    }

    fn draw_reconstructions(&mut self) -> Result<(), TrainError> {
        let count = SHOWN.min(self.data.test.len());
        let shown = self.data.test.slice(0, Some(count))?;
        let loader = Loader::start(&shown, &self.data.normalization, &looking(count), 0, 0)?;
        for batch in loader {
            let batch = batch?;
            let outputs = self.learner.outputs(&batch)?;
            let picture =
                plot::reconstructions(&batch.images, &outputs, batch.shape, &self.data.normalization);
            self.draw(RECONSTRUCTIONS, &picture?)?;
        }
        Ok(())
    }

    fn draw(&self, name: &str, picture: &Picture) -> Result<(), TrainError> {
        let mut bytes = Vec::new();
        picture.encode_png(&self.folder.file(name), &mut bytes)?;
        self.folder.write(name, &bytes).map(drop)
    }
}
