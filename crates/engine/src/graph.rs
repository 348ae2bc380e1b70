//! The graph: values in single assignment, nodes in topological order, and nothing that knows a device.

use std::collections::HashSet;
use std::fmt;

use crate::error::{EngineError, Mismatch, Result};
use crate::ops::Op;
use crate::tensor::{DType, MAX_RANK, TensorDesc};
use crate::updates::Rule;

/// Names a value of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u32);

impl Value {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Given with every run.
    Input(String),
    /// Read by name from a [`WeightSource`](crate::WeightSource) at load. After `hoist_constants` the name may
    /// be the text of an expression over such tensors, computed once at load.
    Constant(String),
    /// Numbers that stand in the graph itself, by their bits.
    Literal(Vec<u32>),
    /// A device buffer that the session keeps and shares by name among its plans.
    Variable(String),
    /// Computed by a node.
    Node,
}

/// Description and origin of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ValueInfo {
    /// Shape and type.
    pub desc: TensorDesc,
    /// Where it comes from.
    pub origin: Origin,
}

impl ValueInfo {
    /// The name of a variable.
    fn variable(&self) -> Option<&String> {
        match &self.origin {
            Origin::Variable(name) => Some(name),
            _ => None,
        }
    }
}

/// One op applied to values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// The op and its options.
    pub op: Op,
    /// What it reads.
    pub inputs: Vec<Value>,
    /// The one value that it makes.
    pub output: Value,
    /// The layer path.
    pub path: String,
}

/// A change of variables, once everything in the graph has been computed: the only side effect that a graph has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Update {
    /// The rule and its options.
    pub rule: Rule,
    /// What it changes, in place; the first one gives it its rows.
    pub variables: Vec<Value>,
    /// What it reads besides.
    pub inputs: Vec<Value>,
    /// The layer path.
    pub path: String,
}

/// A name for a part of a vector that is a variable: elements of it in a shape of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) desc: TensorDesc,
    /// The variable that it is a part of.
    pub(crate) variable: String,
    /// The first element there.
    pub(crate) start: usize,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} from element {} on", self.desc, self.variable, self.start)
    }
}

/// A network or a part of one, as plain data: comparable, hashable and printable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) values: Vec<ValueInfo>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) outputs: Vec<(String, Value)>,
    /// Carried out in order, once everything has been computed.
    pub(crate) updates: Vec<Update>,
    /// Names under which a session reads and writes parts of variables. What is made of the graph has no need of them.
    pub(crate) parts: Vec<Part>,
}

impl Graph {
    pub(crate) fn empty(name: &str) -> Self {
        let name = name.into();
        Self { name, values: vec![], nodes: vec![], outputs: vec![], updates: vec![], parts: vec![] }
    }

    /// The name given to the builder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All values; a [`Value`] is an index here.
    pub fn values(&self) -> &[ValueInfo] {
        &self.values
    }

    /// The nodes, each after those that it reads from.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Named results.
    pub fn outputs(&self) -> &[(String, Value)] {
        &self.outputs
    }

    /// Changes of variables, in order.
    pub fn updates(&self) -> &[Update] {
        &self.updates
    }

    /// Description of a value.
    ///
    /// # Panics
    /// For a value of another graph.
    pub fn desc(&self, value: Value) -> &TensorDesc {
        &self.values[value.index()].desc
    }

    /// Where a value comes from.
    ///
    /// # Panics
    /// For a value of another graph.
    pub fn origin(&self, value: Value) -> &Origin {
        &self.values[value.index()].origin
    }

