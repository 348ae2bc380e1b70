//! What is chosen, and for which op.

use std::fmt::Write;

use crate::graph::{Graph, Node, Value};
use crate::ops::{Conv2d, ConvWeight, Epilogue, LhsLayout, Matmul, Op, RhsLayout};
use crate::tensor::{DType, TensorDesc};
use crate::window::Padding;

/// An input of the op that a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operand {
    /// Shape and type.
    pub(crate) desc: TensorDesc,
    /// Whether it depends on weights alone, so that what is done to it is done once, at load.
    pub(crate) constant: bool,
}

/// What is chosen (`kernel`, `layout`, `algorithm`) for one op on inputs of some shapes.
///
/// The op stands as it is where the question is asked, but without its epilogue, which hardly makes a difference:
/// layers that differ in their bias or activation ask the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// What is chosen.
    pub(crate) what: &'static str,
    /// For which op.
    pub(crate) op: Op,
    /// On which inputs.
    pub(crate) inputs: Vec<Operand>,
}

impl Question {
    /// The question for an op with its first `inputs`; those of its epilogue are left out.
    pub(crate) fn new(what: &'static str, op: &Op, inputs: Vec<Operand>) -> Self {
        let (op, own) = match op {
            Op::Matmul(op) => (Matmul { epilogue: Epilogue::default(), ..*op }.into(), 2),
            Op::Conv2d(op) => (Conv2d { epilogue: Epilogue::default(), ..*op }.into(), 2),
            op => (op.clone(), inputs.len()),
        };
        Self { what, op, inputs: inputs.into_iter().take(own).collect() }
    }

    /// The question that a pass has about a node; `constant` says of each value whether it is one.
    pub(crate) fn about(what: &'static str, graph: &Graph, constant: &[bool], node: &Node) -> Self {
        let operand =
            |&value: &Value| Operand { desc: graph.desc(value).clone(), constant: constant[value.index()] };
        Self::new(what, &node.op, node.inputs.iter().map(operand).collect())
    }

    /// Whether the op can be run alone on made-up numbers: integers are indices to most ops, and only to products halves.
    pub(crate) fn can_be_measured(&self) -> bool {
        let of_halves = matches!(self.op, Op::Matmul(_) | Op::SplitSum(_));
        of_halves || self.inputs.iter().all(|input| input.desc.dtype == DType::F32)
    }

    /// Floating-point operations of the op.
    pub(crate) fn flops(&self) -> u64 {
        let inputs: Vec<&TensorDesc> = self.inputs.iter().map(|operand| &operand.desc).collect();
        self.op.infer(&inputs).map_or(0, |output| self.op.work(&inputs, &output).flops())
    }

    /// The question as one line that people can read, and by which its answer is found:
    /// `conv2d algorithm: f32[1, 64, 56, 56] by constant f32[64, 64, 3, 3], padding 1`.
    pub(crate) fn key(&self) -> String {
        let mut key = format!("{} {}: ", self.op.name(), self.what);
        for (index, Operand { desc, constant }) in self.inputs.iter().enumerate() {
            let joint = if index > 0 { " by " } else { "" };
            let constant = if *constant { "constant " } else { "" };
            let _ = write!(key, "{joint}{constant}{desc}");
        }
        match &self.op {
            Op::Matmul(op) => write_matmul(&mut key, op),
            Op::Conv2d(op) => write_conv2d(&mut key, op),
            op => {
                let _ = write!(key, ", {op}");
            }
        }
        key
    }
}

fn write_matmul(key: &mut String, op: &Matmul) {
    let _ = match op.lhs {
        LhsLayout::RowMajor => Ok(()),
        LhsLayout::Transposed => write!(key, ", left side transposed"),
        LhsLayout::Panels { rows } => write!(key, ", left side in panels of {rows} rows"),
    };
    let _ = match op.rhs {
        RhsLayout::RowMajor => Ok(()),
        RhsLayout::Transposed => write!(key, ", transposed"),
        RhsLayout::TransposedHalves => write!(key, ", transposed halves"),
        RhsLayout::Panels { cols } => write!(key, ", panels of {cols} columns"),
        RhsLayout::HalfPanels { cols } => write!(key, ", panels of halves of {cols} columns"),
    };
}

