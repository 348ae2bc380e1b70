//! The memory that all plans of a session share.

use kiln_gpu::{Buffer, Gpu};

use crate::error::Result;

/// Buffers for intermediates. Plans run one after the other, so each may use them all.
#[derive(Default)]
pub(super) struct Pool {
    buffers: Vec<Buffer>,
}

impl Pool {
    /// A buffer for each size, none given twice. What the pool lacks is created and stays in it.
    pub(super) fn take(&mut self, gpu: &Gpu, sizes: Vec<u64>) -> Result<Vec<Buffer>> {
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        // The largest first, each to the smallest buffer that holds it.
        order.sort_by_key(|&index| std::cmp::Reverse(sizes[index]));
        self.buffers.sort_by_key(Buffer::bytes);
        let mut taken = vec![false; self.buffers.len()];
        let mut given: Vec<Option<Buffer>> = vec![None; sizes.len()];
        for index in order {
            let fitting =
                (0..taken.len()).find(|&slot| !taken[slot] && self.buffers[slot].bytes() >= sizes[index]);
            let slot = match fitting {
                Some(slot) => slot,
                None => {
                    self.buffers.push(gpu.create_buffer("pool", sizes[index])?);
                    taken.push(false);
                    taken.len() - 1
                }
            };
            taken[slot] = true;
            given[index] = Some(self.buffers[slot].clone());
        }
        Ok(given.into_iter().flatten().collect())
    }
}