    /// Names and descriptions of the inputs, in the order of their declaration.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, &TensorDesc)> {
        self.values.iter().filter_map(|value| match &value.origin {
            Origin::Input(name) => Some((name.as_str(), &value.desc)),
            _ => None,
        })
    }

    /// Makes every computed value an output, named `%3` and the like: for looking inside, layer by layer. Values
    /// that are outputs are not fused away.
    pub fn keep_all_values(&mut self) {
        let computed = self.nodes.iter().map(|node| (node.output.to_string(), node.output));
        self.outputs.extend(computed.collect::<Vec<_>>());
    }

    pub(crate) fn add_value(&mut self, desc: TensorDesc, origin: Origin) -> Value {
        self.values.push(ValueInfo { desc, origin });
        Value(self.values.len() as u32 - 1)
    }

    /// Adds a node whose result has the description that the op infers.
    pub(crate) fn add_node(&mut self, op: Op, inputs: Vec<Value>, path: String) -> Result<Value> {
        let descs: Vec<&TensorDesc> = inputs.iter().map(|&value| self.desc(value)).collect();
        let desc = op.infer(&descs).map_err(|mismatch| mismatch.at(op.name(), &path))?;
        let output = self.add_value(desc, Origin::Node);
        self.nodes.push(Node { op, inputs, output, path });
        Ok(output)
    }

    /// What must be computed: outputs, and what updates read.
    pub(crate) fn ends(&self) -> impl Iterator<Item = Value> {
        let outputs = self.outputs.iter().map(|(_, value)| *value);
        outputs.chain(self.updates.iter().flat_map(|update| update.inputs.iter().copied()))
    }

    /// How many times each value is read: by nodes, outputs and updates.
    pub(crate) fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.values.len()];
        let reads = self.nodes.iter().flat_map(|node| &node.inputs);
        for value in reads.copied().chain(self.ends()) {
            uses[value.index()] += 1;
        }
        uses
    }

    /// Whether a value depends on constants alone.
    pub(crate) fn constant_values(&self) -> Vec<bool> {
        let mut constant: Vec<bool> = self
            .values
            .iter()
            .map(|value| matches!(value.origin, Origin::Constant(_) | Origin::Literal(_)))
            .collect();
        for node in &self.nodes {
            constant[node.output.index()] = node.inputs.iter().all(|value| constant[value.index()]);
        }
        constant
    }

    /// Whether an update's rule can work on its variables and inputs.
    pub(crate) fn check_update(&self, update: &Update) -> Result<(), Mismatch> {
        let descs = |values: &[Value]| values.iter().map(|&value| self.desc(value)).collect::<Vec<_>>();
        update.rule.check(&descs(&update.variables), &descs(&update.inputs))
    }

    /// Proves that the graph is well formed: single assignment, order, inferred descriptions, unique names.
    ///
    /// # Errors
    /// [`EngineError::Graph`] naming the first broken rule.
    pub fn check(&self) -> Result<()> {
        let fail = |problem: String| Err(EngineError::Graph { graph: self.name.clone(), problem });
        for (index, info) in self.values.iter().enumerate() {
            if let Err(mismatch) = check_desc(&info.desc) {
                return fail(format!("%{index}: {mismatch}"));
            }
        }
        let mut defined: Vec<bool> = self.values.iter().map(|value| value.origin != Origin::Node).collect();
        for node in &self.nodes {
            for input in &node.inputs {
                if !defined.get(input.index()).copied().unwrap_or(false) {
                    return fail(format!(
                        "{} \"{}\" reads {input} before it is made",
                        node.op.name(),
                        node.path
                    ));
                }
            }
            if std::mem::replace(&mut defined[node.output.index()], true) {
                return fail(format!("{} is made twice", node.output));
            }
            let descs: Vec<&TensorDesc> = node.inputs.iter().map(|&value| self.desc(value)).collect();
            match node.op.infer(&descs) {
                Ok(desc) if &desc == self.desc(node.output) => {}
                Ok(desc) => {
                    return fail(format!(
                        "{} is declared {} but is {desc}",
                        node.output,
                        self.desc(node.output)
                    ));
                }
                Err(mismatch) => return fail(format!("{} \"{}\": {mismatch}", node.op.name(), node.path)),
            }
        }
        for (name, value) in &self.outputs {
            if !defined.get(value.index()).copied().unwrap_or(false) {
                return fail(format!("output \"{name}\" is never made"));
            }
        }
        let mut names = HashSet::new();
        for (name, _) in &self.outputs {
            if !names.insert(name) {
                return fail(format!("two outputs are named \"{name}\""));
            }
        }
        let mut names = HashSet::new();
        for value in &self.values {
            if let Origin::Input(name) | Origin::Constant(name) | Origin::Variable(name) = &value.origin
                && !names.insert((std::mem::discriminant(&value.origin), name))
            {
                return fail(format!("\"{name}\" is declared twice"));
            }
        }
        let mut variables: HashSet<&String> = self.values.iter().filter_map(ValueInfo::variable).collect();
        for Part { name, .. } in &self.parts {
            if !variables.insert(name) {
                return fail(format!("variable \"{name}\" is declared twice"));
            }
        }
        let mut changed = HashSet::new();
        for update in &self.updates {
            let rule = update.rule.name();
            for variable in &update.variables {
                let Origin::Variable(name) = &self.values[variable.index()].origin else {
                    return fail(format!(
                        "{rule} \"{}\" changes {variable}, which is no variable",
                        update.path
                    ));
                };
                if !changed.insert(variable) {
                    return fail(format!("variable \"{name}\" is changed twice"));
                }
            }
            for input in &update.inputs {
                if !defined.get(input.index()).copied().unwrap_or(false) {
                    return fail(format!("{rule} \"{}\" reads {input}, which is never made", update.path));
                }
            }
            if let Err(mismatch) = self.check_update(update) {
                return fail(format!("{rule} \"{}\": {mismatch}", update.path));
            }
        }
        Ok(())
    }
}

