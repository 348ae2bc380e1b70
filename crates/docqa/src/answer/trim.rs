//! Passages cut to what a generator can read.

use std::collections::{BTreeSet, HashSet};

use super::generator::Generator;
use crate::DocqaError;
use crate::embedder::{Embedder, embed_checked};
use crate::prompt::{PromptParts, PromptTemplate};
use crate::retrieve::Retrieved;
use crate::sentences;

/// What stands between two passages of a context.
const BETWEEN: &str = "\n\n";

/// Of the window, the share that earlier questions and answers may take from the passages.
const HISTORY: usize = 3;

/// What a prompt is to be made of.
pub(super) struct Material<'a> {
    pub(super) template: &'a PromptTemplate,
    pub(super) question: &'a str,
    pub(super) retrieved: &'a Retrieved,
    /// Earlier questions with their answers, the oldest first.
    pub(super) history: &'a [(&'a str, &'a str)],
}

/// A prompt within the window.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fitted {
    pub(super) prompt: String,
    /// The passages that it has something of, by their rank.
    pub(super) passages: Vec<usize>,
    /// What did not find room.
    pub(super) notice: Option<String>,
}

/// A sentence of a passage.
struct Piece {
    /// The passage's rank.
    passage: usize,
    text: String,
    /// The cosine of the angle between it and the question.
    similarity: f32,
}

/// Makes a prompt that the generator can read whole. Earlier turns get a third of the window at most, the newest
/// first and whole ones alone. Where the passages do not fit in what is left, their sentences go, those farthest
/// from the question first; what stays is in its order.
pub(super) fn fit(
    material: &Material<'_>,
    embedder: &mut dyn Embedder,
    generator: &mut dyn Generator,
) -> Result<Fitted, DocqaError> {
    let window = generator.window();
    let bare = window - room(generator, material.template, material.question)?;
    let history = material.fitting_history(generator, bare)?;
    let hits = &material.retrieved.hits;
    let all: Vec<usize> = (0..hits.len()).collect();
    let texts: Vec<&str> = hits.iter().map(|hit| hit.chunk.text.trim()).collect();
    let prompt = material.prompt(&texts.join(BETWEEN), history);
    if generator.tokens(&prompt)? <= window {
        return Ok(Fitted { prompt, passages: all, notice: None });
    }

    let mut pieces = pieces(&texts, &mut |text| {
        Ok::<_, DocqaError>(generator.tokens(&material.prompt(text, history))? <= window)
    })?;
    score(&mut pieces, embedder, &material.retrieved.question)?;
    let mut ranked: Vec<usize> = (0..pieces.len()).collect();
    // The sort is stable: of equals, the one that is read first stays longer.
    ranked.sort_by(|&a, &b| pieces[b].similarity.total_cmp(&pieces[a].similarity));
    // More sentences never make fewer tokens, so the most that fit are found by halving.
    let prompt_of = |kept: usize| {
        let kept: BTreeSet<usize> = ranked[..kept].iter().copied().collect();
        (material.prompt(&context(&pieces, &kept), history), kept)
    };
    let (mut fits, mut most) = (0, ranked.len());
    while fits < most {
        let middle = (fits + most).div_ceil(2);
        if generator.tokens(&prompt_of(middle).0)? <= window {
            fits = middle;
        } else {
            most = middle - 1;
        }
    }
    if fits == 0 {
        return Err(too_long(generator, bare));
    }
    let (prompt, kept) = prompt_of(fits);
    let used: BTreeSet<usize> = kept.iter().map(|&at| pieces[at].passage).collect();
    let passages: Vec<usize> = used.into_iter().collect();
    let notice = notice(generator, pieces.len(), fits, hits.len(), passages.len());
    Ok(Fitted { prompt, passages, notice })
}

/// How many tokens a question leaves for passages and history.
pub(super) fn room(
    generator: &mut dyn Generator,
    template: &PromptTemplate,
    question: &str,
) -> Result<usize, DocqaError> {
    let bare = generator.tokens(&template.render(&PromptParts { question, context: "", history: &[] }))?;
    generator.window().checked_sub(bare).ok_or_else(|| too_long(generator, bare))
}

fn too_long(generator: &dyn Generator, tokens: usize) -> DocqaError {
    DocqaError::PromptTooLong { tokens, window: generator.window(), generator: generator.name().into() }
}

impl<'a> Material<'a> {
    fn prompt(&self, context: &str, history: &[(&str, &str)]) -> String {
        self.template.render(&PromptParts { question: self.question, context, history })
    }

