//! Picks the sentences that answer, and puts them together.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::{NO_PASSAGE, Quote, words};
use crate::DocqaError;
use crate::embedder::{Embedder, embed_checked};
use crate::index::Index;
use crate::load::Document;
use crate::retrieve::Retrieved;
use crate::sentences::{Sentence, sentences};
use crate::store::Hit;

/// A sentence is quoted beside the best one where its cosine with the question is at most this much lower.
/// On the sample document, 0.12 keeps nearly every sentence that answers and 1.8 sentences on average.
const WITHIN: f32 = 0.12;

/// A sentence with a lower cosine is not quoted, and where none has a higher one, the documents do not speak
/// of the matter. With MiniLM, most questions that the sample document answers reach 0.37 and more, questions
/// about other things 0.29 at most.
const CLOSE: f32 = 0.3;

/// The same for a sentence that has all content words of the question. A long one that says something about
/// dropout among much else reaches 0.17 for "What is dropout?"; that it names the matter tells more.
const CLOSE_NAMED: f32 = 0.1;

/// The answer where no sentence is close enough; an excerpt follows.
const NOTHING_CLOSE: &str =
    "No sentence of the documents comes close to this question. The nearest passage begins:";

/// The most characters of a passage that stand in for an answer.
const EXCERPT: usize = 300;

struct Candidate {
    /// Which document, by its place among those found.
    document: usize,
    sentence: Sentence,
    /// The sentence before it in its paragraph.
    before: Option<Sentence>,
    similarity: f32,
}

/// An answer and the sentences that it is made of.
pub(super) fn extract(
    index: &Index,
    embedder: &mut dyn Embedder,
    question: &str,
    retrieved: &Retrieved,
    most: usize,
) -> Result<(String, Vec<Quote>), DocqaError> {
    let mut candidates = candidates(retrieved);
    if candidates.is_empty() {
        return Ok((excerpt(index, &retrieved.hits), Vec::new()));
    }
    let texts: Vec<&str> = candidates.iter().map(|candidate| candidate.sentence.text.as_str()).collect();
    let rows = embed_checked(embedder, &texts, &mut |_| {})?;
    for (candidate, row) in candidates.iter_mut().zip(&rows) {
        candidate.similarity = row.iter().zip(&retrieved.question).map(|(a, b)| a * b).sum();
    }
    // The sort is stable: of equals, the one that is read first wins.
    candidates.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
    for candidate in &candidates {
        log::debug!("{:.3} {}", candidate.similarity, candidate.sentence.text);
    }
    let asked = words::content_words(question);
    candidates.retain(|Candidate { sentence, similarity, .. }| {
        *similarity >= CLOSE || *similarity >= CLOSE_NAMED && words::names_all(&sentence.text, &asked)
    });
    let Some(best) = candidates.first().map(|candidate| candidate.similarity) else {
        return Ok((format!("{NOTHING_CLOSE} {}", excerpt(index, &retrieved.hits)), Vec::new()));
    };
    candidates.retain(|candidate| candidate.similarity >= best - WITHIN);
    candidates.truncate(most);
    let quotes = quotes(&retrieved.documents, candidates);
    Ok((compose(&quotes, index.records().len() > 1), quotes))
}

/// The sentences that stand in the passages found, wholly or in part. A sentence that a passage's end cuts
/// off is taken whole, and one that stands in two passages, or twice in the documents, is taken once.
fn candidates(retrieved: &Retrieved) -> Vec<Candidate> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for (at, document) in retrieved.documents.iter().enumerate() {
        let passages: Vec<_> = retrieved
            .hits
            .iter()
            .filter(|hit| hit.chunk.source == document.source)
            .map(|hit| hit.chunk.start..hit.chunk.end())
            .collect();
        if passages.is_empty() {
            continue;
        }
        let mut previous: Option<Sentence> = None;
        for sentence in sentences(document) {
            let place = &sentence.range;
            let in_passage = passages.iter().any(|p| p.start < place.end && place.start < p.end);
            let before = previous.replace(sentence.clone());
            if in_passage && seen.insert(sentence.text.to_lowercase()) {
                let before = before.filter(|before| follows(document, before, &sentence));
                found.push(Candidate { document: at, sentence, before, similarity: 0.0 });
            }
        }
    }
    found
}

/// Whether nothing that was left out stands between two sentences of a paragraph.
fn follows(document: &Document, first: &Sentence, second: &Sentence) -> bool {
    let between = document.text.get(first.range.end..second.range.start);
    first.paragraph == second.paragraph && between.is_some_and(|between| between.trim().is_empty())
}

