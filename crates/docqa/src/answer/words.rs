//! The words of a question that say what it is about.

/// Words that questions are made of, whatever they are about.
const COMMON: [&str; 74] = [
    "a", "about", "an", "and", "any", "are", "as", "at", "be", "been", "between", "by", "can", "could",
    "define", "describe", "did", "do", "does", "done", "explain", "for", "from", "get", "give", "had", "has",
    "have", "how", "if", "in", "into", "is", "it", "its", "many", "me", "mean", "means", "meant", "much",
    "my", "not", "of", "on", "one", "or", "should", "tell", "than", "that", "the", "their", "them", "there",
    "these", "they", "this", "those", "to", "use", "used", "was", "were", "what", "when", "where", "which",
    "who", "why", "will", "with", "you", "your",
];

/// The words of a question that are not common ones, in lower case. Of a question in another language than
/// English all words count, so [`names_all`] holds of fewer sentences.
pub(super) fn content_words(question: &str) -> Vec<String> {
    words(question).filter(|word| !COMMON.contains(&word.as_str())).collect()
}

/// Whether all of some words occur in a text, endings aside; never where there are none.
pub(super) fn names_all(text: &str, asked: &[String]) -> bool {
    let there: Vec<String> = words(text).collect();
    !asked.is_empty() && asked.iter().all(|asked| there.iter().any(|word| same_stem(asked, word)))
}

fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// Whether two words differ in a short ending at most: `overfit` and `overfitting`, `layer` and `layers`.
fn same_stem(a: &str, b: &str) -> bool {
    const STEM: usize = 4;
    const ENDING: usize = 4;
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let ending = long.strip_prefix(short).map(|ending| ending.chars().count());
    ending == Some(0) || short.chars().count() >= STEM && ending.is_some_and(|count| count <= ENDING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_words_say_nothing() {
        assert_eq!(content_words("What is dropout?"), ["dropout"]);
        assert_eq!(content_words("How many parameters does VGG-16 have?"), ["parameters", "vgg", "16"]);
        assert!(content_words("What is it about?").is_empty());
        assert!(COMMON.is_sorted());
    }

    #[test]
    fn a_text_names_what_it_has_all_words_of() {
        let names = |text: &str, question: &str| names_all(text, &content_words(question));
        assert!(names("The remedies are weight decay, and dropout, which hides some.", "What is Dropout?"));
        assert!(names("It is said to overfit.", "What is overfitting?"));
        assert!(names("Each layer has two of them.", "How many are in the layers?"));
        assert!(!names("Deep networks are easier.", "How deep is the ocean?"));
        assert!(!names("A car is a vehicle.", "What is a cartoon?"));
        assert!(!names("It is what it is.", "What is it?"));
    }
}
