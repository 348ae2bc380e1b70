//! How to choose tokens.

use crate::error::ModelError;

/// How a sequence is chosen; the default is transformers': greedy.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// The most tokens to generate, 1 to [`MAX_NEW_TOKENS`](Self::MAX_NEW_TOKENS). 20 unless said otherwise.
    pub max_new_tokens: usize,
    /// No EOS before the decoder has so many ids, its start token included, as transformers counts; 0 for none.
    pub min_length: usize,
    /// Draw tokens by chance instead of taking the likeliest.
    pub sampling: Option<Sampling>,
    /// How many sequences are followed for each prompt, 1 to [`MAX_BEAMS`](Self::MAX_BEAMS); 1 for no beam search.
    pub beams: usize,
    /// Beam search divides the log-probability of a sequence by its length to this power: above 0 long sequences
    /// gain, below 0 short ones.
    pub length_penalty: f64,
    /// Beam search stops once it has as many ended sequences as beams. Without, it goes on while a better one looks
    /// possible.
    pub early_stopping: bool,
    /// Logits of ids that the decoder has read are divided by it where positive, multiplied where negative (Keskar
    /// et al.: CTRL, 2019). 1 for none.
    pub repetition_penalty: f64,
    /// No sequence of so many ids occurs twice; 0 for no such rule.
    pub no_repeat_ngram_size: usize,
    /// Cut prompts that are longer than the model's window, instead of refusing them. Of no meaning to
    /// [`generate`](super::generate), which sees no prompts.
    pub truncate: bool,
}

/// How tokens are drawn by chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it: below 1 likely tokens become likelier.
    pub temperature: f64,
    /// Draw from so many tokens, the likeliest (and those as likely as the last of them); 0 for all.
    pub top_k: usize,
    /// Draw from the fewest tokens, the likeliest, whose probabilities make this; 1 for all.
    pub top_p: f64,
    /// The same seed draws the same tokens from the same logits, on every machine; a prompt's draws depend on its
    /// place among the prompts alone.
    pub seed: u64,
}

impl Default for GenerateOptions {
    fn default() -> GenerateOptions {
        GenerateOptions {
            max_new_tokens: 20,
            min_length: 0,
            sampling: None,
            beams: 1,
            length_penalty: 1.0,
            early_stopping: false,
            repetition_penalty: 1.0,
            no_repeat_ngram_size: 0,
            truncate: false,
        }
    }
}

impl Default for Sampling {
    /// Transformers': temperature 1, the 50 likeliest.
    fn default() -> Sampling {
        Sampling { temperature: 1.0, top_k: 50, top_p: 1.0, seed: 0 }
    }
}

impl GenerateOptions {
    /// The most beams that are followed.
    pub const MAX_BEAMS: usize = 64;

    /// The most tokens of a text: a decoder has room on the device for the keys and values of all that were asked for,
    /// before the first is there. Several times what T5 was trained to read or write.
    pub const MAX_NEW_TOKENS: usize = 4096;

    /// Fails where an option is out of its range.
    ///
    /// # Errors
    /// [`ModelError::GenerateOption`] names the option.
    pub fn check(&self) -> Result<(), ModelError> {
        let whole = [
            ("max_new_tokens", self.max_new_tokens, Self::MAX_NEW_TOKENS),
            ("beams", self.beams, Self::MAX_BEAMS),
        ];
        for (option, value, most) in whole {
            if value == 0 || value > most {
                return refuse(option, format!("at least 1 and at most {most}"), value);
            }
        }
        if !self.length_penalty.is_finite() {
            return refuse("length_penalty", "a number".to_owned(), self.length_penalty);
        }
        above_zero("repetition_penalty", self.repetition_penalty, "")?;
        if let Some(sampling) = self.sampling {
            above_zero("temperature", sampling.temperature, " (greedy decoding takes the likeliest token)")?;
            if !(0.0..=1.0).contains(&sampling.top_p) {
                return refuse("top_p", "a number from 0 to 1".to_owned(), sampling.top_p);
            }
        }
        Ok(())
    }
}

fn above_zero(option: &'static str, value: f64, remark: &str) -> Result<(), ModelError> {
    /// Logits divided by less may not be finite any more.
    const LEAST: f64 = 1e-6;
    if value.is_finite() && value >= LEAST {
        return Ok(());
    }
    if value > 0.0 && value < LEAST {
        return refuse(option, format!("at least {LEAST}{remark}"), value);
    }
    refuse(option, format!("a number above 0{remark}"), value)
}

fn refuse(option: &'static str, expected: String, got: impl ToString) -> Result<(), ModelError> {
    Err(ModelError::GenerateOption { option, expected, got: got.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_range_are_named() {
        let options = GenerateOptions::default;
        let sampling = |sampling| GenerateOptions { sampling: Some(sampling), ..options() };
        let drawn = Sampling::default;
        options().check().unwrap();
        sampling(drawn()).check().unwrap();
        sampling(Sampling { top_p: 0.0, top_k: 0, ..drawn() }).check().unwrap();
        for (options, message) in [
            (GenerateOptions { beams: 0, ..options() }, "beams: expected at least 1 and at most 64, got 0"),
            (GenerateOptions { beams: 65, ..options() }, "beams: expected at least 1 and at most 64, got 65"),
            (
                GenerateOptions { max_new_tokens: 0, ..options() },
                "max_new_tokens: expected at least 1 and at most 4096, got 0",
            ),
            (
                GenerateOptions { max_new_tokens: 4097, ..options() },
                "max_new_tokens: expected at least 1 and at most 4096, got 4097",
            ),
            (
                GenerateOptions { length_penalty: f64::NAN, ..options() },
                "length_penalty: expected a number, got NaN",
            ),
            (
                GenerateOptions { repetition_penalty: 0.0, ..options() },
                "repetition_penalty: expected a number above 0, got 0",
            ),
            (
                sampling(Sampling { temperature: -0.5, ..drawn() }),
                "temperature: expected a number above 0 (greedy decoding takes the likeliest token), got -0.5",
            ),
            (
                sampling(Sampling { temperature: 1e-9, ..drawn() }),
                "temperature: expected at least 0.000001 (greedy decoding takes the likeliest token), got 0.000000001",
            ),
            (
                sampling(Sampling { temperature: f64::INFINITY, ..drawn() }),
                "temperature: expected a number above 0 (greedy decoding takes the likeliest token), got inf",
            ),
            (sampling(Sampling { top_p: 1.5, ..drawn() }), "top_p: expected a number from 0 to 1, got 1.5"),
            (
                sampling(Sampling { top_p: f64::NAN, ..drawn() }),
                "top_p: expected a number from 0 to 1, got NaN",
            ),
        ] {
            let error = options.check().unwrap_err();
            assert!(error.is_input_error());
            assert_eq!(error.to_string(), message);
        }
    }
}
