//! Losses, as in `torch.nn.functional`.

use super::GraphBuilder;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::ops::{CrossEntropy, Guard, OneHot, Pick, Reduction, Scalar, SumOfSquares, Unary};

/// What becomes of the losses of the examples or elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LossReduction {
    /// Their mean; where classes have weights, the sum divided by the sum of the labels' weights.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// They stay as they are.
    None,
}

/// Options of [`GraphBuilder::cross_entropy`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropyOptions {
    /// A weight `[C]` for each class.
    pub weight: Option<Value>,
    /// The share of the target that all classes have alike, from 0 to 1.
    pub label_smoothing: f32,
    /// What becomes of the rows' losses.
    pub reduction: LossReduction,
}

/// Options of [`GraphBuilder::multi_margin_loss`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MultiMarginOptions {
    /// The power of each class's hinge: 1 or 2.
    pub p: u32,
    /// By how much the label's score is to exceed the others.
    pub margin: f32,
    /// A weight `[C]` for each class.
    pub weight: Option<Value>,
    /// What becomes of the rows' losses. The mean is over the rows, whatever the weights.
    pub reduction: LossReduction,
}

impl Default for MultiMarginOptions {
    /// PyTorch's: a hinge with margin 1, and the mean.
    fn default() -> Self {
        Self { p: 1, margin: 1.0, weight: None, reduction: LossReduction::Mean }
    }
}

/// The losses, exactly PyTorch's. Labels are u32 `[N]`; a label that is no class gives NaN. A loss that is not reduced is
/// `[N]` where there are labels, and else of the inputs' shape; a reduced one is `[]`. Class weights and `pos_weight` have
/// no gradient.
///
/// Each returns [`EngineError::Op`](crate::EngineError::Op) where shapes, types or options do not fit.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
impl GraphBuilder {
    /// The cross-entropy of logits `[N, C]` with labels ([`CrossEntropy`]): `torch.nn.functional.cross_entropy`.
    pub fn cross_entropy(
        &mut self,
        logits: Value,
        labels: Value,
        options: CrossEntropyOptions,
    ) -> Result<Value> {
        let CrossEntropyOptions { weight, label_smoothing, reduction } = options;
        let inputs: Vec<Value> = [logits, labels].into_iter().chain(weight).collect();
        let losses = self.apply(CrossEntropy { label_smoothing: Scalar::new(label_smoothing) }, &inputs)?;
        self.reduce_by_labels(losses, labels, weight, reduction)
    }

    /// Minus the label's entry of log-probabilities `[N, C]`, times the label's weight: `torch.nn.functional.nll_loss`.
    pub fn nll_loss(
        &mut self,
        log_probabilities: Value,
        labels: Value,
        weight: Option<Value>,
        reduction: LossReduction,
    ) -> Result<Value> {
        let picked = self.pick(log_probabilities, labels)?;
        let mut losses = self.neg(picked)?;
        if let Some(weight) = weight {
            let own = self.label_weights("nll_loss", log_probabilities, labels, weight)?;
            losses = self.mul(losses, own)?;
        }
        self.reduce_by_labels(losses, labels, weight, reduction)
    }

    /// `(x - target)^2`: `torch.nn.functional.mse_loss`. The shapes are equal.
    pub fn mse_loss(&mut self, x: Value, target: Value, reduction: LossReduction) -> Result<Value> {
        let difference = self.difference("mse_loss", x, target)?;
        let squares = self.mul(difference, difference)?;
        self.reduce_losses(squares, reduction)
    }

    /// `|x - target|`: `torch.nn.functional.l1_loss`. The shapes are equal.
    pub fn l1_loss(&mut self, x: Value, target: Value, reduction: LossReduction) -> Result<Value> {
        let difference = self.difference("l1_loss", x, target)?;
        let distance = self.abs(difference)?;
        self.reduce_losses(distance, reduction)
    }

    /// With `d = |x - target|`, `d^2 / (2 beta)` below `beta` and `d - beta / 2` above:
    /// `torch.nn.functional.smooth_l1_loss`. The shapes are equal; `beta` is at least 0, and 0 gives
    /// [`l1_loss`](Self::l1_loss).
    pub fn smooth_l1_loss(
        &mut self,
        x: Value,
        target: Value,
        beta: f32,
        reduction: LossReduction,
    ) -> Result<Value> {
        if !(beta >= 0.0 && beta.is_finite()) {
            let mismatch = Mismatch::new("beta", "a finite number of at least 0", beta);
            return Err(mismatch.at("smooth_l1_loss", self.path()));
        }
        if beta == 0.0 {
            return self.l1_loss(x, target, reduction);
        }
        let difference = self.difference("smooth_l1_loss", x, target)?;
        let losses = self.apply(Unary::SmoothL1(Scalar::new(beta)), &[difference])?;
        self.reduce_losses(losses, reduction)
    }

    /// `-(pos_weight target log(sigmoid(x)) + (1 - target) log(1 - sigmoid(x)))`:
    /// `torch.nn.functional.binary_cross_entropy_with_logits`. The shapes of `x` and `target`, a probability, are equal;
    /// `pos_weight` broadcasts to them and is 1 by default. Large logits do not overflow.
    pub fn bce_with_logits(
        &mut self,
        x: Value,
        target: Value,
        pos_weight: Option<Value>,
        reduction: LossReduction,
    ) -> Result<Value> {
        self.same_shape("bce_with_logits", x, target)?;
        // log(1 - sigmoid(x)) is the log-sigmoid of -x: neither part cancels, however large the logit.
        let log_yes = self.log_sigmoid(x)?;
        let opposite = self.neg(x)?;
        let log_no = self.log_sigmoid(opposite)?;
        let mut yes = self.mul(target, log_yes)?;
        if let Some(pos_weight) = pos_weight {
            yes = self.mul(yes, pos_weight)?;
            if self.desc(yes) != self.desc(x) {
                let expected = format!("a shape that broadcasts to {}", self.desc(x));
                let mismatch = Mismatch::new("pos_weight", expected, self.desc(pos_weight));
                return Err(mismatch.at("bce_with_logits", self.path()));
            }
        }
        let one = self.scalar(1.0);
        let rest = self.sub(one, target)?;
        let no = self.mul(rest, log_no)?;
        let sum = self.add(yes, no)?;
        let losses = self.neg(sum)?;
        self.reduce_losses(losses, reduction)
    }

