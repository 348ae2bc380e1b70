//! Configurations of convolution and of transposed convolution.

use kiln_engine::ops::{ConvOptions, ConvTransposeOptions};
use kiln_engine::{EngineError, GraphBuilder, Tensor, Value};
use kiln_gpu::Gpu;
use kiln_reference::{Array, Conv, ConvTranspose, Unary};
use kiln_tests::graph::{Source, array, seeded};
use kiln_tests::tolerance::LINEAR;
use proptest::sample::select;
use proptest::strategy::Strategy;

use crate::axis::{self, Axis, Padded};
use crate::{conforms, image, sizes, sources};

/// What one configuration may cost the oracle, in multiply-adds.
const WORK: usize = 3_000_000;

/// Channels of a group: primes, around the kernels' tiles too.
const INPUTS: [usize; 9] = [1, 2, 3, 5, 7, 11, 13, 17, 31];
const OUTPUTS: [usize; 11] = [1, 2, 3, 5, 7, 11, 13, 17, 31, 37, 67];

/// What both sorts have in common.
#[derive(Clone, Copy, Debug)]
struct Shared {
    batch: usize,
    groups: usize,
    group_in: usize,
    group_out: usize,
    nan: bool,
    epilogue: [bool; 3],
    source: Source,
}

fn shared() -> impl Strategy<Value = Shared> {
    let channels = (select(vec![1, 1, 1, 2, 3, 5]), select(INPUTS.to_vec()), select(OUTPUTS.to_vec()));
    // Depthwise is common enough in networks to be common here.
    let channels = (channels, select(vec![None, None, None, None, Some(1), Some(2)])).prop_map(
        |((groups, group_in, group_out), depthwise)| match depthwise {
            None => (groups, group_in, group_out),
            Some(filters) => (group_out, 1, filters),
        },
    );
    let epilogue = [proptest::bool::ANY, proptest::bool::ANY, proptest::bool::ANY];
    (1..=3usize, channels, proptest::bool::weighted(0.2), epilogue, sources()).prop_map(
        |(batch, (groups, group_in, group_out), nan, epilogue, source)| Shared {
            batch,
            groups,
            group_in,
            group_out,
            nan,
            epilogue,
            source,
        },
    )
}

impl Shared {
    /// The same with fewer channels where the oracle would take too long over `pixels` with `taps` each.
    fn bounded(mut self, pixels: usize, taps: usize) -> Self {
        let work = |of: &Self| of.batch * of.groups * of.group_in * of.group_out * pixels * taps;
        if work(&self) > WORK {
            self.batch = 1;
        }
        if work(&self) > WORK {
            self.groups = self.groups.min(3);
        }
        while work(&self) > WORK && self.group_in > 1 {
            self.group_in = INPUTS.into_iter().rfind(|&channels| channels < self.group_in).unwrap_or(1);
        }
        self
    }
}

/// `conv2d` or `conv1d` with all its options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convolution {
    pub(crate) one_axis: bool,
    pub(crate) batch: usize,
    pub(crate) groups: usize,
    pub(crate) group_in: usize,
    pub(crate) group_out: usize,
    /// Whether an element of the image is NaN.
    pub(crate) nan: bool,
    pub(crate) bias: bool,
    pub(crate) relu: bool,
    pub(crate) residual: bool,
    pub(crate) padded: Padded,
    pub(crate) axes: [Axis; 2],
    pub(crate) source: Source,
}

pub(crate) fn convolutions() -> impl Strategy<Value = Convolution> {
    (shared(), axis::pairs(1..=7, 1..=3)).prop_map(|(shared, (axes, padded, one_axis))| {
        // Padding included, as a bound.
        let pixels = axes.iter().map(|axis| axis.input + 8).product();
        let Shared { batch, groups, group_in, group_out, nan, epilogue, source } =
            shared.bounded(pixels, axes[0].kernel * axes[1].kernel);
        let [bias, relu, residual] = epilogue;
        Convolution {
            one_axis,
            batch,
            groups,
            group_in,
            group_out,
            nan,
            bias,
            relu,
            residual,
            padded,
            axes,
            source,
        }
    })
}

