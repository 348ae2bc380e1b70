//! all-MiniLM-L6-v2 over 174 passages of exactly 121 tokens cut from the sample document, beside a matrix product in
//! the same rounds: the passages' rate as a share of the product's.
//!
//! `cargo bench -p kiln-benches --bench minilm`
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark prints its figures")]

use kiln_benches::{PASSAGES, Subject, TOKENS, alternate, open, passages, passages_flop, product, table};
use kiln_models::bert::BertConfig;
use kiln_models::{ModelStore, SentenceEncoder, StoreConfig};

const ROUNDS: usize = 7;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let gpu = open()?;
    let folder = ModelStore::new(StoreConfig::from_env()).path("all-MiniLM-L6-v2")?;
    let config = BertConfig::open(&folder.join("config.json"))?;
    let mut encoder = SentenceEncoder::load(&gpu, &folder)?;
    let passages = passages(&encoder)?;
    let passages: Vec<&str> = passages.iter().map(String::as_str).collect();
    println!("MiniLM on {} ({}), {ROUNDS} alternating rounds\n", gpu.profile().name, gpu.profile().driver);
    let mut subjects = [
        product(&gpu, [512; 3])?,
        product(&gpu, [1024; 3])?,
        Subject {
            name: format!("{PASSAGES} passages of {TOKENS}"),
            flop: passages_flop(&config),
            run: Box::new(|| {
                encoder.encode(&passages, &mut |_| {}).expect("the passages should be encoded");
            }),
        },
    ];
    let rows = alternate(ROUNDS, &mut subjects);
    println!("{}", table("f32, rates against the product of 512^3", &rows));
    println!("passages a second: {:.2}", PASSAGES as f64 / rows[2].median.as_secs_f64());
    Ok(())
}
