//! Which nodes of a graph make one layer.

use std::collections::{HashMap, HashSet};

use kiln_engine::ops::{Op, Unary, Upsampling};
use kiln_engine::{Graph, Node, Origin, Value};

use super::window::Window;

/// A few nodes that a person would call one layer.
pub(super) struct Grouped<'a> {
    /// The node that gives the layer its name and kind.
    pub(super) main: &'a Node,
    /// All of its nodes, `main` among them, in order.
    pub(super) nodes: Vec<&'a Node>,
    /// Weights that no earlier layer reads, those behind computations on weights alone included.
    pub(super) weights: Vec<Weight>,
    /// Whether `main` reads any weights, those of earlier layers included.
    reads_weights: bool,
}

/// A tensor of the weights.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Weight {
    pub(super) value: Value,
    /// False for what is measured instead of learned: running means and variances.
    pub(super) learned: bool,
}

impl Grouped<'_> {
    /// What the layer makes.
    pub(super) fn output(&self) -> Value {
        self.nodes.last().unwrap_or(&self.main).output
    }

    /// Whether it works on lines, `[N][C][L]`: as images of one row.
    pub(super) fn is_line(&self, graph: &Graph) -> bool {
        let ends = self.nodes.last().is_some_and(|node| matches!(node.op, Op::Reshape(_)));
        ends && graph.desc(self.output()).rank() == 3
    }

    /// The window of a layer that has one.
    pub(super) fn window(&self, graph: &Graph) -> Option<Window> {
        let window = Window::of(graph, self.main)?;
        Some(Window { is_line: self.is_line(graph), ..window })
    }

    /// The name of an op on images, or that of the same op on lines.
    fn spatial(&self, graph: &Graph, name: &str) -> String {
        if self.is_line(graph) { name.replace("2d", "1d") } else { name.to_owned() }
    }

    /// `conv2d`, `relu`, `linear`: PyTorch's word for it.
    pub(super) fn kind(&self, graph: &Graph) -> String {
        match &self.main.op {
            Op::Matmul(_) if self.reads_weights => "linear".to_owned(),
            Op::Unary(Unary::Activation(activation)) => snake_case(&format!("{activation:?}")),
            Op::Unary(op) => snake_case(&format!("{op:?}")),
            Op::Binary(op) => snake_case(&format!("{op:?}")),
            Op::Reduce(op) => snake_case(&format!("{:?}", op.reduction)),
            Op::Upsample2d(op) => match op.mode {
                Upsampling::Nearest => "upsample_nearest2d".to_owned(),
                Upsampling::Bilinear { .. } => "upsample_bilinear2d".to_owned(),
            },
            Op::Softmax(op) if op.log => "log_softmax".to_owned(),
            op => self.spatial(graph, op.name()),
        }
    }
}

/// The layers of a graph, in the order of their computation.
///
/// A layer is an op on data, with the bias that is added to it right behind. Ops on weights alone belong to the layer
/// that uses their result. Reshapes and permutations only say how data lies: they are no layers.
pub(super) fn layers(graph: &Graph) -> Vec<Grouped<'_>> {
    let mut fixed = Fixed::new(graph);
    let mut counted: HashSet<Value> = HashSet::new();
    let mut layers: Vec<Grouped<'_>> = vec![];
    for node in graph.nodes() {
        if fixed.absorb(node) {
            continue;
        }
        let mut weights = fixed.read_by(node);
        let reads_weights = !weights.is_empty();
        weights.retain(|weight| counted.insert(weight.value));
        match layers.last_mut() {
            Some(layer) if continues(graph, layer, node, &fixed) => {
                layer.nodes.push(node);
                layer.weights.extend(weights);
            }
            _ if moves_data(&node.op) => {}
            _ => layers.push(Grouped { main: node, nodes: vec![node], weights, reads_weights }),
        }
    }
    layers
}

/// Whether an op only says how data lies.
pub(super) fn moves_data(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Permute(_))
}

/// Whether an op looks at height and width: ops on lines are made of such.
fn works_on_images(op: &Op) -> bool {
    matches!(op, Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::Pool2d(_) | Op::AdaptivePool2d(_))
}

/// Whether a node is the end of a layer: a bias, or the way back from an image of one row to a line.
fn continues(graph: &Graph, layer: &Grouped<'_>, node: &Node, fixed: &Fixed) -> bool {
    if node.path != layer.main.path || !node.inputs.contains(&layer.output()) {
        return false;
    }
    match &node.op {
        Op::Binary(_) if matches!(layer.main.op, Op::Matmul(_)) => {
            let is_bias = |value: &Value| fixed.0.contains_key(value) && graph.desc(*value).rank() <= 1;
            node.inputs.iter().any(is_bias)
        }
        Op::Reshape(_) => {
            let (before, after) = (graph.desc(layer.output()), graph.desc(node.output));
            let is_row = before.rank() == 4 && before.shape[2] == 1 && after.rank() == 3;
            is_row && works_on_images(&layer.main.op)
        }
        _ => false,
    }
}

/// The values that depend on weights alone, with the weights that they are made of.
struct Fixed(HashMap<Value, Vec<Weight>>);

impl Fixed {
    fn new(graph: &Graph) -> Fixed {
        let values = graph.nodes().iter().flat_map(|node| &node.inputs).copied();
        let origin = |value: Value| match graph.origin(value) {
            Origin::Constant(_) | Origin::Variable(_) => Some(vec![Weight { value, learned: true }]),
            Origin::Literal(_) => Some(vec![]),
            Origin::Input(_) | Origin::Node => None,
        };
        Fixed(values.filter_map(|value| Some((value, origin(value)?))).collect())
    }

    /// Takes a node that works on weights alone.
    fn absorb(&mut self, node: &Node) -> bool {
        let is_fixed = node.inputs.iter().all(|value| self.0.contains_key(value));
        if is_fixed {
            self.0.insert(node.output, self.read_by(node));
        }
        is_fixed
    }

    fn read_by(&self, node: &Node) -> Vec<Weight> {
        let measured = measured_inputs(&node.op);
        let inputs = node.inputs.iter().enumerate();
        let weights = inputs.filter_map(|(index, value)| Some((index, self.0.get(value)?)));
        let marked = weights.flat_map(|(index, weights)| {
            let learned = !measured.contains(&index);
            weights.iter().map(move |weight| Weight { learned: weight.learned && learned, ..*weight })
        });
        marked.collect()
    }
}

/// Which inputs of an op hold statistics.
fn measured_inputs(op: &Op) -> &'static [usize] {
    match op {
        Op::BatchNorm(_) => &[1, 2],
        _ => &[],
    }
}

/// `MaxPool` becomes `max_pool`; what stands in brackets behind is left out.
fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars().take_while(|letter| letter.is_alphanumeric()) {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}
