//! What a device gives at best: the yardsticks of a profile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_engine::plan::Constants;
use kiln_engine::{DType, Device, EngineError, Graph, GraphBuilder, Plan, Session, Tensor, Work, compile};
use kiln_gpu::{BufferSlice, Command, DeviceProfile, Gpu};
use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::error::ModelError;
use crate::seeded::{SeededWeights, image};

/// The rates of a large matrix product and of a large copy: what kernels are measured against, and not what the
/// hardware could do. A convolution, whose taps share what they load, may exceed the product.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Billions of floating-point operations a second of an f32 product, two for each multiply-add.
    pub gflops: f64,
    /// Billions of bytes a second that a copy reads and writes, both counted.
    pub gigabytes: f64,
}

/// Sides of the product: the first, and how far it grows where that is over in no time.
const SIDES: [usize; 3] = [1024, 2048, 4096];
/// A product shorter than this says more of its start than of its rate.
const LONG_ENOUGH: Duration = Duration::from_millis(4);
/// How long each of the two is repeated.
const BUDGET: Duration = Duration::from_millis(400);
/// What is copied: more than caches hold, of a size that every device has to spare.
const COPIED: u64 = 64 << 20;
/// Copies in one submit, so that its own cost is lost among them.
const COPIES: usize = 8;
/// The file of a cache directory that holds the ceilings of each adapter.
const FILE: &str = "ceilings.json";

impl Ceilings {
    /// Measures both, which takes about a second with the compilation of a kernel: the best of several runs, the
    /// product by the device's clock where it has one.
    ///
    /// # Errors
    /// [`ModelError::Engine`] for a device failure.
    pub fn measure(device: &Device) -> Result<Ceilings, ModelError> {
        let mut gflops = 0.0;
        for side in SIDES {
            let best = product(device, side)?;
            let rate = super::rate((side as u64).pow(3), best).unwrap_or_default();
            gflops = rate.max(gflops);
            if best > LONG_ENOUGH {
                break;
            }
        }
        Ok(Ceilings { gflops, gigabytes: copies(device.gpu())? })
    }

    /// Those that a cache directory knows of this adapter, driver and kernel of products; else, or `anew`, they are measured
    /// and kept there. A cache that cannot be read or written only costs the time to measure.
    ///
    /// # Errors
    /// Those of [`measure`](Self::measure).
    pub fn cached(device: &Device, cache_dir: Option<&Path>, anew: bool) -> Result<Ceilings, ModelError> {
        let store = cache_dir.map(Store::new);
        let key = key(device.profile())?;
        if let Some(known) = store.as_ref().filter(|_| !anew).and_then(|store| store.get(&key)) {
            return Ok(known);
        }
        let ceilings = Ceilings::measure(device)?;
        if let Some(store) = store {
            store.put(&key, ceilings);
        }
        Ok(ceilings)
    }

    /// The least seconds that products and memory take for this much.
    pub fn seconds(&self, work: Work, bytes: u64) -> (f64, f64) {
        let at = |amount: f64, rate: f64| if rate > 0.0 { amount / rate / 1e9 } else { 0.0 };
        (at(2.0 * work.multiply_adds as f64, self.gflops), at(bytes as f64, self.gigabytes))
    }

    fn is_plausible(&self) -> bool {
        [self.gflops, self.gigabytes].iter().all(|rate| rate.is_finite() && *rate > 0.0)
    }
}

/// What the ceilings of a device hang on: another kernel for products makes another ceiling.
fn key(device: &DeviceProfile) -> Result<String, ModelError> {
    let hoisted = compile(&product_graph(SIDES[0])?, device)?;
    let plan = Plan::build(&hoisted.main, device, Constants::Resident)?;
    let kernels: Vec<String> = plan.dispatches().map(|dispatch| dispatch.kernel.to_string()).collect();
    Ok([&device.name, &device.backend, &device.driver, &kernels.join(" ")].map(String::as_str).join(" | "))
}

fn product_graph(side: usize) -> Result<Graph, EngineError> {
    let mut g = GraphBuilder::new("ceiling");
    let x = g.input("x", &[side, side], DType::F32);
    let weight = g.constant("weight", &[side, side]);
    let y = g.matmul(x, weight)?;
    g.output("y", y);
    Ok(g.finish())
}

/// The best time of `[side x side] x [side x side]`.
fn product(device: &Device, side: usize) -> Result<Duration, ModelError> {
    let graph = product_graph(side)?;
    let mut session = Session::new(device);
    let plan = session.load(&graph, &SeededWeights::of(&graph))?;
    let x = Tensor::f32([side, side], image([1, 1, side, side])?.into_f32()?)?;
    session.run(plan, &[("x", &x)])?;
    best(|| match device.profile().timestamps {
        true => Ok(session.time(plan, &[("x", &x)])?.iter().map(|step| step.duration).sum()),
        false => {
            let start = Instant::now();
            session.rerun(plan)?;
            Ok(start.elapsed())
        }
    })
}

