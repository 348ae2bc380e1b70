//! An embedder for tests, and texts for it.

use std::ops::ControlFlow;
use std::time::Duration;

use kiln_docqa::DocqaError;
use kiln_docqa::embedder::Embedder;
use kiln_docqa::index::{IndexOptions, Progress};
use kiln_docqa::similarity::{HostSimilarity, Similarity};
use kiln_docqa::split::SplitOptions;

/// The length of the embeddings.
pub(crate) const DIM: usize = 384;

/// Vectors of length 1 from the words of a text: texts that share words come out close. Counts what it embeds.
pub(crate) struct Words {
    pub(crate) embedded: usize,
    pub(crate) fingerprint: String,
    /// How long a text takes.
    pub(crate) pause: Duration,
}

impl Words {
    pub(crate) fn new() -> Self {
        Self { embedded: 0, fingerprint: "words".into(), pause: Duration::ZERO }
    }
}

impl Embedder for Words {
    fn dim(&self) -> usize {
        DIM
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn embed(
        &mut self,
        texts: &[&str],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<f32>>, DocqaError> {
        self.embedded += texts.len();
        std::thread::sleep(self.pause * texts.len() as u32);
        progress(texts.len());
        Ok(texts.iter().map(|text| vector(text)).collect())
    }
}

/// The embedding of a text.
pub(crate) fn vector(text: &str) -> Vec<f32> {
    // A text without words has a direction too.
    let mut sum = vec![1e-3_f64; DIM];
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let mut state = word.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
            (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        for value in &mut sum {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *value += (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
        }
    }
    let norm = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
    sum.iter().map(|value| (value / norm) as f32).collect()
}

/// Words in an order that looks like chance; no other number has the same.
pub(crate) fn sentence(number: usize) -> String {
    const WORDS: [&str; 24] = [
        "kiln", "clay", "glaze", "fire", "bowl", "cone", "slip", "wheel", "sand", "ash", "salt", "iron",
        "copper", "cobalt", "shelf", "damper", "flue", "burner", "wedge", "throw", "trim", "dry", "cool",
        "crack",
    ];
    let mut state = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut word = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        WORDS[(state >> 33) as usize % WORDS.len()]
    };
    let words: Vec<&str> = (0..9).map(|_| word()).collect();
    format!("Number {number}: {}.", words.join(" "))
}

/// A text of sentences, each a passage of its own by [`options`].
pub(crate) fn text(numbers: impl IntoIterator<Item = usize>) -> String {
    let sentences: Vec<String> = numbers.into_iter().map(sentence).collect();
    format!("  {}\n", sentences.join("\n\n"))
}

/// Of [`text`]'s sentences, no two fit one passage.
pub(crate) fn options() -> IndexOptions {
    let split = SplitOptions { chunk_size: 80, chunk_overlap: 0, ..SplitOptions::default() };
    IndexOptions { split, ..IndexOptions::default() }
}

pub(crate) fn host() -> Box<dyn Similarity> {
    Box::new(HostSimilarity::default())
}

/// A progress that never interrupts.
pub(crate) fn on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
