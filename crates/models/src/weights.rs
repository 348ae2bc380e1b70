//! Weights in a safetensors file, read by ranges.
//!
//! Only the header is read when the file is opened. Tensors are read by ranges of elements, those of half precision
//! through a window of 8 MB, and never mapped into memory: a mapped file that is cut short kills the process.
//! Format: the safetensors README.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use half::{bf16, f16};
use kiln_engine::{DType, Graph, Origin, TensorDesc, WeightError, WeightSource};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::error::{ModelError, TensorDifferences};

/// The most bytes converted at a time.
const WINDOW: usize = 8 << 20;

/// The length of the number that a file starts with: the header's size.
const PREFIX: u64 = 8;

/// The largest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// An open safetensors file whose header has been checked against the file's length.
///
/// As a [`WeightSource`] it offers its F32, F16 and BF16 tensors, all as f32.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    file: Mutex<File>,
    metadata: Metadata,
    /// Where the tensors' bytes start in the file.
    data_start: u64,
}

impl Weights {
    /// Opens a file and reads its header.
    ///
    /// Fails where the header is not one of a safetensors file and where the file is shorter or longer than its
    /// tensors: a truncated file is found here, before anything is computed.
    pub fn open(path: &Path) -> Result<Weights, ModelError> {
        let io = |source| ModelError::io(path, source);
        let bad_header = |message: String| ModelError::WeightsHeader { file: path.to_owned(), message };
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        if length < PREFIX {
            return Err(bad_header(format!("expected at least {PREFIX} bytes, got {length}")));
        }
        let mut prefix = [0; PREFIX as usize];
        file.read_exact(&mut prefix).map_err(io)?;
        let header_length = u64::from_le_bytes(prefix);
        if header_length > MAX_HEADER {
            return Err(bad_header(format!(
                "its header would be {header_length} bytes long, at most {MAX_HEADER} are allowed"
            )));
        }
        let data_start = PREFIX + header_length;
        if data_start > length {
            return Err(bad_header(format!(
                "its header ends at byte {data_start}, the file has {length} bytes"
            )));
        }
        let mut header = vec![0; header_length as usize];
        file.read_exact(&mut header).map_err(io)?;
        // This checks that the tensors lie side by side from 0 on and that each has the bytes its shape needs.
        // `SafeTensors::read_metadata` would do the same, but it wants the whole file in memory.
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|error| bad_header(format!("bad header: {error}")))?;
        check_length(path, &metadata, data_start, length)?;
        Ok(Weights { path: path.to_owned(), file: Mutex::new(file), metadata, data_start })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, in the order of the file.
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// The shape of a tensor of any element type, or `None` where there is no such tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.metadata.info(name).map(|info| info.shape.as_slice())
    }

    /// A text that the file carries beside its tensors (`__metadata__` in the header), by its key.
    pub fn note(&self, key: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// The bytes of all tensors together.
    pub fn data_bytes(&self) -> u64 {
        self.metadata.data_len() as u64
    }

    /// Checks that the file holds exactly the `expected` tensors (names and shapes), besides those `ignored`.
    ///
    /// An ignored name that ends in `*` stands for all names that start so. The error names every tensor that is
    /// missing, extra, of another shape or of a type that cannot be read as f32.
    pub fn check(&self, expected: &[(String, Vec<usize>)], ignored: &[&str]) -> Result<(), ModelError> {
        let mut differences = self.differences(expected);
        differences.extra.retain(|name| {
            !ignored.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == *pattern,
            })
        });
        if differences.is_empty() {
            return Ok(());
        }
        Err(ModelError::WrongTensors { file: self.path.clone(), differences: differences.into() })
    }

    /// How the file differs from one that holds exactly the `expected` tensors (names and shapes).
    pub fn differences(&self, expected: &[(String, Vec<usize>)]) -> TensorDifferences {
        let mut differences = TensorDifferences::default();
        for (name, shape) in expected {
            match self.metadata.info(name) {
                None => differences.missing.push(name.clone()),
                Some(info) if info.shape != *shape => {
                    differences.misshapen.push((name.clone(), shape.clone(), info.shape.clone()));
                }
                Some(info) if element_bytes(info.dtype).is_none() => {
                    differences.mistyped.push((name.clone(), info.dtype.to_string()));
                }
                Some(_) => {}
            }
        }
        let is_expected = |name: &String| expected.iter().any(|(wanted, _)| wanted == name);
        differences.extra = self.names().into_iter().filter(|name| !is_expected(name)).collect();
        differences
    }

    fn read_tensor(&self, info: &TensorInfo, elements: Range<usize>, out: &mut [f32]) -> Result<(), String> {
        let count: usize = info.shape.iter().product();
        if elements.start > elements.end || elements.end > count {
            return Err(format!("elements {elements:?} asked for, it has {count}"));
        }
        if out.len() != elements.len() {
            return Err(format!("{} elements asked for, there is room for {}", elements.len(), out.len()));
        }
        let Some(size) = element_bytes(info.dtype) else {
            return Err(format!("elements are of type {}, expected F32, F16 or BF16", info.dtype));
        };
        let start = self.data_start + (info.data_offsets.0 + elements.start * size) as u64;
        // A panic elsewhere cannot leave the file in a state that matters: every read seeks first.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start)).map_err(|error| error.to_string())?;
        let describe = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "the file became shorter while it was read".to_owned(),
            _ => error.to_string(),
        };
        if info.dtype == Dtype::F32 && cfg!(target_endian = "little") {
            // The file's bytes are the values as they are: no window, no conversion.
            return file.read_exact(bytemuck::cast_slice_mut(out)).map_err(describe);
        }
        let mut window = vec![0; WINDOW.min(out.len() * size)];
        for piece in out.chunks_mut(WINDOW / size) {
            let bytes = &mut window[..piece.len() * size];
            file.read_exact(bytes).map_err(describe)?;
            convert(info.dtype, bytes, piece);
        }
        Ok(())
    }
}

