//! The graphs of training: one for a whole step, one for a part of a batch whose gradients only add up, one that applies
//! what has added up, and one that only looks. They share variables by name: the network's tensors, the optimizer's
//! state, and those below.

use kiln_engine::updates::{Accumulate, Lerp, PutRows};
use kiln_engine::{DType, Graph, GraphBuilder, Scalar, Value};
use kiln_models::cnn::{Architecture, Built, Mode};

use super::TrainerOptions;
use super::objective::{Judged, judge};
use crate::TrainError;
use crate::state::OPTIMIZER;

/// Rows of the history: how many steps may be under way before the host looks.
pub(super) const HISTORY: usize = 64;
/// Numbers of a row: loss, how many examples are right, norm of the gradient, factor of the update.
pub(super) const ROW: usize = 4;

/// Inputs.
pub(super) const IMAGES: &str = "images";
pub(super) const RATES: &str = "rates";
pub(super) const RANDOM: &str = "random";
pub(super) const PLACE: &str = "place";
pub(super) const MIX: &str = "mix";

/// Variables that are neither tensors of the network nor the optimizer's state.
pub(super) const ROWS: &str = "history";
pub(super) const STOPPED: &str = "stopped";
const TOTAL: &str = "total";
const RIGHT: &str = "right";

/// Layer path of all that changes variables.
pub(crate) const UPDATE: &str = "update";

/// Outputs.
pub(super) const LOSS: &str = "loss";
pub(super) const PREDICTED: &str = "predicted";
pub(super) const OUTPUT: &str = "output";

/// Name of a tensor of the optimizer's state.
fn state_name(state: &str, parameter: &str) -> String {
    format!("{OPTIMIZER}{state}.{parameter}")
}

/// Builds the graphs for one network.
pub(super) struct Graphs<'a> {
    pub(super) architecture: &'a Architecture,
    pub(super) options: &'a TrainerOptions,
}

