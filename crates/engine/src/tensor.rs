//! Shapes, element types, and tensors in host memory.

use std::fmt;

use crate::error::{EngineError, Result};

/// The most dimensions that a tensor may have: what the strided kernels hold.
pub const MAX_RANK: usize = 8;

/// The type of a tensor's elements. Both take four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// Unsigned 32-bit integers: ids, offsets, indices.
    U32,
}

impl DType {
    /// Bytes of one element.
    pub const BYTES: usize = 4;
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::U32 => "u32",
        })
    }
}

/// Shape and element type of a dense, row-major tensor. A scalar has shape `[]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorDesc {
    /// Extents, the last one contiguous in memory.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
}

impl TensorDesc {
    /// A description of the given shape and type.
    pub fn new(shape: impl Into<Vec<usize>>, dtype: DType) -> Self {
        Self { shape: shape.into(), dtype }
    }

    /// A description of f32 elements.
    pub fn f32(shape: impl Into<Vec<usize>>) -> Self {
        Self::new(shape, DType::F32)
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements; `usize::MAX` for a shape that no memory holds, which every graph refuses.
    pub fn elements(&self) -> usize {
        self.elements_behind(0)
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        (self.elements() as u64).saturating_mul(DType::BYTES as u64)
    }

    /// Extent of the first dimension, along which large tensors are split; 1 for a scalar.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Elements of one index of the first dimension.
    pub fn row_elements(&self) -> usize {
        self.elements_behind(1)
    }

    /// Elements of one index of the first `dims` dimensions, of one plane for 2; `usize::MAX` as for
    /// [`elements`](Self::elements).
    pub fn elements_behind(&self, dims: usize) -> usize {
        self.shape.iter().skip(dims).fold(1, |product: usize, &extent| product.saturating_mul(extent))
    }

    /// Extent of the last dimension; 1 for a scalar.
    pub fn last(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Row-major strides in elements.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.rank()];
        for axis in (1..self.rank()).rev() {
            strides[axis - 1] = strides[axis] * self.shape[axis];
        }
        strides
    }
}

impl fmt::Display for TensorDesc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Data {
    F32(Vec<f32>),
    U32(Vec<u32>),
}

/// A tensor in host memory: what goes into a run and comes out of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    desc: TensorDesc,
    data: Data,
}

impl Tensor {
    /// A tensor of f32 elements in row-major order.
    ///
    /// # Errors
    /// [`EngineError::Elements`] where the number of elements is not the product of the shape.
    pub fn f32(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Result<Self> {
        Self::new(shape.into(), DType::F32, data.len(), Data::F32(data))
    }

    /// A tensor of u32 elements in row-major order.
    ///
    /// # Errors
    /// [`EngineError::Elements`] where the number of elements is not the product of the shape.
    pub fn u32(shape: impl Into<Vec<usize>>, data: Vec<u32>) -> Result<Self> {
        Self::new(shape.into(), DType::U32, data.len(), Data::U32(data))
    }

    fn new(shape: Vec<usize>, dtype: DType, got: usize, data: Data) -> Result<Self> {
        let desc = TensorDesc { shape, dtype };
        if desc.elements() != got {
            let expected = desc.elements();
            return Err(EngineError::Elements { shape: desc.shape, expected, got });
        }
        Ok(Self { desc, data })
    }

    /// Shape and type.
    pub fn desc(&self) -> &TensorDesc {
        &self.desc
    }

    /// Extents.
    pub fn shape(&self) -> &[usize] {
        &self.desc.shape
    }

    /// The elements of an f32 tensor.
    ///
    /// # Errors
    /// [`EngineError::DType`] for another type.
    pub fn as_f32(&self) -> Result<&[f32]> {
        match &self.data {
            Data::F32(data) => Ok(data),
            Data::U32(_) => Err(EngineError::DType { expected: DType::F32, got: self.desc.clone() }),
        }
    }

    /// The elements of a u32 tensor.
    ///
    /// # Errors
    /// [`EngineError::DType`] for another type.
    pub fn as_u32(&self) -> Result<&[u32]> {
        match &self.data {
            Data::U32(data) => Ok(data),
            Data::F32(_) => Err(EngineError::DType { expected: DType::U32, got: self.desc.clone() }),
        }
    }

    /// The elements of an f32 tensor, by value.
    ///
    /// # Errors
    /// [`EngineError::DType`] for another type.
    pub fn into_f32(self) -> Result<Vec<f32>> {
        match self.data {
            Data::F32(data) => Ok(data),
            Data::U32(_) => Err(EngineError::DType { expected: DType::F32, got: self.desc }),
        }
    }

    /// The elements of a u32 tensor, by value.
    ///
    /// # Errors
    /// [`EngineError::DType`] for another type.
    pub fn into_u32(self) -> Result<Vec<u32>> {
        match self.data {
            Data::U32(data) => Ok(data),
            Data::F32(_) => Err(EngineError::DType { expected: DType::U32, got: self.desc }),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::F32(data) => bytemuck::cast_slice(data),
            Data::U32(data) => bytemuck::cast_slice(data),
        }
    }

    /// Builds a tensor from the bytes that a device gave back; their number has been checked.
    pub(crate) fn from_bytes(desc: TensorDesc, bytes: &[u8]) -> Self {
        let data = match desc.dtype {
            DType::F32 => Data::F32(bytemuck::pod_collect_to_vec(bytes)),
            DType::U32 => Data::U32(bytemuck::pod_collect_to_vec(bytes)),
        };
        Self { desc, data }
    }
}
