//! Optimizers, step by step, against their formulas in `f64` and against PyTorch.

use std::collections::BTreeMap;

use kiln_engine::{
    AdamOptions, CrossEntropyOptions, DType, EngineError, GraphBuilder, NoWeights, Optimizer, PlanId,
    PutRows, RmsPropOptions, Session, SgdOptions, Tensor, Value,
};
use kiln_gpu::Gpu;
use kiln_reference::{Array, optimizer as oracle};
use kiln_tests::compare::{assert_close, assert_same_bits};
use kiln_tests::graph::{f32_tensor, profiles, u32_tensor};
use kiln_tests::{data, device, golden};
use serde::Deserialize;

const STEPS: u64 = 10;

/// Every optimizer with every option.
fn optimizers() -> Vec<Optimizer> {
    let sgd = SgdOptions::default();
    let rms = RmsPropOptions::default();
    vec![
        Optimizer::Sgd(sgd),
        Optimizer::Sgd(SgdOptions { weight_decay: 0.1, ..sgd }),
        Optimizer::Sgd(SgdOptions { momentum: 0.9, ..sgd }),
        Optimizer::Sgd(SgdOptions { momentum: 0.9, dampening: 0.3, weight_decay: 0.1, ..sgd }),
        Optimizer::Sgd(SgdOptions { momentum: 0.9, nesterov: true, weight_decay: 0.1, ..sgd }),
        Optimizer::Adam(AdamOptions::ADAM),
        Optimizer::Adam(AdamOptions { beta1: 0.5, beta2: 0.9, eps: 1e-3, weight_decay: 0.1 }),
        Optimizer::AdamW(AdamOptions::ADAM_W),
        Optimizer::AdamW(AdamOptions { beta1: 0.0, beta2: 0.99, eps: 1e-6, weight_decay: 0.5 }),
        Optimizer::RmsProp(rms),
        Optimizer::RmsProp(RmsPropOptions { alpha: 0.9, eps: 1e-4, weight_decay: 0.1, ..rms }),
        Optimizer::RmsProp(RmsPropOptions { momentum: 0.9, weight_decay: 0.01, ..rms }),
    ]
}

/// One step of the formulas: the parameter and its states by name.
trait Formula {
    fn step(&mut self, parameter: &mut [f64], gradient: &[f64], lr: f64);
    fn state(&self, name: &str) -> &[f64];
}

impl Formula for oracle::Sgd {
    fn step(&mut self, parameter: &mut [f64], gradient: &[f64], lr: f64) {
        self.step(parameter, gradient, lr);
    }
    fn state(&self, name: &str) -> &[f64] {
        assert_eq!(name, "momentum_buffer");
        &self.momentum_buffer
    }
}

impl Formula for oracle::Adam {
    fn step(&mut self, parameter: &mut [f64], gradient: &[f64], lr: f64) {
        self.step(parameter, gradient, lr);
    }
    fn state(&self, name: &str) -> &[f64] {
        match name {
            "exp_avg" => &self.exp_avg,
            "exp_avg_sq" => &self.exp_avg_sq,
            other => panic!("Adam has no {other}"),
        }
    }
}

impl Formula for oracle::RmsProp {
    fn step(&mut self, parameter: &mut [f64], gradient: &[f64], lr: f64) {
        self.step(parameter, gradient, lr);
    }
    fn state(&self, name: &str) -> &[f64] {
        match name {
            "square_avg" => &self.square_avg,
            "momentum_buffer" => &self.momentum_buffer,
            other => panic!("RMSprop has no {other}"),
        }
    }
}

fn formula(optimizer: &Optimizer) -> Box<dyn Formula> {
    let adam = |options: &AdamOptions, decoupled| oracle::Adam {
        betas: [options.beta1, options.beta2],
        eps: options.eps,
        weight_decay: options.weight_decay,
        decoupled,
        ..Default::default()
    };
    match optimizer {
        Optimizer::Sgd(options) => Box::new(oracle::Sgd {
            momentum: options.momentum,
            dampening: options.dampening,
            nesterov: options.nesterov,
            weight_decay: options.weight_decay,
            ..Default::default()
        }),
        Optimizer::Adam(options) => Box::new(adam(options, false)),
        Optimizer::AdamW(options) => Box::new(adam(options, true)),
        Optimizer::RmsProp(options) => Box::new(oracle::RmsProp {
            alpha: options.alpha,
            eps: options.eps,
            weight_decay: options.weight_decay,
            momentum: options.momentum,
            ..Default::default()
        }),
    }
}

