//! Normalisation.

use kiln_engine::Value;
use kiln_engine::ops;

use crate::cnn::build::Builder;
use crate::cnn::fault::Fault;
use crate::cnn::fields::{ABOVE_0, COUNT, EXTENTS, FLAG, FROM_0, Fields, NUMBER, SHARE};
use crate::cnn::layer::LayerRules;

/// `batch_norm2d` and `batch_norm1d`, as `torch.nn.BatchNorm2d` on `[N, C, H, W]` and `torch.nn.BatchNorm1d` on `[N, C]`.
///
/// Training normalises by the batch's mean and variance and moves `running_mean` and `running_var` towards them;
/// inference normalises by these.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm<const DIMS: usize> {
    /// Added to the variance: 1e-5.
    pub eps: f64,
    /// How far a batch moves the running statistics: 0.1.
    pub momentum: f64,
    /// Whether there are a learned factor and offset: yes.
    pub affine: bool,
    /// Channels that the input must have; any where it is not given.
    pub num_features: Option<usize>,
}

/// Batch norm on images.
pub type BatchNorm2d = BatchNorm<2>;
/// Batch norm on features.
pub type BatchNorm1d = BatchNorm<1>;

impl<const DIMS: usize> Default for BatchNorm<DIMS> {
    fn default() -> BatchNorm<DIMS> {
        BatchNorm { eps: 1e-5, momentum: 0.1, affine: true, num_features: None }
    }
}

impl<const DIMS: usize> LayerRules for BatchNorm<DIMS> {
    const WORD: &'static str = if DIMS == 1 { "batch_norm1d" } else { "batch_norm2d" };
    const PREFIX: &'static str = "bn";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.optional("eps", &FROM_0, &mut self.eps);
        fields.optional("momentum", &SHARE, &mut self.momentum);
        fields.optional("affine", &FLAG, &mut self.affine);
        fields.absent("num_features", &COUNT, &mut self.num_features);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        let channels = if DIMS == 1 { b.features(x)? } else { b.image(x)?[0] };
        b.expect("num_features", self.num_features, channels)?;
        b.batch_norm(x, channels, self.affine, self.eps as f32, self.momentum as f32)
    }
}

/// `group_norm`, as `torch.nn.GroupNorm`: each image's channels in groups.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupNorm {
    /// Groups of neighbouring channels; required.
    pub num_groups: usize,
    /// Added to the variance: 1e-5.
    pub eps: f64,
    /// Whether there are a learned factor and offset: yes.
    pub affine: bool,
    /// Channels that the input must have; any where it is not given.
    pub num_channels: Option<usize>,
}

impl Default for GroupNorm {
    fn default() -> GroupNorm {
        GroupNorm { num_groups: 0, eps: 1e-5, affine: true, num_channels: None }
    }
}

impl LayerRules for GroupNorm {
    const WORD: &'static str = "group_norm";
    const PREFIX: &'static str = "norm";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.required("num_groups", &COUNT, &mut self.num_groups);
        fields.optional("eps", &FROM_0, &mut self.eps);
        fields.optional("affine", &FLAG, &mut self.affine);
        fields.absent("num_channels", &COUNT, &mut self.num_channels);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        let [channels, ..] = b.image(x)?;
        b.expect("num_channels", self.num_channels, channels)?;
        let (weight, bias) = b.affine(&[channels], self.affine)?;
        Ok(b.g.group_norm(x, self.num_groups, weight, bias, self.eps as f32)?)
    }
}

/// `instance_norm2d`, as `torch.nn.InstanceNorm2d` without running statistics: each plane by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceNorm2d {
    /// Added to the variance: 1e-5.
    pub eps: f64,
    /// Whether there are a learned factor and offset: no.
    pub affine: bool,
    /// Channels that the input must have; any where it is not given.
    pub num_features: Option<usize>,
}

impl Default for InstanceNorm2d {
    fn default() -> InstanceNorm2d {
        InstanceNorm2d { eps: 1e-5, affine: false, num_features: None }
    }
}

impl LayerRules for InstanceNorm2d {
    const WORD: &'static str = "instance_norm2d";
    const PREFIX: &'static str = "norm";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.optional("eps", &FROM_0, &mut self.eps);
        fields.optional("affine", &FLAG, &mut self.affine);
        fields.absent("num_features", &COUNT, &mut self.num_features);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        let [channels, ..] = b.image(x)?;
        b.expect("num_features", self.num_features, channels)?;
        let (weight, bias) = b.affine(&[channels], self.affine)?;
        Ok(b.g.instance_norm(x, weight, bias, self.eps as f32)?)
    }
}

/// `layer_norm`, as `torch.nn.LayerNorm`: each example by itself, over its last dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNorm {
    /// Extents of the dimensions that are normalised over: all but the batch where it is not given.
    pub normalized_shape: Option<Vec<usize>>,
    /// Added to the variance: 1e-5.
    pub eps: f64,
    /// Whether there are a learned factor and offset for each element: yes.
    pub elementwise_affine: bool,
}

impl Default for LayerNorm {
    fn default() -> LayerNorm {
        LayerNorm { normalized_shape: None, eps: 1e-5, elementwise_affine: true }
    }
}

impl LayerRules for LayerNorm {
    const WORD: &'static str = "layer_norm";
    const PREFIX: &'static str = "norm";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.absent("normalized_shape", &EXTENTS, &mut self.normalized_shape);
        fields.optional("eps", &FROM_0, &mut self.eps);
        fields.optional("elementwise_affine", &FLAG, &mut self.elementwise_affine);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        let example = b.example(x);
        let shape = self.normalized_shape.as_ref().unwrap_or(&example);
        if shape.is_empty() || !example.ends_with(shape) {
            let expected = format!("the last extents of {example:?}");
            return Err(Fault::new(format!("normalized_shape: expected {expected}, got {shape:?}")));
        }
        let (weight, bias) = match b.affine(shape, self.elementwise_affine)? {
            (Some(weight), Some(bias)) => (weight, bias),
            _ => (b.filled(shape, 1.0)?, b.filled(shape, 0.0)?),
        };
        Ok(b.g.layer_norm(x, weight, bias, self.eps as f32)?)
    }
}

/// `local_response_norm`, as `torch.nn.LocalResponseNorm`: division by the mean square of neighbouring channels.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalResponseNorm {
    /// Channels in the window; required.
    pub size: usize,
    /// Factor of the mean square: 1e-4.
    pub alpha: f64,
    /// Exponent of the divisor: 0.75.
    pub beta: f64,
    /// Added to the mean square: 1.
    pub k: f64,
}

impl Default for LocalResponseNorm {
    fn default() -> LocalResponseNorm {
        LocalResponseNorm { size: 0, alpha: 1e-4, beta: 0.75, k: 1.0 }
    }
}

impl LayerRules for LocalResponseNorm {
    const WORD: &'static str = "local_response_norm";
    const PREFIX: &'static str = "norm";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.required("size", &COUNT, &mut self.size);
        fields.optional("alpha", &NUMBER, &mut self.alpha);
        fields.optional("beta", &NUMBER, &mut self.beta);
        fields.optional("k", &ABOVE_0, &mut self.k);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        let number = |number: f64| kiln_engine::Scalar::new(number as f32);
        let op = ops::LocalResponseNorm {
            size: self.size,
            alpha: number(self.alpha),
            beta: number(self.beta),
            k: number(self.k),
        };
        Ok(b.g.local_response_norm(x, op)?)
    }
}
