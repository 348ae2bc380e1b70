//! Sums, means and maxima over any dimensions.

use kiln_gpu::DeviceProfile;
use kiln_kernels::{reduce_columns, reduce_dense, reduce_row};

use super::{OpRules, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::select::{RowForm, SOFTWARE_ITERATIONS, looped, row_form};
use crate::tensor::{DType, TensorDesc};
use crate::views::{View, halves};

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// `torch.sum`.
    Sum,
    /// `torch.mean`.
    Mean,
    /// `torch.amax`; NaN wins.
    Max,
    /// `torch.argmax`: u32 index of the first maximum, in the reduced dimensions flattened in row-major order.
    Argmax,
}

/// A reduction over the dimensions `dims` (ascending, each once).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reduce {
    /// What is computed.
    pub reduction: Reduction,
    /// The dimensions that vanish.
    pub dims: Vec<usize>,
    /// Whether each leaves an extent of 1 behind.
    pub keep_dim: bool,
}

/// Columns that fill a GPU, and rows that a loop of each invocation takes in its stride.
const MANY_COLUMNS: usize = 4096;
const FEW_ROWS: usize = 64;

/// On a software adapter, rows up to which each is shared among its vector lanes, and how long they must be for that.
const FEW_DENSE: u32 = 16;
const LONG_DENSE: u32 = 64;

impl Reduce {
    /// Whether to sum down the columns of a matrix, which is what sums over the first dimensions are: where there are
    /// enough columns for the device, or few rows, and these are not too many for one invocation.
    fn by_columns(&self, lowering: &Lowering<'_>) -> bool {
        let is_sum = matches!(self.reduction, Reduction::Sum | Reduction::Mean);
        let leading = self.dims.iter().copied().eq(0..self.dims.len());
        let (input, cols) = (lowering.input(0).desc, lowering.output.desc.elements());
        let rows = input.elements() / cols;
        if cols == 1 && dense(lowering.profile, 1, rows as u32).is_some() {
            return false;
        }
        let fills = match lowering.profile.kind.is_software() {
            true => looped(rows.div_ceil(64) as u64, 1) + 2 * rows as u64 <= SOFTWARE_ITERATIONS,
            false => cols >= MANY_COLUMNS || rows <= FEW_ROWS,
        };
        is_sum && leading && fills
    }

