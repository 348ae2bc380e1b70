//! The windows of a graph: what slides over an image, and what it leaves over.

use kiln_engine::ops::Op;
use kiln_engine::{Axis, Graph, Node};

/// A window that slides over height and width.
pub(super) struct Window {
    pub(super) axes: [Axis; 2],
    /// Whether windows that do not fit are left out, and with them what they alone would see.
    pub(super) floors: bool,
    /// Channels are cut into so many groups.
    pub(super) groups: usize,
    /// Whether the image is a line: of one row, which nobody needs to hear of.
    pub(super) is_line: bool,
}

impl Window {
    /// The window of a convolution or pooling, if the node is one.
    pub(super) fn of(graph: &Graph, node: &Node) -> Option<Window> {
        let desc = |input: usize| node.inputs.get(input).map(|&value| graph.desc(value));
        match &node.op {
            Op::Conv2d(op) => {
                let geometry = op.geometry(desc(0)?, desc(1)?).ok()?;
                Some(Window::new(geometry.axes, geometry.groups, true))
            }
            Op::Pool2d(op) => {
                let axes = op.axes(desc(0)?).ok()?;
                Some(Window::new(axes, 1, !op.options.ceil_mode))
            }
            Op::ConvTranspose2d(op) => {
                let geometry = op.geometry(desc(0)?, desc(1)?).ok()?;
                let axes = geometry.axes.map(|axis| Axis {
                    input: axis.input,
                    kernel: axis.kernel,
                    stride: axis.stride,
                    dilation: axis.dilation,
                    before: axis.padding,
                    after: axis.padding,
                });
                Some(Window::new(axes, geometry.groups, false))
            }
            _ => None,
        }
    }

    fn new(axes: [Axis; 2], groups: usize, floors: bool) -> Window {
        Window { axes, groups, floors, is_line: false }
    }

    /// One number for each axis that differs from the others.
    fn by_axis(&self, size: impl Fn(&Axis) -> usize) -> Vec<usize> {
        let mut sizes = self.axes[usize::from(self.is_line)..].iter().map(size).collect::<Vec<_>>();
        sizes.dedup();
        sizes
    }

    /// `3x3`, however alike the axes are; `3` for a line.
    fn extents(&self, size: impl Fn(&Axis) -> usize) -> String {
        by(&self.axes[usize::from(self.is_line)..].iter().map(size).collect::<Vec<_>>())
    }

    /// `3x3`, and every option that is not the common one: `3x3 stride 2 padding 1`.
    pub(super) fn describe(&self) -> String {
        let mut text = self.extents(|axis| axis.kernel);
        let mut add = |name: &str, common: usize, sizes: Vec<usize>| {
            if sizes != [common] {
                text.push_str(&format!(" {name} {}", by(&sizes)));
            }
        };
        add("stride", 1, self.by_axis(|axis| axis.stride));
        add("dilation", 1, self.by_axis(|axis| axis.dilation));
        if self.axes.iter().all(|axis| axis.before == axis.after) {
            add("padding", 0, self.by_axis(|axis| axis.before));
        } else {
            add("padding before", 0, self.by_axis(|axis| axis.before));
            add("padding after", 0, self.by_axis(|axis| axis.after));
        }
        add("groups", 1, vec![self.groups]);
        text
    }

    /// One note where rows or columns at the end are seen by no window, since PyTorch rounds the output's size down.
    pub(super) fn remainder_note(&self) -> Option<String> {
        let leaves = |axis: &Axis| self.floors && axis.remainder() > 0;
        let [height, width] = &self.axes;
        // One axis stands for both where they are alike, and where there is only one.
        let alone = self.is_line || height == width;
        let named = [(" in the height", height), (" in the width", width)];
        let named = if alone { vec![("", width)] } else { named.to_vec() };
        let left: Vec<String> = named
            .into_iter()
            .filter(|(_, axis)| leaves(axis))
            .map(|(name, axis)| {
                format!("a remainder of {}{name}; output would be {}", axis.remainder(), formula(axis))
            })
            .collect();
        if left.is_empty() {
            return None;
        }
        let kernel = self.extents(|axis| axis.kernel);
        let stride = by(&self.by_axis(|axis| axis.stride));
        let input = self.extents(|axis| axis.input);
        Some(format!("kernel {kernel} with stride {stride} on {input} leaves {}", left.join(", and ")))
    }
}

/// `3x5`.
fn by(sizes: &[usize]) -> String {
    sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// The size of the output as PyTorch documents it, with numbers in place of names.
fn formula(axis: &Axis) -> String {
    let mut padded = axis.input.to_string();
    match (axis.before, axis.after) {
        (0, 0) => {}
        (before, after) if before == after => padded.push_str(&format!("+2*{before}")),
        (before, after) => padded.push_str(&format!("+{before}+{after}")),
    }
    let span = if axis.dilation == 1 {
        axis.kernel.to_string()
    } else {
        format!("{}*({}-1)-1", axis.dilation, axis.kernel)
    };
    format!("floor(({padded}-{span})/{})+1 = {}", axis.stride, axis.output())
}
