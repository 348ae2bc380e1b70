//! Runs the PDF parser, which panics on odd files, without a word on stderr.

/// Runs `work` and gives its panic message as an error.
pub(super) fn catch<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    kiln_models::quiet::catch(work)
        .map_err(|message| message.unwrap_or_else(|| "it does not follow the PDF standard".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_without_words_gets_some() {
        assert_eq!(catch(|| panic!("words")), Err::<(), _>("words".into()));
        let unspoken = Err::<(), _>("it does not follow the PDF standard".to_string());
        assert_eq!(catch(|| "none".parse::<u8>().map(drop).unwrap()), unspoken);
    }
}
