//! Values that lie within each other: slices and reshapes that are views, vectors whose parts are made in place, and variables
//! that change afterwards. Random graphs of them give exactly what the same steps give on the host.

use std::ops::Range;

use kiln_engine::updates::{Accumulate, PutRows};
use kiln_engine::{DType, EngineError, Graph, GraphBuilder, NoWeights, Session, Value};
use kiln_gpu::{DeviceProfile, Gpu, Limits};
use kiln_tests::device;
use kiln_tests::graph::f32_tensor;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Variables `a` and `b`, and the members of the flat variable, all `[rows][cols]`.
const OWN: [(&str, [usize; 2]); 2] = [("a", [4, 64]), ("b", [6, 20])];
const MEMBERS: [(&str, [usize; 2]); 3] = [("m0", [2, 16]), ("m1", [1, 5]), ("m2", [9, 64])];
const INPUT: [usize; 2] = [9, 64];
/// Parts of a flat vector begin at multiples of so many elements.
const PART: usize = 64;

/// An operation on values that there are: each number is taken modulo what there is to choose from.
#[derive(Debug, Clone)]
enum Step {
    Neg(usize),
    Add(usize, usize),
    /// From an element of a dimension on, or from the nearest multiple of [`PART`], so many.
    Slice {
        of: usize,
        dim: usize,
        start: usize,
        length: usize,
        aligned: bool,
    },
    /// To a vector, or to so many rows, if they divide it.
    Reshape {
        of: usize,
        rows: Option<usize>,
    },
    Transpose(usize),
    Flat(Vec<usize>),
}

/// What becomes of a variable.
#[derive(Debug, Clone)]
enum Change {
    Nothing,
    Assign(usize),
    Accumulate(usize),
    /// Rows of a value of as many columns go to those from a row on.
    Put {
        rows: usize,
        to: usize,
    },
}

#[derive(Debug, Clone)]
struct Case {
    steps: Vec<Step>,
    /// Of each variable, the flat one last.
    changes: [Change; 3],
    outputs: Vec<usize>,
}

fn cases() -> impl Strategy<Value = Case> {
    let index = 0..1000usize;
    // Mostly of what was made last, so that views of views come up.
    let of = prop_oneof![index.clone(), 997..1000usize];
    let slice = (of.clone(), 0..4usize, index.clone(), index.clone(), any::<bool>())
        .prop_map(|(of, dim, start, length, aligned)| Step::Slice { of, dim, start, length, aligned });
    let step = prop_oneof![
        3 => of.clone().prop_map(Step::Neg),
        1 => (of.clone(), index.clone()).prop_map(|(left, right)| Step::Add(left, right)),
        3 => slice,
        2 => (of.clone(), proptest::option::of(1..12usize)).prop_map(|(of, rows)| Step::Reshape { of, rows }),
        1 => of.clone().prop_map(Step::Transpose),
        2 => proptest::collection::vec(of.clone(), 1..5).prop_map(Step::Flat),
    ];
    let change = prop_oneof![
        1 => Just(Change::Nothing),
        1 => index.clone().prop_map(Change::Assign),
        2 => index.clone().prop_map(Change::Accumulate),
        1 => (index.clone(), index.clone()).prop_map(|(rows, to)| Change::Put { rows, to }),
    ];
    let changes = [change.clone(), change.clone(), change];
    (proptest::collection::vec(step, 3..18), changes, proptest::collection::vec(index, 1..6))
        .prop_map(|(steps, changes, outputs)| Case { steps, changes, outputs })
}

/// A value on the host: its numbers are whole and small, so that sums are exact.
#[derive(Clone, Debug)]
struct Host {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Host {
    fn counted(shape: &[usize], first: usize) -> Host {
        let data = (first..first + shape.iter().product::<usize>()).map(|i| (i * 7 % 251) as f32 - 100.0);
        Host { shape: shape.to_vec(), data: data.collect() }
    }

    fn slice(&self, dim: usize, range: Range<usize>) -> Host {
        let inner: usize = self.shape[dim + 1..].iter().product();
        let block = self.shape[dim] * inner;
        let part = range.start * inner..range.end * inner;
        let data = self.data.chunks(block).flat_map(|block| block[part.clone()].to_vec()).collect();
        let mut shape = self.shape.clone();
        shape[dim] = range.len();
        Host { shape, data }
    }

