//! One op alone, through the whole engine: graph, passes, plan, session.

use std::collections::HashMap;
use std::fmt;

use kiln_engine::{DType, EngineError, GraphBuilder, Session, Tensor, Value};
use kiln_gpu::{DeviceKind, DeviceProfile, Gpu};

/// Where an op's operands come from. The engine treats each differently, and the result must be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// All are given with the run.
    Inputs,
    /// The first is given with the run; the other `f32` ones are weights, which a pass may lay out anew.
    Weights,
    /// All that are `f32` are weights: an op on these alone is computed once, at load.
    Constants,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 3] = [Self::Inputs, Self::Weights, Self::Constants];

    fn is_weight(self, position: usize, operand: &Tensor) -> bool {
        let may_be = operand.desc().dtype == DType::F32;
        match self {
            Self::Inputs => false,
            Self::Weights => may_be && position > 0,
            Self::Constants => may_be,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inputs => "of inputs",
            Self::Weights => "of an input and weights",
            Self::Constants => "of weights",
        })
    }
}

/// An `f32` tensor of seeded data.
pub fn seeded(name: &str, shape: &[usize]) -> Tensor {
    f32_tensor(shape, crate::data::uniform(name, shape.iter().product()))
}

/// A tensor of given data.
///
/// # Panics
/// Where the data does not fill the shape.
pub fn f32_tensor(shape: &[usize], data: Vec<f32>) -> Tensor {
    Tensor::f32(shape, data).expect("the data should fill the shape")
}

/// A tensor of indices.
///
/// # Panics
/// Where the data does not fill the shape.
pub fn u32_tensor(shape: &[usize], data: Vec<u32>) -> Tensor {
    Tensor::u32(shape, data).expect("the data should fill the shape")
}

/// A tensor as the oracle takes it.
///
/// # Panics
/// Where it does not hold `f32`.
pub fn array(tensor: &Tensor) -> kiln_reference::Array {
    kiln_reference::Array::from_f32(tensor.shape(), tensor.as_f32().expect("the oracle computes on f32"))
}

/// The device as it is, and as if it were of the other sort: a software adapter takes the kernels of a GPU as well, and
/// the other way round, so that each table runs through every row that any user's device would choose.
pub fn profiles(gpu: &Gpu) -> [DeviceProfile; 2] {
    let own = gpu.profile();
    let kind = if own.kind.is_software() { DeviceKind::Discrete } else { DeviceKind::Cpu };
    [own.clone(), DeviceProfile { kind, ..own.clone() }]
}

/// Builds a graph of what `build` makes of the operands, and runs it in a session of its own, planned for `profile`.
///
/// # Errors
/// Whatever the engine reports, from building to running.
pub fn run_op(
    gpu: &Gpu,
    profile: &DeviceProfile,
    source: Source,
    operands: &[Tensor],
    build: impl FnOnce(&mut GraphBuilder, &[Value]) -> Result<Value, EngineError>,
) -> Result<Tensor, EngineError> {
    let mut g = GraphBuilder::new("test");
    let names: Vec<String> = (0..operands.len()).map(|position| format!("operand{position}")).collect();
    let (mut values, mut inputs, mut weights) = (Vec::new(), Vec::new(), HashMap::new());
    for (position, (name, operand)) in names.iter().zip(operands).enumerate() {
        if source.is_weight(position, operand) {
            values.push(g.constant(name, operand.shape()));
            weights.insert(name.clone(), operand.clone());
        } else {
            values.push(g.input(name, operand.shape(), operand.desc().dtype));
            inputs.push((name.as_str(), operand));
        }
    }
    let made = build(&mut g, &values)?;
    let desc = g.desc(made).clone();
    g.output("made", made);
    let mut session = Session::with_profile(gpu, profile.clone());
    let plan = session.load(&g.finish(), &weights)?;
    let made = session.run(plan, &inputs)?.take("made").expect("a run should give what the graph puts out");
    assert_eq!(made.desc(), &desc, "the run gave another tensor than the graph declares");
    Ok(made)
}

/// Runs the op from every source, planned for this device and for one of the other sort, and hands each result to `check`, with words for messages.
///
/// # Panics
/// Where the engine reports an error.
#[track_caller]
pub fn every_source(
    gpu: &Gpu,
    operands: &[Tensor],
    build: impl Fn(&mut GraphBuilder, &[Value]) -> Result<Value, EngineError>,
    mut check: impl FnMut(Source, &Tensor),
) {
    for profile in profiles(gpu) {
        for source in Source::ALL {
            let made = run_op(gpu, &profile, source, operands, &build)
                .unwrap_or_else(|e| panic!("{source}, planned for a {} device: {e}", profile.kind));
            check(source, &made);
        }
    }
}

/// [`every_source`] of an op that computes: each result against the oracle's, within bounds.
///
/// # Panics
/// Where the engine reports an error, or a result has another shape or lies out of bounds.
#[track_caller]
pub fn conforms(
    gpu: &Gpu,
    what: impl fmt::Display,
    operands: &[Tensor],
    build: impl Fn(&mut GraphBuilder, &[Value]) -> Result<Value, EngineError>,
    expected: &kiln_reference::Array,
    bounds: &[f64],
) {
    every_source(gpu, operands, build, |source, made| {
        assert_eq!(made.shape(), expected.shape, "{what} {source}: the shape");
        let got = made.as_f32().expect("the op should give f32");
        crate::compare::assert_close(format_args!("{what} {source}"), got, expected, bounds);
    });
}