/// A session whose one plan takes a gradient and a loss from the host and lets a parameter follow.
struct Trial {
    session: Session,
    plan: PlanId,
    shape: Vec<usize>,
    optimizer: Optimizer,
}

impl Trial {
    fn new(
        session: Session,
        shape: &[usize],
        optimizer: &Optimizer,
        max_norm: Option<f32>,
    ) -> Result<Self, EngineError> {
        let mut session = session;
        let mut g = GraphBuilder::new("step");
        let parameter = g.variable("parameter", shape, DType::F32);
        let state: Vec<Value> =
            optimizer.state().iter().map(|name| g.variable(name, shape, DType::F32)).collect();
        let stopped = g.variable("stopped", &[1], DType::F32);
        let (gradient, loss) = (g.input("gradient", shape, DType::F32), g.input("loss", &[], DType::F32));
        let rates = g.input("rates", &[4], DType::F32);
        let norm = g.global_norm_squared(&[gradient])?;
        let guard = g.guard(loss, norm, stopped, None, max_norm)?;
        g.optimize(optimizer, parameter, gradient, &state, rates, guard)?;
        let now_stopped = g.slice(guard, 0, 2, 3)?;
        g.assign(stopped, now_stopped)?;
        g.output("guard", guard);
        let plan = session.load(&g.finish(), &NoWeights)?;
        Ok(Self { session, plan, shape: shape.to_vec(), optimizer: *optimizer })
    }

    /// Gives the guard's output.
    fn step(&mut self, step: u64, lr: f64, gradient: &[f32], loss: f32) -> Result<Vec<f32>, EngineError> {
        let gradient = Tensor::f32(self.shape.clone(), gradient.to_vec())?;
        let rates = Tensor::f32([4], self.optimizer.rates(step, lr).to_vec())?;
        let loss = Tensor::f32([], vec![loss])?;
        let inputs = [("gradient", &gradient), ("rates", &rates), ("loss", &loss)];
        self.session.run(self.plan, &inputs)?["guard"].as_f32().map(<[f32]>::to_vec)
    }

    fn variable(&self, name: &str) -> Result<Vec<f32>, EngineError> {
        self.session.read_variable(name)?.into_f32()
    }

    /// The bits of all that a step may change.
    fn everything(&self) -> Result<Vec<u32>, EngineError> {
        let mut bits = vec![];
        for name in std::iter::once(&"parameter").chain(self.optimizer.state()) {
            bits.extend(self.variable(name)?.iter().map(|x| x.to_bits()));
        }
        Ok(bits)
    }
}

/// The learning rate of a step: they differ, as with a schedule.
fn rate(step: u64) -> f64 {
    0.05 / (1.0 + 0.1 * step as f64)
}

fn follow(
    gpu: &Gpu,
    optimizer: &Optimizer,
    shape: &[usize],
    max_norm: Option<f32>,
) -> Result<(), EngineError> {
    let count: usize = shape.iter().product();
    for profile in profiles(gpu) {
        let mut trial = Trial::new(Session::with_profile(gpu, profile), shape, optimizer, max_norm)?;
        let start = data::uniform("parameter", count);
        trial.session.write_variable("parameter", &f32_tensor(shape, start.clone()))?;
        let mut expected: Vec<f64> = start.iter().map(|&x| f64::from(x)).collect();
        let mut formula = formula(optimizer);
        for step in 1..=STEPS {
            let gradient = data::uniform(&format!("gradient{step}"), count);
            let given: Vec<f64> = gradient.iter().map(|&x| f64::from(x)).collect();
            let squares = given.iter().map(|x| x * x).sum();
            let [scale, norm, _] = kiln_reference::guard(1.0, squares, false, max_norm.map(f64::from));
            let clipped: Vec<f64> = given.iter().map(|x| scale * x).collect();
            formula.step(&mut expected, &clipped, rate(step));
            let guard = trial.step(step, rate(step), &gradient, 1.0)?;
            let close = |got: f32, expected: f64| (f64::from(got) - expected).abs() <= 2e-6 * expected;
            assert!(close(guard[0], scale) && close(guard[1], norm) && guard[2] == 0.0, "{guard:?}");
        }
        let what = format!("{optimizer:?} of {shape:?}, clipped to {max_norm:?}");
        let near = |name: &str, expected: &[f64]| -> Result<(), EngineError> {
            let largest = expected.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
            // Ten steps of some roundings each.
            let bounds = vec![20.0 * f64::from(f32::EPSILON) * largest; count];
            let expected = Array::new(&[count], expected.to_vec());
            assert_close(format!("{name} of {what}"), &trial.variable(name)?, &expected, &bounds);
            Ok(())
        };
        near("parameter", &expected)?;
        for name in optimizer.state() {
            near(name, formula.state(name))?;
        }
    }
    Ok(())
}

