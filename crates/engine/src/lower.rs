//! What an op sees while it chooses its kernels: where its tensors lie, piece by piece, and a place for dispatches.

use std::ops::Range;

use bytemuck::Pod;
use kiln_gpu::DeviceProfile;
use kiln_kernels::Kernel;

use crate::choices::{Candidate, Operand, Question, Target};
use crate::error::{EngineError, Mismatch, Result};
use crate::ops::{Epilogue, Op};
use crate::select::SOFTWARE_ITERATIONS;
use crate::tensor::{DType, TensorDesc};
use crate::work::Work;

/// A stretch of device memory that holds one piece of one value, before buffers are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Storage(pub(crate) u32);

/// Part of a storage, as a kernel binds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) storage: Storage,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Rows of the first dimension that lie in one storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) rows: Range<usize>,
    pub(crate) storage: Storage,
    /// First byte there: other than 0 in what is part of another value.
    pub(crate) offset: u64,
}

/// A value and where it lies: one piece, or several where it exceeds what the device binds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'a> {
    pub(crate) desc: &'a TensorDesc,
    pub(crate) pieces: &'a [Piece],
    /// Whether it depends on weights alone.
    pub(crate) constant: bool,
}

impl Placed<'_> {
    fn row_bytes(&self) -> u64 {
        (self.desc.row_elements() * DType::BYTES) as u64
    }

    pub(crate) fn bound(&self, piece: &Piece) -> Bound {
        let bytes = piece.rows.len() as u64 * self.row_bytes();
        Bound { storage: piece.storage, offset: piece.offset, bytes }
    }
}

/// Rows of the output that lie in one piece, as do those of every input cut along the same rows: most ops are lowered
/// once for each.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Rows of the first dimension.
    pub(crate) rows: Range<usize>,
    /// Elements of these rows.
    pub(crate) elements: u32,
    /// Where they are written.
    pub(crate) output: Bound,
}

/// A dispatch whose bindings are not buffers yet.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) path: String,
    pub(crate) kernel: &'static Kernel,
    pub(crate) overrides: Vec<(&'static str, f64)>,
    pub(crate) params: Vec<u8>,
    pub(crate) bindings: Vec<Bound>,
    pub(crate) workgroups: [u32; 3],
    /// Name of the op or rule.
    pub(crate) op: &'static str,
    /// Given by [`work`](crate::work), as the bytes are, once all dispatches of its op are there.
    pub(crate) work: Work,
    pub(crate) bytes: u64,
}

/// The context of [`Op::lower`](crate::Op) and [`Rule::lower`](crate::Rule).
pub(crate) struct Lowering<'a> {
    pub(crate) profile: &'a DeviceProfile,
    /// That device, with the choices made for it.
    pub(crate) target: Target<'a>,
    pub(crate) op: &'static str,
    pub(crate) path: &'a str,
    pub(crate) inputs: Vec<Placed<'a>>,
    /// What an update changes; an op has none.
    pub(crate) variables: Vec<Placed<'a>>,
    /// What an op makes, or the first variable of an update.
    pub(crate) output: Placed<'a>,
    pub(crate) drafts: &'a mut Vec<Draft>,
}

impl<'a> Lowering<'a> {
    /// The kernel that shall compute `op`, of those that can: the one that was chosen for an op on such inputs, else the
    /// first, which is the table's.
    pub(crate) fn choose<C: Candidate>(&self, op: impl Into<Op>, candidates: &[C]) -> C {
        let operand = |input: &Placed<'_>| Operand { desc: input.desc.clone(), constant: input.constant };
        let question = || Question::new("kernel", &op.into(), self.inputs.iter().map(operand).collect());
        self.target.choose(question, candidates)
    }

