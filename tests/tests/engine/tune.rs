//! Tuning on the present adapter: what is found, that every candidate computes the same, and that choices are followed.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiln_engine::ops::ConvOptions;
use kiln_engine::{
    Choices, DType, Device, EngineError, Finding, Graph, GraphBuilder, Padding, Session, Tensor, TuneOptions,
    Tuner, tune,
};
use kiln_gpu::{DeviceKind, DeviceProfile, Gpu};
use kiln_tests::{data, device};

const IMAGE: [usize; 4] = [1, 16, 12, 12];

/// A convolution and two products, as networks have them: the last one of few rows.
fn network() -> Result<(Graph, HashMap<String, Tensor>, Tensor), EngineError> {
    let mut g = GraphBuilder::new("network");
    let x = g.input("x", &IMAGE, DType::F32);
    let (filter, bias) = (g.constant("filter", &[24, 16, 3, 3]), g.constant("bias", &[24]));
    let options = ConvOptions { padding: Padding::all(1), ..Default::default() };
    let y = g.conv2d(x, filter, Some(bias), options)?;
    let y = g.relu(y)?;
    let rows = g.reshape(y, &[24 * 6, 24])?;
    let wide = g.constant("wide", &[70, 24]);
    let z = g.linear(rows, wide, None)?;
    let row = g.reshape(z, &[1, 144 * 70])?;
    let last = g.constant("last", &[10, 144 * 70]);
    let out = g.linear(row, last, None)?;
    g.output("rows", z);
    g.output("out", out);
    let shapes: [(&str, &[usize]); 4] =
        [("filter", &[24, 16, 3, 3]), ("bias", &[24]), ("wide", &[70, 24]), ("last", &[10, 144 * 70])];
    let mut weights = HashMap::new();
    for (name, shape) in shapes {
        let elements = shape.iter().product();
        weights.insert(name.to_owned(), Tensor::f32(shape, data::uniform(name, elements))?);
    }
    let x = Tensor::f32(IMAGE, data::uniform("x", IMAGE.iter().product()))?;
    Ok((g.finish(), weights, x))
}

/// What the network gives, with kernels by such choices.
fn run(device: impl Into<Device>, profile: &DeviceProfile) -> Result<[Vec<f32>; 2], EngineError> {
    let (graph, weights, x) = network()?;
    let mut session = Session::with_profile(device, profile.clone());
    let plan = session.load(&graph, &weights)?;
    let outputs = session.run(plan, &[("x", &x)])?;
    Ok([outputs["rows"].as_f32()?.to_vec(), outputs["out"].as_f32()?.to_vec()])
}

/// The present device, and how it would be planned for if it were of the other sort.
fn profiles(gpu: &Gpu) -> [DeviceProfile; 2] {
    let own = gpu.profile().clone();
    let kind = if own.kind.is_software() { DeviceKind::Discrete } else { DeviceKind::Cpu };
    [own.clone(), DeviceProfile { kind, timestamps: false, ..own }]
}

fn tuned(gpu: &Gpu, profile: &DeviceProfile) -> Result<Vec<Finding>, EngineError> {
    let (graph, ..) = network()?;
    let options = TuneOptions { rounds: 3, ..TuneOptions::within(Duration::from_secs(300)) };
    let mut go_on = |_: kiln_engine::TuneProgress<'_>| ControlFlow::Continue(());
    tune(gpu, profile, &[&graph], &Choices::default(), &options, &mut go_on)
}

fn assert_near(what: &str, made: &[Vec<f32>; 2], expected: &[Vec<f32>; 2]) {
    for (made, expected) in made.iter().zip(expected) {
        let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        for (index, (a, b)) in made.iter().zip(expected).enumerate() {
            // NaN is not near.
            assert!((a - b).abs() <= 1e-4 * largest, "{what}: element {index} is {a}, by the table {b}");
        }
    }
}

