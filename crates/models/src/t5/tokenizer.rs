//! Text to T5's token ids and back.

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;

use crate::error::ModelError;
use crate::tokenizer::{one_line, read, refused};

/// What ends a text.
const EOS: &str = "</s>";
/// What stands where there is no token.
const PAD: &str = "<pad>";

/// A tokenizer for models that want a text's tokens and then `</s>`.
///
/// What the file says about truncation and padding is overridden: there is none.
#[derive(Debug)]
pub struct T5Tokenizer {
    path: PathBuf,
    tokenizer: Tokenizer,
    eos: u32,
    pad: u32,
}

impl T5Tokenizer {
    /// Reads a `tokenizer.json`. `vocab_size` is the number of rows of the model's embedding table.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] where the file is another model's: where it makes ids past that table, has a
    /// vocabulary clearly smaller than the table (which may be padded: T5 has 32,100 tokens and 32,128 rows), lacks
    /// `</s>` or `<pad>`, or does not put `</s>` behind a text.
    pub fn open(path: &Path, vocab_size: usize) -> Result<T5Tokenizer, ModelError> {
        let tokenizer = read(path, vocab_size)?;
        let [eos, pad] = [EOS, PAD].map(|token| {
            tokenizer.token_to_id(token).ok_or_else(|| {
                refused(
                    path,
                    format!("a tokenizer of another model: it has no {token} token, which a T5 model needs"),
                )
            })
        });
        let tokenizer = T5Tokenizer { path: path.to_owned(), tokenizer, eos: eos?, pad: pad? };
        // The token exists, but does the tokenizer put it behind a text?
        let ids = tokenizer.encode("")?;
        if ids != [tokenizer.eos] {
            return Err(tokenizer.refuse(format!(
                "a tokenizer of another model: an empty text gives the ids {ids:?}, a T5 model needs {EOS}"
            )));
        }
        Ok(tokenizer)
    }

    /// The id of `</s>`.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// The id of `<pad>`.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// The ids of a text, `</s>` last. A text without tokens gives that alone.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] where the file's rules fail on the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoding = self.tokenizer.encode_fast(text, true);
        let encoding = encoding.map_err(|error| self.refuse(one_line(&error.to_string())))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of ids. Special tokens (`</s>`, `<pad>`, the unknown token, T5's sentinels) and ids without a token
    /// have none.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] where the file's rules fail on the tokens.
    pub fn decode(&self, ids: &[u32]) -> Result<String, ModelError> {
        self.tokenizer.decode(ids, true).map_err(|error| self.refuse(one_line(&error.to_string())))
    }

    /// A text that comes id by id.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: self, ids: Vec::new(), shown: String::new() }
    }

    fn refuse(&self, message: String) -> ModelError {
        refused(&self.path, message)
    }
}

/// Turns ids into pieces of text as they come.
///
/// The pieces, that of [`finish`](TextStream::finish) included, joined are what [`T5Tokenizer::decode`] makes of
/// all ids, spaces and all. A character of which only the first bytes have come is held back.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a T5Tokenizer,
    ids: Vec<u32>,
    shown: String,
}

impl TextStream<'_> {
    /// What an id adds to the text; nothing where that is not settled yet.
    ///
    /// # Errors
    /// As [`T5Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String, ModelError> {
        self.ids.push(id);
        // All of it each time: a token's text depends on those before it, and a whole answer takes a millisecond.
        let text = self.tokenizer.decode(&self.ids)?;
        Ok(self.show(text.trim_end_matches(char::REPLACEMENT_CHARACTER)))
    }

    /// What was held back.
    ///
    /// # Errors
    /// As [`T5Tokenizer::decode`].
    pub fn finish(&mut self) -> Result<String, ModelError> {
        let text = self.tokenizer.decode(&self.ids)?;
        Ok(self.show(&text))
    }

    /// The part of a text that was not shown before; nothing where it does not go on from there.
    fn show(&mut self, text: &str) -> String {
        let piece = text.strip_prefix(self.shown.as_str()).unwrap_or_default().to_owned();
        self.shown.push_str(&piece);
        piece
    }
}

#[cfg(test)]
mod tests {
    use kiln_tests::t5::{self, vocabulary::vocabulary};
    use serde_json::{Value, json};

    use super::*;

    /// Rows of the made-up vocabulary.
    const ROWS: usize = 640;

