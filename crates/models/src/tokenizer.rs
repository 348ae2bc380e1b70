//! Text to token ids, by a `tokenizer.json` of the Hugging Face tokenizers library.

use std::path::{Path, PathBuf};

use tokenizers::{Tokenizer, TruncationParams};

use crate::error::ModelError;

/// How many rows of an embedding table may be without a token, however small the table: rounding its length up to
/// a multiple of 128, as some models do for speed, adds one less at most.
const SPARE_ROWS: usize = 127;
/// How many of an embedding table's rows may be without a token: one in so many.
const SPARE_SHARE: usize = 10;

/// A tokenizer for encoders that want `[CLS] text [SEP]`.
///
/// What the file says about truncation and padding is overridden: sequences are cut at the length that the model
/// was trained for, and never padded.
#[derive(Debug)]
pub struct TextTokenizer {
    path: PathBuf,
    tokenizer: Tokenizer,
    max_length: usize,
    lower_case: bool,
}

impl TextTokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// `max_length` counts `[CLS]` and `[SEP]`; `vocab_size` is the number of rows of the model's embedding table.
    /// Fails where the file is another model's: where it makes ids past that table, lacks `[CLS]` or `[SEP]`, or has
    /// a vocabulary (largest id + 1) clearly smaller than the table. Tables may be padded: up to a tenth of the rows,
    /// or 127 where that is more, need no token.
    pub fn open(path: &Path, vocab_size: usize, max_length: usize) -> Result<TextTokenizer, ModelError> {
        let mut tokenizer = read(path, vocab_size)?;
        let refuse = |message: String| refused(path, message);
        for token in ["[CLS]", "[SEP]"] {
            if tokenizer.token_to_id(token).is_none() {
                return Err(refuse(format!(
                    "a tokenizer of another model: it has no {token} token, which a BERT encoder needs"
                )));
            }
        }
        // The library subtracts the special tokens from the limit without looking.
        if max_length < 2 {
            return Err(refuse(format!(
                "the longest sequence must have at least 2 tokens, got {max_length}"
            )));
        }
        tokenizer
            .with_truncation(Some(TruncationParams { max_length, ..TruncationParams::default() }))
            .map_err(|error| refuse(one_line(&error.to_string())))?;
        let tokenizer = TextTokenizer { path: path.to_owned(), tokenizer, max_length, lower_case: false };
        tokenizer.check_frame()?;
        Ok(tokenizer)
    }

    /// Puts texts into lower case before they are tokenized, whatever the tokenizer itself does.
    pub fn lower_case(mut self, lower_case: bool) -> TextTokenizer {
        self.lower_case = lower_case;
        self
    }

    /// The most tokens of a sequence, `[CLS]` and `[SEP]` included.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// The ids of each text, between `[CLS]` and `[SEP]`, cut at the maximum length. A text without tokens gives
    /// those two alone. Texts are tokenized in parallel.
    pub fn encode(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>, ModelError> {
        let encodings = if self.lower_case {
            let texts = texts.iter().map(|text| text.to_lowercase()).collect();
            self.tokenizer.encode_batch_fast::<String>(texts, true)
        } else {
            self.tokenizer.encode_batch_fast(texts.to_vec(), true)
        };
        let encodings = encodings.map_err(|error| self.refuse(one_line(&error.to_string())))?;
        Ok(encodings.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// The number of tokens of a text, `[CLS]` and `[SEP]` included, cut at the maximum length.
    pub fn count(&self, text: &str) -> Result<usize, ModelError> {
        Ok(self.encode(&[text])?[0].len())
    }

    /// The tokens exist, but does the tokenizer put them around a text?
    fn check_frame(&self) -> Result<(), ModelError> {
        let ids = self.encode(&[""])?.remove(0);
        let frame = ["[CLS]", "[SEP]"].map(|token| self.tokenizer.token_to_id(token));
        if ids.iter().map(|id| Some(*id)).eq(frame) {
            return Ok(());
        }
        Err(self.refuse(format!(
            "a tokenizer of another model: an empty text gives the ids {ids:?}, a BERT encoder needs [CLS] [SEP]"
        )))
    }

    fn refuse(&self, message: String) -> ModelError {
        refused(&self.path, message)
    }
}

/// Reads a `tokenizer.json` for a model whose embedding table has `vocab_size` rows. It neither pads nor truncates,
/// whatever the file says.
///
/// Fails where the file is another model's: where it makes ids past that table, or has a vocabulary (largest id + 1)
/// clearly smaller than the table.
pub(crate) fn read(path: &Path, vocab_size: usize) -> Result<Tokenizer, ModelError> {
    let bytes = std::fs::read(path).map_err(|source| ModelError::io(path, source))?;
    let refuse = |message: String| refused(path, message);
    let mut tokenizer = Tokenizer::from_bytes(&bytes)
        .map_err(|error| refuse(format!("not a tokenizer: {}", one_line(&error.to_string()))))?;
    match tokenizer.get_vocab(true).into_iter().max_by_key(|(_, id)| *id) {
        None => return Err(refuse("the tokenizer has no tokens".to_owned())),
        Some((token, id)) if id as usize >= vocab_size => {
            return Err(refuse(format!(
                "a tokenizer of another model: token {token:?} has id {id}, the model's embedding table has \
                 {vocab_size} rows"
            )));
        }
        Some((_, id)) => {
            let tokens = id as usize + 1;
            if vocab_size - tokens > SPARE_ROWS.max(vocab_size / SPARE_SHARE) {
                return Err(refuse(format!(
                    "a tokenizer of another model: expected {vocab_size} tokens, one for each row of the \
                     model's embedding table, found {tokens}"
                )));
            }
        }
    }
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| refuse(one_line(&error.to_string())))?;
    Ok(tokenizer)
}

/// The error that a tokenizer file is not what it should be.
pub(crate) fn refused(path: &Path, message: String) -> ModelError {
    ModelError::Tokenizer { file: path.to_owned(), message }
}

/// A library's message, which may have several lines.
pub(crate) fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small WordPiece tokenizer in the form of BERT's, with truncation and padding that must not count.
    pub(crate) fn tiny_tokenizer(words: &[&str]) -> String {
        let mut vocab = serde_json::Map::new();
        for (id, token) in ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].iter().chain(words).enumerate() {
            vocab.insert(token.to_string(), id.into());
        }
        let special = |token: &str| serde_json::json!({"SpecialToken": {"id": token, "type_id": 0}});
        serde_json::json!({
            "version": "1.0",
            "truncation": {"max_length": 3, "strategy": "LongestFirst", "stride": 0},
            "padding": {
                "strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null,
                "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"
            },
            "added_tokens": [],
            "normalizer": {
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": false
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [special("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, special("[SEP]")],
                "pair": [special("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, special("[SEP]")],
                "special_tokens": {
                    "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                    "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}
                }
            },
            "decoder": null,
            "model": {
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocab
            }
        })
        .to_string()
    }

    fn open(json: &str, vocab_size: usize, max_length: usize) -> Result<TextTokenizer, ModelError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        std::fs::write(&path, json).unwrap();
        TextTokenizer::open(&path, vocab_size, max_length)
    }

    #[test]
    fn the_files_own_truncation_and_padding_do_not_count() {
        let tokenizer = open(&tiny_tokenizer(&["one", "two", "##ty"]), 7, 6).unwrap();
        let ids =
            tokenizer.encode(&["one two twoty", "", " \n", "one one one one one one", "three"]).unwrap();
        assert_eq!(ids[0], [2, 4, 5, 5, 6, 3], "longer than the file's limit of 3");
        assert_eq!(ids[1], [2, 3]);
        assert_eq!(ids[2], [2, 3]);
        assert_eq!(ids[3], [2, 4, 4, 4, 4, 3], "cut at 6");
        assert_eq!(ids[4], [2, 1, 3]);
        assert_eq!(tokenizer.count("one two").unwrap(), 4);
        assert_eq!(tokenizer.encode(&[]).unwrap(), Vec::<Vec<u32>>::new());
    }

    #[test]
    fn lower_case_is_the_models_choice() {
        let tokenizer = open(&tiny_tokenizer(&["one"]), 5, 6).unwrap();
        assert_eq!(tokenizer.encode(&["ONE"]).unwrap(), [[2, 1, 3]]);
        let tokenizer = tokenizer.lower_case(true);
        assert_eq!(tokenizer.encode(&["ONE"]).unwrap(), [[2, 4, 3]]);
    }

    #[test]
    fn tokenizers_of_other_models_are_refused() {
        let message = |result: Result<TextTokenizer, ModelError>| {
            let error = result.unwrap_err();
            assert!(matches!(error, ModelError::Tokenizer { .. }) && error.is_input_error(), "{error}");
            let message = error.to_string();
            assert!(message.contains("tokenizer.json") && !message.contains('\n'), "{message}");
            message
        };
        let tiny = tiny_tokenizer(&["one", "two"]);
        assert!(
            message(open(&tiny, 5, 6)).contains("\"two\" has id 5, the model's embedding table has 5 rows")
        );
        assert!(message(open(&tiny, 6 + 128, 6)).contains("expected 134 tokens, one for each row"));
        assert!(message(open(&tiny.replace("[SEP]", "</s>"), 6, 6)).contains("no [SEP] token"));
        assert!(message(open("{\"version\": \"1.0\"\n}", 6, 6)).contains("not a tokenizer"));
        assert!(message(open(&tiny, 6, 1)).contains("at least 2"));
        let mut unframed: serde_json::Value = serde_json::from_str(&tiny).unwrap();
        unframed["post_processor"] = serde_json::Value::Null;
        assert!(message(open(&unframed.to_string(), 6, 6)).contains("gives the ids []"));
    }

    #[test]
    fn padded_tables_are_fine() {
        let tiny = tiny_tokenizer(&["one", "two"]);
        assert!(open(&tiny, 128, 6).is_ok(), "6 tokens, rounded up to a multiple of 128");
        let words: Vec<String> = (0..1996).map(|index| format!("word{index}")).collect();
        let large = tiny_tokenizer(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(open(&large, 2000, 6).is_ok());
        assert!(open(&large, 2222, 6).is_ok(), "a tenth of the rows without a token");
        assert!(open(&large, 2224, 6).is_err());
    }
}
