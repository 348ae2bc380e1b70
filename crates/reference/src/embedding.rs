use crate::array::{Array, count};

/// `output[..][d] = table[ids[..]][d]`, as `torch.nn.functional.embedding`: the shape of the ids, then the width of
/// the table.
pub fn embedding(table: &Array, ids_shape: &[usize], ids: &[u32]) -> Array {
    assert_eq!(table.rank(), 2, "table of shape {:?}", table.shape);
    assert_eq!(count(ids_shape), ids.len(), "ids of shape {ids_shape:?}");
    let width = table.shape[1];
    let mut data = Vec::new();
    for &id in ids {
        let id = id as usize;
        assert!(id < table.shape[0], "id {id} of a table of {} rows", table.shape[0]);
        data.extend_from_slice(&table.data[id * width..(id + 1) * width]);
    }
    Array::new(&[ids_shape, &[width]].concat(), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let table = Array::new(&[3, 2], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let output = embedding(&table, &[1, 3], &[2, 0, 2]);
        assert_eq!(output.shape, [1, 3, 2]);
        assert_eq!(output.data, [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
    }
}