#[test]
fn every_candidate_computes_the_same() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    for profile in profiles(gpu) {
        let findings = tuned(gpu, &profile)?;
        assert!(findings.iter().all(|finding| finding.settled), "there was time enough: {findings:?}");
        assert!(findings.iter().any(|finding| finding.key.starts_with("matmul")), "{findings:?}");
        let expected = run(gpu, &profile)?;
        // Some questions come up where another one has an answer that is not the table's.
        let ways = findings.iter().filter(|finding| finding.key.contains(" algorithm: "));
        let ways = ways.flat_map(|finding| finding.times.iter().map(|(name, _)| (&finding.key, name)));
        let ways: Vec<Option<(&String, &String)>> = ways.map(Some).chain([None]).collect();
        for Finding { key, times, chosen, table, .. } in &findings {
            assert!(times.iter().any(|(name, _)| name == chosen) || chosen == table, "{key}: {chosen}");
            for (name, time) in times {
                assert!(!time.is_zero(), "{key}: {name} takes no time");
            }
            for way in &ways {
                for (name, _) in times {
                    let choices = way.iter().copied().chain([(key, name)]).collect();
                    let device = Device::tuned(gpu, Tuner::fixed(choices));
                    assert_near(
                        &format!("{key}: {name} beside {way:?}"),
                        &run(&device, &profile)?,
                        &expected,
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_stale_choice_is_as_good_as_none() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    for profile in profiles(gpu) {
        let stale = tuned(gpu, &profile)?.into_iter().map(|finding| (finding.key, "matmul_of_old/t7"));
        let stale: Choices = stale.chain([("no such op".to_owned(), "naive")]).collect();
        let device = Device::tuned(gpu, Tuner::fixed(stale));
        assert_eq!(run(&device, &profile)?, run(gpu, &profile)?, "the same kernels, so the same bits");
    }
    Ok(())
}

#[test]
fn choices_change_the_plan() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    for profile in profiles(gpu) {
        let (graph, weights, _) = network()?;
        let plan = |choices: Choices| {
            let mut session = Session::with_profile(gpu, profile.clone()).with_choices(choices);
            let plan = session.load(&graph, &weights)?;
            Ok::<_, EngineError>(session.plan(plan).to_string())
        };
        let by_table = plan(Choices::default())?;
        let mut changed = 0;
        for Finding { key, table, times, .. } in tuned(gpu, &profile)? {
            // The table's own choice, said aloud, changes nothing.
            assert_eq!(
                plan(Choices::from_iter([(key.as_str(), table.as_str())]))?,
                by_table,
                "{key}: {table}"
            );
            for (name, _) in times.iter().filter(|(name, _)| *name != table) {
                let other = plan(Choices::from_iter([(key.as_str(), name.as_str())]))?;
                // A question that comes up inside of another one's answer makes no difference without it.
                let differs = other != by_table;
                changed += usize::from(differs);
                assert!(!differs || !name.contains('/') || other.contains(name), "{key}: {name} in {other}");
            }
        }
        assert!(changed > 0, "there should be something to choose on {}", profile.kind);
    }
    Ok(())
}

/// A first load measures and keeps what it found; the next one knows it.
#[test]
fn a_tuner_measures_once() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let (graph, weights, x) = network()?;
    let kept: Arc<Mutex<Vec<Finding>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let tuner = Tuner::within(Choices::default(), Duration::from_secs(300), move |findings: &[Finding]| {
        keep.lock().expect("no other test has it").extend_from_slice(findings);
    });
    let device = Device::tuned(gpu, tuner);
    let mut outputs = vec![];
    for _ in 0..2 {
        let mut session = Session::new(&device);
        let plan = session.load(&graph, &weights)?;
        outputs.push(session.run(plan, &[("x", &x)])?["out"].as_f32()?.to_vec());
    }
    let kept = kept.lock().expect("no other test has it");
    let mut keys: Vec<&str> = kept.iter().map(|finding| finding.key.as_str()).collect();
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert!(all > 0 && keys.len() == all, "each question is measured once: {keys:?}");
    assert_eq!(device.choices().len(), all);
    assert_eq!(outputs[0], outputs[1]);
    // Without time nothing is measured, and the table chooses.
    let none = Tuner::within(Choices::default(), Duration::ZERO, |_: &[Finding]| panic!("nothing to keep"));
    assert_eq!(run(Device::tuned(gpu, none), gpu.profile())?, run(gpu, gpu.profile())?);
    Ok(())
}