impl Graphs<'_> {
    /// Forward, loss, backward and update, for a batch of so many examples.
    pub(super) fn step(&self, examples: usize) -> Result<Graph, TrainError> {
        let mut g = GraphBuilder::new("train");
        let forward = self.forward(&mut g, examples)?;
        let gradients = forward.gradients(&mut g)?;
        let Forward { judged, built } = forward;
        let names: Vec<String> = built.parameters.iter().map(|(name, _)| name.clone()).collect();
        let guard = self.apply(&mut g, &names, &gradients, judged.loss, judged.correct)?;
        running(&mut g, &built, guard)?;
        Ok(g.finish())
    }

    /// Forward, loss and backward for a part of a batch, whose gradients are added by the part's share to those of the
    /// parts before it.
    pub(super) fn part(&self, examples: usize) -> Result<Graph, TrainError> {
        let mut g = GraphBuilder::new("part");
        let forward = self.forward(&mut g, examples)?;
        let gradients = forward.gradients(&mut g)?;
        let Forward { judged, built } = forward;
        let mix = g.input(MIX, &[2], DType::F32);
        for ((name, _), gradient) in built.parameters.iter().zip(gradients) {
            let shape = g.desc(gradient).shape.clone();
            let sum = sum_of_gradients(&mut g, name, &shape);
            g.update(Accumulate, &[sum], &[gradient, mix])?;
        }
        let total = g.variable(TOTAL, &[1], DType::F32);
        let loss = g.reshape(judged.loss, &[1])?;
        g.update(Accumulate, &[total], &[loss, mix])?;
        let right = g.variable(RIGHT, &[1], DType::F32);
        let before = g.slice(mix, 0, 0, 1)?;
        let before = g.mul(right, before)?;
        let sum = g.add(before, judged.correct)?;
        g.assign(right, sum)?;
        // Running statistics move with each part, and are left alone where its loss is not finite.
        let stopped = g.variable(STOPPED, &[1], DType::F32);
        let nothing = g.scalar(0.0);
        let guard = g.guard(judged.loss, nothing, stopped, None)?;
        running(&mut g, &built, guard)?;
        Ok(g.finish())
    }

    /// The update from the gradients that parts have added up.
    pub(super) fn applied(&self) -> Result<Graph, TrainError> {
        let mut g = GraphBuilder::new("apply");
        let (names, shapes): (Vec<String>, Vec<Vec<usize>>) = self.trainable().into_iter().unzip();
        let sums = names.iter().zip(&shapes).map(|(name, shape)| sum_of_gradients(&mut g, name, shape));
        let sums: Vec<Value> = sums.collect();
        let (total, right) = (g.variable(TOTAL, &[1], DType::F32), g.variable(RIGHT, &[1], DType::F32));
        let (loss, correct) = (g.reshape(total, &[])?, g.reshape(right, &[])?);
        self.apply(&mut g, &names, &sums, loss, correct)?;
        Ok(g.finish())
    }

    /// The network as it is used, with loss and predictions for a batch of so many examples.
    pub(super) fn evaluation(&self, examples: usize) -> Result<Graph, TrainError> {
        let mut g = GraphBuilder::new("evaluate");
        let images = self.images(&mut g, examples);
        let built = self.architecture.build(&mut g, images, Mode::Variables)?;
        let judged = judge(&mut g, self.architecture.objective(), 0.0, built.output, images)?;
        g.output(LOSS, judged.loss);
        if let Some(predicted) = judged.predicted {
            g.output(PREDICTED, predicted);
        }
        Ok(g.finish())
    }

    /// The network as it is used.
    pub(super) fn inference(&self, examples: usize) -> Result<Graph, TrainError> {
        let mut g = GraphBuilder::new("infer");
        let images = self.images(&mut g, examples);
        let built = self.architecture.build(&mut g, images, Mode::Variables)?;
        g.output(OUTPUT, built.output);
        Ok(g.finish())
    }

    /// Nothing but a look at every tensor of the state.
    pub(super) fn state(&self) -> Graph {
        let mut g = GraphBuilder::new("state");
        for (name, shape) in self.tensors() {
            let variable = g.variable(&name, &shape, DType::F32);
            g.output(&name, variable);
        }
        let stopped = g.variable(STOPPED, &[1], DType::F32);
        g.output(STOPPED, stopped);
        g.finish()
    }

    /// Name and shape of every tensor that the next step depends on: the network's own, then the optimizer's.
    pub(super) fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let specs = self.architecture.tensors();
        let own = specs.iter().map(|spec| (spec.name.clone(), spec.shape.clone()));
        let states = specs.iter().filter(|spec| spec.trainable).flat_map(|spec| {
            let states = self.options.optimizer.state().iter();
            states.map(|state| (state_name(state, &spec.name), spec.shape.clone()))
        });
        own.chain(states).collect()
    }

    /// Name and shape of each parameter, in the network's order.
    fn trainable(&self) -> Vec<(String, Vec<usize>)> {
        let tensors = self.architecture.tensors().into_iter();
        tensors.filter(|spec| spec.trainable).map(|spec| (spec.name, spec.shape)).collect()
    }

    fn images(&self, g: &mut GraphBuilder, examples: usize) -> Value {
        let [channels, height, width] = self.architecture.input();
        g.input(IMAGES, &[examples, channels, height, width], DType::F32)
    }

    fn forward(&self, g: &mut GraphBuilder, examples: usize) -> Result<Forward, TrainError> {
        let images = self.images(g, examples);
        let random = g.input(RANDOM, &[4], DType::U32);
        let built = self.architecture.build(g, images, Mode::Training { random })?;
        let objective = self.architecture.objective();
        let smoothing = self.options.label_smoothing;
        let judged = g.scope("loss", |g| judge(g, objective, smoothing, built.output, images))?;
        Ok(Forward { built, judged })
    }

    /// The check, the update of all parameters, and the row of the history. Gives the guard.
    fn apply(
        &self,
        g: &mut GraphBuilder,
        parameters: &[String],
        gradients: &[Value],
        loss: Value,
        correct: Value,
    ) -> Result<Value, TrainError> {
        let options = self.options;
        g.scope(UPDATE, |g| {
            let rates = g.input(RATES, &[4], DType::F32);
            let stopped = g.variable(STOPPED, &[1], DType::F32);
            let squares = g.global_norm_squared(gradients)?;
            let guard = g.guard(loss, squares, stopped, options.clip)?;
            for (name, &gradient) in parameters.iter().zip(gradients) {
                let shape = g.desc(gradient).shape.clone();
                let parameter = g.variable(name, &shape, DType::F32);
                let states = options.optimizer.state().iter();
                let states: Vec<Value> =
                    states.map(|state| g.variable(&state_name(state, name), &shape, DType::F32)).collect();
                g.scope(name, |g| {
                    g.optimize(&options.optimizer, parameter, gradient, &states, rates, guard)
                })?;
            }
            let now_stopped = g.slice(guard, 0, 2, 3)?;
            g.assign(stopped, now_stopped)?;
            let (scale, norm) = (g.slice(guard, 0, 0, 1)?, g.slice(guard, 0, 1, 2)?);
            let row = row(g, &[loss, correct, norm, scale])?;
            let history = g.variable(ROWS, &[HISTORY, ROW], DType::F32);
            let place = g.input(PLACE, &[1], DType::U32);
            let row = g.reshape(row, &[1, ROW])?;
            g.update(PutRows { first_col: 0 }, &[history], &[row, place])?;
            Ok(guard)
        })
    }
}

/// The forward half of a step.
struct Forward {
    built: Built,
    judged: Judged,
}

impl Forward {
    fn gradients(&self, g: &mut GraphBuilder) -> Result<Vec<Value>, TrainError> {
        let parameters: Vec<Value> = self.built.parameters.iter().map(|(_, value)| *value).collect();
        Ok(g.gradients(self.judged.loss, &parameters)?)
    }
}

/// The variable in which the gradient of a parameter of some shape adds up, part by part.
fn sum_of_gradients(g: &mut GraphBuilder, parameter: &str, shape: &[usize]) -> Value {
    g.variable(&format!("gradient.{parameter}"), shape, DType::F32)
}

/// Single numbers as a vector.
fn row(g: &mut GraphBuilder, numbers: &[Value]) -> Result<Value, TrainError> {
    let numbers = numbers.iter().map(|&number| g.reshape(number, &[1])).collect::<Result<Vec<_>, _>>()?;
    Ok(g.concat(&numbers, 0)?)
}

/// Moves the running statistics towards those of the batch.
fn running(g: &mut GraphBuilder, built: &Built, guard: Value) -> Result<(), TrainError> {
    g.scope(UPDATE, |g| {
        for statistic in &built.statistics {
            let rule = Lerp {
                momentum: Scalar::new(statistic.momentum),
                factor: Scalar::new(statistic.factor),
                row: Some(statistic.row),
            };
            g.update(rule, &[statistic.variable], &[statistic.batch, guard])?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests;
