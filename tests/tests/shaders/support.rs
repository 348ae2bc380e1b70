//! What the kernels' tests share: sizes as the shaders count them, and strided views as they take them.

/// A size as a shader counts it.
pub(crate) fn u(size: usize) -> u32 {
    u32::try_from(size).expect("a test should be small")
}

/// Extents or strides in row-major order, as strided kernels take them: up to eight, the fastest dimension first.
pub(crate) fn halves(row_major: &[usize]) -> ([u32; 4], [u32; 4]) {
    let mut fields = [0; 8];
    for (field, &value) in fields.iter_mut().zip(row_major.iter().rev()) {
        *field = u(value);
    }
    let [a, b, c, d, e, f, g, h] = fields;
    ([a, b, c, d], [e, f, g, h])
}

/// The strides of a dense tensor.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

/// The strides by which a tensor of shape `own` is read as one of shape `shape`: 0 where it repeats.
pub(crate) fn repeated(own: &[usize], shape: &[usize]) -> Vec<usize> {
    let missing = shape.len() - own.len();
    let own_strides = strides(own);
    (0..shape.len())
        .map(|axis| match axis.checked_sub(missing) {
            Some(axis) if own[axis] != 1 => own_strides[axis],
            _ => 0,
        })
        .collect()
}