    pub(crate) fn input(&self, index: usize) -> Placed<'a> {
        self.inputs[index]
    }

    /// The blocks of the output, cut wherever it or an input with as many rows is cut.
    pub(crate) fn blocks(&self) -> Result<Vec<Block>> {
        let output = self.output;
        let alike = |placed: &&Placed<'a>| placed.desc.rows() == output.desc.rows();
        let mut ends: Vec<usize> = std::iter::once(&output)
            .chain(self.inputs.iter().chain(&self.variables).filter(alike))
            .flat_map(|placed| placed.pieces.iter().map(|piece| piece.rows.end))
            .collect();
        ends.sort_unstable();
        ends.dedup();
        let mut start = 0;
        let mut blocks = vec![];
        for end in ends {
            let rows = start..end;
            start = end;
            blocks.push(Block {
                elements: (rows.len() * output.desc.row_elements()) as u32,
                output: self.part(output, &rows)?,
                rows,
            });
        }
        Ok(blocks)
    }

    /// The blocks of an op that works along `dim`: where that is the dimension along which tensors are cut, everything
    /// must lie in one piece.
    pub(crate) fn row_blocks(&self, dim: usize) -> Result<Vec<Block>> {
        if dim == 0 {
            self.whole_output()?;
            (0..self.inputs.len()).try_for_each(|index| self.whole(index).map(drop))?;
        }
        self.blocks()
    }

    /// Whether the output lies where the first input does, so that there is nothing to compute.
    pub(crate) fn is_view(&self) -> bool {
        let storage = |placed: Placed<'_>| placed.pieces.first().map(|piece| piece.storage);
        storage(self.input(0)) == storage(self.output)
    }

    /// Shape of one block of the output.
    pub(crate) fn block_shape(&self, block: &Block) -> Vec<usize> {
        let mut shape = self.output.desc.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = block.rows.len();
        }
        shape
    }

    /// All of an input, which must lie in one piece.
    pub(crate) fn whole(&self, index: usize) -> Result<Bound> {
        let placed = self.input(index);
        match placed.pieces {
            [piece] => Ok(placed.bound(piece)),
            _ => Err(self.cannot_split(placed.desc, "it is needed as a whole")),
        }
    }

    /// All of the output, which must lie in one piece.
    pub(crate) fn whole_output(&self) -> Result<Bound> {
        match self.output.pieces {
            [piece] => Ok(self.output.bound(piece)),
            _ => Err(self.cannot_split(self.output.desc, "it is made as a whole")),
        }
    }

    /// The rows of an input that belong to a block, where row `i` of the output needs row `i` of the input.
    pub(crate) fn rowwise(&self, index: usize, block: &Block) -> Result<Bound> {
        self.part(self.input(index), &block.rows)
    }

    /// The rows of a variable that belong to a block of an update.
    pub(crate) fn variable(&self, index: usize, block: &Block) -> Result<Bound> {
        self.part(self.variables[index], &block.rows)
    }

    /// The stretches of rows that lie in one piece of each of these inputs, which have equally many rows, with what to
    /// bind of each: for ops that sum over the rows.
    pub(crate) fn stretches<const N: usize>(
        &self,
        inputs: [usize; N],
    ) -> Result<Vec<(Range<usize>, [Bound; N])>> {
        let mut ends: Vec<usize> = inputs
            .iter()
            .flat_map(|&index| self.input(index).pieces.iter().map(|piece| piece.rows.end))
            .collect();
        ends.sort_unstable();
        ends.dedup();
        let mut start = 0;
        let mut stretches = vec![];
        for end in ends {
            let rows = start..end;
            start = end;
            let mut bounds = vec![];
            for index in inputs {
                bounds.push(self.part(self.input(index), &rows)?);
            }
            let bounds = <[Bound; N]>::try_from(bounds).expect("each input should have a bound");
            stretches.push((rows, bounds));
        }
        Ok(stretches)
    }

    /// Rows of a value, which must lie in one piece and start where the device can bind.
    fn part(&self, placed: Placed<'_>, rows: &Range<usize>) -> Result<Bound> {
        let holds = |piece: &&Piece| piece.rows.start <= rows.start && rows.end <= piece.rows.end;
        let Some(piece) = placed.pieces.iter().find(holds) else {
            return Err(self.cannot_split(placed.desc, "its parts do not match those of the output"));
        };
        let offset = piece.offset + (rows.start - piece.rows.start) as u64 * placed.row_bytes();
        let bytes = rows.len() as u64 * placed.row_bytes();
        self.aligned(placed.desc, Bound { storage: piece.storage, offset, bytes })
    }

    /// What is left of an input from the element that a block starts with, where the block's rows are the input's last
    /// dimension: a transposed matrix.
    pub(crate) fn columns_from(&self, index: usize, block: &Block) -> Result<Bound> {
        let whole = self.whole(index)?;
        let skipped = (block.rows.start * DType::BYTES) as u64;
        let (offset, bytes) = (whole.offset + skipped, whole.bytes - skipped);
        self.aligned(self.input(index).desc, Bound { offset, bytes, ..whole })
    }

    fn aligned(&self, desc: &TensorDesc, bound: Bound) -> Result<Bound> {
        if bound.offset.is_multiple_of(u64::from(self.profile.limits.storage_alignment)) {
            Ok(bound)
        } else {
            Err(self.cannot_split(desc, "its parts would start where the device cannot bind"))
        }
    }

    /// An input that is broadcast to the output: by rows where it has the output's rows, else whole.
    pub(crate) fn broadcast(&self, index: usize, block: &Block) -> Result<Bound> {
        let (input, output) = (self.input(index).desc, self.output.desc);
        if input.rank() == output.rank() && input.rows() == output.rows() {
            self.rowwise(index, block)
        } else {
            self.whole(index)
        }
    }

    /// The bias and the residual of an op with `own` inputs before them. The flags say which of them a kernel reads; a
    /// readable binding fills the place of one that is absent.
    pub(crate) fn epilogue(
        &self,
        epilogue: &Epilogue,
        own: usize,
        block: &Block,
        filler: Bound,
    ) -> Result<[Bound; 2]> {
        let bias = if epilogue.bias { self.whole(own)? } else { filler };
        let residual =
            if epilogue.residual { self.rowwise(own + usize::from(epilogue.bias), block)? } else { filler };
        Ok([bias, residual])
    }

    pub(crate) fn cannot_split(&self, desc: &TensorDesc, why: &'static str) -> EngineError {
        EngineError::CannotSplit {
            op: self.op,
            path: self.path.to_owned(),
            desc: desc.clone(),
            limit: piece_limit(self.profile),
            why,
        }
    }

    /// Refuses what a software adapter would cut short: see [`SOFTWARE_ITERATIONS`].
    pub(crate) fn check_iterations(&self, iterations: u64) -> Result<()> {
        if !self.profile.kind.is_software() || iterations <= SOFTWARE_ITERATIONS {
            return Ok(());
        }
        let expected = format!("at most {SOFTWARE_ITERATIONS}");
        Err(Mismatch::new("loop iterations on a software adapter", expected, iterations)
            .at(self.op, self.path))
    }

    /// Adds a dispatch of `workgroups` groups, folded into two dimensions where one cannot count them.
    pub(crate) fn dispatch<P: Pod>(
        &mut self,
        kernel: &'static Kernel,
        overrides: impl IntoIterator<Item = (&'static str, f64)>,
        params: &P,
        bindings: impl IntoIterator<Item = Bound>,
        workgroups: u64,
    ) -> Result<()> {
        if let Some(what) = self.profile.lacks(kernel) {
            let expected = format!("{what}, as kernel {kernel} needs");
            return Err(Mismatch::new("device", expected, &self.profile.name).at(self.op, self.path));
        }
        let max = self.profile.limits.max_workgroups;
        let workgroups = fold(workgroups, max).ok_or_else(|| {
            let most = u64::from(max) * u64::from(max);
            Mismatch::new("workgroups", format!("at most {most}"), workgroups).at(self.op, self.path)
        })?;
        self.drafts.push(Draft {
            path: self.path.to_owned(),
            kernel,
            overrides: overrides.into_iter().collect(),
            params: bytemuck::bytes_of(params).to_vec(),
            bindings: bindings.into_iter().collect(),
            workgroups,
            op: self.op,
            work: Work::default(),
            bytes: 0,
        });
        Ok(())
    }
}

/// The largest piece of a tensor that one binding can show. Kernels index with u32 and multiply with room to spare.
pub(crate) fn piece_limit(profile: &DeviceProfile) -> u64 {
    profile.limits.max_tensor().min(1 << 31)
}

/// Spreads a count over two dimensions of at most `max`, with as few surplus groups as possible.
pub(crate) fn fold(workgroups: u64, max: u32) -> Option<[u32; 3]> {
    let rows = workgroups.div_ceil(u64::from(max)).max(1);
    if rows > u64::from(max) {
        return None;
    }
    Some([workgroups.div_ceil(rows).max(1) as u32, rows as u32, 1])
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn folding_covers_every_group_with_few_to_spare() {
        for (count, expected) in [
            (0, Some([1, 1, 1])),
            (1, Some([1, 1, 1])),
            (65_535, Some([65_535, 1, 1])),
            (65_536, Some([32_768, 2, 1])),
            (200_001, Some([50_001, 4, 1])),
            (65_535 * 65_535, Some([65_535, 65_535, 1])),
            (65_535 * 65_535 + 1, None),
        ] {
            assert_eq!(fold(count, 65_535), expected, "{count} groups");
        }
    }
}