    fn transposed(&self) -> Host {
        let [rows, cols] = [self.shape[0], self.shape[1]];
        let data = (0..rows * cols).map(|i| self.data[i % rows * cols + i / rows]).collect();
        Host { shape: vec![cols, rows], data }
    }

    fn flat<'a>(parts: impl IntoIterator<Item = &'a Host>) -> Host {
        let mut data = vec![];
        for part in parts {
            data.extend_from_slice(&part.data);
            data.resize(data.len().next_multiple_of(PART), 0.0);
        }
        Host { shape: vec![data.len()], data }
    }

    fn tensor(&self) -> kiln_engine::Tensor {
        f32_tensor(&self.shape, self.data.clone())
    }
}

/// A graph under construction, and what its values are on the host in the run that is to come.
struct Both {
    g: GraphBuilder,
    values: Vec<(Value, Host)>,
}

impl Both {
    fn push(&mut self, value: Value, host: Host) {
        assert_eq!(self.g.desc(value).shape, host.shape);
        self.values.push((value, host));
    }

    fn step(&mut self, step: &Step) -> Result<(), EngineError> {
        let pick = |index: &usize| self.values[index % self.values.len()].clone();
        let (value, host) = match step {
            Step::Neg(of) => {
                let (value, mut host) = pick(of);
                host.data.iter_mut().for_each(|x| *x = -*x);
                (self.g.neg(value)?, host)
            }
            Step::Add(left, right) => {
                let (value, mut host) = pick(left);
                let alike: Vec<_> =
                    self.values.iter().filter(|(_, other)| other.shape == host.shape).collect();
                let (other, addend) = alike[right % alike.len()].clone();
                host.data.iter_mut().zip(addend.data).for_each(|(x, y)| *x += y);
                (self.g.add(value, other)?, host)
            }
            Step::Slice { of, dim, start, length, aligned } => {
                let (value, host) = pick(of);
                let dim = dim % host.shape.len();
                let mut start = start % host.shape[dim];
                if *aligned {
                    start -= start % PART;
                }
                let range = start..start + 1 + length % (host.shape[dim] - start);
                (self.g.slice(value, dim, range.start, range.end)?, host.slice(dim, range))
            }
            Step::Reshape { of, rows } => {
                let (value, mut host) = pick(of);
                let elements = host.data.len();
                host.shape = match rows {
                    Some(rows) if elements.is_multiple_of(*rows) => vec![*rows, elements / rows],
                    _ => vec![elements],
                };
                (self.g.reshape(value, &host.shape)?, host)
            }
            Step::Transpose(of) => match pick(of) {
                (value, host) if host.shape.len() == 2 => {
                    (self.g.permute(value, &[1, 0])?, host.transposed())
                }
                other => other,
            },
            Step::Flat(parts) => {
                // Vectors of vectors grow fast.
                let small = |(_, host): &(Value, Host)| host.data.len() < 4096;
                let (values, hosts): (Vec<_>, Vec<_>) = parts.iter().map(pick).filter(small).unzip();
                if values.is_empty() {
                    return Ok(());
                }
                (self.g.flat_concat(&values)?, Host::flat(&hosts))
            }
        };
        self.push(value, host);
        Ok(())
    }

    /// Changes a variable; gives what it is afterwards.
    fn change(
        &mut self,
        change: &Change,
        variable: Value,
        before: &Host,
        ones: Value,
    ) -> Result<Host, EngineError> {
        let alike: Vec<_> = self.values.iter().filter(|(_, host)| host.shape == before.shape).collect();
        let mut after = before.clone();
        match change {
            Change::Nothing => {}
            Change::Assign(of) => {
                let (value, host) = alike[of % alike.len()].clone();
                self.g.assign(variable, value)?;
                after = host;
            }
            Change::Accumulate(of) => {
                let (value, host) = alike[of % alike.len()].clone();
                self.g.update(Accumulate, &[variable], &[value, ones])?;
                after.data.iter_mut().zip(host.data).for_each(|(x, y)| *x += y);
            }
            Change::Put { rows, to } => {
                let &[all, cols] = before.shape.as_slice() else { return Ok(after) };
                let fits =
                    |host: &Host| host.shape.len() == 2 && host.shape[1] == cols && host.shape[0] <= all;
                let fitting: Vec<_> = self.values.iter().filter(|(_, host)| fits(host)).collect();
                let (value, host) = fitting[rows % fitting.len()].clone();
                let first = to % (all - host.shape[0] + 1);
                let places: Vec<u32> = (first..first + host.shape[0]).map(|row| row as u32).collect();
                let places = self.g.literal_u32(&[places.len()], &places)?;
                self.g.update(PutRows { first_col: 0 }, &[variable], &[value, places])?;
                after.data[first * cols..][..host.data.len()].copy_from_slice(&host.data);
            }
        }
        Ok(after)
    }
}

