//! The stock T5 tokenizer against what Hugging Face's own library makes of ten awkward texts.

use std::fs;

use kiln_models::t5::tokenizer::T5Tokenizer;
use kiln_tests::golden::test_data;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

#[test]
fn the_stock_tokenizer_gives_the_known_ids_and_texts() {
    let Some(folder) = test_data("t5-tokenizer") else { return };
    let expected = fs::read(folder.join("expected_ids.json")).expect("the expected ids should be there");
    let cases: Vec<Case> = serde_json::from_slice(&expected).expect("the expected ids should be JSON");
    assert_eq!(cases.len(), 10);
    let tokenizer = T5Tokenizer::open(&folder.join("tokenizer.json"), 32_128).unwrap();
    assert_eq!((tokenizer.pad(), tokenizer.eos()), (0, 1));
    for Case { text, ids, decoded } in cases {
        assert_eq!(tokenizer.encode(&text).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), decoded, "{text:?}");
        let mut stream = tokenizer.stream();
        let mut pieces: Vec<String> = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
        pieces.push(stream.finish().unwrap());
        assert_eq!(pieces.concat(), decoded, "{pieces:?}");
    }
    // The table's last 28 rows have no token; a table that is shorter than the vocabulary is another model's.
    assert_eq!(tokenizer.decode(&[8774, 32_100, 32_127, 296, 1]).unwrap(), "Hello world");
    assert!(T5Tokenizer::open(&folder.join("tokenizer.json"), 32_099).is_err());
}