impl Convolution {
    pub(crate) fn check(&self, gpu: &Gpu) -> Result<(), String> {
        let &Self { batch, groups, group_in, group_out, padded, axes, .. } = self;
        let conv = Conv {
            stride: axes.map(|axis| axis.stride),
            padding: axis::sides(&axes, padded),
            dilation: axes.map(|axis| axis.dilation),
            groups,
        };
        let image = [batch, groups * group_in, axes[0].input, axes[1].input];
        let weight = [groups * group_out, group_in, axes[0].kernel, axes[1].kernel];
        let epilogue = Epilogue { bias: self.bias, relu: self.relu, residual: self.residual };
        epilogue.check(
            gpu,
            self.source,
            Case { image, weight, nan: self.nan, outputs: groups * group_out, one_axis: self.one_axis },
            |x, weight, bias| kiln_reference::conv2d(x, weight, bias, conv),
            |g, x, weight, bias| {
                if self.one_axis {
                    let options = ConvOptions {
                        stride: [axes[1].stride],
                        padding: axis::padding_1d(&axes, padded),
                        dilation: [axes[1].dilation],
                        groups,
                    };
                    return g.conv1d(x, weight, bias, options);
                }
                let options = ConvOptions {
                    stride: conv.stride,
                    padding: axis::padding(&axes, padded),
                    dilation: conv.dilation,
                    groups,
                };
                g.conv2d(x, weight, bias, options)
            },
        )
    }
}

/// `conv_transpose2d` or `conv_transpose1d` with all its options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transposed {
    pub(crate) one_axis: bool,
    pub(crate) batch: usize,
    pub(crate) groups: usize,
    pub(crate) group_in: usize,
    pub(crate) group_out: usize,
    /// Whether an element of the image is NaN.
    pub(crate) nan: bool,
    pub(crate) bias: bool,
    pub(crate) relu: bool,
    pub(crate) residual: bool,
    /// Of the padding, the first number counts: it is the same on both sides.
    pub(crate) axes: [Axis; 2],
    pub(crate) output_padding: [usize; 2],
    pub(crate) source: Source,
}

pub(crate) fn transposed() -> impl Strategy<Value = Transposed> {
    let output_padding = [0..=3usize, 0..=3];
    (shared(), axis::pairs(1..=7, 1..=3), output_padding).prop_map(
        |(shared, (mut axes, _, one_axis), mut output_padding)| {
            for (axis, added) in axes.iter_mut().zip(&mut output_padding) {
                *added = (*added).min(axis.stride.max(axis.dilation) - 1);
                // Something is left of the output.
                let whole = (axis.input - 1) * axis.stride + axis.span() + *added;
                axis.padding = [axis.padding[0].min((whole - 1) / 2); 2];
            }
            if one_axis {
                output_padding[0] = 0;
            }
            let pixels = axes.iter().map(|axis| axis.input).product();
            let Shared { batch, groups, group_in, group_out, nan, epilogue, source } =
                shared.bounded(pixels, axes[0].kernel * axes[1].kernel);
            let [bias, relu, residual] = epilogue;
            Transposed {
                one_axis,
                batch,
                groups,
                group_in,
                group_out,
                nan,
                bias,
                relu,
                residual,
                axes,
                output_padding,
                source,
            }
        },
    )
}

