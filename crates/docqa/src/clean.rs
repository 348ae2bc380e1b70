//! Mends what typesetting does to words: ligatures, and hyphens where a line ends. For the text of
//! PDF files only; text and Markdown are taken as they are.

use std::collections::HashSet;

const HYPHEN_MINUS: char = '-';
const SOFT_HYPHEN: char = '\u{ad}';
const HYPHEN: char = '\u{2010}';

/// Mends the pages of one document together, since one page's words decide on another's hyphens.
///
/// - The ligatures U+FB00 to U+FB06 become their letters.
/// - A hyphen at the end of a line is taken out, with the line's end, where a lower-case letter stands
///   on both sides (`convo-⏎lution`), or any letters where the hyphen is a soft one. The hyphen stays
///   and only the line's end goes where the document writes the compound on one line elsewhere and
///   never the joined word (`well-⏎known` beside `well-known`).
/// - All else stays: `ResNet-⏎50`, `word -⏎ word`, and `pre-⏎and post-`, where the hyphen stands for a
///   part left out.
pub fn mend(pages: &mut [String]) {
    for page in pages.iter_mut() {
        *page = without_ligatures(page);
    }
    let words = Vocabulary::of(pages);
    for page in pages.iter_mut() {
        *page = without_line_hyphens(page, &words);
    }
}

fn without_ligatures(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'ﬀ' => out.push_str("ff"),
            'ﬁ' => out.push_str("fi"),
            'ﬂ' => out.push_str("fl"),
            'ﬃ' => out.push_str("ffi"),
            'ﬄ' => out.push_str("ffl"),
            'ﬅ' | 'ﬆ' => out.push_str("st"),
            _ => out.push(c),
        }
    }
    out
}

fn is_hyphen(c: char) -> bool {
    matches!(c, HYPHEN_MINUS | SOFT_HYPHEN | HYPHEN)
}

/// The words of a document in lower case, compounds (with `-`) among them.
struct Vocabulary(HashSet<String>);

impl Vocabulary {
    fn of(pages: &[String]) -> Self {
        let mut words = HashSet::new();
        for page in pages {
            for word in page.split(|c: char| !c.is_alphabetic() && !is_hyphen(c)) {
                if !word.is_empty() && !word.starts_with(is_hyphen) && !word.ends_with(is_hyphen) {
                    words.insert(word.to_lowercase().replace(is_hyphen, "-"));
                }
            }
        }
        Self(words)
    }

    fn keeps_hyphen(&self, left: &str, right: &str) -> bool {
        let (left, right) = (left.to_lowercase().replace(is_hyphen, "-"), right.to_lowercase());
        self.0.contains(&format!("{left}-{right}")) && !self.0.contains(&format!("{left}{right}"))
    }
}

/// Words before which a hyphen stands for the missing half of a pair (`pre- and post-war`).
const JOINING_WORDS: [&str; 6] = ["and", "or", "nor", "to", "und", "oder"];

fn without_line_hyphens(text: &str, words: &Vocabulary) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_hyphen) {
        let hyphen = rest[at..].chars().next().expect("find should return a character's offset");
        let after = &rest[at + hyphen.len_utf8()..];
        out.push_str(&rest[..at]);
        rest = after;

        let Some(next_line) = after_line_end(after) else {
            out.push(hyphen);
            continue;
        };
        // Where glyph widths are off, a soft hyphen comes with a space before it.
        let before = if hyphen == SOFT_HYPHEN { out.trim_end_matches([' ', '\t']) } else { out.as_str() };
        let left = word_at_end(before);
        let right = word_at_start(next_line);
        let joins = |c: char| if hyphen == SOFT_HYPHEN { c.is_alphabetic() } else { c.is_lowercase() };
        if !left.ends_with(joins) || !right.starts_with(joins) || JOINING_WORDS.contains(&right) {
            out.push(hyphen);
            continue;
        }
        let keep = words.keeps_hyphen(left, right);
        out.truncate(before.len());
        if keep {
            out.push(HYPHEN_MINUS);
        }
        rest = next_line;
    }
    out.push_str(rest);
    out
}

/// What follows one line end (or two: widely set lines come with an empty line between them) and the
/// blanks around it; `None` where the line goes on.
fn after_line_end(text: &str) -> Option<&str> {
    let next = text.trim_start_matches([' ', '\t', '\r', '\n']);
    let line_ends = text[..text.len() - next.len()].matches('\n').count();
    (1..=2).contains(&line_ends).then_some(next)
}

fn word_at_end(text: &str) -> &str {
    let start = text.trim_end_matches(|c: char| c.is_alphabetic() || is_hyphen(c)).len();
    text[start..].trim_start_matches(is_hyphen)
}

fn word_at_start(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphabetic()).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(text: &str) -> String {
        let mut pages = [text.to_string()];
        mend(&mut pages);
        let [page] = pages;
        page
    }

    #[test]
    fn ligatures_become_letters() {
        assert_eq!(
            mended("ﬁlm, ﬂow, oﬀ, oﬃce, waﬄe, ﬅone, faﬆ"),
            "film, flow, off, office, waffle, stone, fast"
        );
    }

    #[test]
    fn words_broken_at_a_line_end_are_joined() {
        for (broken, whole) in [
            ("a convo-\nlution of", "a convolution of"),
            ("a convo- \n lution of", "a convolution of"),
            ("a convo-\r\nlution of", "a convolution of"),
            ("a convo\u{2010}\nlution", "a convolution"),
            ("a convo-\n\nlution", "a convolution"),
            ("opine \u{ad}\nmur", "opinemur"),
            ("Kunst\u{ad}\nStoff", "KunstStoff"),
            ("suﬃ-\ncient", "sufficient"),
            ("two-dimen-\nsional", "two-dimensional"),
            ("one-\n", "one-\n"),
        ] {
            assert_eq!(mended(broken), whole, "{broken:?}");
        }
    }

    #[test]
    fn hyphens_of_other_kinds_stay() {
        for text in [
            "ResNet-\n50",
            "VGG-\nlike",
            "the Smith-\nJones method",
            "a dash -\nand so on",
            "pre-\nand post-war",
            "a list:\n- one\n- two",
            "3-\n4",
            "far-\n\n\nbelow",
            "mid-line well-known",
            "-\nx",
            "-",
        ] {
            assert_eq!(mended(text), text, "{text:?}");
        }
    }

    #[test]
    fn a_compound_known_from_elsewhere_keeps_its_hyphen() {
        assert_eq!(mended("well-\nknown; well-known"), "well-known; well-known");
        assert_eq!(mended("a well \u{ad}\nknown, Well-known"), "a well-known, Well-known");
        // Both forms occur: the joined one wins, as nothing tells them apart.
        assert_eq!(mended("re-\nuse, re-use, reuse"), "reuse, re-use, reuse");
        let mut pages = ["state-of-the-\nart".to_string(), "the state-of-the-art".to_string()];
        mend(&mut pages);
        assert_eq!(pages[0], "state-of-the-art");
    }
}
