//! The dot products of a query with every row of a store.

use std::collections::HashMap;

use kiln_engine::{DType, EngineError, GraphBuilder, NoWeights, PlanId, Session, Tensor};
use kiln_gpu::{DeviceProfile, Gpu, Limits};

use crate::DocqaError;

/// Holds rows and computes their dot products with a query.
pub trait Similarity: Send {
    /// Takes rows of `dim` values, one after the other, in place of those it held.
    fn set_rows(&mut self, rows: &[f32], dim: usize) -> Result<(), DocqaError>;

    /// The dot product of `query`, which has `dim` values, with each row.
    fn dots(&mut self, query: &[f32]) -> Result<Vec<f32>, DocqaError>;

    /// The bytes of the rows on a device; 0 where they are in this process.
    fn memory(&self) -> u64 {
        0
    }
}

/// Computes on the GPU. The rows stay in its memory from one query to the next.
///
/// Rows are kept in blocks of up to 16,384, padded with zeros to one of a few sizes: a store that grows row by
/// row needs a handful of plans, and one larger than what the device can bind at once is scored block by
/// block.
pub struct GpuSimilarity {
    session: Session,
    /// The plan for each block that was ever needed. A plan reads its block from a variable.
    plans: HashMap<Block, PlanId>,
    /// The blocks in use, in the order of their rows.
    blocks: Vec<Block>,
    rows: usize,
    /// The most bytes of a block.
    max_binding: u64,
}

/// Rows that are scored in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Block {
    index: usize,
    capacity: usize,
    dim: usize,
}

impl Block {
    fn variable(self) -> String {
        format!("passages/{}/{}x{}", self.index, self.capacity, self.dim)
    }
}

const MOST_ROWS: usize = 16_384;
const FEWEST_ROWS: usize = 256;

/// The size of a block for so many rows: eight sizes from one power of two to the next, so that an eighth stays empty at
/// most.
fn capacity(rows: usize) -> usize {
    rows.next_multiple_of((rows.next_power_of_two() / 16).max(FEWEST_ROWS))
}

impl GpuSimilarity {
    /// Computes on this device, in a session of its own.
    pub fn new(gpu: &Gpu) -> Self {
        Self::with_limits(gpu, gpu.profile().limits)
    }

    /// Computes as if the device had these limits, which must be no higher than its own.
    pub fn with_limits(gpu: &Gpu, limits: Limits) -> Self {
        Self {
            session: Session::with_profile(gpu, DeviceProfile { limits, ..gpu.profile().clone() }),
            plans: HashMap::new(),
            blocks: Vec::new(),
            rows: 0,
            max_binding: limits.max_binding,
        }
    }

    /// Loads the plan for a block, once.
    fn prepare(&mut self, block: Block) -> Result<(), EngineError> {
        if self.plans.contains_key(&block) {
            return Ok(());
        }
        let mut g = GraphBuilder::new("similarity");
        let passages = g.variable(&block.variable(), &[block.capacity, block.dim], DType::F32);
        let query = g.input("query", &[1, block.dim], DType::F32);
        let dots = g.matmul_nt(query, passages)?;
        g.output("dots", dots);
        let plan = self.session.load(&g.finish(), &NoWeights)?;
        self.plans.insert(block, plan);
        Ok(())
    }
}

impl Similarity for GpuSimilarity {
    fn set_rows(&mut self, rows: &[f32], dim: usize) -> Result<(), DocqaError> {
        // Until all are in place, none are.
        self.blocks.clear();
        self.rows = 0;
        if dim == 0 {
            return Ok(());
        }
        let limit = self.max_binding / (4 * dim as u64);
        let most = MOST_ROWS.min(usize::try_from(limit).unwrap_or(MOST_ROWS)).max(1);
        let mut blocks = Vec::new();
        for (index, part) in rows.chunks(most * dim).enumerate() {
            let capacity = capacity(part.len() / dim).min(most);
            let block = Block { index, capacity, dim };
            self.prepare(block)?;
            let mut padded = part.to_vec();
            padded.resize(capacity * dim, 0.0);
            let tensor = Tensor::f32([capacity, dim], padded)?;
            self.session.write_variable(&block.variable(), &tensor)?;
            blocks.push(block);
        }
        self.blocks = blocks;
        self.rows = rows.len() / dim;
        Ok(())
    }

    fn dots(&mut self, query: &[f32]) -> Result<Vec<f32>, DocqaError> {
        let query = Tensor::f32([1, query.len()], query.to_vec())?;
        let mut dots = Vec::with_capacity(self.rows);
        for block in &self.blocks {
            let mut outputs = self.session.run(self.plans[block], &[("query", &query)])?;
            let scores = outputs.take("dots").map(Tensor::into_f32).transpose()?.unwrap_or_default();
            let wanted = (self.rows - dots.len()).min(scores.len());
            dots.extend_from_slice(&scores[..wanted]);
        }
        Ok(dots)
    }

    fn memory(&self) -> u64 {
        self.blocks.iter().map(|block| 4 * (block.capacity * block.dim) as u64).sum()
    }
}

/// Computes on the CPU, in f64: the measure for the other one, and enough for tests without a device.
#[derive(Debug, Clone, Default)]
pub struct HostSimilarity {
    rows: Vec<f32>,
}

impl Similarity for HostSimilarity {
    fn set_rows(&mut self, rows: &[f32], _dim: usize) -> Result<(), DocqaError> {
        self.rows = rows.to_vec();
        Ok(())
    }

    fn dots(&mut self, query: &[f32]) -> Result<Vec<f32>, DocqaError> {
        let products =
            |row: &[f32]| row.iter().zip(query).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        Ok(self.rows.chunks_exact(query.len().max(1)).map(|row| products(row) as f32).collect())
    }
}