impl Transposed {
    pub(crate) fn check(&self, gpu: &Gpu) -> Result<(), String> {
        let &Self { batch, groups, group_in, group_out, axes, output_padding, .. } = self;
        let conv = ConvTranspose {
            stride: axes.map(|axis| axis.stride),
            padding: axes.map(|axis| axis.padding[0]),
            output_padding,
            dilation: axes.map(|axis| axis.dilation),
            groups,
        };
        let image = [batch, groups * group_in, axes[0].input, axes[1].input];
        let weight = [groups * group_in, group_out, axes[0].kernel, axes[1].kernel];
        let epilogue = Epilogue { bias: self.bias, relu: self.relu, residual: self.residual };
        epilogue.check(
            gpu,
            self.source,
            Case { image, weight, nan: self.nan, outputs: groups * group_out, one_axis: self.one_axis },
            |x, weight, bias| kiln_reference::conv_transpose2d(x, weight, bias, conv),
            |g, x, weight, bias| {
                let ConvTranspose { stride, padding, output_padding, dilation, groups } = conv;
                if self.one_axis {
                    let options = ConvTransposeOptions {
                        stride: [stride[1]],
                        padding: [padding[1]],
                        output_padding: [output_padding[1]],
                        dilation: [dilation[1]],
                        groups,
                    };
                    return g.conv_transpose1d(x, weight, bias, options);
                }
                let options = ConvTransposeOptions { stride, padding, output_padding, dilation, groups };
                g.conv_transpose2d(x, weight, bias, options)
            },
        )
    }
}

/// Shapes of one configuration, as those of images; a sequence is an image of one row to the oracle.
struct Case {
    image: [usize; 4],
    weight: [usize; 4],
    nan: bool,
    outputs: usize,
    one_axis: bool,
}

impl Case {
    /// A shape as the builder takes it.
    fn shape(&self, [a, b, c, d]: [usize; 4]) -> Vec<usize> {
        if self.one_axis { vec![a, b, d] } else { vec![a, b, c, d] }
    }
}

/// What follows the sums.
struct Epilogue {
    bias: bool,
    relu: bool,
    residual: bool,
}

impl Epilogue {
    /// A convolution of either sort with this epilogue, against the oracle.
    fn check(
        &self,
        gpu: &Gpu,
        source: Source,
        case: Case,
        oracle: impl Fn(&Array, &Array, Option<&Array>) -> Array,
        build: impl Fn(&mut GraphBuilder, Value, Value, Option<Value>) -> Result<Value, EngineError>,
    ) -> Result<(), String> {
        let x = image(&case.image, case.nan);
        let weight = seeded("weight", &case.weight);
        let bias = self.bias.then(|| seeded("bias", &[case.outputs]));
        let [x_array, weight_array] = [&x, &weight].map(array);
        let bias_array = bias.as_ref().map(array);
        let mut expected = oracle(&x_array, &weight_array, bias_array.as_ref());
        let bias_terms = bias_array.as_ref().map(Array::abs);
        let mut terms = oracle(&sizes(&x_array), &weight_array.abs(), bias_terms.as_ref());
        let &[a, b, c, d] = expected.shape.as_slice() else {
            return Err("the oracle should give images".into());
        };
        let shape = case.shape([a, b, c, d]);
        let residual = self.residual.then(|| seeded("residual", &shape));
        if self.relu {
            expected = kiln_reference::unary(Unary::Relu, &expected);
        }
        expected.shape.clone_from(&shape);
        terms.shape.clone_from(&shape);
        if let Some(residual) = &residual {
            expected = kiln_reference::add(&expected, &array(residual));
            terms = kiln_reference::add(&terms, &array(residual).abs());
        }
        let reshaped = |tensor: Tensor, shape: [usize; 4]| {
            let data = tensor.as_f32().map(<[f32]>::to_vec);
            data.and_then(|data| Tensor::f32(case.shape(shape), data)).map_err(|e| e.to_string())
        };
        let mut operands = vec![reshaped(x, case.image)?, reshaped(weight, case.weight)?];
        operands.extend(bias);
        operands.extend(residual);
        let own = 2 + usize::from(self.bias);
        let build = |g: &mut GraphBuilder, v: &[Value]| -> Result<Value, EngineError> {
            let mut y = build(g, v[0], v[1], v[..own].get(2).copied())?;
            if self.relu {
                y = g.relu(y)?;
            }
            match v.get(own) {
                Some(&residual) => g.add(residual, y),
                None => Ok(y),
            }
        };
        conforms(gpu, source, &operands, build, &expected, &LINEAR.bounds(&terms))
    }
}
