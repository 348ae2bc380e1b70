//! Finds the sentence that means most nearly the same as another: embeddings and their dot products.
//!
//! `cargo run --release --example closest -- "A cat sleeps." "The dog barks." "A kitten naps."`

#![allow(clippy::print_stdout)]

use std::error::Error;

use kiln::models::{ModelStore, SentenceEncoder, StoreConfig};
use kiln::{AdapterChoice, Gpu};

fn main() -> Result<(), Box<dyn Error>> {
    kiln::gpu::quiet_driver();
    let texts: Vec<String> = std::env::args().skip(1).collect();
    if texts.len() < 2 {
        return Err("expected a sentence, then at least one to compare with it".into());
    }

    // Found on this machine, or fetched once from the hub.
    let dir = ModelStore::new(StoreConfig::from_env()).fetch("all-MiniLM-L6-v2", &mut |_| {})?;
    let gpu = Gpu::open(&AdapterChoice::Strongest)?;
    let mut encoder = SentenceEncoder::load(&gpu, &dir)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let embeddings = encoder.encode(&texts, &mut |_| {})?;

    // Embeddings have length 1, so the dot product is the cosine of the angle between them.
    let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let mut ranked: Vec<(f32, &str)> = embeddings[1..]
        .iter()
        .zip(&texts[1..])
        .map(|(embedding, text)| (cosine(&embeddings[0], embedding), *text))
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (similarity, text) in ranked {
        println!("{similarity:.3}  {text}");
    }
    Ok(())
}
