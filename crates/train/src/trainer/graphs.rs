//! The graphs of training: one for a whole step, one for a part of a batch whose gradients only add up, one that applies
//! what has added up, and one that only looks. They share variables by name: the network's tensors, the optimizer's
//! state, and those below.

use std::collections::HashMap;

use kiln_engine::ops::FlatConcat;
use kiln_engine::updates::{Accumulate, Lerp, PutRows};
use kiln_engine::{DType, Graph, GraphBuilder, TensorDesc, Value};
use kiln_models::cnn::{Architecture, Built, Mode};

use super::TrainerOptions;
use super::objective::{Judged, judge};
use crate::TrainError;
use crate::state::OPTIMIZER;

/// Rows of the history: how many steps may be under way before the host looks.
pub(super) const HISTORY: usize = 64;
/// Numbers of a row: those of a [guard](kiln_engine::ops::Guard), which notes how many examples are right.
pub(super) const ROW: usize = 5;

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

/// Tensors of at most so many elements, 128 KiB, lie side by side in one vector each for parameters, states and statistics:
/// to start a kernel for each would take longer than what it does.
const SMALL: usize = 32 << 10;
const PARAMETERS: &str = "flat.parameters";
const STATISTICS: &str = "flat.statistics";

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
        let mut g = self.begin("train")?;
        let forward = self.forward(&mut g, examples)?;
        let gradients = self.gradients(&mut g, &forward)?;
        let Forward { judged, built } = forward;
        let guard = self.apply(&mut g, &gradients, judged.loss, judged.correct)?;
        self.running(&mut g, &built, guard)?;
        Ok(g.finish())
    }

    /// Forward, loss and backward for a part of a batch, whose gradients are added by the part's share to those of the
    /// parts before it.
    pub(super) fn part(&self, examples: usize) -> Result<Graph, TrainError> {
        let mut g = self.begin("part")?;
        let forward = self.forward(&mut g, examples)?;
        let gradients = self.gradients(&mut g, &forward)?;
        let Forward { judged, built } = forward;
        let mix = g.input(MIX, &[2], DType::F32);
        for (name, gradient) in gradients {
            let shape = g.desc(gradient).shape.clone();
            let sum = sum_of_gradients(&mut g, &name, &shape);
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
        let guard = g.guard(judged.loss, nothing, stopped, None, None)?;
        self.running(&mut g, &built, guard)?;
        Ok(g.finish())
    }

    /// The update from the gradients that parts have added up.
    pub(super) fn applied(&self) -> Result<Graph, TrainError> {
        let mut g = self.begin("apply")?;
        let members = |g: &mut GraphBuilder, (name, shape): (String, Vec<usize>)| {
            let sum = sum_of_gradients(g, &name, &shape);
            (name, sum)
        };
        let sums: Vec<(String, Value)> =
            self.updated().into_iter().map(|updated| members(&mut g, updated)).collect();
        let (total, right) = (g.variable(TOTAL, &[1], DType::F32), g.variable(RIGHT, &[1], DType::F32));
        let (loss, correct) = (g.reshape(total, &[])?, g.reshape(right, &[])?);
        self.apply(&mut g, &sums, loss, correct)?;
        Ok(g.finish())
    }

    /// The network as it is used, with loss and predictions for a batch of so many examples.
    pub(super) fn evaluation(&self, examples: usize) -> Result<Graph, TrainError> {
        let mut g = self.begin("evaluate")?;
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
        let mut g = self.begin("infer")?;
        let images = self.images(&mut g, examples);
        let built = self.architecture.build(&mut g, images, Mode::Variables)?;
        g.output(OUTPUT, built.output);
        Ok(g.finish())
    }

    /// Nothing but a look at every tensor of the state.
    pub(super) fn state(&self) -> Result<Graph, TrainError> {
        let mut g = self.begin("state")?;
        for (name, shape) in self.tensors() {
            let variable = g.variable(&name, &shape, DType::F32);
            g.output(&name, variable);
        }
        let stopped = g.variable(STOPPED, &[1], DType::F32);
        g.output(STOPPED, stopped);
        Ok(g.finish())
    }

    /// Begins a graph: what is small lies in vectors, of which all that is declared by name afterwards is a part.
    fn begin(&self, name: &str) -> Result<GraphBuilder, TrainError> {
        let mut g = GraphBuilder::new(name);
        let alone = |(name, shape): (String, Vec<usize>)| (vec![name], shape);
        let small = self.small(true);
        declare(&mut g, PARAMETERS, small.iter().cloned().map(alone).collect())?;
        for state in self.options.optimizer.state() {
            let states = small.iter().map(|(name, shape)| alone((state_name(state, name), shape.clone())));
            declare(&mut g, &state_name(state, PARAMETERS), states.collect())?;
        }
        declare(&mut g, STATISTICS, self.small_statistics())?;
        Ok(g)
    }

    /// The names of each batch norm's statistics that lie in a vector, means before variances as a batch's do, and their
    /// shape.
    fn small_statistics(&self) -> Vec<(Vec<String>, Vec<usize>)> {
        let layer = |name: &str| name.rsplit_once('.').map(|(layer, _)| layer.to_owned());
        let small = self.small(false);
        let of_a_layer = small.chunk_by(|(one, _), (other, _)| layer(one) == layer(other));
        let joined = |layer: &[(String, Vec<usize>)]| {
            (layer.iter().map(|(name, _)| name.clone()).collect(), layer[0].1.clone())
        };
        of_a_layer.map(joined).collect()
    }

    /// Name and shape of each tensor of the network that lies in a vector: parameters, or statistics.
    fn small(&self, trainable: bool) -> Vec<(String, Vec<usize>)> {
        let tensors = self.architecture.tensors().into_iter().filter(|spec| spec.trainable == trainable);
        let small = tensors.filter(|spec| is_small(&spec.shape));
        small.map(|spec| (spec.name, spec.shape)).collect()
    }

    /// Name and shape of what the optimizer changes at once: the vector of small parameters, and each other parameter.
    fn updated(&self) -> Vec<(String, Vec<usize>)> {
        let flat = self.small(true);
        let descs: Vec<TensorDesc> = flat.iter().map(|(_, shape)| TensorDesc::f32(shape.clone())).collect();
        let shape = FlatConcat::desc(&descs.iter().collect::<Vec<_>>()).shape;
        let flat = (!flat.is_empty()).then(|| (PARAMETERS.to_owned(), shape));
        let large = self.architecture.tensors().into_iter();
        let large = large.filter(|spec| spec.trainable && !is_small(&spec.shape));
        flat.into_iter().chain(large.map(|spec| (spec.name, spec.shape))).collect()
    }

    /// The gradient of each of [`Self::updated`].
    fn gradients(&self, g: &mut GraphBuilder, forward: &Forward) -> Result<Vec<(String, Value)>, TrainError> {
        let built = &forward.built.parameters;
        let parameters: Vec<Value> = built.iter().map(|(_, value)| *value).collect();
        let gradients = g.gradients(forward.judged.loss, &parameters)?;
        let by_name: HashMap<&str, Value> =
            built.iter().map(|(name, _)| name.as_str()).zip(gradients).collect();
        let small: Vec<Value> = self.small(true).iter().map(|(name, _)| by_name[name.as_str()]).collect();
        let gradient = |(name, _): (String, Vec<usize>)| {
            let gradient = if name == PARAMETERS {
                g.scope(UPDATE, |g| g.flat_concat(&small))?
            } else {
                by_name[name.as_str()]
            };
            Ok((name, gradient))
        };
        self.updated().into_iter().map(gradient).collect()
    }

    /// Moves the running statistics towards those of the batch.
    fn running(&self, g: &mut GraphBuilder, built: &Built, guard: Value) -> Result<(), TrainError> {
        g.scope(UPDATE, |g| {
            let (mut batches, mut momenta, mut factors) = (vec![], vec![], vec![]);
            for (names, shape) in self.small_statistics() {
                let variables: Vec<Value> =
                    names.iter().map(|name| g.variable(name, &shape, DType::F32)).collect();
                let of_layer =
                    built.statistics.iter().find(|statistics| statistics.variables[..] == variables);
                let statistics = of_layer.expect("the network should have noted its statistics");
                batches.push(statistics.batch);
                for factor in statistics.factors {
                    let end = factors.len() + shape.iter().product::<usize>();
                    momenta.resize(end, statistics.momentum);
                    factors.resize(end, factor);
                }
                // Up to where the next ones begin.
                let end = factors.len().next_multiple_of(FlatConcat::ALIGNMENT);
                momenta.resize(end, 0.0);
                factors.resize(end, 0.0);
            }
            if !batches.is_empty() {
                let batch = g.flat_concat(&batches)?;
                let statistics = g.variable(STATISTICS, &[factors.len()], DType::F32);
                lerp(g, statistics, batch, [&momenta, &factors], guard)?;
            }
            for statistics in
                built.statistics.iter().filter(|statistics| !batches.contains(&statistics.batch))
            {
                for (row, (variable, factor)) in
                    statistics.variables.into_iter().zip(statistics.factors).enumerate()
                {
                    let shape = g.desc(variable).shape.clone();
                    let batch = g.slice(statistics.batch, 0, row, row + 1)?;
                    let batch = g.reshape(batch, &shape)?;
                    let all = |number: f32| vec![number; shape.iter().product()];
                    lerp(g, variable, batch, [&all(statistics.momentum), &all(factor)], guard)?;
                }
            }
            Ok(())
        })
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
        gradients: &[(String, Value)],
        loss: Value,
        correct: Value,
    ) -> Result<Value, TrainError> {
        let options = self.options;
        g.scope(UPDATE, |g| {
            let rates = g.input(RATES, &[4], DType::F32);
            let stopped = g.variable(STOPPED, &[1], DType::F32);
            let all: Vec<Value> = gradients.iter().map(|(_, gradient)| *gradient).collect();
            let squares = g.global_norm_squared(&all)?;
            let guard = g.guard(loss, squares, stopped, Some(correct), options.clip)?;
            for (name, gradient) in gradients {
                let shape = g.desc(*gradient).shape.clone();
                let parameter = g.variable(name, &shape, DType::F32);
                let states = options.optimizer.state().iter();
                let states: Vec<Value> =
                    states.map(|state| g.variable(&state_name(state, name), &shape, DType::F32)).collect();
                let optimize = |g: &mut GraphBuilder| {
                    g.optimize(&options.optimizer, parameter, *gradient, &states, rates, guard)
                };
                if name == PARAMETERS { optimize(g) } else { g.scope(name, optimize) }?;
            }
            let now_stopped = g.slice(guard, 0, 2, 3)?;
            g.assign(stopped, now_stopped)?;
            let history = g.variable(ROWS, &[HISTORY, ROW], DType::F32);
            let place = g.input(PLACE, &[1], DType::U32);
            let row = g.reshape(guard, &[1, ROW])?;
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

/// Whether a tensor lies in a vector with others.
fn is_small(shape: &[usize]) -> bool {
    shape.iter().product::<usize>() <= SMALL
}

/// Declares a flat variable, unless it has no members.
fn declare(
    g: &mut GraphBuilder,
    flat: &str,
    members: Vec<(Vec<String>, Vec<usize>)>,
) -> Result<(), TrainError> {
    let names: Vec<Vec<&str>> =
        members.iter().map(|(names, _)| names.iter().map(String::as_str).collect()).collect();
    let members: Vec<_> =
        names.iter().zip(&members).map(|(names, (_, shape))| (names.as_slice(), shape.as_slice())).collect();
    if !members.is_empty() {
        g.flat_variable(flat, &members)?;
    }
    Ok(())
}

/// Moves a variable of running statistics towards a batch's.
fn lerp(
    g: &mut GraphBuilder,
    variable: Value,
    batch: Value,
    [momenta, factors]: [&[f32]; 2],
    guard: Value,
) -> Result<(), TrainError> {
    let shape = g.desc(variable).shape.clone();
    let (momenta, factors) = (g.literal(&shape, momenta)?, g.literal(&shape, factors)?);
    Ok(g.update(Lerp, &[variable], &[batch, momenta, factors, guard])?)
}

/// The variable in which the gradient of a parameter of some shape adds up, part by part.
fn sum_of_gradients(g: &mut GraphBuilder, parameter: &str, shape: &[usize]) -> Value {
    g.variable(&format!("gradient.{parameter}"), shape, DType::F32)
}

#[cfg(test)]
mod tests;