#[test]
fn ten_steps_follow_the_formulas() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    for optimizer in optimizers() {
        follow(gpu, &optimizer, &[13, 7], None)?;
        follow(gpu, &optimizer, &[10], Some(0.75))?;
    }
    Ok(())
}

/// Sizes around vectors and workgroups, an odd one with a tail, and a single number.
#[test]
fn sizes() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let adam = Optimizer::Adam(AdamOptions::ADAM);
    let heavy = Optimizer::Sgd(SgdOptions { momentum: 0.9, ..SgdOptions::default() });
    for shape in [&[][..], &[1], &[4], &[63], &[65], &[1024], &[1025], &[50, 20, 5, 5], &[7, 431]] {
        for optimizer in [adam, heavy] {
            follow(gpu, &optimizer, shape, None)?;
        }
    }
    Ok(())
}

/// A parameter that the device cannot bind as a whole.
#[test]
fn pieces() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    for optimizer in optimizers() {
        let mut limits = gpu.profile().limits;
        limits.max_binding = 4096;
        let profile = kiln_gpu::DeviceProfile { limits, ..gpu.profile().clone() };
        let (shape, count) = ([100, 33], 3300);
        let whole = Trial::new(Session::new(gpu), &shape, &optimizer, Some(1.0))?;
        let cut = Trial::new(Session::with_profile(gpu, profile), &shape, &optimizer, Some(1.0))?;
        let steps = |trial: &Trial| trial.session.plan(trial.plan).steps.len();
        assert!(steps(&cut) > steps(&whole) + 3, "{}", cut.session.plan(cut.plan));
        let mut bits = vec![];
        for mut trial in [whole, cut] {
            trial
                .session
                .write_variable("parameter", &f32_tensor(&shape, data::uniform("parameter", count)))?;
            for step in 1..=3 {
                trial.step(step, 0.1, &data::uniform(&format!("gradient{step}"), count), 1.0)?;
            }
            bits.push(trial.everything()?);
        }
        let close = bits[0].iter().zip(&bits[1]).all(|(a, b)| {
            let (a, b) = (f32::from_bits(*a), f32::from_bits(*b));
            (a - b).abs() <= 1e-6 * (1.0 + b.abs())
        });
        assert!(close, "{optimizer:?} in pieces is another");
    }
    Ok(())
}

