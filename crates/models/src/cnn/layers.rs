//! The kinds of layers, by family: options with PyTorch's names and defaults, and the operations that they become.

mod activation;
mod block;
mod conv;
mod linear;
mod norm;
mod pool;
mod shape;

pub use activation::{
    Elu, Gelu, Hardtanh, LeakyRelu, LogSigmoid, Prelu, Relu, Relu6, Sigmoid, Silu, Softplus, Softshrink, Tanh,
};
pub use block::{Residual, Sequential};
pub use conv::{Conv2d, ConvTranspose2d, Surround};
pub use linear::Linear;
pub use norm::{
    BatchNorm, BatchNorm1d, BatchNorm2d, GroupNorm, InstanceNorm2d, LayerNorm, LocalResponseNorm,
};
pub use pool::{AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, MaxPool2d};
pub use shape::{
    ChannelShuffle, Dropout, Flatten, Interpolation, ReflectionPad2d, ReplicationPad2d, Unflatten, Upsample,
    ZeroPad2d,
};
