use super::{CatalogueError, compile};
use crate::{
    Diagnostic,
    testing::{compile_files, folder, none, only},
};

const GRID: &str = "//! grid
//!
//! Positions.

fn position(group: vec3<u32>) -> u32 {
    return group.x;
}
";

const PROBE: &str = "//! probe
//!
//! output[i] = SCALE
//!
//! uses: grid
//! variants:
//!   one   SCALE=1.0
//!   two   SCALE=2.0

override THREADS: u32 = 64u;
const SCALE: f32 = 0.0;

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = position(group) * THREADS + thread;
    if (index < params.count) {
        output[index] = SCALE;
    }
}
";

fn with(text: &str) -> Vec<String> {
    compile_files(&[("lib/grid.wgsl", GRID), ("probe.wgsl", text)])
}

fn diagnostics(files: &[(&str, &str)]) -> Vec<Diagnostic> {
    let dir = folder(files);
    match compile(dir.path()) {
        Err(CatalogueError::Shaders(diagnostics)) => diagnostics,
        other => panic!("expected diagnostics, got {other:?}"),
    }
}

#[test]
fn sound() {
    let dir = folder(&[("lib/grid.wgsl", GRID), ("probe.wgsl", PROBE), ("README.md", "Not a shader.")]);
    let catalogue = compile(dir.path()).expect("the shader should be sound");
    let [shader] = catalogue.shaders() else { panic!("expected one shader") };
    assert_eq!(shader.name(), "probe");
    let [one, two] = shader.variants() else { panic!("expected two variants") };
    assert_eq!((one.name(), two.name()), ("one", "two"));
    assert!(one.source().starts_with("fn position"), "the library should come first");
    assert!(one.source().contains("\nconst SCALE: f32 = 1.0;\n") && two.source().contains("f32 = 2.0;"));
    assert!(!one.source().contains("//!"), "headers should be left out");
}

#[test]
fn a_fault_is_told_at_its_own_line() {
    let broken = PROBE.replace("= SCALE;", "= SCALES;");
    let found = diagnostics(&[("lib/grid.wgsl", GRID), ("probe.wgsl", &broken)]);
    let [fault] = found.as_slice() else { panic!("expected one fault, not one a variant: {found:#?}") };
    assert!(fault.path().ends_with("probe.wgsl"));
    assert_eq!(fault.line(), 24);
    let text = fault.to_string();
    assert!(text.contains("probe.wgsl:24:25\n   |\n24 |         output[index] = SCALES;\n"), "{text}");
    assert!(text.contains("|                         ^^^^^^ unknown identifier"), "{text}");
    assert!(text.contains("= note: in variant `one`"), "{text}");
}

#[test]
fn a_fault_in_a_library_is_told_there() {
    let broken = GRID.replace("group.x", "1.5");
    let found = diagnostics(&[("lib/grid.wgsl", &broken), ("probe.wgsl", PROBE)]);
    assert!(found[0].path().ends_with("grid.wgsl"), "{}", found[0]);
    assert_eq!(found[0].line(), 6, "{}", found[0]);
}

#[test]
fn a_shader_that_makes_naga_panic_is_named() {
    // naga 30 accepts a pointer to an element as an argument, and its SPIR-V writer panics then.
    let pointing =
        PROBE.replace("@compute", "fn bump(x: ptr<function, f32>) { *x += 1.0; }\n\n@compute").replace(
            "output[index] = SCALE;",
            "var a = array<f32, 2>(SCALE, 1.0); bump(&a[1]); output[index] = a[1];",
        );
    let found = diagnostics(&[("lib/grid.wgsl", GRID), ("probe.wgsl", &pointing)]);
    let [fault] = found.as_slice() else { panic!("expected one fault, not one a variant: {found:#?}") };
    assert!(fault.path().ends_with("probe.wgsl"));
    assert!(fault.message().starts_with("no translation to SPIR-V: naga panicked: "), "{fault}");
    assert!(fault.to_string().contains("= note: in variant `one`"), "{fault}");
}

#[test]
fn enable_directives_go_first() {
    let text = PROBE.replace("//! uses: grid", "//! uses: grid\n//! enables: f16");
    let text = text.replace("SCALE;\n", "f32(f16(SCALE));\n");
    let dir = folder(&[("lib/grid.wgsl", GRID), ("probe.wgsl", &text)]);
    let catalogue = compile(dir.path()).expect("the shader should be sound");
    assert!(catalogue.shaders()[0].variants()[0].source().starts_with("enable f16;\n"));
    assert!(catalogue.rust().contains("needs: Needs { f16: true, int64: false, subgroups: None }"));
}

#[test]
fn subgroups_are_told_with_their_size() {
    for (size, needs) in [("any", "Some(crate::Subgroups::Any)"), ("8", "Some(crate::Subgroups::Of(8))")] {
        let text = PROBE.replace("//! uses: grid", &format!("//! uses: grid\n//! subgroups: {size}"));
        let text = text.replace("= SCALE;", "= subgroupAdd(SCALE);");
        let dir = folder(&[("lib/grid.wgsl", GRID), ("probe.wgsl", &text)]);
        let catalogue = compile(dir.path()).expect("the shader should be sound");
        assert!(catalogue.rust().contains(&format!("int64: false, subgroups: {needs} }}")));
    }
}

