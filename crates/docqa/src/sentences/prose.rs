//! Sentences within a paragraph, and which of them can answer a question.

use std::ops::Range;

/// Words that end in a full stop without ending a sentence. Lower case, without the last stop.
const ABBREVIATIONS: [&str; 58] = [
    "e.g", "i.e", "eg", "ie", "cf", "vs", "viz", "al", "approx", "ca", "resp", "fig", "figs", "eq", "eqs",
    "eqn", "sec", "sect", "ch", "chap", "ref", "refs", "tab", "no", "nos", "nr", "vol", "pp", "p", "ed",
    "eds", "dr", "mr", "mrs", "ms", "prof", "st", "jr", "sr", "inc", "ltd", "co", "corp", "dept", "univ",
    "z.b", "d.h", "bzw", "u.s", "jan", "feb", "aug", "sept", "oct", "nov", "dec", "def", "thm",
];

/// Cuts a paragraph into sentences, without the spaces between them.
pub(super) fn split(text: &str) -> Vec<Range<usize>> {
    let mut sentences = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find(is_terminal) {
        let stop = at + found;
        // `?!`, `...` and what closes after it belong to the sentence.
        let mut end = text.len() - text[stop..].trim_start_matches(is_terminal).len();
        end = text.len() - text[end..].trim_start_matches(is_closing).len();
        at = end;
        if ends_here(&text[start..stop], &text[stop..end], &text[end..]) {
            push(&mut sentences, text, start..end);
            start = end;
        }
    }
    push(&mut sentences, text, start..text.len());
    sentences
}

fn push(sentences: &mut Vec<Range<usize>>, text: &str, range: Range<usize>) {
    let slice = &text[range.clone()];
    let start = range.start + (slice.len() - slice.trim_start().len());
    let end = start + slice.trim().len();
    if end > start {
        sentences.push(start..end);
    }
}

/// Whether a sentence ends after `stop`, given what stands before and after it.
fn ends_here(before: &str, stop: &str, after: &str) -> bool {
    // Full-width stops need no space after them.
    if stop.starts_with(|c: char| !c.is_ascii() && is_terminal(c) && c != '…') || after.trim().is_empty() {
        return true;
    }
    // `3.5`, `kiln.rs`, `e.g.`: no space, no end.
    if !after.starts_with(char::is_whitespace) {
        return false;
    }
    let next = after.trim_start().trim_start_matches(['“', '"', '‘', '\'', '(', '[', '«', '*', '_', '`']);
    if next.starts_with(char::is_lowercase) {
        return false;
    }
    if !stop.starts_with('.') || stop.starts_with("..") {
        return true;
    }
    let word = before.rsplit(|c: char| c.is_whitespace() || "([“\"‘'".contains(c)).next().unwrap_or_default();
    let is_initial = word.chars().count() == 1 && word.starts_with(char::is_uppercase);
    // `No` and the like stand before a number; as the last word of a sentence they are words.
    let needs_number = matches!(
        word.to_lowercase().as_str(),
        "no" | "nos" | "p" | "ch" | "co" | "def" | "tab" | "ms" | "ed"
    );
    let is_abbreviation = ABBREVIATIONS.contains(&word.to_lowercase().as_str())
        && (!needs_number || next.starts_with(char::is_numeric));
    !is_initial && !is_abbreviation
}

/// Whether a character can end a sentence.
pub(super) fn is_terminal(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？' | '｡')
}

/// Whether a character closes what was opened within a sentence.
pub(super) fn is_closing(c: char) -> bool {
    matches!(c, ')' | ']' | '”' | '’' | '"' | '\'' | '»' | '」' | '』' | '*' | '_')
}

/// Whether a sentence states something in words: it has a beginning and an end, does not ask, and is
/// neither formula, table nor caption of one.
pub(super) fn can_answer(sentence: &str) -> bool {
    let body = sentence.trim_end_matches(is_closing);
    if !body.ends_with(is_terminal) || body.ends_with(['?', '？']) || is_label(sentence) {
        return false;
    }
    // A formula that a statement ends in is no reason to leave out the statement.
    let sentence = match sentence.split_once(": ") {
        Some((lead, formula)) if is_formula(formula) => lead,
        _ => sentence,
    };
    let (letters, visible) = letters_and_visible(sentence);
    if letters * 10 < visible * 7 {
        return false;
    }
    // Scripts without case are often without spaces too: count letters, not words.
    let caseless =
        sentence.chars().filter(|&c| is_letter(c) && !c.is_lowercase() && !c.is_uppercase()).count();
    if caseless * 2 > letters {
        return caseless >= 6;
    }
    let begins = sentence.trim_start_matches(|c: char| !c.is_alphanumeric());
    if begins.starts_with(char::is_lowercase) && !is_identifier(begins) {
        return false;
    }
    let words = sentence.split_whitespace().count();
    let real = sentence
        .split_whitespace()
        .filter(|word| word.chars().filter(|&c| is_letter(c)).count() >= 2)
        .count();
    real >= 4 && real * 10 >= words * 6
}

