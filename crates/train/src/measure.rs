//! What a training step costs, by its parts.

use std::time::Duration;

use kiln_engine::{Graph, StepTime};
use kiln_models::summary::multiply_adds;

/// The three parts of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The network and its loss.
    Forward,
    /// The gradients.
    Backward,
    /// The check of loss and norm, the optimizer, and running statistics.
    Update,
}

/// Multiply-adds and time on the device of each part of a step. The kernels run one by one, as they do when each is
/// measured: together they take longer than in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepCost {
    /// Of the network and its loss.
    pub forward: PartCost,
    /// Of the gradients.
    pub backward: PartCost,
    /// Of all that changes variables.
    pub update: PartCost,
}

/// What a part of a step costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PartCost {
    /// Multiply-adds of convolutions and products; other work counts as none, as is the custom.
    pub multiply_adds: u64,
    /// By the device's clock.
    pub duration: Duration,
}

impl StepCost {
    pub(crate) fn new(graph: &Graph, times: &[StepTime]) -> StepCost {
        let mut cost = StepCost::default();
        for node in graph.nodes() {
            cost.part(Part::of(&node.path)).multiply_adds += multiply_adds(graph, node);
        }
        for time in times {
            cost.part(Part::of(&time.path)).duration += time.duration;
        }
        cost
    }

    fn part(&mut self, part: Part) -> &mut PartCost {
        match part {
            Part::Forward => &mut self.forward,
            Part::Backward => &mut self.backward,
            Part::Update => &mut self.update,
        }
    }

    /// Of all parts together.
    pub fn duration(&self) -> Duration {
        self.forward.duration + self.backward.duration + self.update.duration
    }
}

impl Part {
    /// The part that a layer path belongs to.
    pub fn of(path: &str) -> Part {
        let mut words = path.split('/');
        if words.clone().any(|word| word == "backward") {
            Part::Backward
        } else if words.any(|word| word == super::trainer::UPDATE) {
            Part::Update
        } else {
            Part::Forward
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_tell_the_part() {
        assert_eq!(Part::of("train/conv1"), Part::Forward);
        assert_eq!(Part::of("train/loss"), Part::Forward);
        assert_eq!(Part::of("train/conv1/backward"), Part::Backward);
        assert_eq!(Part::of("train/update/conv1.weight"), Part::Update);
    }
}