/// The rules that hold for every tensor of a graph: a bounded rank, no empty dimension, and a size that can be counted.
pub(crate) fn check_desc(desc: &TensorDesc) -> Result<(), Mismatch> {
    if desc.rank() > MAX_RANK {
        return Err(Mismatch::new("rank", format!("at most {MAX_RANK}"), desc.rank()));
    }
    let elements = desc.shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    match elements {
        Some(0) => Err(Mismatch::new("shape", "no empty dimension", desc)),
        Some(count) if count <= (u32::MAX as usize) * 16 => Ok(()),
        _ => Err(Mismatch::new("size", "a tensor that a device can hold", desc)),
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph {}", self.name)?;
        for (index, info) in self.values.iter().enumerate() {
            match &info.origin {
                Origin::Input(name) => writeln!(f, "  %{index} = input \"{name}\" {}", info.desc)?,
                Origin::Constant(name) => writeln!(f, "  %{index} = constant \"{name}\" {}", info.desc)?,
                Origin::Variable(name) => writeln!(f, "  %{index} = variable \"{name}\" {}", info.desc)?,
                Origin::Literal(bits) if bits.len() <= 4 && info.desc.dtype == DType::F32 => {
                    let numbers: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
                    writeln!(f, "  %{index} = literal {numbers:?} {}", info.desc)?;
                }
                Origin::Literal(bits) if bits.len() <= 4 => {
                    writeln!(f, "  %{index} = literal {bits:?} {}", info.desc)?;
                }
                Origin::Literal(_) => writeln!(f, "  %{index} = literal {}", info.desc)?,
                Origin::Node => {}
            }
        }
        for node in &self.nodes {
            let inputs: Vec<String> = node.inputs.iter().map(Value::to_string).collect();
            write!(f, "  {} = {}({})", node.output, node.op, inputs.join(", "))?;
            writeln!(f, " {}  # {}", self.desc(node.output), node.path)?;
        }
        for update in &self.updates {
            let list = |values: &[Value]| values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
            let (variables, inputs) = (list(&update.variables), list(&update.inputs));
            writeln!(f, "  {variables} := {}({inputs})  # {}", update.rule, update.path)?;
        }
        for (name, value) in &self.outputs {
            writeln!(f, "  output \"{name}\" = {value}")?;
        }
        Ok(())
    }
}
