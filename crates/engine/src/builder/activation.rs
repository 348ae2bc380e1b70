//! Activations.

use super::GraphBuilder;
use crate::error::Result;
use crate::graph::Value;
use crate::ops::{Activation, Dropout, Gated, Prelu, Scalar, Softmax, Unary};

/// The ops, as in `torch.nn.functional`. Each returns [`EngineError::Op`](crate::EngineError::Op) where shapes, types or
/// options do not fit; the types named in the text give the contract in full.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
impl GraphBuilder {
    /// Applies an [`Activation`].
    pub fn activation(&mut self, activation: Activation, x: Value) -> Result<Value> {
        self.apply(Unary::Activation(activation), &[x])
    }

    /// [`Activation::Relu`].
    pub fn relu(&mut self, x: Value) -> Result<Value> {
        self.activation(Activation::Relu, x)
    }

    /// [`Activation::Gelu`], with erf.
    pub fn gelu(&mut self, x: Value) -> Result<Value> {
        self.activation(Activation::Gelu, x)
    }

    /// [`Activation::GeluTanh`].
    pub fn gelu_tanh(&mut self, x: Value) -> Result<Value> {
        self.activation(Activation::GeluTanh, x)
    }

    /// [`Activation::Sigmoid`].
    pub fn sigmoid(&mut self, x: Value) -> Result<Value> {
        self.activation(Activation::Sigmoid, x)
    }

    /// [`Activation::Tanh`].
    pub fn tanh(&mut self, x: Value) -> Result<Value> {
        self.activation(Activation::Tanh, x)
    }

    /// [`Activation::Silu`].
    pub fn silu(&mut self, x: Value) -> Result<Value> {
        self.activation(Activation::Silu, x)
    }

    /// [`Unary::LeakyRelu`]; PyTorch's default slope is 0.01.
    pub fn leaky_relu(&mut self, x: Value, slope: f32) -> Result<Value> {
        self.apply(Unary::LeakyRelu(Scalar::new(slope)), &[x])
    }

    /// `activation(x[..n]) * x[n..]` by the halves of the last dimension ([`Gated`]).
    pub fn gated(&mut self, activation: Activation, x: Value) -> Result<Value> {
        self.apply(Gated { activation }, &[x])
    }

    /// A rectifier whose slope is a weight, of `[C]` or `[1]` ([`Prelu`]).
    pub fn prelu(&mut self, x: Value, weight: Value) -> Result<Value> {
        self.apply(Prelu, &[x, weight])
    }

    /// [`Unary::Elu`]; PyTorch's default alpha is 1.
    pub fn elu(&mut self, x: Value, alpha: f32) -> Result<Value> {
        self.apply(Unary::Elu(Scalar::new(alpha)), &[x])
    }

    /// [`Unary::Softplus`]; PyTorch's defaults are a beta of 1 and a threshold of 20.
    pub fn softplus(&mut self, x: Value, beta: f32, threshold: f32) -> Result<Value> {
        self.apply(Unary::Softplus { beta: Scalar::new(beta), threshold: Scalar::new(threshold) }, &[x])
    }

    /// [`Unary::Hardtanh`]; PyTorch's defaults are -1 and 1.
    pub fn hardtanh(&mut self, x: Value, min: f32, max: f32) -> Result<Value> {
        self.apply(Unary::Hardtanh { min: Scalar::new(min), max: Scalar::new(max) }, &[x])
    }

    /// [`Unary::LogSigmoid`].
    pub fn log_sigmoid(&mut self, x: Value) -> Result<Value> {
        self.apply(Unary::LogSigmoid, &[x])
    }

    /// [`Unary::Softshrink`]; PyTorch's default lambda is 0.5.
    pub fn softshrink(&mut self, x: Value, lambda: f32) -> Result<Value> {
        self.apply(Unary::Softshrink(Scalar::new(lambda)), &[x])
    }

    /// [`Unary::SmoothL1`]; PyTorch's default beta is 1.
    pub fn smooth_l1(&mut self, x: Value, beta: f32) -> Result<Value> {
        self.apply(Unary::SmoothL1(Scalar::new(beta)), &[x])
    }

    /// Zeroes elements with probability `p`, by the words of `random`, u32 `[4]` of seed low, seed high, step and 0
    /// ([`Dropout`]). Each dropout of a network has a `stream` of its own.
    pub fn dropout(&mut self, x: Value, p: f32, random: Value, stream: u32) -> Result<Value> {
        self.apply(Dropout { p: Scalar::new(p), stream }, &[x, random])
    }

    /// Softmax over `dim`, of `x + mask` where there is a mask ([`Softmax`]).
    pub fn softmax(&mut self, x: Value, mask: Option<Value>, dim: usize) -> Result<Value> {
        let inputs: Vec<Value> = std::iter::once(x).chain(mask).collect();
        self.apply(Softmax { dim, log: false }, &inputs)
    }

    /// The logarithm of the softmax over `dim` ([`Softmax`]).
    pub fn log_softmax(&mut self, x: Value, dim: usize) -> Result<Value> {
        self.apply(Softmax { dim, log: true }, &[x])
    }
}
