//! What turns text into vectors.

use kiln_models::SentenceEncoder;

use crate::DocqaError;

/// Turns texts into unit vectors that stand close together where the texts mean similar things.
pub trait Embedder {
    /// The length of its vectors.
    fn dim(&self) -> usize;

    /// Names the model: two embedders with the same fingerprint give the same vectors.
    fn fingerprint(&self) -> &str;

    /// One L2-normalised vector for each text, in order. `progress` is told how many texts are done.
    fn embed(&mut self, texts: &[&str], progress: &mut dyn FnMut(usize))
    -> Result<Vec<Vec<f32>>, DocqaError>;
}

impl Embedder for SentenceEncoder {
    fn dim(&self) -> usize {
        SentenceEncoder::dim(self)
    }

    fn fingerprint(&self) -> &str {
        SentenceEncoder::fingerprint(self)
    }

    fn embed(
        &mut self,
        texts: &[&str],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<f32>>, DocqaError> {
        let mut rows = self.encode(texts, progress)?;
        // Some models leave their vectors as they come; distances between those say little about meaning.
        if !self.is_normalized() {
            rows.iter_mut().for_each(|row| normalize(row));
        }
        Ok(rows)
    }
}

/// Scales a vector to length 1; one of zeros stays as it is.
pub(crate) fn normalize(values: &mut [f32]) {
    let norm = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    if norm > 0.0 {
        values.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
    }
}

/// Embeds and holds the embedder to its contract, so that a store never takes in a vector that later
/// searches would stumble over.
pub(crate) fn embed_checked(
    embedder: &mut dyn Embedder,
    texts: &[&str],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<f32>>, DocqaError> {
    let rows = embedder.embed(texts, progress)?;
    if rows.len() != texts.len() {
        let reason = format!("expected {} of them, got {}", texts.len(), rows.len());
        return Err(DocqaError::Embedding { row: rows.len(), reason });
    }
    for (row, values) in rows.iter().enumerate() {
        check(row, values, embedder.dim())?;
    }
    Ok(rows)
}

/// Refuses a vector of another length, or with a value that is not finite.
pub(crate) fn check(row: usize, values: &[f32], dim: usize) -> Result<(), DocqaError> {
    let reason = if values.len() != dim {
        format!("expected {dim} values, got {}", values.len())
    } else if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        format!("value {at} is {}", values[at])
    } else {
        return Ok(());
    };
    Err(DocqaError::Embedding { row, reason })
}

/// A deterministic stand-in for a model: each word points in a direction of its own, a text is the
/// sum of its words. Texts that share words come out close.
#[cfg(test)]
pub(crate) mod fake {
    use super::*;

    pub(crate) struct WordEmbedder {
        pub(crate) fingerprint: String,
        /// How many texts have been embedded.
        pub(crate) embedded: usize,
    }

    impl WordEmbedder {
        pub(crate) fn new() -> Self {
            Self { fingerprint: "words-1".into(), embedded: 0 }
        }
    }

    impl Embedder for WordEmbedder {
        fn dim(&self) -> usize {
            64
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
            let rows = texts.iter().map(|text| row(text)).collect();
            progress(texts.len());
            Ok(rows)
        }
    }

    fn row(text: &str) -> Vec<f32> {
        let mut sum = vec![1e-3_f32; 64];
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 2) {
            let mut state = 0xcbf2_9ce4_8422_2325_u64;
            for byte in word.to_lowercase().bytes() {
                state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
            for value in &mut sum {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *value += (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0;
            }
        }
        let norm = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
        sum.iter().map(|value| value / norm).collect()
    }

    #[test]
    fn vectors_are_scaled_to_length_one() {
        let (mut vector, mut zeros) = ([3.0, -4.0], [0.0, 0.0]);
        normalize(&mut vector);
        normalize(&mut zeros);
        assert_eq!((vector, zeros), ([0.6, -0.8], [0.0, 0.0]));
    }

    #[test]
    fn faults_of_an_embedder_are_named() {
        assert!(check(0, &[0.5, 1.0], 2).is_ok());
        assert_eq!(check(3, &[0.5], 2).unwrap_err().to_string(), "embedding 3: expected 2 values, got 1");
        assert_eq!(check(1, &[0.5, f32::NAN], 2).unwrap_err().to_string(), "embedding 1: value 1 is NaN");
    }
}