    fn lower_columns(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        use reduce_columns::Variant;
        let (input, output) = (lowering.input(0).desc, lowering.output.desc);
        let cols = output.elements();
        for block in lowering.blocks()? {
            let (start, count) = (block.rows.start * output.row_elements(), block.elements as usize);
            let in_fours = [cols, start, count].iter().all(|size| size.is_multiple_of(4));
            let (variant, width) = match (lowering.profile.kind.is_software(), in_fours) {
                (true, true) => (Variant::CpuVector, 4),
                (true, false) => (Variant::Cpu, 1),
                (false, _) => (Variant::Gpu, 1),
            };
            let params = reduce_columns::Params {
                rows: (input.elements() / cols) as u32,
                cols: (cols / width) as u32,
                start: (start / width) as u32,
                count: (count / width) as u32,
            };
            let bindings = reduce_columns::Bindings { input: lowering.whole(0)?, output: block.output };
            let overrides = reduce_columns::Overrides { op: u32::from(self.reduction == Reduction::Mean) };
            let groups = u64::from(params.count.div_ceil(variant.threads()));
            lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }
}

impl OpRules for Reduce {
    const NAME: &'static str = "reduce";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        if self.dims.is_empty() {
            return Err(Mismatch::new("dims", "at least one dimension", "none"));
        }
        for (position, &dim) in self.dims.iter().enumerate() {
            expect::dim(dim, input)?;
            if self.dims[..position].iter().any(|&earlier| earlier >= dim) {
                return Err(Mismatch::new(
                    "dims",
                    "ascending dimensions, each once",
                    format!("{:?}", self.dims),
                ));
            }
        }
        let shape =
            input.shape.iter().enumerate().filter_map(|(dim, &extent)| match self.dims.contains(&dim) {
                true => self.keep_dim.then_some(1),
                false => Some(extent),
            });
        let dtype = if self.reduction == Reduction::Argmax { DType::U32 } else { DType::F32 };
        Ok(TensorDesc::new(shape.collect::<Vec<_>>(), dtype))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        if self.by_columns(lowering) {
            return self.lower_columns(lowering);
        }
        let input = lowering.input(0).desc;
        let split = |pick: bool, shape: &[usize]| -> (Vec<usize>, Vec<usize>) {
            let strides = input.strides();
            let axes = (0..shape.len()).filter(|axis| self.dims.contains(axis) == pick);
            axes.map(|axis| (shape[axis], strides[axis])).unzip()
        };
        let op = match self.reduction {
            Reduction::Sum => 0,
            Reduction::Mean => 1,
            Reduction::Max => 2,
            Reduction::Argmax => 3,
        };
        let by_rows = !self.dims.contains(&0);
        for block in lowering.row_blocks(self.dims[0])? {
            let mut shape = input.shape.clone();
            if by_rows && let Some(first) = shape.first_mut() {
                *first = block.rows.len();
            }
            let (kept_shape, kept_strides) = split(false, &shape);
            let (cols_shape, cols_strides) = split(true, &shape);
            let cols = cols_shape.iter().product::<usize>() as u32;
            let kept = View::merged(&kept_shape, [&kept_strides]);
            let reduced = View::merged(&cols_shape, [&cols_strides]);
            let input = if by_rows { lowering.rowwise(0, &block)? } else { lowering.whole(0)? };
            let neighbours = |view: &View<1>, stride| view.rank() == 1 && view.strides[0][0] == stride;
            let is_dense = neighbours(&reduced, 1) && (kept.rank() == 0 || neighbours(&kept, cols as usize));
            if let Some(variant) = dense(lowering.profile, block.elements, cols).filter(|_| is_dense) {
                let params = reduce_dense::Params { rows: block.elements, cols: cols / variant.width() };
                let bindings = reduce_dense::Bindings { input, output: block.output };
                let groups = u64::from(block.elements.div_ceil(variant.threads() / variant.lanes()));
                let overrides = reduce_dense::Overrides { op };
                lowering.dispatch(
                    variant.kernel(),
                    overrides.pairs(),
                    &params,
                    bindings.into_array(),
                    groups,
                )?;
                continue;
            }
            let (kept_low, kept_high) = halves(&kept.shape);
            let (kept_stride_low, kept_stride_high) = halves(&kept.strides[0]);
            let (cols_low, cols_high) = halves(&reduced.shape);
            let (cols_stride_low, cols_stride_high) = halves(&reduced.strides[0]);
            let params = reduce_row::Params {
                rows: block.elements,
                cols,
                kept_rank: kept.rank(),
                cols_rank: reduced.rank(),
                kept_low,
                kept_high,
                kept_stride_low,
                kept_stride_high,
                cols_low,
                cols_high,
                cols_stride_low,
                cols_stride_high,
            };
            let bindings = reduce_row::Bindings { input, output: block.output };
            // For each element, a loop over the dimensions of its address.
            let address = looped(u64::from(reduced.rank()), 0);
            let variant = match row_form(lowering.profile, cols, looped(u64::from(cols), address)) {
                RowForm::Serial => reduce_row::Variant::Serial,
                RowForm::Tree => reduce_row::Variant::Tree,
            };
            lowering.check_iterations(looped(u64::from(cols.div_ceil(variant.lanes())), address))?;
            let groups = u64::from(block.elements.div_ceil(variant.threads() / variant.lanes()));
            let overrides = reduce_row::Overrides { op };
            lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (input, output, grad) = (backward.input(0), backward.output(), backward.grad());
        let g = &mut *backward.g;
        let shape = g.desc(input).shape.clone();
        let kept: Vec<usize> =
            shape.iter().enumerate().map(|(dim, &n)| if self.dims.contains(&dim) { 1 } else { n }).collect();
        let grad = g.reshape(grad, &kept)?;
        let gradient = match self.reduction {
            Reduction::Sum => g.expand(grad, &shape)?,
            Reduction::Mean => {
                let count: usize = self.dims.iter().map(|&dim| shape[dim]).product();
                let share = g.scalar((1.0 / count as f64) as f32);
                let grad = g.mul(grad, share)?;
                g.expand(grad, &shape)?
            }
            Reduction::Max => {
                // Equal maxima share the gradient, as with `torch.amax`.
                let maximum = g.reshape(output, &kept)?;
                let hits = g.equal(input, maximum)?;
                let count = g.sum(hits, &self.dims, true)?;
                let share = g.div(grad, count)?;
                g.mul(hits, share)?
            }
            Reduction::Argmax => return Err(backward.refuse("a reduction to f32")),
        };
        Ok(vec![Some(gradient)])
    }
}

/// How a software adapter reduces rows of neighbours, where one invocation may loop that long: a GPU's caches make no
/// difference between these and others.
fn dense(profile: &DeviceProfile, rows: u32, cols: u32) -> Option<reduce_dense::Variant> {
    use reduce_dense::Variant;
    let wide = usize::from(cols.is_multiple_of(4));
    let serial = [Variant::Serial, Variant::SerialWide][wide];
    let octet = [Variant::Octet, Variant::OctetWide][wide];
    let fits = |variant: &Variant| {
        looped(u64::from((cols / variant.width()).div_ceil(variant.lanes())), 0) <= SOFTWARE_ITERATIONS
    };
    let few = rows <= FEW_DENSE && cols >= LONG_DENSE;
    let order = if few { [octet, serial] } else { [serial, octet] };
    order.into_iter().find(fits).filter(|_| profile.kind.is_software())
}