    /// The newest turns that find room beside a prompt of `bare` tokens.
    fn fitting_history(
        &self,
        generator: &mut dyn Generator,
        bare: usize,
    ) -> Result<&'a [(&'a str, &'a str)], DocqaError> {
        let room = (bare + generator.window() / HISTORY).min(generator.window());
        let mut fitting = &self.history[self.history.len()..];
        for start in (0..self.history.len()).rev() {
            let more = &self.history[start..];
            if generator.tokens(&self.prompt("", more))? > room {
                break;
            }
            fitting = more;
        }
        log::debug!("{} of {} earlier turns are in the prompt", fitting.len(), self.history.len());
        Ok(fitting)
    }
}

/// The sentences of passages, in reading order; what stands in two passages is taken once. One that does not fit
/// alone, such as a long table, is divided until its parts do, or are single words.
fn pieces<E>(texts: &[&str], fits: &mut dyn FnMut(&str) -> Result<bool, E>) -> Result<Vec<Piece>, E> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for (passage, text) in texts.iter().enumerate() {
        for sentence in sentences::pieces(text) {
            let mut parts = vec![sentence];
            while let Some(text) = parts.pop() {
                if !fits(&text)?
                    && let Some((first, second)) = halves(&text)
                {
                    parts.extend([second.to_string(), first.to_string()]);
                } else if seen.insert(text.clone()) {
                    found.push(Piece { passage, text, similarity: 0.0 });
                }
            }
        }
    }
    Ok(found)
}

/// A text of several words cut at the space nearest to its middle.
fn halves(text: &str) -> Option<(&str, &str)> {
    let middle = text.len() / 2;
    let (at, _) = text.match_indices(' ').min_by_key(|(at, _)| at.abs_diff(middle))?;
    Some((&text[..at], &text[at + 1..]))
}

fn score(pieces: &mut [Piece], embedder: &mut dyn Embedder, question: &[f32]) -> Result<(), DocqaError> {
    let texts: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
    let rows = embed_checked(embedder, &texts, &mut |_| {})?;
    for (piece, row) in pieces.iter_mut().zip(&rows) {
        piece.similarity = row.iter().zip(question).map(|(a, b)| a * b).sum();
    }
    Ok(())
}

/// The pieces kept, in their order, passage by passage.
fn context(pieces: &[Piece], kept: &BTreeSet<usize>) -> String {
    let kept: Vec<&Piece> = kept.iter().map(|&at| &pieces[at]).collect();
    let passages = kept.chunk_by(|a, b| a.passage == b.passage);
    let join =
        |passage: &[&Piece]| passage.iter().map(|piece| piece.text.as_str()).collect::<Vec<_>>().join(" ");
    passages.map(join).collect::<Vec<_>>().join(BETWEEN)
}

/// Nothing where the sentences fit after all, once white space and repetitions are gone.
fn notice(
    generator: &dyn Generator,
    sentences: usize,
    kept: usize,
    passages: usize,
    used: usize,
) -> Option<String> {
    let left_out = sentences - kept;
    if left_out == 0 && used == passages {
        return None;
    }
    let were_left_out = match left_out {
        1 => "was left out, the one farthest from the question",
        _ => "were left out, those farthest from the question",
    };
    let mut notice = format!(
        "the passages do not fit {}'s window of {} tokens: {left_out} of their {sentences} sentences {were_left_out}",
        generator.name(),
        generator.window()
    );
    if used < passages {
        notice.push_str(&format!(", and with them {} of the {passages} passages", passages - used));
    }
    Some(notice)
}

#[cfg(test)]
mod tests {
    use super::super::generator::fake::WordGenerator;
    use super::*;
    use crate::chunk::Chunk;
    use crate::embedder::fake::WordEmbedder;
    use crate::store::Hit;

    const PASSAGES: [&str; 3] = [
        "# Copper\n\nCopper turns green in air. Tin makes\nglazes white. Copper turns red without air.",
        "Clay goes in. Copper turns green with salt. Stone comes out.",
        "The shop opens at nine. It closes at five.",
    ];
    const QUESTION: &str = "When does copper turns green?";

    fn retrieved(passages: &[&str]) -> Retrieved {
        let hit = |(at, text): (usize, &&str)| Hit {
            chunk: Chunk {
                text: text.to_string(),
                source: "notes.md".into(),
                page: None,
                page_end: None,
                chunk_id: at,
                chunk_size: text.chars().count(),
                timestamp: String::new(),
                start: 0,
            },
            distance: at as f32 / 10.0,
        };
        let question = WordEmbedder::new().embed(&[QUESTION], &mut |_| {}).unwrap().remove(0);
        Retrieved { question, hits: passages.iter().enumerate().map(hit).collect(), documents: Vec::new() }
    }

