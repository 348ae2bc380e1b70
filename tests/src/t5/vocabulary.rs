//! A made-up vocabulary in T5's form, of any size: enough English for prose to come out in few tokens, and words that are
//! one token each, so that a text can be written for the ids of a golden.

use serde_json::{Value, json};

/// Pieces that are not made up, the most frequent first: `_` stands for the space before a word.
const PIECES: &str = "_the s _of _and _to ing _a _in ed _is er _that _for _it _as es _on ly _with _was _be _by _not \
    _are _this _at _from _or _have _an _which _you _one _were _all _we _can _her _has _there _been _if _more _when _will \
    _would _who _so _no _what _their th he in an re on en at ou it is or ti as te et ng of al de se le sa si ar ve ra \
    ld ur _question _answer _context _based _provided ion able est ness tion ive ous ent ant _how _why _where \
    _image _images _network _networks _layer _layers _convolution al _kernel _pixel _pixels _weight _weights _training \
    _learning _deep _data _model _number _size _filter _filters _feature _features _input _output _each _other _than \
    _then _them _these _some _into _only _its _two _three _first _last _may _most _over _such _between _about _after \
    _before _because _very _same _both _many _much _any _out _up _do _does _did _kiln _clay _fire _pot _glaze _wheel \
    _heat _cone _at _temperature _water _ash _hot _cold _red _blue _cat _dog _house _tree _time _year _day _work _world \
    _people _way _part _place _case _point _group _problem _fact _hand _eye _life _child _used _use _using _made _make \
    _see _seen _take _given _find _found _call _called _mean _means _example _figure _table _page _paper _method \
    _function _value _values _small _large _high _low _new _old _good _long _great _little _own _right _left _next";

/// The vocabulary of a made-up tokenizer: at 0 to 2 `<pad>`, `</s>` and `<unk>`, then a space and the characters of
/// ASCII, then words and parts of words, then made-up words. With 32,100 pieces and more, the last hundred up to there
/// are `<extra_id_99>` to `<extra_id_0>`, and what the model has beyond has no piece, as in T5's own vocabulary.
pub fn vocabulary(vocab_size: usize) -> Vec<String> {
    const ALL: usize = 32_100;
    let mut pieces: Vec<String> = ["<pad>", "</s>", "<unk>", "▁"].map(str::to_owned).into();
    pieces.extend(('!'..='~').map(String::from));
    for piece in PIECES.split_whitespace().map(|piece| piece.replace('_', "▁")) {
        if !pieces.contains(&piece) {
            pieces.push(piece);
        }
    }
    let words = vocab_size.min(ALL - 100);
    pieces.extend((0..words.saturating_sub(pieces.len())).map(word));
    pieces.truncate(words);
    if vocab_size >= ALL {
        pieces.extend((0..100).rev().map(|index| format!("<extra_id_{index}>")));
    }
    pieces
}

/// A word of two or three syllables, unlike those of all other numbers and any of [`PIECES`].
fn word(index: usize) -> String {
    let syllable = |digit: usize| {
        let (first, second) = (b"bdfgjklmnprstvwz"[digit / 5], b"aeiou"[digit % 5]);
        [char::from(first), char::from(second)]
    };
    let digits = [index % 80, index / 80 % 80, index / 6400];
    // The letter behind keeps these words apart from English ones.
    let syllables = if digits[2] == 0 { &digits[..2] } else { &digits };
    "▁".chars().chain(syllables.iter().flat_map(|digit| syllable(*digit))).chain(['x']).collect()
}

/// The text whose tokens these are, without the last of them, which ends it: `ids` are words of the [`vocabulary`], but
/// for the last, which is 1.
///
/// # Panics
/// For other ids.
pub fn text(vocab_size: usize, ids: &[u32]) -> String {
    let pieces = vocabulary(vocab_size);
    let (last, words) = ids.split_last().expect("a prompt should have a token");
    assert_eq!(*last, 1, "a prompt should end with </s>");
    let word = |id: &u32| {
        let piece = &pieces[*id as usize];
        let word = piece.strip_prefix('▁').filter(|word| !word.is_empty());
        word.unwrap_or_else(|| panic!("{id} is {piece:?}, which is no word"))
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// The file `tokenizer.json`: Unigram over the [`vocabulary`], with the rest as T5's own has it, but for its table of
/// normal forms, in whose place are NFKC and single spaces.
pub fn tokenizer(vocab_size: usize) -> Value {
    let pieces = vocabulary(vocab_size);
    let is_special = |piece: &str| piece.starts_with('<') && piece.len() > 1 && piece.ends_with('>');
    // Two pieces are never likelier than one that is as long as both.
    let scored: Vec<Value> = pieces
        .iter()
        .enumerate()
        .map(|(index, piece)| {
            let score = match piece.chars().count() {
                _ if is_special(piece) => 0.0,
                1 => -12.0 - index as f64 / 1000.0,
                _ => -5.5 - index as f64 / 10_000.0,
            };
            json!([piece, score])
        })
        .collect();
    let special: Vec<Value> = pieces
        .iter()
        .enumerate()
        .filter(|(_, piece)| is_special(piece))
        .map(|(id, piece)| {
            json!({
                "id": id, "content": piece, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .collect();
    let space = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let end = json!({"SpecialToken": {"id": "</s>", "type_id": 0}});
    let [first, second] = ["A", "B"].map(|id| json!({"Sequence": {"id": id, "type_id": 0}}));
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFKC"},
            {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
        ]},
        "pre_tokenizer": space,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, end],
            "pair": [first, end, second, end],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        },
        "decoder": space,
        "model": {"type": "Unigram", "unk_id": 2, "vocab": scored, "byte_fallback": false},
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_piece_stands_twice() {
        for vocab_size in [67, 128, 640, 32_000, 32_128] {
            let pieces = vocabulary(vocab_size);
            assert_eq!(pieces.len(), vocab_size.min(32_100));
            let different: BTreeSet<&String> = pieces.iter().collect();
            assert_eq!(different.len(), pieces.len());
        }
        let pieces = vocabulary(32_128);
        assert_eq!((&*pieces[97], &*pieces[31_999]), ("~", "▁wezabux"));
        assert_eq!((&*pieces[32_000], &*pieces[32_099]), ("<extra_id_99>", "<extra_id_0>"));
        assert_eq!(text(640, &[639, 1]), pieces[639].trim_start_matches('▁'));
    }
}
