//! What a sentence encoder does around its network: the sequence length, the pooling, the normalisation.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::ModelError;
use crate::layout;

/// How hidden states of tokens become the embedding of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over all tokens of the text.
    Mean,
    /// The state of the first token, `[CLS]`.
    Cls,
}

/// The parts of a sentence encoder beside its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// The most tokens of a text, if the files say so.
    pub(crate) max_seq_length: Option<usize>,
    /// Put texts into lower case before the tokenizer sees them.
    pub(crate) lower_case: bool,
    pub(crate) pooling: Pooling,
    /// Divide embeddings by their length.
    pub(crate) normalize: bool,
}

/// A row of `modules.json`.
#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Default, Deserialize)]
struct SentenceConfig {
    #[serde(default)]
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

impl Default for Recipe {
    /// Mean pooling and normalisation.
    fn default() -> Recipe {
        Recipe { max_seq_length: None, lower_case: false, pooling: Pooling::Mean, normalize: true }
    }
}

impl Recipe {
    /// Reads `modules.json`, the configurations that it names, and `sentence_bert_config.json`.
    ///
    /// A directory without `modules.json` is taken for an encoder with mean pooling and normalisation.
    pub(crate) fn open(dir: &Path) -> Result<Recipe, ModelError> {
        let sentence = dir.join(layout::SENTENCE);
        let config: SentenceConfig =
            if sentence.is_file() { layout::read_json(&sentence)? } else { SentenceConfig::default() };
        let mut recipe = Recipe {
            max_seq_length: config.max_seq_length,
            lower_case: config.do_lower_case,
            pooling: Pooling::Mean,
            normalize: true,
        };
        if let Some(length @ 0..=2) = recipe.max_seq_length {
            let message = format!("max_seq_length: expected room for [CLS], [SEP] and a token, got {length}");
            return Err(ModelError::config(&sentence, message));
        }
        let file = dir.join(layout::MODULES);
        if !file.is_file() {
            return Ok(recipe);
        }
        recipe.normalize = false;
        let modules: Vec<Module> = layout::read_json(&file)?;
        let mut before = "";
        for module in &modules {
            // `sentence_transformers.models.Pooling`: where the class is defined has changed over the years.
            let kind = module.kind.rsplit('.').next().unwrap_or_default();
            match (before, kind) {
                ("", "Transformer") if module.path.is_empty() => {}
                ("Transformer", "Pooling") => {
                    recipe.pooling = pooling(&dir.join(&module.path).join(layout::CONFIG))?;
                }
                ("Pooling", "Normalize") => recipe.normalize = true,
                _ => {
                    return Err(ModelError::Unsupported {
                        file,
                        what: format!("the module {:?} after {before:?}", module.kind),
                        instead: "Transformer, Pooling and Normalize are, in that order".to_owned(),
                    });
                }
            }
            before = kind;
        }
        Ok(recipe)
    }
}

/// Reads a pooling configuration: one flag a mode, of which exactly one may be set.
fn pooling(file: &Path) -> Result<Pooling, ModelError> {
    let config: Map<String, Value> = layout::read_json(file)?;
    let modes: Vec<&str> = config
        .iter()
        .filter(|(_, value)| **value == Value::Bool(true))
        .filter_map(|(name, _)| name.strip_prefix("pooling_mode_"))
        .collect();
    match modes[..] {
        ["mean_tokens"] => Ok(Pooling::Mean),
        ["cls_token"] => Ok(Pooling::Cls),
        _ => Err(ModelError::Unsupported {
            file: file.to_owned(),
            what: format!(
                "pooling by {}",
                if modes.is_empty() { "no mode".to_owned() } else { modes.join(" and ") }
            ),
            instead: "mean_tokens alone and cls_token alone are".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(files: &[(&str, &str)]) -> Result<Recipe, ModelError> {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        Recipe::open(dir.path())
    }

    fn modules(kinds: &[(&str, &str)]) -> String {
        let rows: Vec<String> = kinds
            .iter()
            .map(|(kind, path)| {
                format!(r#"{{"idx": 0, "path": "{path}", "type": "sentence_transformers.models.{kind}"}}"#)
            })
            .collect();
        format!("[{}]", rows.join(","))
    }

    #[test]
    fn a_bare_directory_means_mean_and_normalise() {
        let recipe = open(&[]).unwrap();
        let expected =
            Recipe { max_seq_length: None, lower_case: false, pooling: Pooling::Mean, normalize: true };
        assert_eq!(recipe, expected);
    }

    #[test]
    fn the_files_of_minilm_are_understood() {
        let recipe = open(&[
            (
                "modules.json",
                &modules(&[("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]),
            ),
            (
                "1_Pooling/config.json",
                r#"{"word_embedding_dimension": 384, "pooling_mode_mean_tokens": true,
                "pooling_mode_cls_token": false, "include_prompt": true}"#,
            ),
            ("sentence_bert_config.json", r#"{"max_seq_length": 256, "do_lower_case": false}"#),
        ]);
        let expected =
            Recipe { max_seq_length: Some(256), lower_case: false, pooling: Pooling::Mean, normalize: true };
        assert_eq!(recipe.unwrap(), expected);
    }

    #[test]
    fn without_a_normalize_module_nothing_is_normalised() {
        let recipe = open(&[
            ("modules.json", &modules(&[("Transformer", ""), ("Pooling", "1_Pooling")])),
            ("1_Pooling/config.json", r#"{"pooling_mode_cls_token": true}"#),
        ]);
        let recipe = recipe.unwrap();
        assert_eq!((recipe.pooling, recipe.normalize), (Pooling::Cls, false));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let message = |files: &[(&str, &str)]| {
            let error = open(files).unwrap_err();
            assert!(error.is_input_error() && !error.to_string().contains('\n'), "{error}");
            error.to_string()
        };
        let dense = modules(&[("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense")]);
        let mean = ("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens": true}"#);
        assert!(message(&[("modules.json", &dense), mean]).contains("models.Dense\" after \"Pooling\""));
        let plain = modules(&[("Transformer", ""), ("Pooling", "1_Pooling")]);
        let pooling = |json| message(&[("modules.json", &plain), ("1_Pooling/config.json", json)]);
        assert!(pooling(r#"{"pooling_mode_max_tokens": true}"#).contains("pooling by max_tokens"));
        let both = pooling(r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}"#);
        assert!(both.contains("pooling by cls_token and mean_tokens"), "{both}");
        assert!(pooling("{}").contains("pooling by no mode"));
        assert!(message(&[("modules.json", &plain)]).contains("config.json"));
        assert!(message(&[("modules.json", "{")]).contains("modules.json"));
        assert!(message(&[("sentence_bert_config.json", r#"{"max_seq_length": 2}"#)]).contains("got 2"));
    }
}
