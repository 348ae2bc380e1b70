//! Which elements of every value some elements of one value are computed from: receptive fields, found backwards.

use std::collections::HashMap;

use kiln_engine::ops::{LhsLayout, Matmul, Op, Reduce, TransposedAxis, Upsampling};
use kiln_engine::{Axis, Graph, Node, Value};

use super::window::Window;

/// Positions `start..end` of one dimension. They may lie outside it: padding is seen too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: i64,
    pub(super) end: i64,
}

/// A box of elements: one span for each dimension.
pub(super) type Region = Vec<Span>;

impl Span {
    pub(super) fn one(position: i64) -> Span {
        Span { start: position, end: position.saturating_add(1) }
    }

    fn all(extent: usize) -> Span {
        Span { start: 0, end: signed(extent) }
    }

    pub(super) fn length(self) -> usize {
        usize::try_from(self.end.saturating_sub(self.start)).unwrap_or(0)
    }

    fn last(self) -> i64 {
        self.end.saturating_sub(1)
    }

    fn join(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// What the first and the last position are computed from, where `source` gives the sources of one position.
    fn through(self, source: impl Fn(i64) -> Span) -> Span {
        source(self.start).join(source(self.last()))
    }

    fn shifted(self, by: i64) -> Span {
        Span { start: self.start.saturating_add(by), end: self.end.saturating_add(by) }
    }
}

pub(super) fn signed(extent: usize) -> i64 {
    i64::try_from(extent).unwrap_or(i64::MAX)
}

fn whole(shape: &[usize]) -> Region {
    shape.iter().map(|&extent| Span::all(extent)).collect()
}

/// One element in the middle of a value: in a picture the place where its edges matter least. `beside` moves it along
/// the spatial dimensions, which are those after batch and channels.
pub(super) fn element(shape: &[usize], beside: i64) -> Region {
    let position = |dim: usize, extent: usize| if dim < 2 { 0 } else { signed(extent / 2) + beside };
    shape.iter().enumerate().map(|(dim, &extent)| Span::one(position(dim, extent))).collect()
}

/// What a region of `target` is computed from, for every value that it depends on.
pub(super) fn reach(graph: &Graph, target: Value, region: Region) -> HashMap<Value, Region> {
    let mut found = HashMap::from([(target, region)]);
    for node in graph.nodes().iter().rev() {
        let Some(region) = found.get(&node.output) else { continue };
        for (&input, pulled) in node.inputs.iter().zip(sources(graph, node, region)) {
            match found.get_mut(&input) {
                Some(known) => {
                    known.iter_mut().zip(pulled).for_each(|(span, other)| *span = span.join(other));
                }
                None => {
                    found.insert(input, pulled);
                }
            }
        }
    }
    found
}

/// The regions of a node's inputs that a region of its output needs. An op that is not named here needs all of them.
fn sources(graph: &Graph, node: &Node, region: &Region) -> Vec<Region> {
    let shapes: Vec<&[usize]> = node.inputs.iter().map(|&value| graph.desc(value).shape.as_slice()).collect();
    let output = graph.desc(node.output).shape.as_slice();
    let everything = || shapes.iter().map(|shape| whole(shape)).collect::<Vec<_>>();
    // Where only the first input is looked at place by place.
    let first = |pulled: Region| {
        let rest = shapes.iter().skip(1).map(|shape| whole(shape));
        std::iter::once(pulled).chain(rest).collect::<Vec<_>>()
    };
    let with_whole = |dims: &[usize]| {
        let mut pulled = region.clone();
        dims.iter().for_each(|&dim| pulled[dim] = Span::all(shapes[0][dim]));
        pulled
    };
    match &node.op {
        Op::Unary(_) | Op::Binary(_) => shapes.iter().map(|shape| broadcast(shape, region)).collect(),
        Op::BatchNorm(_) | Op::Prelu(_) => first(region.clone()),
        Op::GroupNorm(_) => first(with_whole(&(1..output.len()).collect::<Vec<_>>())),
        Op::LocalResponseNorm(_) => first(with_whole(&[1])),
        Op::Softmax(op) => {
            let pulled = with_whole(&[op.dim]);
            shapes.iter().map(|shape| broadcast(shape, &pulled)).collect()
        }
        Op::LayerNorm(_) | Op::L2Normalize(_) => first(with_whole(&[output.len() - 1])),
        Op::Permute(op) => {
            let mut pulled = region.clone();
            op.dims.iter().zip(region).for_each(|(&dim, &span)| pulled[dim] = span);
            vec![pulled]
        }
        Op::Reshape(_) => vec![reshaped(shapes[0], output, region)],
        Op::Slice(op) => {
            let mut pulled = region.clone();
            pulled[op.dim] = pulled[op.dim].shifted(signed(op.start));
            vec![pulled]
        }
        // Which part an element comes from depends on its place; all of them are looked at.
        Op::Concat(op) => shapes
            .iter()
            .map(|shape| {
                let mut pulled = region.clone();
                pulled[op.dim] = Span::all(shape[op.dim]);
                pulled
            })
            .collect(),
        Op::Reduce(op) => vec![reduced(op, shapes[0], region)],
        Op::Matmul(op) => product(op, &shapes, region),
        Op::Attention(_) => {
            let rows = |shape: &[usize]| vec![region[0], Span::all(shape[1])];
            let own = [rows(shapes[0]), whole(shapes[1]), whole(shapes[2]), rows(shapes[3])];
            own.into_iter().chain(shapes[4..].iter().map(|shape| whole(shape))).collect()
        }
        Op::Conv2d(op) => match Window::of(graph, node) {
            Some(window) => {
                let mut pulled = first(seen(&window.axes, with_whole(&[1])));
                if op.epilogue.residual
                    && let Some(residual) = pulled.last_mut()
                {
                    residual.clone_from(region);
                }
                pulled
            }
            None => everything(),
        },
        Op::Pool2d(op) => match op.axes(graph.desc(node.inputs[0])) {
            Ok(axes) => vec![seen(&axes, region.clone())],
            Err(_) => everything(),
        },
        Op::AdaptivePool2d(_) => vec![resampled(shapes[0], output, region, |position, from, to| {
            if to == 1 {
                // What has no neighbour sees all, wherever one would be.
                return Span { start: 0, end: from };
            }
            let start = position.saturating_mul(from).div_euclid(to);
            let end = position.saturating_add(1).saturating_mul(from).saturating_add(to - 1).div_euclid(to);
            Span { start, end }
        })],
        Op::Upsample2d(op) => vec![resampled(shapes[0], output, region, |position, from, to| {
            neighbours(op.mode, position, from, to)
        })],
        Op::Pad(op) => {
            let sides = op.sides.iter().zip(region);
            vec![sides.map(|(side, span)| span.shifted(-signed(side[0]))).collect()]
        }
        Op::ConvTranspose2d(op) => {
            let geometry = op.geometry(graph.desc(node.inputs[0]), graph.desc(node.inputs[1]));
            match geometry {
                Ok(geometry) if !op.epilogue.residual => first(spread(&geometry.axes, with_whole(&[1]))),
                _ => everything(),
            }
        }
        Op::Embedding(_) => vec![whole(shapes[0]), region[..region.len() - 1].to_vec()],
        _ => everything(),
    }
}

/// What the windows of a region's elements cover of an image.
fn seen(axes: &[Axis; 2], mut region: Region) -> Region {
    for (span, axis) in region[2..].iter_mut().zip(axes) {
        *span = span.through(|position| {
            let start = position.saturating_mul(signed(axis.stride)).saturating_sub(signed(axis.before));
            Span { start, end: start.saturating_add(signed(axis.span())) }
        });
    }
    region
}

/// The sources of height and width where an image of one size becomes one of another: `source` gives those of a
/// position, from both extents.
fn resampled(
    input: &[usize],
    output: &[usize],
    region: &Region,
    source: impl Fn(i64, i64, i64) -> Span,
) -> Region {
    let mut pulled = region.clone();
    for dim in 2..pulled.len() {
        let (from, to) = (signed(input[dim]), signed(output[dim]));
        pulled[dim] = region[dim].through(|position| source(position, from, to));
    }
    pulled
}

/// What a position of an upsampled axis is made of.
fn neighbours(mode: Upsampling, position: i64, from: i64, to: i64) -> Span {
    // The position in the input as a fraction: with corners at corners, or centres at centres.
    let (over, under) = match mode {
        _ if from == to => return Span::one(position),
        Upsampling::Nearest => return Span::one(position.saturating_mul(from).div_euclid(to)),
        Upsampling::Bilinear { align_corners: true } => (position.saturating_mul(from - 1), (to - 1).max(1)),
        Upsampling::Bilinear { align_corners: false } => {
            let doubled = position.saturating_mul(2).saturating_add(1).saturating_mul(from);
            (doubled.saturating_sub(to), to.saturating_mul(2))
        }
    };
    // Both neighbours, though a few positions fall on one of them.
    let below = over.div_euclid(under);
    Span { start: below, end: below.saturating_add(2) }
}

/// What reaches a region's elements when every element of an image is spread by a window.
fn spread(axes: &[TransposedAxis; 2], mut region: Region) -> Region {
    for (span, axis) in region[2..].iter_mut().zip(axes) {
        let (stride, padding) = (signed(axis.stride), signed(axis.padding));
        let reach = signed(axis.dilation).saturating_mul(signed(axis.kernel) - 1);
        *span = span.through(|position| {
            // Position p gets something from i where p + padding = i stride + k dilation for a tap k.
            let last = position.saturating_add(padding);
            let start = last.saturating_sub(reach).saturating_add(stride - 1).div_euclid(stride);
            Span { start, end: last.div_euclid(stride).saturating_add(1).max(start) }
        });
    }
    region
}

/// The region of an operand that was repeated to the output's shape.
fn broadcast(shape: &[usize], region: &Region) -> Region {
    let aligned = region.iter().skip(region.len() - shape.len());
    shape.iter().zip(aligned).map(|(&extent, &span)| if extent == 1 { Span::all(1) } else { span }).collect()
}

fn reduced(op: &Reduce, input: &[usize], region: &Region) -> Region {
    let mut kept = region.iter();
    let spans = input.iter().enumerate().map(|(dim, &extent)| {
        let is_reduced = op.dims.contains(&dim);
        let span = if !is_reduced || op.keep_dim { kept.next() } else { None };
        match span {
            Some(&span) if !is_reduced => span,
            _ => Span::all(extent),
        }
    });
    spans.collect()
}

/// A row of the left side, all of the right one, and the same place of a residual.
fn product(op: &Matmul, shapes: &[&[usize]], region: &Region) -> Vec<Region> {
    let mut pulled: Vec<Region> = shapes.iter().map(|shape| whole(shape)).collect();
    let rank = shapes[0].len();
    let rows = region[region.len() - 2];
    // A left side without batch dimensions is shared by all products.
    if rank == region.len() {
        pulled[0][..rank - 2].copy_from_slice(&region[..rank - 2]);
    }
    pulled[0][if op.lhs == LhsLayout::Transposed { rank - 1 } else { rank - 2 }] = rows;
    if op.epilogue.residual
        && let Some(residual) = pulled.last_mut()
    {
        residual.clone_from(region);
    }
    pulled
}

/// Dimensions that a reshape leaves alone keep their spans; those that it merges or cuts are needed whole.
fn reshaped(input: &[usize], output: &[usize], region: &Region) -> Region {
    let mut pulled = whole(input);
    let (mut from, mut to) = (0, 0);
    while from < input.len() && to < output.len() {
        // The shortest runs of dimensions with the same number of elements on both sides.
        let (from_start, to_start) = (from, to);
        let (mut left, mut right) = (input[from], output[to]);
        (from, to) = (from + 1, to + 1);
        while left != right {
            if left < right && from < input.len() {
                left = left.saturating_mul(input[from]);
                from += 1;
            } else if right < left && to < output.len() {
                right = right.saturating_mul(output[to]);
                to += 1;
            } else {
                return pulled;
            }
        }
        let left = lone(&input[from_start..from]).map(|dim| from_start + dim);
        let right = lone(&output[to_start..to]).map(|dim| to_start + dim);
        if let (Some(left), Some(right)) = (left, right) {
            pulled[left] = region[right];
        }
    }
    pulled
}

/// The one dimension of a run that is longer than 1, or the run's only one.
fn lone(run: &[usize]) -> Option<usize> {
    let mut long = (0..run.len()).filter(|&dim| run[dim] != 1);
    match (long.next(), long.next()) {
        (Some(dim), None) => Some(dim),
        (None, _) if run.len() == 1 => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(pairs: &[(i64, i64)]) -> Region {
        pairs.iter().map(|&(start, end)| Span { start, end }).collect()
    }

    #[test]
    fn reshapes_keep_what_they_do_not_touch() {
        let region = spans(&[(0, 1), (1, 2), (3, 5), (-1, 4)]);
        let same = |input: &[usize], output: &[usize]| reshaped(input, output, &region);
        // Channels are cut into groups; height and width stay.
        assert_eq!(
            reshaped(&[1, 6, 7, 9], &[1, 2, 3, 7, 9], &spans(&[(0, 1), (1, 2), (0, 1), (3, 5), (-1, 4)])),
            spans(&[(0, 1), (0, 6), (3, 5), (-1, 4)])
        );
        assert_eq!(same(&[1, 2, 3, 7, 9], &[1, 6, 7, 9]), spans(&[(0, 1), (0, 2), (0, 3), (3, 5), (-1, 4)]));
        // What is flattened is seen whole.
        assert_eq!(reshaped(&[2, 3, 4, 5], &[2, 60], &spans(&[(1, 2), (0, 1)])), {
            spans(&[(1, 2), (0, 3), (0, 4), (0, 5)])
        });
        // A line as a picture of one row.
        assert_eq!(
            reshaped(&[1, 6, 7], &[1, 6, 1, 7], &spans(&[(0, 1), (0, 1), (0, 1), (2, 4)])),
            spans(&[(0, 1), (0, 1), (2, 4)])
        );
    }
}
