//! Kiln's side of each row.

use std::cell::RefCell;
use std::io::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kiln_engine::{Device, Session};
use kiln_models::bert::BertConfig;
use kiln_models::measure::Bench;
use kiln_models::network::Network;
use kiln_models::seeded::SeededWeights;
use kiln_models::t5::measure::{DECODE_PROMPT, T5Bench};
use kiln_models::t5::{Precision, T5Config};
use kiln_models::vgg::VggConfig;
use kiln_models::{ModelStore, SentenceEncoder, StoreConfig, seeded, vgg};

use super::{Reference, Row, RowName, Sample};
use crate::{Failure, PASSAGES, Subject, TOKENS, Training, naive, passages, passages_flop, product};

/// The rows that there are, in the order of the table.
pub const ROWS: [RowName; 14] = [
    ("vgg16", false),
    ("vgg16-8", false),
    ("vgg16-32", false),
    ("vgg16-convolutions", false),
    ("matmul-512", true),
    ("matmul-1024", true),
    // Minutes on a software adapter.
    ("matmul-4096", false),
    ("minilm", true),
    ("t5", true),
    ("t5-f16", true),
    ("train-base", false),
    ("train-bn", false),
    ("train-sk", false),
    ("train-resnet8", false),
];

/// Tokens of a text in a sample of decoding.
const DECODED: usize = 32;

/// Makes a row ready.
///
/// # Errors
/// For an unknown row, a model that is not there, or a device that has no room.
pub fn open_row<'a>(device: &'a Device, name: &str) -> Result<Row<'a>, Failure> {
    match name {
        "vgg16" => network(device, 1),
        "vgg16-convolutions" => convolutions(device),
        "minilm" => minilm(device),
        "t5" => t5(device, Precision::F32),
        "t5-f16" => t5(device, Precision::F16),
        _ => match name.split_once('-') {
            Some(("vgg16", batch)) => network(device, batch.parse()?),
            Some(("matmul", side)) => matmul(device, side.parse()?),
            Some(("train", network)) => training(device, network),
            _ => Err(format!("{name}: expected one of {}", ROWS.map(|(row, _)| row).join(", ")).into()),
        },
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn network(device: &Device, batch: usize) -> Result<Row<'_>, Failure> {
    let network = Network::by_name("vgg16")?;
    let mut bench = Bench::load(device, &network, batch, &network.input(), &*network.weights(None)?)?;
    Ok(Row {
        title: format!("VGG-16, batch {batch}"),
        amount: 2.0 * bench.multiply_adds() as f64 / 1e9,
        unit: "GFLOP/s",
        sample: Box::new(move || Ok(millis(bench.run()?))),
        references: vec![],
        words: vec![("batch", batch.to_string())],
    })
}

/// The thirteen convolutions with their activations and pools.
fn convolutions(device: &Device) -> Result<Row<'_>, Failure> {
    let config = VggConfig::by_name("vgg16")?;
    let [channels, height, width] = config.input();
    let graph = config.features(1, config.input(), &[config.tap("pool5")?])?;
    let summary = kiln_models::summary::summarize(&graph);
    let mut session = Session::new(device);
    let plan = session.load(&graph, &SeededWeights::of(&graph))?;
    let image = seeded::image([1, channels, height, width])?;
    Ok(Row {
        title: "VGG-16 up to its last pool, batch 1".to_owned(),
        amount: 2.0 * summary.totals.multiply_adds as f64 / 1e9,
        unit: "GFLOP/s",
        sample: Box::new(move || {
            let start = Instant::now();
            session.run(plan, &[(vgg::INPUT, &image)])?;
            Ok(millis(start.elapsed()))
        }),
        references: vec![],
        words: vec![],
    })
}

/// A subject's time for `amount` times its own work.
fn timed<'a>(mut subject: Subject<'a>, amount: f64) -> Sample<'a> {
    Box::new(move || {
        let start = Instant::now();
        (subject.run)();
        Ok(amount * millis(start.elapsed()))
    })
}

fn matmul(device: &Device, side: usize) -> Result<Row<'_>, Failure> {
    let own = product(device, [side; 3])?;
    Ok(Row {
        title: format!("product of {side} x {side} x {side}, {}", own.name),
        amount: own.flop / 1e9,
        unit: "GFLOP/s",
        references: vec![Reference {
            name: "naive kernel, one output an invocation".to_owned(),
            sample: timed(naive(device.gpu(), [side; 3])?, 1.0),
        }],
        sample: timed(own, 1.0),
        words: vec![("side", side.to_string())],
    })
}

fn minilm(device: &Device) -> Result<Row<'_>, Failure> {
    let folder = ModelStore::new(StoreConfig::from_env()).path("all-MiniLM-L6-v2")?;
    let config = BertConfig::open(&folder.join("config.json"))?;
    let mut encoder = SentenceEncoder::load(device, &folder)?;
    let texts = passages(&encoder)?;
    let mut file = tempfile::Builder::new().suffix(".json").tempfile()?;
    serde_json::to_writer(&mut file, &texts)?;
    file.flush()?;
    let path = file.path().display().to_string();
    let yardstick = product(device, [512; 3])?;
    let times = passages_flop(&config) / yardstick.flop;
    Ok(Row {
        title: format!("MiniLM, {PASSAGES} passages of {TOKENS} tokens"),
        amount: PASSAGES as f64,
        unit: "passages/s",
        references: vec![Reference {
            name: "as many operations of the product of 512 x 512 x 512".to_owned(),
            sample: timed(yardstick, times),
        }],
        sample: Box::new(move || {
            // The file lives as long as the row.
            let _ = &file;
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let start = Instant::now();
            encoder.encode(&texts, &mut |_| {})?;
            Ok(millis(start.elapsed()))
        }),
        words: vec![("model", folder.display().to_string()), ("passages", path)],
    })
}

fn t5(device: &Device, precision: Precision) -> Result<Row<'_>, Failure> {
    let bench = Rc::new(RefCell::new(T5Bench::seeded(device, T5Config::flan_t5_small(), precision)?));
    let products = Rc::clone(&bench);
    let kind = if precision == Precision::F16 { "f16" } else { "f32" };
    Ok(Row {
        title: format!("T5 (flan-t5-small), a token behind a prompt of {DECODE_PROMPT}, {kind}"),
        amount: 1.0,
        unit: "tokens/s",
        sample: Box::new(move || Ok(millis(bench.borrow_mut().token(DECODED)?))),
        references: vec![Reference {
            name: "the products of one row with as many bytes of weights".to_owned(),
            sample: Box::new(move || Ok(millis(products.borrow_mut().products(DECODED - 1)?))),
        }],
        words: vec![],
    })
}

fn training<'a>(device: &'a Device, name: &str) -> Result<Row<'a>, Failure> {
    const BATCH: usize = 100;
    const STEPS: usize = 5;
    let mut training = Training::new(device.gpu(), name, BATCH, STEPS)?;
    Ok(Row {
        title: format!("training step of {name}, batch {BATCH}"),
        amount: BATCH as f64,
        unit: "images/s",
        sample: Box::new(move || training.sample()),
        references: vec![],
        words: vec![("arch", name.to_owned()), ("batch", BATCH.to_string())],
    })
}
