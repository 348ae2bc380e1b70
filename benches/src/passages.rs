//! The texts that encoders are measured with.

use std::path::Path;

use kiln_models::SentenceEncoder;
use kiln_models::bert::BertConfig;

use crate::Failure;

/// How many there are.
pub const PASSAGES: usize = 174;
/// How many tokens each has.
pub const TOKENS: usize = 121;

/// Runs of words of the sample document, overlapping, each of exactly [`TOKENS`] tokens.
///
/// # Errors
/// Where the document cannot be read or is too short.
pub fn passages(encoder: &SentenceEncoder) -> Result<Vec<String>, Failure> {
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

/// Floating-point operations of the products and the attention of all passages.
pub fn passages_flop(config: &BertConfig) -> f64 {
    let (d, wide, tokens) = (config.hidden_size, config.intermediate_size, TOKENS);
    let linear = 2 * tokens * (4 * d * d + 2 * d * wide);
    let attention = 4 * tokens * tokens * d;
    (PASSAGES * config.num_hidden_layers * (linear + attention)) as f64
}