/// The label of a figure or table (`Table 1: …`), or an entry of a bibliography (`[1] …`).
fn is_label(sentence: &str) -> bool {
    let mut words = sentence.split_whitespace();
    let first = words.next().unwrap_or_default();
    let is_number =
        |word: &str| word.chars().any(|c| c.is_ascii_digit()) && !word.chars().any(char::is_lowercase);
    let names_figure = matches!(
        first,
        "Figure" | "Fig." | "Table" | "Tab." | "Listing" | "Algorithm" | "Abbildung" | "Tabelle"
    );
    let labelled =
        names_figure && words.next().is_some_and(|word| is_number(word) && word.ends_with([':', '.']));
    let entry = first.starts_with('[') && first.ends_with(']') && is_number(first);
    labelled || entry
}

/// Whether a text is signs and letters of formulas more than words.
pub(super) fn is_formula(text: &str) -> bool {
    let (letters, visible) = letters_and_visible(text);
    letters * 2 < visible
}

/// How many of its characters are letters, and how many are no white space.
fn letters_and_visible(text: &str) -> (usize, usize) {
    let letters = text.chars().filter(|&c| is_letter(c)).count();
    (letters, text.chars().filter(|c| !c.is_whitespace()).count())
}

/// Letters of words: those of formulas (U+1D400 to U+1D7FF) are none.
fn is_letter(c: char) -> bool {
    c.is_alphabetic() && !matches!(c, '\u{1d400}'..='\u{1d7ff}')
}

/// `wgpu`, `im2col`, `pdf-extract`: a sentence may begin with a name that is written in lower case, and
/// such names show it by digits, hyphens, capitals or underscores, or by Markdown's code marks.
fn is_identifier(text: &str) -> bool {
    let word =
        text.split_whitespace().next().unwrap_or_default().trim_end_matches(|c: char| !c.is_alphanumeric());
    word.chars().any(|c| c.is_numeric() || c.is_uppercase() || "_-:/.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(text: &str) -> Vec<&str> {
        split(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn sentences_end_where_they_end() {
        assert_eq!(
            sentences("It has, e.g. a door. A stride of 3.5 is odd! Is it? “Yes.” (So it is.) Ok... Fine"),
            [
                "It has, e.g. a door.",
                "A stride of 3.5 is odd!",
                "Is it?",
                "“Yes.”",
                "(So it is.)",
                "Ok...",
                "Fine"
            ]
        );
        assert_eq!(sentences("窑是炉子。它很热！对吗？对"), ["窑是炉子。", "它很热！", "对吗？", "对"]);
        assert_eq!(sentences(""), Vec::<&str>::new());
        assert_eq!(sentences(" . "), ["."]);
    }

    #[test]
    fn abbreviations_names_and_numbers_do_not_end_a_sentence() {
        for whole in [
            "See Fig. 3 and Eq. (2) in Sec. 4.1 of it.",
            "Dr. Smith and J. R. Miller et al. Found in 1980 a kiln.",
            "It uses wgpu i.e. WebGPU, cf. Kiln vs. Others.",
            "No. 5 is alive and well.",
            "The file kiln.rs is version 1.2.3 of it.",
            "It ends with etc. and goes on.",
        ] {
            assert_eq!(sentences(whole), [whole]);
        }
        assert_eq!(sentences("Is it? No. It is not."), ["Is it?", "No.", "It is not."]);
        assert_eq!(sentences("Pots, bowls, etc. They broke."), ["Pots, bowls, etc.", "They broke."]);
        assert_eq!(sentences("It was in 1980. 42 pots broke."), ["It was in 1980.", "42 pots broke."]);
    }

    #[test]
    fn statements_in_words_can_answer() {
        for sentence in [
            "A stride of two halves the height and the width.",
            "Kiln’s transposed convolution gathers instead.",
            "60 degrees an hour is the usual rate.",
            "“It is done,” she said to him.",
            "im2col needs much more memory than that.",
            "A dilation of 𝑑 leaves 𝑑 − 1 unused inputs between neighbouring weights.",
            "Momentum smooths the path by a velocity: 𝑣 ← 𝑚𝑣 + 𝑔, 𝑤 ← 𝑤 − 𝜂𝑣.",
            "窑是一种很热的炉子。",
            "Table 1 applies both rules to the network.",
            "Figure skating needs much more ice than that.",
        ] {
            assert!(can_answer(sentence), "{sentence}");
        }
    }

    #[test]
    fn the_rest_cannot() {
        for text in [
            "3 Stride, padding, dilation and groups",
            "What can nine weights do?",
            "conv1 64x3x3x3 6912",
            "𝑦𝑘,𝑖,𝑗 = 𝑏𝑘 + ∑ 𝑤𝑘,𝑐,𝑢,𝑣 ⋅ 𝑥𝑐,𝑖+𝑢,𝑗+𝑣.",
            "fc6 25,088 4,096 102,764,544.",
            "where the border settles the ambiguity left by rounding.",
            "Thus it is: 𝑣 ← 𝑚𝑣 + 𝑔, 𝑤 ← 𝑤 − 𝜂𝑣.",
            "(3)",
            "Yes.",
            "For an input with channels, the output channel is",
            "Table 1: The configuration of VGG-16 for one image.",
            "Figure 3.2. A kernel of three by three slides over an input.",
            "[4] K. Simonyan and A. Zisserman, Very deep convolutional networks, 2014.",
        ] {
            assert!(!can_answer(text), "{text}");
        }
    }
}