fn write_conv2d(key: &mut String, op: &Conv2d) {
    let pair = |[height, width]: [usize; 2]| match height == width {
        true => height.to_string(),
        false => format!("{height}x{width}"),
    };
    let options = &op.options;
    if options.stride != [1; 2] {
        let _ = write!(key, ", stride {}", pair(options.stride));
    }
    let _ = match options.padding {
        Padding::Valid => Ok(()),
        Padding::Same => write!(key, ", padding same"),
        Padding::Sides([[top, bottom], [left, right]]) if top == bottom && left == right => {
            write!(key, ", padding {}", pair([top, left]))
        }
        Padding::Sides(sides) => write!(key, ", padding {sides:?}"),
    };
    if options.dilation != [1; 2] {
        let _ = write!(key, ", dilation {}", pair(options.dilation));
    }
    if options.groups != 1 {
        let _ = write!(key, ", {} groups", options.groups);
    }
    let _ = match op.weight {
        ConvWeight::Plain => Ok(()),
        ConvWeight::Panels { out_channels, kernel: [height, width] } => {
            write!(key, ", panels of {out_channels} channels {height}x{width}")
        }
        ConvWeight::Taps { kernel: [height, width] } => write!(key, ", taps {height}x{width}"),
    };
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::ops::{Activation, ConvOptions};

    fn operand(shape: &[usize], constant: bool) -> Operand {
        Operand { desc: TensorDesc::f32(shape), constant }
    }

    fn conv(options: ConvOptions<2>, epilogue: Epilogue, constant: bool) -> Question {
        let op = Conv2d { epilogue, ..Conv2d::new(options) };
        let mut inputs = vec![operand(&[1, 8, 9, 9], false), operand(&[4, 8, 3, 3], constant)];
        inputs.extend((0..epilogue.inputs()).map(|_| operand(&[4], true)));
        Question::new("kernel", &op.into(), inputs)
    }

    #[test]
    fn keys_read_well() {
        let options = ConvOptions { padding: Padding::all(1), stride: [2, 1], ..Default::default() };
        assert_eq!(
            conv(options, Epilogue::default(), true).key(),
            "conv2d kernel: f32[1, 8, 9, 9] by constant f32[4, 8, 3, 3], stride 2x1, padding 1"
        );
        let op = Matmul { lhs: LhsLayout::Transposed, ..Matmul::with_rhs(RhsLayout::Panels { cols: 30 }) };
        let inputs = vec![operand(&[64, 16], false), operand(&[4, 64, 8], true)];
        assert_eq!(
            Question::new("kernel", &op.into(), inputs).key(),
            "matmul kernel: f32[64, 16] by constant f32[4, 64, 8], left side transposed, panels of 30 columns"
        );
    }

    #[test]
    fn what_an_epilogue_does_is_no_part_of_the_question() {
        let activation = Some(Activation::Relu);
        let epilogue = Epilogue { bias: true, activation, residual: false };
        let [plain, biased] =
            [Epilogue::default(), epilogue].map(|epilogue| conv(ConvOptions::default(), epilogue, true));
        assert_eq!(plain, biased);
        assert_eq!(biased.flops(), 2 * 4 * 7 * 7 * 8 * 9);
    }

    #[test]
    fn what_differs_is_asked_differently() {
        let plain = ConvOptions::default();
        let sides = |sides| ConvOptions { padding: Padding::Sides(sides), ..plain };
        let options = [
            plain,
            ConvOptions { stride: [2; 2], ..plain },
            ConvOptions { dilation: [2; 2], ..plain },
            ConvOptions { padding: Padding::Same, ..plain },
            sides([[1, 1], [2, 2]]),
            sides([[2, 2], [1, 1]]),
            sides([[1, 2], [1, 1]]),
            sides([[1, 1], [1, 2]]),
        ];
        let mut keys: HashSet<String> = HashSet::new();
        for options in options {
            for constant in [false, true] {
                keys.insert(conv(options, Epilogue::default(), constant).key());
            }
        }
        let mut asked = 2 * options.len();
        for rhs in [
            RhsLayout::RowMajor,
            RhsLayout::Transposed,
            RhsLayout::TransposedHalves,
            RhsLayout::Panels { cols: 9 },
            RhsLayout::Panels { cols: 10 },
            RhsLayout::HalfPanels { cols: 9 },
        ] {
            for lhs in [
                LhsLayout::RowMajor,
                LhsLayout::Transposed,
                LhsLayout::Panels { rows: 9 },
                LhsLayout::Panels { rows: 10 },
            ] {
                for what in ["kernel", "layout"] {
                    let op = Matmul { lhs, ..Matmul::with_rhs(rhs) };
                    let inputs = vec![operand(&[16, 16], false), operand(&[16, 16], false)];
                    keys.insert(Question::new(what, &op.into(), inputs).key());
                    asked += 1;
                }
            }
        }
        assert_eq!(keys.len(), asked, "{keys:#?}");
    }
}
