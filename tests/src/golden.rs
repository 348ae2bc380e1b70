//! Files that another program made: goldens in `assets/goldens`, each beside the script that wrote it, and large
//! files that stay outside the repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_reference::Array;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::report;

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ should lie in the repository").to_path_buf()
}

/// The path of a golden, by its name below `assets/goldens`.
///
/// # Panics
/// Where it is missing: goldens are part of the repository.
#[track_caller]
pub fn path(name: &str) -> PathBuf {
    let path = root().join("assets/goldens").join(name);
    assert!(path.exists(), "golden {} is missing", path.display());
    path
}

/// A golden in JSON.
///
/// # Panics
/// Where it is missing or not of that form.
#[track_caller]
pub fn json<T: DeserializeOwned>(name: &str) -> T {
    let path = path(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("golden {}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("golden {}: {e}", path.display()))
}

/// The tensors of a golden in safetensors form, `f32` or `f64`, by name.
///
/// # Panics
/// Where it is missing or not of that form.
#[track_caller]
pub fn tensors(name: &str) -> BTreeMap<String, Array> {
    let path = path(name);
    let bytes = fs::read(&path).unwrap_or_else(|e| panic!("golden {}: {e}", path.display()));
    read_tensors(&bytes).unwrap_or_else(|e| panic!("golden {}: {e}", path.display()))
}

fn read_tensors(bytes: &[u8]) -> Result<BTreeMap<String, Array>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let data = match view.dtype() {
            Dtype::F32 => {
                view.data().as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
            }
            Dtype::F64 => view.data().as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            other => return Err(format!("tensor {name} is {other:?}, expected F32 or F64")),
        };
        tensors.insert(name, Array::new(view.shape(), data));
    }
    Ok(tensors)
}

/// One case of `assets/goldens/ops`: what PyTorch made of known inputs, in double precision.
#[derive(Clone, Debug)]
pub struct OpCase {
    /// `op/case`, for messages.
    pub name: String,
    attributes: serde_json::Value,
    /// The inputs in order; each number is exact in `f32`.
    pub inputs: Vec<Array>,
    /// What the op gives.
    pub output: Array,
}

impl OpCase {
    /// The op's options, as the script names them.
    ///
    /// # Panics
    /// Where they are not of that form.
    #[track_caller]
    pub fn attributes<T: DeserializeOwned>(&self) -> T {
        let attributes = serde_json::from_value(self.attributes.clone());
        attributes.unwrap_or_else(|e| panic!("golden ops/{}: {e}", self.name))
    }
}

/// The cases of one op in `assets/goldens/ops`.
///
/// # Panics
/// Where there are none.
#[track_caller]
pub fn op_cases(op: &str) -> Vec<OpCase> {
    #[derive(Deserialize)]
    struct List {
        cases: Vec<Row>,
    }
    #[derive(Deserialize)]
    struct Row {
        op: String,
        case: String,
        attributes: serde_json::Value,
        inputs: Vec<String>,
    }
    let tensors = tensors("ops/tensors.safetensors");
    let rows = json::<List>("ops/cases.json").cases.into_iter().filter(|row| row.op == op);
    let cases: Vec<OpCase> = rows
        .map(|row| {
            let name = format!("{}/{}", row.op, row.case);
            let tensor = |key: &str| tensors[&format!("{name}/{key}")].clone();
            let inputs = row.inputs.iter().map(|key| tensor(key)).collect();
            let output = tensor("output");
            OpCase { name, attributes: row.attributes, inputs, output }
        })
        .collect();
    assert!(!cases.is_empty(), "assets/goldens/ops has no case of {op}");
    cases
}

/// A file that the repository does not hold, below the folder that `KILN_TEST_DATA` names. `None`, and the test is
/// reported as skipped, where it is not there: then the test returns.
#[track_caller]
pub fn test_data(name: &str) -> Option<PathBuf> {
    let found = find(std::env::var_os("KILN_TEST_DATA").map(PathBuf::from).as_deref(), name);
    found.map_err(|reason| report::skip(&reason)).ok()
}

/// The folder of Fashion-MNIST's four files: `fashion-mnist` in `KILN_TEST_DATA`, or where Debian's package
/// `dataset-fashion-mnist` puts them. `None`, and the test is reported as skipped, where it is in neither place.
#[track_caller]
pub fn fashion_mnist() -> Option<PathBuf> {
    const DEBIAN: &str = "/usr/share/datasets/fashion-mnist";
    let given = find(std::env::var_os("KILN_TEST_DATA").map(PathBuf::from).as_deref(), "fashion-mnist");
    let found = given.or_else(|reason| match Path::new(DEBIAN) {
        debian if debian.is_dir() => Ok(debian.to_owned()),
        _ => Err(format!("{reason}, or {DEBIAN}")),
    });
    found.map_err(|reason| report::skip(&reason)).ok()
}

fn find(folder: Option<&Path>, name: &str) -> Result<PathBuf, String> {
    let folder = folder.ok_or_else(|| format!("needs {name} in KILN_TEST_DATA, which is not set"))?;
    let path = folder.join(name);
    if path.exists() { Ok(path) } else { Err(format!("needs {}, which is missing", path.display())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    #[test]
    fn tensors_come_back() {
        let bytes: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, vec![1, 2], &bytes).expect("two floats should fill [1, 2]");
        let file = safetensors::serialize([("x", view)], None).expect("a tensor should serialise");
        assert_eq!(read_tensors(&file).expect("it should read")["x"], Array::new(&[1, 2], vec![1.5, -2.0]));
        assert!(read_tensors(&file[..file.len() - 1]).is_err());
        let view = TensorView::new(Dtype::U8, vec![8], &bytes).expect("eight bytes should fill [8]");
        let file = safetensors::serialize([("x", view)], None).expect("a tensor should serialise");
        assert_eq!(
            read_tensors(&file).expect_err("bytes are no floats"),
            "tensor x is U8, expected F32 or F64"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        assert!(find(None, "t5.bin").expect_err("no folder").contains("t5.bin"));
        let here = root();
        assert!(find(Some(&here), "no-such-file").expect_err("no file").contains("no-such-file"));
        assert_eq!(find(Some(&here), "Cargo.toml"), Ok(here.join("Cargo.toml")));
    }

    #[test]
    #[should_panic(expected = "no-such-golden")]
    fn a_missing_golden_fails() {
        path("no-such-golden");
    }
}