    fn open(json: &Value, vocab_size: usize) -> Result<T5Tokenizer, ModelError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        std::fs::write(&path, json.to_string()).unwrap();
        T5Tokenizer::open(&path, vocab_size)
    }

    fn tiny() -> T5Tokenizer {
        open(&t5::tokenizer(ROWS), ROWS).unwrap()
    }

    fn id(piece: &str) -> u32 {
        vocabulary(ROWS).iter().position(|other| other == piece).unwrap() as u32
    }

    #[test]
    fn texts_go_there_and_back() {
        let tokenizer = tiny();
        assert_eq!((tokenizer.eos(), tokenizer.pad()), (1, 0));
        let ids = tokenizer.encode("kiln clay 7#").unwrap();
        assert_eq!(ids, [id("▁kiln"), id("▁clay"), id("▁"), id("7"), id("#"), 1]);
        assert_eq!(tokenizer.decode(&ids).unwrap(), "kiln clay 7#");
        assert_eq!(tokenizer.encode("").unwrap(), [1]);
        let odd = [0, 2, id("▁kiln"), 2, ROWS as u32, id("▁clay"), 1];
        assert_eq!(tokenizer.decode(&odd).unwrap(), "kiln clay", "special ids and one without a token");
    }

    #[test]
    fn the_files_own_truncation_and_padding_do_not_count() {
        let mut json = t5::tokenizer(ROWS);
        json["truncation"] =
            json!({"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
        json["padding"] = json!({
            "strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"
        });
        let ids = open(&json, ROWS).unwrap().encode("kiln clay kiln clay").unwrap();
        assert_eq!(ids, [id("▁kiln"), id("▁clay"), id("▁kiln"), id("▁clay"), 1]);
    }

    #[test]
    fn pieces_joined_are_the_text() {
        let tokenizer = tiny();
        let [kiln, clay, space, letter] = ["▁kiln", "▁clay", "▁", "x"].map(id);
        let odd = [0, 2, space, kiln, space, space, 2, letter, clay, 2, 1, 0, 0];
        for ids in [&odd[..], &[kiln, clay, letter, 1], &[1], &[]] {
            let mut stream = tokenizer.stream();
            let mut pieces: Vec<String> = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
            pieces.push(stream.finish().unwrap());
            assert_eq!(pieces.concat(), tokenizer.decode(ids).unwrap(), "{pieces:?}");
        }
        let mut stream = tokenizer.stream();
        let pieces = [kiln, letter, clay, 1].map(|id| stream.push(id).unwrap());
        assert_eq!(pieces, ["kiln", "x", " clay", ""], "each as soon as it is there");
    }

    /// A vocabulary with single bytes, as other models of this form have.
    #[test]
    fn half_a_character_is_held_back() {
        let mut json = t5::tokenizer(ROWS);
        for (id, byte) in ["<0xC3>", "<0xBC>", "<0xF0>"].into_iter().enumerate() {
            json["model"]["vocab"][4 + id][0] = byte.into();
        }
        json["decoder"] =
            json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]});
        let tokenizer = open(&json, ROWS).unwrap();
        let mut stream = tokenizer.stream();
        let pieces = [id("x"), 4, 5, id("y")].map(|id| stream.push(id).unwrap());
        assert_eq!(pieces, ["x", "", "ü", "y"]);
        assert_eq!(stream.push(6).unwrap(), "");
        assert_eq!(stream.finish().unwrap(), "\u{fffd}", "what never becomes a character shows as such");
        assert_eq!(stream.finish().unwrap(), "");
    }

    #[test]
    fn tokenizers_of_other_models_are_refused() {
        let message = |json: &Value, vocab_size: usize| {
            let error = open(json, vocab_size).unwrap_err();
            assert!(matches!(error, ModelError::Tokenizer { .. }) && error.is_input_error(), "{error}");
            let message = error.to_string();
            assert!(message.contains("tokenizer.json: ") && !message.contains('\n'), "{message}");
            message
        };
        let json = t5::tokenizer(ROWS);
        assert!(message(&json, ROWS - 1).contains("has id 639, the model's embedding table has 639 rows"));
        assert!(message(&json, ROWS + 128).contains("expected 768 tokens, one for each row"));
        open(&json, ROWS + 127).unwrap();
        assert!(message(&json!({"version": "1.0"}), ROWS).contains("not a tokenizer"));
        for token in ["</s>", "<pad>"] {
            let other: Value = serde_json::from_str(&json.to_string().replace(token, "<other>")).unwrap();
            assert!(message(&other, ROWS).contains(&format!("it has no {token} token")));
        }
        let mut unframed = json;
        unframed["post_processor"] = Value::Null;
        assert!(message(&unframed, ROWS).contains("an empty text gives the ids [], a T5 model needs </s>"));
        let missing = T5Tokenizer::open(Path::new("nowhere/tokenizer.json"), ROWS).unwrap_err();
        assert!(missing.is_input_error() && missing.to_string().contains("nowhere"), "{missing}");
    }
}