/// Words that point back at something said before.
const POINTERS: [&str; 16] = [
    "it", "its", "it’s", "this", "these", "that", "those", "they", "their", "such", "he", "she", "his",
    "her", "both", "neither",
];

fn points_back(sentence: &str) -> bool {
    let first = sentence.split_whitespace().next().unwrap_or_default();
    POINTERS.contains(&first.trim_matches(|c: char| !c.is_alphabetic()).to_lowercase().as_str())
}

/// The chosen sentences in reading order. One that points back brings along the sentence before it, without
/// which a reader could not tell what "it" is.
fn quotes(documents: &[Arc<Document>], chosen: Vec<Candidate>) -> Vec<Quote> {
    let mut quoted: Vec<(usize, Sentence, f32)> = Vec::new();
    for Candidate { document, sentence, before, similarity } in chosen {
        let before = before.filter(|_| points_back(&sentence.text));
        for sentence in before.into_iter().chain([sentence]) {
            let same = |(at, other, _): &&mut (usize, Sentence, f32)| {
                *at == document && other.range == sentence.range
            };
            match quoted.iter_mut().find(same) {
                // Brought along by an earlier one, and chosen itself: the better figure stands.
                Some((_, _, known)) => *known = known.max(similarity),
                None => quoted.push((document, sentence, similarity)),
            }
        }
    }
    quoted.sort_by_key(|(document, sentence, _)| (*document, sentence.range.start));
    let quote = |(at, sentence, similarity): (usize, Sentence, f32)| Quote {
        source: documents[at].source.clone(),
        page: documents[at].page_at(sentence.range.start),
        text: sentence.text,
        similarity,
    };
    quoted.into_iter().map(quote).collect()
}

/// Sentences one after the other, each run from the same page followed by its place.
fn compose(quotes: &[Quote], many_documents: bool) -> String {
    let mut parts = Vec::new();
    for run in quotes.chunk_by(|a, b| (&a.source, a.page) == (&b.source, b.page)) {
        parts.extend(run.iter().map(|quote| quote.text.clone()));
        parts.extend(place(&run[0].source, run[0].page, many_documents));
    }
    parts.join(" ")
}

/// `(p. 3)`, with the file's name where it could be any of several.
fn place(source: &str, page: Option<u32>, many_documents: bool) -> Option<String> {
    let name = Path::new(source).file_name().map_or(source.into(), |name| name.to_string_lossy());
    match (page, many_documents) {
        (Some(page), false) => Some(format!("(p. {page})")),
        (Some(page), true) => Some(format!("({name}, p. {page})")),
        (None, true) => Some(format!("({name})")),
        (None, false) => None,
    }
}

/// The beginning of the closest passage, where it holds no sentence (a table, a list of names) or none that
/// is close.
fn excerpt(index: &Index, hits: &[Hit]) -> String {
    let Some(Hit { chunk, .. }) = hits.first() else { return NO_PASSAGE.to_string() };
    let mut text = String::new();
    for word in chunk.text.split_whitespace() {
        if !text.is_empty() && text.chars().count() + word.chars().count() > EXCERPT {
            text.push_str(" …");
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.extend(word.chars().take(EXCERPT));
    }
    let place = place(&chunk.source, chunk.page, index.records().len() > 1);
    [Some(text), place].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote(text: &str, source: &str, page: Option<u32>) -> Quote {
        Quote { text: text.into(), source: source.into(), page, similarity: 0.5 }
    }

    #[test]
    fn places_follow_their_run_of_sentences() {
        let quotes = [
            quote("One.", "docs/a.pdf", Some(1)),
            quote("Two.", "docs/a.pdf", Some(1)),
            quote("Three.", "docs/a.pdf", Some(2)),
            quote("Four.", "docs/b.md", None),
        ];
        assert_eq!(compose(&quotes[..3], false), "One. Two. (p. 1) Three. (p. 2)");
        assert_eq!(compose(&quotes, true), "One. Two. (a.pdf, p. 1) Three. (a.pdf, p. 2) Four. (b.md)");
        assert_eq!(compose(&quotes[3..], false), "Four.");
    }

    #[test]
    fn sentences_that_point_back_are_known() {
        for text in ["It is hot.", "This kiln is hot.", "“They” burn.", "Such pots break."] {
            assert!(points_back(text), "{text}");
        }
        for text in ["Italy is hot.", "The kiln is hot.", "", "—"] {
            assert!(!points_back(text), "{text}");
        }
    }
}
