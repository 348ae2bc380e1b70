//! What a network is made of, layer by layer: sizes, costs, and how far each layer sees. No device is needed.

mod cost;
mod layers;
mod reach;
mod window;

pub use cost::multiply_adds;

use std::collections::HashMap;

use kiln_engine::ops::Op;
use kiln_engine::{DType, Graph, Node, Origin, Value};
use serde::Serialize;

use layers::Grouped;
use reach::{Region, element, reach};

/// A network's layers with their totals, as plain data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The graph's name.
    pub model: String,
    /// What the network is given.
    pub inputs: Vec<Input>,
    /// The layers, in the order of their computation.
    pub layers: Vec<Layer>,
    /// The last pool with a window of its own, which [`Layer::last_pool_extent`] is about.
    pub last_pool: Option<String>,
    /// Sums over the layers.
    pub totals: Totals,
    /// What a reader should know, one line each: windows that leave rows or columns over.
    pub notes: Vec<String>,
}

/// A tensor that a network is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its element type, `f32` or `u32`.
    pub dtype: String,
}

/// One layer.
///
/// Sizes by axis are those of the input's spatial axes (`[height, width]` of a picture), found by walking back from one
/// element in the middle of the layer's output. They count padding, so they can be larger than the picture. Networks
/// whose input has no spatial axes have none of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// Place in the network, from 1.
    pub index: usize,
    /// The layer's path, without the network's name.
    pub name: String,
    /// What it does, in PyTorch's words: `conv2d`, `relu`, `max_pool2d`, `linear`.
    pub kind: String,
    /// The window and its options, such as `3x3 padding 1`; empty for a layer without one.
    pub window: String,
    /// Shape of the output.
    pub output_shape: Vec<usize>,
    /// Learned numbers that no earlier layer has: weights and biases, but no running means and variances.
    pub parameters: u64,
    /// Multiply-adds of convolutions, products and attention; everything else counts as none.
    pub multiply_adds: u64,
    /// Bytes of the output.
    pub output_bytes: u64,
    /// Bytes of the weights, running means and variances included.
    pub weight_bytes: u64,
    /// How much of the input one element of the output sees.
    pub receptive_field: Option<Vec<usize>>,
    /// How far apart in the input the fields of neighbouring elements are.
    pub jump: Option<Vec<f64>>,
    /// How much of the layer's *input* one element of the last pool is computed from. The layer that reads the pool
    /// has 1, later ones have none.
    pub last_pool_extent: Option<Vec<usize>>,
}

/// Sums over all layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Learned numbers.
    pub parameters: u64,
    /// Multiply-adds.
    pub multiply_adds: u64,
    /// Bytes of all outputs; a plan that reuses memory needs less.
    pub output_bytes: u64,
    /// Bytes of all weights.
    pub weight_bytes: u64,
}

/// What goes by one name in a graph, without the sizes and reaches that a [`Layer`] has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The layers' path, without the network's name.
    pub name: String,
    /// What they do, each kind once, in the order of their computation: `conv2d relu`.
    pub kind: String,
    /// Multiply-adds of their definition: a convolution counts as one, by whatever method it is computed.
    pub multiply_adds: u64,
}

/// The layers of a graph by their names, in the order in which these first come up.
pub fn named(graph: &Graph) -> Vec<Named> {
    let mut found: Vec<Named> = vec![];
    let mut places: HashMap<&str, usize> = HashMap::new();
    for group in &layers::layers(graph) {
        let place = *places.entry(name(graph, group.main)).or_insert_with_key(|name| {
            found.push(Named { name: (*name).to_owned(), ..Named::default() });
            found.len() - 1
        });
        let (named, kind) = (&mut found[place], group.kind(graph));
        if !named.kind.split(' ').any(|known| known == kind) {
            named.kind += if named.kind.is_empty() { "" } else { " " };
            named.kind += &kind;
        }
        let multiply_adds = group.nodes.iter().map(|node| cost::multiply_adds(graph, node));
        named.multiply_adds = multiply_adds.fold(named.multiply_adds, u64::saturating_add);
    }
    found
}

/// Summarises a graph as it was built: before passes, which merge and split layers.
///
/// Layers are told apart by op and path; a bias belongs to the product that it is added to, and reshapes and
/// permutations belong to no layer.
pub fn summarize(graph: &Graph) -> Summary {
    let grouped = layers::layers(graph);
    let sight = Sight::new(graph, &grouped);
    let layers: Vec<Layer> =
        grouped.iter().enumerate().map(|(index, group)| layer(graph, index + 1, group, &sight)).collect();
    let mut totals = Totals::default();
    for layer in &layers {
        totals.parameters = totals.parameters.saturating_add(layer.parameters);
        totals.multiply_adds = totals.multiply_adds.saturating_add(layer.multiply_adds);
        totals.output_bytes = totals.output_bytes.saturating_add(layer.output_bytes);
        totals.weight_bytes = totals.weight_bytes.saturating_add(layer.weight_bytes);
    }
    let inputs = graph.inputs().map(|(name, desc)| Input {
        name: name.to_owned(),
        shape: desc.shape.clone(),
        dtype: desc.dtype.to_string(),
    });
    let notes = grouped.iter().filter_map(|group| {
        let note = group.window(graph)?.remainder_note()?;
        Some(format!("{} \"{}\": {note}", group.kind(graph), name(graph, group.main)))
    });
    Summary {
        model: graph.name().to_owned(),
        inputs: inputs.collect(),
        totals,
        last_pool: last_pool(&grouped).map(|pool| name(graph, pool.main).to_owned()),
        notes: notes.collect(),
        layers,
    }
}