    fn fit_in(window: usize, passages: &[&str], history: &[(&str, &str)]) -> Result<Fitted, DocqaError> {
        let template = "Context: {context}\n{history}Question: {question}".parse().unwrap();
        let material =
            Material { template: &template, question: QUESTION, retrieved: &retrieved(passages), history };
        fit(&material, &mut WordEmbedder::new(), &mut WordGenerator::new(window))
    }

    #[test]
    fn passages_that_fit_are_taken_as_they_are() {
        let fitted = fit_in(512, &PASSAGES, &[]).unwrap();
        assert_eq!(fitted.prompt, format!("Context: {}\nQuestion: {QUESTION}", PASSAGES.join("\n\n")));
        assert_eq!((fitted.passages, fitted.notice), (vec![0, 1, 2], None));
        assert_eq!(fit_in(8, &[], &[]).unwrap().prompt, format!("Context: \nQuestion: {QUESTION}"));
    }

    #[test]
    fn the_sentences_farthest_from_the_question_go_first() {
        // The prompt without passages has 8 tokens.
        let fitted = fit_in(8 + 15, &PASSAGES, &[]).unwrap();
        assert_eq!(
            fitted.prompt,
            "Context: Copper turns green in air. Copper turns red without air.\n\n\
             Copper turns green with salt.\nQuestion: When does copper turns green?"
        );
        assert_eq!(fitted.passages, [0, 1]);
        assert_eq!(
            fitted.notice.unwrap(),
            "the passages do not fit words-t5's window of 23 tokens: 6 of their 9 sentences were left out, \
             those farthest from the question, and with them 1 of the 3 passages"
        );
        // One word less, and the one of the three that is farthest goes too.
        let fitted = fit_in(8 + 14, &PASSAGES, &[]).unwrap();
        assert!(!fitted.prompt.contains("red"), "{}", fitted.prompt);
        assert!(fitted.notice.unwrap().contains("7 of their 9 sentences"));
    }

    #[test]
    fn what_stays_grows_with_the_window_and_the_window_is_kept() {
        let mut before = 0;
        for window in 10..60 {
            let fitted = fit_in(window, &PASSAGES, &[]).unwrap();
            let tokens = fitted.prompt.split_whitespace().count() + 1;
            assert!((before..=window).contains(&tokens), "{window}: {tokens} after {before}");
            before = tokens;
        }
    }

    #[test]
    fn a_sentence_beyond_the_window_is_divided() {
        let table = "bowls 24 cups 11 jugs 7 copper 9 plates 8 green 5".repeat(20);
        let fitted = fit_in(20, &[&table], &[]).unwrap();
        assert_eq!(fitted.passages, [0]);
        assert!(fitted.prompt.contains("copper"), "{}", fitted.prompt);
        assert_eq!(halves("one two three"), Some(("one two", "three")));
        assert_eq!(halves("窑是炉子"), None);
    }

    #[test]
    fn what_stands_twice_is_taken_once_and_is_no_loss() {
        let twice = [PASSAGES[1], "Stone comes out."];
        let fitted = fit_in(8 + 11, &twice, &[]).unwrap();
        assert_eq!(fitted.prompt.matches("Stone").count(), 1);
        assert!(fitted.notice.unwrap().contains(" 0 of their 3 sentences were left out"));
    }

    #[test]
    fn a_question_that_leaves_no_room_is_refused() {
        for window in [5, 7, 8] {
            let error = fit_in(window, &PASSAGES, &[]).unwrap_err();
            assert!(error.is_input_error());
            assert_eq!(
                error.to_string(),
                format!(
                    "the question with the prompt template takes 8 tokens, which leaves no room for a passage in \
                     words-t5's window of {window}"
                )
            );
        }
    }

    #[test]
    fn the_newest_turns_get_a_third_of_the_window() {
        let turns =
            [("Who?", "Anna."), ("Which metal?", "Copper, of course."), ("Where?", "In the old town.")];
        // A turn takes 2 tokens and its words: 4, 7 and 7.
        let with = |window: usize| fit_in(window, &PASSAGES, &turns).unwrap().prompt;
        let newest = "Question: Where?\n\nAnswer: In the old town.\n\nQuestion: When";
        assert!(with(30).contains(newest) && !with(30).contains("metal"), "{}", with(30));
        assert!(with(42).contains("Copper, of course.\n\nQuestion: Where?") && !with(42).contains("Anna"));
        assert!(with(90).contains("Question: Who?\n\nAnswer: Anna.\n\nQuestion: Which"));
        assert!(!with(20).contains("Where?"));
    }
}
