//! Answers that a generator writes from passages.

use std::ops::ControlFlow;

use kiln_models::generate::Finish;

use super::generator::Generator;
use super::trim::{self, Fitted, Material};
use super::{AskOptions, Told};
use crate::DocqaError;
use crate::embedder::Embedder;

/// Writes an answer from the passages found.
pub(super) fn generate(
    material: &Material<'_>,
    embedder: &mut dyn Embedder,
    generator: &mut dyn Generator,
    options: &AskOptions,
    on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Told, DocqaError> {
    let Fitted { prompt, passages, notice } = trim::fit(material, embedder, generator)?;
    log::debug!("the prompt: {prompt}");
    let mut edges = Trimmed { held: String::new(), has_begun: false };
    let generation = generator.generate(&prompt, &options.generate, &mut |text| edges.push(text, on_text))?;
    let answer = generation.text.trim().to_string();
    let ended = match generation.finish {
        Finish::Stopped => Some("the answer was stopped before its end".to_string()),
        Finish::Length => {
            let most = options.generate.max_new_tokens;
            Some(format!("the answer ends where it does because it has {most} tokens, the most allowed"))
        }
        Finish::Eos if answer.is_empty() => Some(format!("{} wrote nothing", generator.name())),
        Finish::Eos => None,
    };
    Ok(Told {
        answer,
        passages,
        quotes: Vec::new(),
        notices: notice.into_iter().chain(ended).collect(),
        generator: Some(generator.name().into()),
    })
}

/// Passes text on without the white space at its beginning and end.
struct Trimmed {
    /// White space that is the end, unless something follows.
    held: String,
    has_begun: bool,
}

impl Trimmed {
    fn push(&mut self, text: &str, on_text: &mut dyn FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
        let text = if self.has_begun { text } else { text.trim_start() };
        let end = text.trim_end().len();
        if end == 0 {
            self.held.push_str(text);
            // Somebody who waits for the next word may want to stop too.
            return on_text("");
        }
        self.has_begun = true;
        let shown = std::mem::replace(&mut self.held, text[end..].to_string()) + &text[..end];
        on_text(&shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_at_the_edges_is_not_passed_on() {
        let mut edges = Trimmed { held: String::new(), has_begun: false };
        let mut heard = Vec::new();
        for text in [" ", "\n", " a", " ", "b ", "", " c", "d", " ", "\n"] {
            let flow = edges.push(text, &mut |text| {
                heard.push(text.to_string());
                ControlFlow::Continue(())
            });
            assert!(flow.is_continue());
        }
        assert_eq!(heard, ["", "", "a", "", " b", "", "  c", "d", "", ""]);
    }
}