#[test]
fn a_row_of_64_bit_integers_says_so() {
    let text = PROBE.replace("@compute", "alias Whole = u32;\n\n@compute");
    let text = text.replace("= SCALE;", "= f32(Whole(index)) * SCALE;").replace("=2.0", "=2.0 Whole=u64");
    let dir = folder(&[("lib/grid.wgsl", GRID), ("probe.wgsl", &text)]);
    let catalogue = compile(dir.path()).unwrap_or_else(|error| panic!("the shader should be sound: {error}"));
    let [one, two] = catalogue.shaders()[0].variants() else { panic!("expected two variants") };
    assert_eq!((one.int64, two.int64), (false, true));
}

#[test]
fn what_is_not_enabled_is_refused() {
    let text = PROBE.replace("= SCALE;", "= f32(f16(SCALE));");
    assert!(!with(&text).is_empty());
    let atomics = PROBE.replace("array<f32>", "array<atomic<f32>>");
    let atomics = atomics.replace("output[index] = SCALE", "atomicAdd(&output[index], SCALE)");
    assert!(!with(&atomics).is_empty());
    let subgroups = PROBE.replace("= SCALE;", "= subgroupAdd(SCALE);");
    assert!(!with(&subgroups).is_empty());
}

#[test]
fn keys() {
    none(&with(&PROBE.replace("SCALE=1.0", "SCALE=1.0 THREADS=32")));
    only(&with(&PROBE.replace("SCALE=1.0", "SIZE=1.0")), "the key `SIZE` is declared by 0 lines");
    only(&with(&PROBE.replace("SCALE=1.0", "THREADS=many")), "an override's value is a number");
    only(&with(&PROBE.replace("SCALE=1.0", "THREADS=1.5")), "`THREADS=1.5`: the override is an integer");
    let twice = PROBE.replace("struct Params", "// one more\n    const SCALE = 2;\nstruct Params");
    // Both rows set it; it is told once.
    only(&with(&twice), "the key `SCALE` is declared by 2 lines; expected exactly one");
    let spread = PROBE.replace("const SCALE: f32 = 0.0;", "const SCALE: f32 =\n    0.0;");
    assert!(with(&spread).iter().all(|message| message.contains("its line must read `.. = value;`")));
    // A word that only starts alike is another.
    none(&with(&PROBE.replace("struct Params", "const SCALES: f32 = 3.0;\nstruct Params")));
}

#[test]
fn variants_share_their_interface() {
    let text =
        PROBE.replace("SCALE: f32", "SCALE: T").replace("struct Params", "alias T = f32;\nstruct Params");
    let text = text.replace("array<f32>", "array<T>");
    none(&with(&text.replace("SCALE=1.0", "SCALE=1 T=u32")));
    let params =
        text.replace("count: u32", "count: u32, scale: T").replace("= SCALE", "= SCALE + params.scale");
    only(&with(&params.replace("SCALE=1.0", "SCALE=1 T=u32")), "variant `two` has other parameters");
}

#[test]
fn entry_point() {
    only(&with(&PROBE.replace("fn main", "fn start")), "the entry point is `start`");
    let two = format!("{}\n@compute @workgroup_size(1) fn other() {{}}\n", PROBE);
    only(&with(&two), "2 entry points");
    only(&with(&PROBE.replace("@compute @workgroup_size(THREADS)", "")), "entry point");
}

#[test]
fn free_overrides_need_plain_defaults() {
    let text = |line: &str| {
        PROBE
            .replace("= SCALE;", "= SCALE * f32(FREE);")
            .replace("const SCALE", &format!("{line}\nconst SCALE"))
    };
    none(&with(&text("override FREE: u32 = 3u;")));
    only(&with(&text("override FREE: u32 = THREADS * 2u;")), "needs a literal as its default");
    only(&with(&text("@id(3) override FREE: u32 = 3u;")), "has an @id");
    assert!(!with(&text("override FREE: u32;")).is_empty());
}

#[test]
fn header_alone() {
    let (header, _) = PROBE.split_once("\n\n").expect("a blank line ends the header");
    only(&with(header), "nothing follows the header");
}

#[test]
fn no_row() {
    let text = PROBE.replace("//! variants:\n//!   one   SCALE=1.0\n//!   two   SCALE=2.0\n", "");
    only(&with(&text), "in no row of the catalogue");
}

#[test]
fn libraries() {
    let lost = GRID.replace("grid", "lost");
    let files = [("lib/grid.wgsl", GRID), ("lib/lost.wgsl", &lost), ("probe.wgsl", PROBE)];
    only(&compile_files(&files), "no shader uses this library");
    only(&compile_files(&[("probe.wgsl", PROBE)]), "`uses:` names `grid`, but there is no lib/grid.wgsl");
    let headless = GRID.replace("//! grid\n//!\n//! Positions.\n", "");
    only(&compile_files(&[("lib/grid.wgsl", &headless), ("probe.wgsl", PROBE)]), "the header is missing");
    let nested = GRID.replace("//! Positions.", "//! Positions.\n//! uses: grid");
    only(&compile_files(&[("lib/grid.wgsl", &nested), ("probe.wgsl", PROBE)]), "a library has neither");
}

#[test]
fn a_missing_folder_is_named() {
    let dir = folder(&[]);
    let error = compile(&dir.path().join("shaders")).expect_err("there is no such folder");
    assert!(error.to_string().starts_with("cannot read "), "{error}");
    assert!(error.to_string().contains("shaders: "), "{error}");
}

#[test]
fn other_folders_are_refused() {
    let dir = folder(&[("lib/grid.wgsl", GRID), ("probe.wgsl", PROBE)]);
    std::fs::create_dir(dir.path().join("old")).expect("a temporary folder should be writable");
    let error = compile(dir.path()).expect_err("the folder should be refused");
    assert!(error.to_string().contains("in no other folder"), "{error}");
    assert!(error.to_string().ends_with("1 error found in the shaders"), "{error}");
}