/// Billions of bytes a second that copies of [`COPIED`] bytes read and write at best.
fn copies(gpu: &Gpu) -> Result<f64, ModelError> {
    let bytes = COPIED.min(gpu.profile().limits.max_buffer);
    let buffer = || gpu.create_buffer("ceiling", bytes).map_err(EngineError::from);
    let (one, other) = (buffer()?, buffer()?);
    let slice = |buffer| BufferSlice { buffer, offset: 0, bytes };
    let there = || Command::Copy { from: slice(&one), to: slice(&other) };
    let back = || Command::Copy { from: slice(&other), to: slice(&one) };
    let commands: Vec<Command<'_>> =
        (0..COPIES).map(|copy| if copy % 2 == 0 { there() } else { back() }).collect();
    let recording = gpu.record("ceiling", &commands).map_err(EngineError::from)?;
    let took = best(|| {
        let start = Instant::now();
        gpu.submit(&recording).and_then(|()| gpu.wait()).map_err(EngineError::from)?;
        Ok(start.elapsed())
    })?;
    Ok((2 * bytes * COPIES as u64) as f64 / took.as_secs_f64() / 1e9)
}

/// The shortest of several runs, for as long as the budget lasts and twice at least. A clock that stood still does not
/// count.
fn best(mut run: impl FnMut() -> Result<Duration, ModelError>) -> Result<Duration, ModelError> {
    let start = Instant::now();
    let mut best = Duration::MAX;
    let mut runs = 0;
    while runs < 2 || start.elapsed() < BUDGET {
        let took = run()?;
        if !took.is_zero() {
            best = best.min(took);
        }
        runs += 1;
    }
    Ok(best)
}

/// The ceilings of each adapter that a cache directory knows.
struct Store(PathBuf);

impl Store {
    fn new(cache_dir: &Path) -> Store {
        Store(cache_dir.join(FILE))
    }

    fn all(&self) -> BTreeMap<String, Ceilings> {
        let text = std::fs::read(&self.0).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn get(&self, key: &str) -> Option<Ceilings> {
        self.all().remove(key).filter(Ceilings::is_plausible)
    }

    fn put(&self, key: &str, ceilings: Ceilings) {
        let mut all = self.all();
        all.insert(key.to_owned(), ceilings);
        let written = serde_json::to_vec_pretty(&all).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|bytes| atomic::write_file(&self.0, &bytes)) {
            log::warn!("{}: cannot be written: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_gpu::{DeviceKind, Limits};

    const SOME: Ceilings = Ceilings { gflops: 36.5, gigabytes: 9.25 };

    #[test]
    fn a_key_names_the_device_and_the_kernel() {
        let device = DeviceProfile::made_up(DeviceKind::Cpu, Limits::BASELINE);
        let other = DeviceProfile::made_up(DeviceKind::Discrete, Limits::BASELINE);
        let [one, two] = [device, other].map(|device| key(&device).expect("a product should be planned"));
        assert!(one.contains("matmul") && one != two, "{one}, {two}");
    }

    #[test]
    fn ceilings_are_kept_for_each_adapter() {
        let dir = tempfile::tempdir().expect("a directory should be made");
        let store = Store::new(&dir.path().join("deeper"));
        assert_eq!(store.get("one"), None);
        let other = Ceilings { gflops: 1.0, ..SOME };
        store.put("one", SOME);
        store.put("two", other);
        assert_eq!((store.get("one"), store.get("two"), store.get("three")), (Some(SOME), Some(other), None));
    }

    #[test]
    fn what_makes_no_sense_is_measured_again() {
        let dir = tempfile::tempdir().expect("a directory should be made");
        let store = Store::new(dir.path());
        store.put("one", Ceilings { gflops: 0.0, ..SOME });
        assert_eq!(store.get("one"), None);
        for text in ["", "not json", r#"{"one": {"gflops": 3}}"#] {
            std::fs::write(&store.0, text).expect("it should be written");
            assert_eq!(store.get("one"), None, "{text}");
        }
        store.put("one", SOME);
        assert_eq!(store.get("one"), Some(SOME));
    }

    #[test]
    fn seconds_follow_from_rates() {
        let (compute, memory) = SOME.seconds(Work::products(36_500_000_000), 9_250_000_000);
        assert!((compute - 2.0).abs() < 1e-12 && (memory - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_clock_that_stands_still_is_no_best() {
        let mut times = [0, 5, 3, 0, 4].into_iter().map(Duration::from_millis).cycle();
        let found = best(|| Ok(times.next().expect("it goes on for ever")));
        assert_eq!(found.ok(), Some(Duration::from_millis(3)));
    }
}
