//! Floating-point elements of any width, as f32.

use half::f16;
use hdf5_reader::error::Error;
use hdf5_reader::{ByteOrder, Datatype, H5Type};

/// A value that lies in the file with 2, 4 or 8 bytes, in either order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element(pub(super) f32);

/// The bytes of an element of this type, or the type's name where it is none that is read.
pub(super) fn float_bytes(datatype: &Datatype) -> Result<usize, String> {
    match datatype {
        Datatype::FloatingPoint { size: size @ (2 | 4 | 8), .. } => Ok(usize::from(*size)),
        Datatype::FloatingPoint { size, .. } => Err(format!("float{}", u32::from(*size) * 8)),
        Datatype::FixedPoint { size, signed, .. } => {
            Err(format!("{}int{}", if *signed { "" } else { "u" }, u32::from(*size) * 8))
        }
        Datatype::String { .. } => Err("string".to_owned()),
        _ => Err("a type that is no number".to_owned()),
    }
}

fn convert(bytes: &[u8], order: ByteOrder) -> Option<f32> {
    let big = order == ByteOrder::BigEndian;
    Some(match bytes.len() {
        2 => {
            let bytes = bytes.try_into().ok()?;
            if big { f16::from_be_bytes(bytes) } else { f16::from_le_bytes(bytes) }.to_f32()
        }
        4 => {
            let bytes = bytes.try_into().ok()?;
            if big { f32::from_be_bytes(bytes) } else { f32::from_le_bytes(bytes) }
        }
        8 => {
            let bytes = bytes.try_into().ok()?;
            (if big { f64::from_be_bytes(bytes) } else { f64::from_le_bytes(bytes) }) as f32
        }
        _ => return None,
    })
}

fn order(datatype: &Datatype) -> Option<ByteOrder> {
    match datatype {
        Datatype::FloatingPoint { byte_order, .. } => Some(*byte_order),
        _ => None,
    }
}

impl H5Type for Element {
    fn hdf5_type() -> Datatype {
        f32::hdf5_type()
    }

    fn from_bytes(bytes: &[u8], datatype: &Datatype) -> Result<Self, Error> {
        let value = float_bytes(datatype)
            .ok()
            .and_then(|size| convert(bytes.get(..size)?, order(datatype)?))
            .map(Element);
        value.ok_or_else(|| Error::TypeMismatch {
            expected: "a floating-point number".to_owned(),
            actual: format!("{datatype:?}"),
        })
    }

    fn element_size(datatype: &Datatype) -> usize {
        float_bytes(datatype).unwrap_or(size_of::<f32>())
    }

    fn decode_vec(raw: &[u8], datatype: &Datatype, count: usize) -> Option<Result<Vec<Self>, Error>> {
        let (size, order) = (float_bytes(datatype).ok()?, order(datatype)?);
        let bytes = raw.get(..count.checked_mul(size)?)?;
        let values: Option<Vec<Element>> =
            bytes.chunks_exact(size).map(|bytes| convert(bytes, order).map(Element)).collect();
        values.map(Ok)
    }
}