    /// The sum over the classes beside the label of `max(0, margin - x[label] + x[class])^p`, times the label's weight,
    /// over C: `torch.nn.functional.multi_margin_loss` of scores `[N, C]`.
    pub fn multi_margin_loss(
        &mut self,
        x: Value,
        labels: Value,
        options: MultiMarginOptions,
    ) -> Result<Value> {
        let MultiMarginOptions { p, margin, weight, reduction } = options;
        if !matches!(p, 1 | 2) {
            return Err(Mismatch::new("p", "1 or 2", p).at("multi_margin_loss", self.path()));
        }
        let own = self.pick(x, labels)?;
        let [rows, classes] = [self.desc(x).rows(), self.desc(x).last()];
        let margin = self.scalar(margin);
        let room = self.sub(margin, own)?;
        let room = self.reshape(room, &[rows, 1])?;
        let excess = self.add(x, room)?;
        let mut hinges = self.relu(excess)?;
        if p == 2 {
            hinges = self.mul(hinges, hinges)?;
        }
        let label = self.one_hot(labels, classes)?;
        let one = self.scalar(1.0);
        let others = self.sub(one, label)?;
        let hinges = self.mul(hinges, others)?;
        let mut losses = self.mean(hinges, &[1], false)?;
        if let Some(weight) = weight {
            let own = self.label_weights("multi_margin_loss", x, labels, weight)?;
            losses = self.mul(losses, own)?;
        }
        self.reduce_losses(losses, reduction)
    }

    /// Rows of zeros with a 1 at each label ([`OneHot`]).
    pub fn one_hot(&mut self, labels: Value, classes: usize) -> Result<Value> {
        self.apply(OneHot { classes }, &[labels])
    }

    /// One element of each row ([`Pick`]).
    pub fn pick(&mut self, x: Value, index: Value) -> Result<Value> {
        self.apply(Pick, &[x, index])
    }

    /// The sum of the squares of all elements of all values ([`SumOfSquares`]): the square of what
    /// `torch.nn.utils.clip_grad_norm_` calls the total norm. The same bits in every run on one device.
    pub fn global_norm_squared(&mut self, gradients: &[Value]) -> Result<Value> {
        let parts = self.apply(SumOfSquares, gradients)?;
        self.sum(parts, &[0], false)
    }

    /// `[scale, norm, stopped, loss, note]`: whether this step may change anything, how far its gradients are clipped, and
    /// what it came to ([`Guard`]). The note is any number `[]` that goes into the same record; without one it is the loss.
    pub fn guard(
        &mut self,
        loss: Value,
        squared_norm: Value,
        stopped: Value,
        note: Option<Value>,
        max_norm: Option<f32>,
    ) -> Result<Value> {
        let guard = Guard { max_norm: max_norm.map(Scalar::new) };
        self.apply(guard, &[loss, squared_norm, stopped, note.unwrap_or(loss)])
    }

    /// The weight of each row's label.
    fn label_weights(
        &mut self,
        loss: &'static str,
        scores: Value,
        labels: Value,
        weight: Value,
    ) -> Result<Value> {
        let (classes, given) = (self.desc(scores).last(), self.desc(weight));
        if given.shape != [classes] {
            let mismatch = Mismatch::new("class weights", format!("[{classes}]"), given);
            return Err(mismatch.at(loss, self.path()));
        }
        self.index_select(weight, 0, labels)
    }

    fn same_shape(&self, loss: &'static str, x: Value, target: Value) -> Result<()> {
        let (x, target) = (self.desc(x), self.desc(target));
        if x == target { Ok(()) } else { Err(Mismatch::new("target", x, target).at(loss, self.path())) }
    }

    fn difference(&mut self, loss: &'static str, x: Value, target: Value) -> Result<Value> {
        self.same_shape(loss, x, target)?;
        self.sub(x, target)
    }

    /// Reduces the losses `[N]` of rows that count as much as their labels' weights.
    fn reduce_by_labels(
        &mut self,
        losses: Value,
        labels: Value,
        weight: Option<Value>,
        reduction: LossReduction,
    ) -> Result<Value> {
        let Some(weight) = weight.filter(|_| reduction == LossReduction::Mean) else {
            return self.reduce_losses(losses, reduction);
        };
        let own = self.index_select(weight, 0, labels)?;
        let total = self.sum(own, &[0], false)?;
        let sum = self.sum(losses, &[0], false)?;
        self.div(sum, total)
    }

    /// Reduces losses of any shape: within each index of the first dimension, then over these, so that a GPU has work for
    /// more than one workgroup.
    fn reduce_losses(&mut self, losses: Value, reduction: LossReduction) -> Result<Value> {
        let op = match reduction {
            LossReduction::Mean => Reduction::Mean,
            LossReduction::Sum => Reduction::Sum,
            LossReduction::None => return Ok(losses),
        };
        let rank = self.desc(losses).rank();
        let inner: Vec<usize> = (1..rank).collect();
        let rows = if inner.is_empty() { losses } else { self.reduce(op, losses, &inner, false)? };
        if rank == 0 { Ok(rows) } else { self.reduce(op, rows, &[0], false) }
    }
}
