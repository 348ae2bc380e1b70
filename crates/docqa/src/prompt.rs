//! Prompts: what a generator is asked.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use crate::DocqaError;

/// The template that is used where none is given.
pub const DEFAULT_TEMPLATE: &str = "Answer the question based on the context provided.\n\n\
    Context: {context}\n\n\
    {history}Question: {question}\n\n\
    Answer:";

/// The text around a question and its passages, with a place for each.
///
/// `{question}` has to be there; `{context}` stands for the passages and `{history}` for earlier questions with
/// their answers, in the form `Question: …`, `Answer: …`, with a blank line after each. `{{` and `}}` are
/// braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptTemplate {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Context,
    Question,
    History,
}

/// What a prompt is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptParts<'a> {
    /// The question.
    pub question: &'a str,
    /// The passages.
    pub context: &'a str,
    /// Earlier questions with their answers, the oldest first.
    pub history: &'a [(&'a str, &'a str)],
}

impl Default for PromptTemplate {
    fn default() -> Self {
        let text = |text: &str| Part::Text(text.into());
        // `the_default_template_is_its_own_text` holds it to `DEFAULT_TEMPLATE`.
        let parts = vec![
            text("Answer the question based on the context provided.\n\nContext: "),
            Part::Context,
            text("\n\n"),
            Part::History,
            text("Question: "),
            Part::Question,
            text("\n\nAnswer:"),
        ];
        Self { parts }
    }
}

impl FromStr for PromptTemplate {
    type Err = DocqaError;

    /// Parses a template. An unknown placeholder, a brace without its partner and a template without
    /// `{question}` are errors.
    fn from_str(template: &str) -> Result<Self, DocqaError> {
        let refused = |reason: String| DocqaError::PromptTemplate { path: None, reason };
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
                text.push_str(&rest[..1]);
                rest = after;
                continue;
            }
            let Some((name, after)) = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
                let brace = &rest[..1];
                return Err(refused(format!(
                    "{brace} without its partner; a brace itself is {brace}{brace}"
                )));
            };
            let part = match name {
                "context" => Part::Context,
                "question" => Part::Question,
                "history" => Part::History,
                // Braces of something else may reach far.
                other => {
                    let shown: String =
                        other.chars().take(40).map(|c| if c == '\n' { ' ' } else { c }).collect();
                    return Err(refused(format!(
                        "unknown placeholder {{{shown}}}; expected {{context}}, {{question}} or {{history}}"
                    )));
                }
            };
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(part);
            rest = after;
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        if !parts.contains(&Part::Question) {
            return Err(refused("there is no {question} in it".into()));
        }
        Ok(Self { parts })
    }
}

impl PromptTemplate {
    /// Reads a template from a UTF-8 file. Line ends at its end, which editors add, are no part of it.
    pub fn read(path: &Path) -> Result<Self, DocqaError> {
        let bytes = fs::read(path).map_err(|error| DocqaError::reading(path, error))?;
        let text = String::from_utf8(bytes).map_err(|error| DocqaError::NotUtf8 {
            path: path.to_path_buf(),
            offset: error.utf8_error().valid_up_to(),
        })?;
        text.trim_end_matches(['\r', '\n']).parse().map_err(|error| match error {
            DocqaError::PromptTemplate { reason, .. } => {
                DocqaError::PromptTemplate { path: Some(path.to_path_buf()), reason }
            }
            other => other,
        })
    }

    /// Whether it has a place for the passages.
    pub fn has_context(&self) -> bool {
        self.parts.contains(&Part::Context)
    }

    /// The prompt. What is filled in is taken as it is: braces in it mean nothing.
    pub fn render(&self, parts: &PromptParts<'_>) -> String {
        let mut prompt = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => prompt.push_str(text),
                Part::Context => prompt.push_str(parts.context),
                Part::Question => prompt.push_str(parts.question),
                Part::History => {
                    for (question, answer) in parts.history {
                        prompt.push_str(&format!("Question: {question}\n\nAnswer: {answer}\n\n"));
                    }
                }
            }
        }
        prompt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: PromptParts<'_> =
        PromptParts { question: "Why {context}?", context: "Clay {x}.", history: &[] };

    fn refused(template: &str) -> String {
        let error = template.parse::<PromptTemplate>().unwrap_err();
        assert!(error.is_input_error());
        error.to_string()
    }

    #[test]
    fn the_default_template_is_its_own_text() {
        assert_eq!(DEFAULT_TEMPLATE.parse::<PromptTemplate>().unwrap(), PromptTemplate::default());
    }

    #[test]
    fn the_prompt_has_the_form_that_is_promised() {
        let template = PromptTemplate::default();
        assert_eq!(
            template.render(&PARTS),
            "Answer the question based on the context provided.\n\n\
             Context: Clay {x}.\n\nQuestion: Why {context}?\n\nAnswer:"
        );
        let history = &[("Who?", "Anna."), ("When?", "In 1980.")];
        assert!(template.render(&PromptParts { history, ..PARTS }).ends_with(
            "Clay {x}.\n\nQuestion: Who?\n\nAnswer: Anna.\n\nQuestion: When?\n\nAnswer: In 1980.\n\n\
             Question: Why {context}?\n\nAnswer:"
        ));
    }

    #[test]
    fn templates_are_ones_own() {
        let template: PromptTemplate = "{{{question}}} {question}{context}".parse().unwrap();
        assert_eq!(template.render(&PARTS), "{Why {context}?} Why {context}?Clay {x}.");
        assert!(template.has_context());
        assert!(!"{question}".parse::<PromptTemplate>().unwrap().has_context());
    }

    #[test]
    fn faults_of_a_template_are_named() {
        assert_eq!(
            refused("{question} {passages}"),
            "prompt template: unknown placeholder {passages}; expected {context}, {question} or {history}"
        );
        assert_eq!(refused("{context}"), "prompt template: there is no {question} in it");
        assert_eq!(refused(""), "prompt template: there is no {question} in it");
        assert_eq!(refused("{question} {"), "prompt template: { without its partner; a brace itself is {{");
        assert_eq!(refused("{question} }"), "prompt template: } without its partner; a brace itself is }}");
        assert!(!refused("{question} {a\nb}").contains('\n'));
    }

    #[test]
    fn a_file_holds_a_template() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompt.txt");
        fs::write(&path, "Q: {question}\nA:\r\n\n").unwrap();
        let template = PromptTemplate::read(&path).unwrap();
        assert_eq!(template.render(&PARTS), "Q: Why {context}?\nA:");
        fs::write(&path, "Q:\n").unwrap();
        let error = PromptTemplate::read(&path).unwrap_err().to_string();
        assert!(error.ends_with("prompt.txt: prompt template: there is no {question} in it"), "{error}");
        fs::write(&path, b"{question} \xff").unwrap();
        assert!(PromptTemplate::read(&path).unwrap_err().to_string().ends_with("not UTF-8 text (byte 11)"));
        let missing = PromptTemplate::read(&folder.path().join("none")).unwrap_err();
        assert!(missing.is_input_error() && missing.to_string().ends_with("none: no such file or folder"));
    }
}