impl WeightSource for Weights {
    fn desc(&self, name: &str) -> Option<TensorDesc> {
        let info = self.metadata.info(name)?;
        element_bytes(info.dtype)?;
        Some(TensorDesc { shape: info.shape.clone(), dtype: DType::F32 })
    }

    fn read(&self, name: &str, elements: Range<usize>, out: &mut [f32]) -> Result<(), WeightError> {
        let describe =
            |message: String| WeightError(format!("{}: tensor {name}: {message}", self.path.display()));
        let info = self.metadata.info(name).ok_or_else(|| describe("not in the file".to_owned()))?;
        self.read_tensor(info, elements, out).map_err(describe)
    }
}

/// Names and shapes of the tensors that a graph reads.
pub(crate) fn constants(graph: &Graph) -> Vec<(String, Vec<usize>)> {
    let tensors = graph.values().iter().filter_map(|info| match &info.origin {
        Origin::Constant(name) => Some((name.clone(), info.desc.shape.clone())),
        _ => None,
    });
    tensors.collect()
}

/// Compares the length of the file with the end of its last tensor.
fn check_length(path: &Path, metadata: &Metadata, data_start: u64, length: u64) -> Result<(), ModelError> {
    let end = data_start + metadata.data_len() as u64;
    if length > end {
        let message = format!("its tensors end at byte {end}, the file has {length} bytes");
        return Err(ModelError::WeightsHeader { file: path.to_owned(), message });
    }
    for name in metadata.offset_keys() {
        let info = metadata.info(&name).expect("a name from the metadata should be known to it");
        let expected = data_start + info.data_offsets.1 as u64;
        if expected > length {
            return Err(ModelError::TruncatedWeights {
                file: path.to_owned(),
                tensor: name,
                expected,
                actual: length,
            });
        }
    }
    Ok(())
}

/// The bytes of one element, for the types that are read as f32.
fn element_bytes(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::F32 => Some(4),
        Dtype::F16 | Dtype::BF16 => Some(2),
        _ => None,
    }
}