/// A gradient or a loss that is no number changes nothing, not even the state, and neither does anything after it.
#[test]
fn what_is_not_finite_stops_the_run() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let count = 301;
    for optimizer in optimizers() {
        for (in_gradient, in_loss) in
            [(f32::NAN, 1.0), (f32::INFINITY, 1.0), (1.0, f32::NAN), (1.0, f32::NEG_INFINITY)]
        {
            let mut trial = Trial::new(Session::new(gpu), &[count], &optimizer, Some(0.5))?;
            trial.session.write_variable("parameter", &f32_tensor(&[count], data::uniform("p", count)))?;
            let sound = data::uniform("gradient", count);
            assert_eq!(trial.step(1, 0.1, &sound, 1.0)?[2], 0.0);
            let before = trial.everything()?;
            let mut gradient = sound.clone();
            gradient[300] = in_gradient;
            let guard = trial.step(2, 0.1, &gradient, in_loss)?;
            assert_eq!((guard[0], guard[2]), (0.0, 1.0), "{optimizer:?}");
            assert_same_bits(optimizer, &trial.everything()?, &before, &[before.len()]);
            let guard = trial.step(3, 0.1, &sound, 1.0)?;
            assert_eq!((guard[0], guard[2]), (0.0, 1.0), "a run that has stopped stays so");
            assert_same_bits(optimizer, &trial.everything()?, &before, &[before.len()]);
            trial.session.write_variable("stopped", &f32_tensor(&[1], vec![0.0]))?;
            assert_eq!(trial.step(2, 0.1, &sound, 1.0)?[2], 0.0, "until it is told to go on");
            assert_ne!(trial.everything()?, before);
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_named() {
    let mut g = GraphBuilder::new("net");
    let parameter = g.variable("parameter", &[4], DType::F32);
    let state = g.variable("state", &[3], DType::F32);
    let (gradient, short) = (g.input("gradient", &[4], DType::F32), g.input("short", &[3], DType::F32));
    let rates = g.input("rates", &[4], DType::F32);
    let sgd = SgdOptions::default();
    let plain = Optimizer::Sgd(sgd);
    let heavy = Optimizer::Sgd(SgdOptions { momentum: 0.9, ..sgd });
    let wrong = Optimizer::Sgd(SgdOptions { nesterov: true, ..sgd });
    for (made, expected) in [
        (
            g.optimize(&plain, parameter, short, &[], rates, short),
            "sgd \"net\": gradient: expected [4], got f32[3]",
        ),
        (
            g.optimize(&plain, gradient, gradient, &[], rates, short),
            "sgd \"net\": target: expected a variable, got f32[4]",
        ),
        (
            g.optimize(&heavy, parameter, gradient, &[], rates, short),
            "sgd \"net\": number of variables: expected 2, got 1",
        ),
        (
            g.optimize(&heavy, parameter, gradient, &[state], rates, short),
            "sgd \"net\": momentum_buffer: expected [4], got f32[3]",
        ),
        (
            g.optimize(&plain, parameter, gradient, &[], short, short),
            "sgd \"net\": rates: expected [4], got f32[3]",
        ),
        (
            g.optimize(&wrong, parameter, gradient, &[], rates, short),
            "sgd \"net\": momentum and dampening: expected a momentum and no dampening for nesterov, got 0 and 0",
        ),
    ] {
        assert_eq!(made.map_err(|e| e.to_string()), Err(expected.to_owned()));
    }
}

#[derive(Deserialize)]
struct Golden {
    labels: Vec<u32>,
    tensors: BTreeMap<String, Listed>,
    curves: Vec<Curve>,
}

#[derive(Deserialize)]
struct Listed {
    shape: Vec<usize>,
    data: Vec<f32>,
}

#[derive(Deserialize)]
struct Curve {
    optimizer: String,
    options: Options,
    rate: f64,
    max_norm: Option<f32>,
    losses: Vec<f64>,
    norms: Vec<f64>,
}

#[derive(Deserialize)]
struct Options {
    momentum: Option<f64>,
    dampening: Option<f64>,
    nesterov: Option<bool>,
    weight_decay: Option<f64>,
    betas: Option<[f64; 2]>,
    eps: Option<f64>,
    alpha: Option<f64>,
}

impl Curve {
    /// The optimizer by its name, with the options that PyTorch was given.
    fn optimizer(&self) -> Optimizer {
        let given = &self.options;
        let mut optimizer: Optimizer = self.optimizer.parse().expect("the golden should name an optimizer");
        match &mut optimizer {
            Optimizer::Sgd(options) => {
                options.momentum = given.momentum.unwrap_or(options.momentum);
                options.dampening = given.dampening.unwrap_or(options.dampening);
                options.nesterov = given.nesterov.unwrap_or(options.nesterov);
                options.weight_decay = given.weight_decay.unwrap_or(options.weight_decay);
            }
            Optimizer::Adam(options) | Optimizer::AdamW(options) => {
                [options.beta1, options.beta2] = given.betas.unwrap_or([options.beta1, options.beta2]);
                options.eps = given.eps.unwrap_or(options.eps);
                options.weight_decay = given.weight_decay.unwrap_or(options.weight_decay);
            }
            Optimizer::RmsProp(options) => {
                options.alpha = given.alpha.unwrap_or(options.alpha);
                options.eps = given.eps.unwrap_or(options.eps);
                options.weight_decay = given.weight_decay.unwrap_or(options.weight_decay);
                options.momentum = given.momentum.unwrap_or(options.momentum);
            }
        }
        optimizer
    }
}

/// A small network as one plan: forward, loss, backward, clipping, update, and a history of losses and norms.
fn training_step(
    golden: &Golden,
    optimizer: &Optimizer,
    max_norm: Option<f32>,
) -> Result<kiln_engine::Graph, EngineError> {
    let mut g = GraphBuilder::new("mlp");
    let shape = |name: &str| golden.tensors[name].shape.as_slice();
    let x = g.input("x", shape("x"), DType::F32);
    let labels = g.input("labels", &[golden.labels.len()], DType::U32);
    let (rates, place) = (g.input("rates", &[4], DType::F32), g.input("place", &[1], DType::U32));
    let names = ["w1", "b1", "w2", "b2"];
    let parameters = names.map(|name| g.variable(name, shape(name), DType::F32));
    let [w1, b1, w2, b2] = parameters;
    let hidden = g.linear(x, w1, Some(b1))?;
    let hidden = g.tanh(hidden)?;
    let logits = g.linear(hidden, w2, Some(b2))?;
    let loss = g.cross_entropy(logits, labels, CrossEntropyOptions::default())?;
    let gradients = g.gradients(loss, &parameters)?;
    let squared = g.global_norm_squared(&gradients)?;
    let stopped = g.variable("stopped", &[1], DType::F32);
    let guard = g.guard(loss, squared, stopped, None, max_norm)?;
    for ((name, parameter), gradient) in names.iter().zip(parameters).zip(gradients) {
        let state: Vec<Value> = optimizer
            .state()
            .iter()
            .map(|state| g.variable(&format!("{state}.{name}"), shape(name), DType::F32))
            .collect();
        g.optimize(optimizer, parameter, gradient, &state, rates, guard)?;
    }
    let flag = g.slice(guard, 0, 2, 3)?;
    g.assign(stopped, flag)?;
    let history = g.variable("history", &[16, 2], DType::F32);
    let (seen, norm) = (g.reshape(loss, &[1])?, g.slice(guard, 0, 1, 2)?);
    let row = g.concat(&[seen, norm], 0)?;
    let row = g.reshape(row, &[1, 2])?;
    g.update(PutRows { first_col: 0 }, &[history], &[row, place])?;
    Ok(g.finish())
}

#[test]
fn ten_step_curves_are_pytorchs() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let golden: Golden = golden::json("optim/curves.json");
    let tensor = |name: &str| f32_tensor(&golden.tensors[name].shape, golden.tensors[name].data.clone());
    let (x, labels) = (tensor("x"), u32_tensor(&[golden.labels.len()], golden.labels.clone()));
    let mut worst: f64 = 0.0;
    for curve in &golden.curves {
        let optimizer = curve.optimizer();
        let mut session = Session::new(gpu);
        let plan = session.load(&training_step(&golden, &optimizer, curve.max_norm)?, &NoWeights)?;
        for name in ["w1", "b1", "w2", "b2"] {
            session.write_variable(name, &tensor(name))?;
        }
        for step in 1..=11u32 {
            let lr = if step <= 6 { curve.rate } else { curve.rate / 2.0 };
            let rates = f32_tensor(&[4], optimizer.rates(step.into(), lr).to_vec());
            let place = u32_tensor(&[1], vec![step - 1]);
            session.run(plan, &[("x", &x), ("labels", &labels), ("rates", &rates), ("place", &place)])?;
        }
        let history = session.read_variable("history")?.into_f32()?;
        let (losses, norms): (Vec<f32>, Vec<f32>) = history.chunks(2).map(|row| (row[0], row[1])).unzip();
        for (what, got, expected) in [("loss", losses, &curve.losses), ("norm", norms, &curve.norms)] {
            for (step, (got, expected)) in got.iter().zip(expected).enumerate() {
                let error = (f64::from(*got) - expected).abs() / expected;
                worst = worst.max(error);
                // An issue asks for 1e-4; single precision does far better.
                assert!(
                    error <= 5e-6,
                    "{optimizer:?}: {what} of step {step} is {got}, in PyTorch {expected}"
                );
            }
        }
    }
    assert!(worst > 0.0, "nothing was compared");
    Ok(())
}