fn flat_variable(g: &mut GraphBuilder) -> Result<Value, EngineError> {
    let members: Vec<(&[&str], &[usize])> =
        MEMBERS.iter().map(|(name, shape)| (std::slice::from_ref(name), shape.as_slice())).collect();
    g.flat_variable("flat", &members)
}

/// All variables, so that a session has also those which a case has no use for.
fn all_variables() -> Result<Graph, EngineError> {
    let mut g = GraphBuilder::new("all");
    flat_variable(&mut g)?;
    for (name, shape) in OWN.iter().chain(&MEMBERS) {
        let variable = g.variable(name, shape, DType::F32);
        g.output(name, variable);
    }
    Ok(g.finish())
}

fn check(gpu: &Gpu, profile: &DeviceProfile, case: &Case) -> Result<(), EngineError> {
    let mut both = Both { g: GraphBuilder::new("views"), values: vec![] };
    let flat = flat_variable(&mut both.g)?;
    let mut started: Vec<(&str, Host)> = vec![];
    for (index, (name, shape)) in OWN.iter().chain(&MEMBERS).enumerate() {
        let (value, host) = (both.g.variable(name, shape, DType::F32), Host::counted(shape, index * 1000));
        started.push((name, host.clone()));
        both.push(value, host);
    }
    both.push(flat, Host::flat(started[OWN.len()..].iter().map(|(_, host)| host)));
    let (x, input) = (both.g.input("x", &INPUT, DType::F32), Host::counted(&INPUT, 77));
    both.push(x, input.clone());
    for step in &case.steps {
        both.step(step)?;
    }
    let ones = both.g.literal(&[2], &[1.0, 1.0])?;
    let mut ended = started.clone();
    for (index, change) in case.changes.iter().enumerate() {
        // The flat variable's value stands behind those of all the others.
        let at = if index < OWN.len() { index } else { started.len() };
        let (variable, before) = both.values[at].clone();
        let after = both.change(change, variable, &before, ones)?;
        if index < OWN.len() {
            ended[index].1 = after;
            continue;
        }
        let mut start = 0;
        for (_, member) in &mut ended[OWN.len()..] {
            let length = member.data.len();
            member.data = after.data[start..start + length].to_vec();
            start = (start + length).next_multiple_of(PART);
        }
    }
    let mut outputs: Vec<usize> = case.outputs.iter().map(|index| index % both.values.len()).collect();
    outputs.sort_unstable();
    outputs.dedup();
    for &index in &outputs {
        both.g.output(&index.to_string(), both.values[index].0);
    }

    let graph = both.g.finish();
    let mut session = Session::with_profile(gpu, profile.clone());
    session.load(&all_variables()?, &NoWeights)?;
    let plan = session.load(&graph, &NoWeights)?;
    let what = format!("{graph}\n{}", session.plan(plan));
    for (name, host) in &started {
        session.write_variable(name, &host.tensor())?;
    }
    let made = session.run(plan, &[("x", &input.tensor())])?;
    for index in outputs {
        let name = index.to_string();
        assert_eq!(made[name.as_str()].as_f32()?, both.values[index].1.data, "output {name} of\n{what}");
    }
    for (name, host) in &ended {
        assert_eq!(session.read_variable(name)?.as_f32()?, host.data, "variable {name} after\n{what}");
    }
    Ok(())
}

/// On the device as it is, and as if it bound buffers at multiples of 256 bytes alone, as some GPUs do.
#[test]
fn random_views_hold_what_the_host_computes() {
    let Some(gpu) = device::gpu() else { return };
    let own = gpu.profile();
    let limits = Limits { storage_alignment: 256, ..own.limits };
    let coarse = DeviceProfile { limits, ..own.clone() };
    for profile in [own, &coarse] {
        // The same cases each time: what fails today fails tomorrow.
        let mut runner = TestRunner::new_with_rng(
            Config { cases: 150, failure_persistence: None, ..Config::default() },
            proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
        );
        let checked = runner.run(&cases(), |case| {
            check(gpu, profile, &case).map_err(|error| TestCaseError::fail(error.to_string()))
        });
        checked.unwrap_or_else(|failure| panic!("{failure}"));
    }
}