/// Converts little-endian elements; `bytes` holds exactly as many as `out`.
fn convert(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        Dtype::F32 => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        Dtype::F16 => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                *value = f16::from_le_bytes(*bytes).to_f32();
            }
        }
        Dtype::BF16 => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                *value = bf16::from_le_bytes(*bytes).to_f32();
            }
        }
        _ => unreachable!("only types with `element_bytes` should be converted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a safetensors file by hand, so that broken ones can be made too.
    fn write(path: &Path, header: &str, data: &[u8]) {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        std::fs::write(path, bytes).unwrap();
    }

    fn open(header: &str, data: &[u8]) -> Result<Weights, ModelError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        write(&path, header, data);
        Weights::open(&path)
    }

    const THREE_TYPES: &str = r#"{"__metadata__":{"format":"pt"},
        "full":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
        "half":{"dtype":"F16","shape":[4],"data_offsets":[24,32]},
        "brain":{"dtype":"BF16","shape":[2],"data_offsets":[32,36]},
        "ids":{"dtype":"I64","shape":[1],"data_offsets":[36,44]}}"#;

    fn three_types() -> Vec<u8> {
        let mut data = Vec::new();
        for value in [0.5f32, -1.25, f32::NAN, 3.0, f32::MIN_POSITIVE, 7.75] {
            data.extend(value.to_le_bytes());
        }
        for value in [1.5f32, -2.0, 65504.0, 6e-8] {
            data.extend(f16::from_f32(value).to_le_bytes());
        }
        for value in [1.0f32, -3.140625] {
            data.extend(bf16::from_f32(value).to_le_bytes());
        }
        data.extend(7i64.to_le_bytes());
        data
    }

    #[test]
    fn all_three_types_come_out_as_f32() {
        let weights = open(THREE_TYPES, &three_types()).unwrap();
        assert_eq!(weights.names(), ["full", "half", "brain", "ids"]);
        assert_eq!(weights.desc("full"), Some(TensorDesc { shape: vec![2, 3], dtype: DType::F32 }));
        assert_eq!(weights.desc("ids"), None, "integers are no weights");
        assert_eq!(weights.shape("ids"), Some(&[1][..]));
        assert_eq!((weights.note("format"), weights.note("other")), (Some("pt"), None));
        let mut full = [0.0; 6];
        weights.read("full", 0..6, &mut full).unwrap();
        assert_eq!(full[0..2], [0.5, -1.25]);
        assert!(full[2].is_nan());
        assert_eq!(full[3..], [3.0, f32::MIN_POSITIVE, 7.75]);
        let mut half = [0.0; 4];
        weights.read("half", 0..4, &mut half).unwrap();
        assert_eq!(half, [1.5, -2.0, 65504.0, f16::from_f32(6e-8).to_f32()]);
        let mut brain = [0.0; 2];
        weights.read("brain", 0..2, &mut brain).unwrap();
        assert_eq!(brain, [1.0, -3.140625]);
    }

    #[test]
    fn ranges_are_read_and_checked() {
        let weights = open(THREE_TYPES, &three_types()).unwrap();
        let mut two = [0.0; 2];
        weights.read("full", 3..5, &mut two).unwrap();
        assert_eq!(two, [3.0, f32::MIN_POSITIVE]);
        weights.read("half", 4..4, &mut []).unwrap();
        let past_end = weights.read("full", 5..7, &mut two).unwrap_err();
        assert!(past_end.0.ends_with("tensor full: elements 5..7 asked for, it has 6"), "{past_end}");
        let wrong_room = weights.read("full", 0..3, &mut two).unwrap_err();
        assert!(wrong_room.0.contains("3 elements asked for, there is room for 2"), "{wrong_room}");
        assert!(weights.read("nothing", 0..2, &mut two).unwrap_err().0.contains("not in the file"));
        assert!(weights.read("ids", 0..1, &mut two[..1]).unwrap_err().0.contains("type I64"));
    }

    #[test]
    fn tensors_larger_than_the_window_are_whole() {
        let count = WINDOW / 2 + 5;
        let header =
            format!(r#"{{"big":{{"dtype":"BF16","shape":[{count}],"data_offsets":[0,{}]}}}}"#, count * 2);
        // Whole numbers up to 256 are exact in bf16; 251 is prime, so the pattern fits no window.
        let data: Vec<u8> =
            (0..count).flat_map(|index| bf16::from_f32((index % 251) as f32).to_le_bytes()).collect();
        let weights = open(&header, &data).unwrap();
        let mut out = vec![0.0; count - 1];
        weights.read("big", 1..count, &mut out).unwrap();
        assert!(out.iter().enumerate().all(|(index, value)| *value == ((index + 1) % 251) as f32));
    }

    #[test]
    fn a_truncated_file_names_tensor_and_bytes() {
        let data = three_types();
        let error = open(THREE_TYPES, &data[..30]).unwrap_err();
        let start = PREFIX + THREE_TYPES.len() as u64;
        let ModelError::TruncatedWeights { tensor, expected, actual, .. } = &error else { panic!("{error}") };
        assert_eq!((tensor.as_str(), *expected, *actual), ("half", start + 32, start + 30));
        assert!(error.is_input_error());
        assert!(!error.to_string().contains('\n'));
    }

    #[test]
    fn broken_headers_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let error = Weights::open(&path).unwrap_err();
            assert!(matches!(error, ModelError::WeightsHeader { .. }), "{error}");
            error.to_string()
        };
        assert!(refused(b"short").contains("expected at least 8 bytes, got 5"));
        assert!(refused(&u64::MAX.to_le_bytes()).contains("at most 100000000"));
        assert!(refused(&[99, 0, 0, 0, 0, 0, 0, 0, b'{']).contains("ends at byte 107, the file has 9 bytes"));
        assert!(refused(&[1, 0, 0, 0, 0, 0, 0, 0, b'{']).contains("bad header"));
        let overlapping = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
        assert!(matches!(open(overlapping, &[0; 12]), Err(ModelError::WeightsHeader { .. })));
        let wrong_size = r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#;
        assert!(matches!(open(wrong_size, &[0; 8]), Err(ModelError::WeightsHeader { .. })));
        let too_large = r#"{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}"#;
        assert!(matches!(open(too_large, &[0; 8]), Err(ModelError::WeightsHeader { .. })));
        let trailing = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        assert!(matches!(open(trailing, &[0; 9]), Err(ModelError::WeightsHeader { .. })));
        assert!(matches!(Weights::open(&dir.path().join("none")), Err(ModelError::Io { .. })));
    }

    #[test]
    fn check_names_all_differences() {
        let weights = open(THREE_TYPES, &three_types()).unwrap();
        let tensor = |name: &str, shape: &[usize]| (name.to_owned(), shape.to_vec());
        let right = [tensor("full", &[2, 3]), tensor("half", &[4]), tensor("brain", &[2])];
        weights.check(&right, &["ids"]).unwrap();
        weights.check(&right, &["id*", "not.there"]).unwrap();
        let wrong = [tensor("full", &[3, 2]), tensor("bias", &[1]), tensor("ids", &[1])];
        let error = weights.check(&wrong, &["h*"]).unwrap_err();
        let ModelError::WrongTensors { differences, .. } = &error else { panic!("{error}") };
        assert_eq!(differences.missing, ["bias"]);
        assert_eq!(differences.extra, ["brain"]);
        assert_eq!(differences.misshapen, [("full".to_owned(), vec![3, 2], vec![2, 3])]);
        assert_eq!(differences.mistyped, [("ids".to_owned(), "I64".to_owned())]);
    }

    #[test]
    fn a_file_cut_while_open_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        write(&path, THREE_TYPES, &three_types());
        let weights = Weights::open(&path).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(PREFIX + THREE_TYPES.len() as u64 + 10)
            .unwrap();
        let error = weights.read("full", 0..6, &mut [0.0; 6]).unwrap_err();
        assert!(error.0.contains("became shorter"), "{error}");
    }
}
