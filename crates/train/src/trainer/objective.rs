//! What a network is trained for: the loss of a batch, and how many of its examples are right.

use kiln_engine::{CrossEntropyOptions, DType, EngineError, GraphBuilder, LossReduction, Value};
use kiln_models::cnn::Objective;

/// Name of the input that holds the classes.
pub(super) const LABELS: &str = "labels";

/// What a batch gives, besides the network's output.
pub(super) struct Judged {
    /// The mean loss, `[]`.
    pub(super) loss: Value,
    /// How many examples are right, as f32 `[]`; 0 where there is no right and wrong.
    pub(super) correct: Value,
    /// The class of each example as u32 `[N]`, where there are classes.
    pub(super) predicted: Option<Value>,
}

/// Whether the examples' classes are needed.
pub(super) fn reads_labels(objective: Objective) -> bool {
    !matches!(objective, Objective::Reconstruction)
}

/// Adds the loss of the network's `output` for a batch of `images`.
pub(super) fn judge(
    g: &mut GraphBuilder,
    objective: Objective,
    label_smoothing: f32,
    output: Value,
    images: Value,
) -> Result<Judged, EngineError> {
    let examples = g.desc(output).rows();
    match objective {
        Objective::Reconstruction => {
            let loss = g.mse_loss(output, images, LossReduction::Mean)?;
            let correct = g.scalar(0.0);
            Ok(Judged { loss, correct, predicted: None })
        }
        Objective::Binary => {
            let labels = g.input(LABELS, &[examples], DType::U32);
            let wanted = g.one_hot(labels, 2)?;
            let wanted = g.slice(wanted, 1, 1, 2)?;
            let output = g.reshape(output, &[examples, 1])?;
            let loss = g.bce_with_logits(output, wanted, None, LossReduction::Mean)?;
            let zero = g.scalar(0.0);
            let said = g.greater(output, zero)?;
            let right = g.equal(said, wanted)?;
            let correct = g.sum(right, &[0, 1], false)?;
            // Class 1 where 1 was said, which is more than a half, and class 0 where 0 was.
            let half = g.scalar(0.5);
            let half = g.expand(half, &[examples, 1])?;
            let both = g.concat(&[half, said], 1)?;
            let predicted = g.argmax(both, &[1], false)?;
            Ok(Judged { loss, correct, predicted: Some(predicted) })
        }
        Objective::Classification => {
            let labels = g.input(LABELS, &[examples], DType::U32);
            let classes = g.desc(output).elements() / examples;
            let logits = g.reshape(output, &[examples, classes])?;
            let options = CrossEntropyOptions { label_smoothing, ..CrossEntropyOptions::default() };
            let loss = g.cross_entropy(logits, labels, options)?;
            let predicted = g.argmax(logits, &[1], false)?;
            let said = g.one_hot(predicted, classes)?;
            let hits = g.pick(said, labels)?;
            let correct = g.sum(hits, &[0], false)?;
            Ok(Judged { loss, correct, predicted: Some(predicted) })
        }
    }
}
