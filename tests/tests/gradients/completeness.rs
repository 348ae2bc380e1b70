//! Every op has its gradients tested, or a reason why it has none.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Ops without a gradient: what only a backward half or a pass adds, and what has no derivative.
const WITHOUT: &[(&str, &str)] = &[
    ("adaptive_pool2d_grad", "part of a backward half"),
    ("attention_grad", "part of a backward half"),
    ("attention_grad_sums", "part of a backward half"),
    ("avg_pool2d_grad", "part of a backward half"),
    ("batch_norm_grad", "part of a backward half"),
    ("cached_attention", "of decoding, which nothing trains"),
    ("channel_join", "part of a backward half, and of statistics at which gradients end"),
    ("channel_sum", "part of a backward half, and of statistics at which gradients end"),
    ("conv2d_weight_grad", "part of a backward half"),
    ("conv_weight_flip", "added by a pass, after differentiation"),
    ("cross_entropy_grad", "part of a backward half"),
    ("guard", "behind the gradients of a training step"),
    ("index_add", "part of a backward half"),
    ("index_rows", "of indices, which have none"),
    ("join_parts", "added by a pass, after differentiation"),
    ("local_response_norm_grad", "part of a backward half"),
    ("max_pool2d_grad", "part of a backward half"),
    ("norm_cross_attention", "added by a pass, after differentiation"),
    ("norm_linear", "added by a pass, after differentiation"),
    ("norm_self_attention", "added by a pass, after differentiation"),
    ("one_hot", "of labels, which have none"),
    ("pack_half", "of weights that are not trained"),
    ("pack_half_panels", "added by a pass, after differentiation"),
    ("pack_panels", "added by a pass, after differentiation"),
    ("pad_grad", "part of a backward half"),
    ("segment_mean_grad", "part of a backward half"),
    ("split_sum", "added by a pass, after differentiation"),
    ("sum_of_squares", "behind the gradients of a training step"),
    ("unary_grad", "part of a backward half"),
    ("unpack_half", "of weights that are not trained"),
    ("upsample2d_grad", "part of a backward half"),
    ("winograd_input", "added by a pass, after differentiation"),
    ("winograd_output", "added by a pass, after differentiation"),
    ("winograd_weight", "added by a pass, after differentiation"),
];

#[test]
fn every_op_has_its_gradients_tested() {
    let root = kiln_tests::golden::root();
    let ops = stems(&root.join("crates/engine/src/ops"));
    let modules = stems(&root.join("tests/tests/gradients"));
    let without: BTreeSet<&str> = WITHOUT.iter().map(|(op, _)| *op).collect();
    let missing: Vec<&String> =
        ops.iter().filter(|op| !modules.contains(*op) && !without.contains(op.as_str())).collect();
    assert!(missing.is_empty(), "ops whose gradients nothing tests: {missing:?}");
    let idle: Vec<&&str> =
        without.iter().filter(|op| !ops.contains(**op) || modules.contains(**op)).collect();
    assert!(idle.is_empty(), "said to have no gradient, but gone or tested: {idle:?}");

    let main =
        fs::read_to_string(root.join("tests/tests/gradients/main.rs")).expect("main.rs should be readable");
    let unnamed: Vec<&String> =
        modules.iter().filter(|name| *name != "main" && !main.contains(&format!("mod {name};"))).collect();
    assert!(unnamed.is_empty(), "tests/tests/gradients/main.rs does not name {unnamed:?}");
}

/// The names of a folder's Rust files, without the ending.
fn stems(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.map(|entry| entry.expect("entries should be readable").path());
    let files = paths.filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
}
