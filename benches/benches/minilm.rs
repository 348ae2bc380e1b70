//! all-MiniLM-L6-v2 over 174 passages of exactly 121 tokens cut from the sample document, beside a matrix product in
//! the same rounds: the passages' rate as a share of the product's.
//!
//! `cargo bench -p kiln-benches --bench minilm`
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark prints its figures")]

use std::path::Path;

use kiln_benches::{Subject, alternate, open, product, table};
use kiln_models::bert::BertConfig;
use kiln_models::{ModelStore, SentenceEncoder, StoreConfig};

const ROUNDS: usize = 7;
const PASSAGES: usize = 174;
const TOKENS: usize = 121;

type Failure = Box<dyn std::error::Error>;

/// Runs of words of the sample document, overlapping, each of exactly [`TOKENS`] tokens.
fn passages(encoder: &SentenceEncoder) -> Result<Vec<String>, Failure> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/sample/convolutional-networks.pdf");
    let loaded = kiln_docqa::load::load(&[path])?;
    let text = loaded.documents.iter().map(|document| document.text.as_str()).collect::<Vec<_>>().join(" ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut found = vec![];
    let mut start = 0;
    while found.len() < PASSAGES && start < words.len() {
        // Tokens grow with words: look for the count by halving.
        let (mut low, mut high) = (1, TOKENS.min(words.len() - start));
        while low < high {
            let middle = (low + high) / 2;
            if encoder.tokens(&words[start..start + middle].join(" "))? < TOKENS {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let passage = words[start..start + low].join(" ");
        if encoder.tokens(&passage)? == TOKENS {
            found.push(passage);
            start += 8;
        } else {
            start += 1;
        }
    }
    if found.len() < PASSAGES {
        return Err(
            format!("the sample holds {} passages of {TOKENS} tokens, not {PASSAGES}", found.len()).into()
        );
    }
    Ok(found)
}

/// Floating-point operations of the products and the attention of one passage.
fn flop(config: &BertConfig) -> f64 {
    let (d, wide, tokens) = (config.hidden_size, config.intermediate_size, TOKENS);
    let linear = 2 * tokens * (4 * d * d + 2 * d * wide);
    let attention = 4 * tokens * tokens * d;
    (config.num_hidden_layers * (linear + attention)) as f64
}

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
            flop: flop(&config) * PASSAGES as f64,
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