fn layer(graph: &Graph, index: usize, group: &Grouped<'_>, sight: &Sight<'_>) -> Layer {
    let output = graph.desc(group.output());
    let numbers = |learned_alone: bool| -> u64 {
        let weights = group.weights.iter().filter(|weight| weight.learned || !learned_alone);
        weights.map(|weight| graph.desc(weight.value).elements() as u64).fold(0, u64::saturating_add)
    };
    let multiply_adds = group.nodes.iter().map(|node| cost::multiply_adds(graph, node));
    let (receptive_field, jump) = sight.of(group.output());
    Layer {
        index,
        name: name(graph, group.main).to_owned(),
        kind: group.kind(graph),
        window: group.window(graph).map(|window| window.describe()).unwrap_or_default(),
        output_shape: output.shape.clone(),
        parameters: numbers(true),
        multiply_adds: multiply_adds.fold(0, u64::saturating_add),
        output_bytes: output.bytes(),
        weight_bytes: numbers(false).saturating_mul(DType::BYTES as u64),
        receptive_field,
        jump,
        last_pool_extent: sight.needed_by_last_pool(group),
    }
}

fn name<'a>(graph: &Graph, node: &'a Node) -> &'a str {
    layer_name(graph.name(), &node.path)
}

/// The name of the layer that a node's path stands for: the path without the network's name in front.
pub(crate) fn layer_name<'a>(model: &str, path: &'a str) -> &'a str {
    path.strip_prefix(model).map_or(path, |rest| rest.strip_prefix('/').unwrap_or(rest))
}

/// How far layers see.
struct Sight<'a> {
    graph: &'a Graph,
    /// The first input that has spatial axes.
    picture: Option<Value>,
    /// What the last pool makes.
    pool: Option<Value>,
    /// What one element of it needs of every value.
    last_pool: HashMap<Value, Region>,
}

impl<'a> Sight<'a> {
    fn new(graph: &'a Graph, layers: &[Grouped<'_>]) -> Sight<'a> {
        let is_picture = |value: &Value| {
            let desc = graph.desc(*value);
            let is_input = matches!(graph.origin(*value), Origin::Input(_));
            is_input && desc.dtype == DType::F32 && desc.rank() >= 3
        };
        let picture = graph.nodes().iter().flat_map(|node| &node.inputs).copied().find(is_picture);
        let pool = last_pool(layers).filter(|_| picture.is_some()).map(Grouped::output);
        let last_pool = pool.map(|pool| reach(graph, pool, element(&graph.desc(pool).shape, 0)));
        let last_pool = last_pool.unwrap_or_default();
        Sight { graph, picture, pool, last_pool }
    }

    /// Size and jump of the field that one element of a value has in the picture.
    fn of(&self, value: Value) -> (Option<Vec<usize>>, Option<Vec<f64>>) {
        /// Far enough that the jump of an upsampled value, which is a fraction, shows.
        const STEPS: i64 = 1 << 20;
        let Some(picture) = self.picture else { return (None, None) };
        let shape = &self.graph.desc(value).shape;
        let seen = |beside: i64| {
            let regions = reach(self.graph, value, element(shape, beside));
            regions.get(&picture).map(|region| region[2..].to_vec())
        };
        let (Some(here), Some(there)) = (seen(0), seen(STEPS)) else { return (None, None) };
        let jumps = here.iter().zip(&there).map(|(here, there)| {
            let jump = there.start.saturating_sub(here.start) as f64 / STEPS as f64;
            // The rest is the rounding of positions.
            (jump * 1e4).round() / 1e4
        });
        let jumps: Vec<f64> = jumps.collect();
        let sizes = here.iter().map(|span| span.length()).collect();
        (Some(sizes), jumps.iter().any(|&jump| jump > 0.0).then_some(jumps))
    }

    /// What one element of the last pool needs of the layer's input, if the layer is on the way there or reads the pool.
    fn needed_by_last_pool(&self, layer: &Grouped<'_>) -> Option<Vec<usize>> {
        let mut input = *layer.main.inputs.first()?;
        // Reshapes in between are no layers: the one behind the pool reads the pool.
        while !self.last_pool.contains_key(&input) {
            let maker = self.graph.nodes().iter().find(|node| node.output == input)?;
            if !layers::moves_data(&maker.op) {
                return None;
            }
            input = *maker.inputs.first()?;
        }
        let is_on_the_way = self.last_pool.contains_key(&layer.output()) || self.pool == Some(input);
        let region = self.last_pool.get(&input).filter(|region| is_on_the_way && region.len() > 2)?;
        Some(region[2..].iter().map(|span| span.length()).collect())
    }
}

fn last_pool<'a, 'b>(layers: &'a [Grouped<'b>]) -> Option<&'a Grouped<'b>> {
    layers.iter().rev().find(|layer| is_pool(layer.main))
}

/// Whether a layer is a pool with a window of its own, not one over all there is.
fn is_pool(node: &Node) -> bool {
    matches!(node.op, Op::Pool2d(_))
}

#[cfg(test)]
mod tests;
