//! Builds a graph op by op. A mistake is found at the op that makes it, and names the layer.

mod activation;
mod conv;
mod conv_transpose;
mod loss;
mod norm;
mod optimize;
mod pool;
mod resample;

use std::collections::HashMap;
use std::fmt::Display;

use crate::error::{EngineError, Mismatch, Result};
use crate::graph::{Graph, Origin, Part, Update, Value};
use crate::ops::{
    Attention, Binary, CachedAttention, Concat, Embedding, Expand, FlatConcat, IndexAdd, IndexRows,
    IndexSelect, LhsLayout, Matmul, Op, PackHalf, Permute, Reduce, Reduction, Reshape, RhsLayout,
    SegmentMean, Slice, Unary, UnpackHalf,
};
use crate::tensor::{DType, TensorDesc};
use crate::updates::{Assign, Rule};

pub use loss::{CrossEntropyOptions, LossReduction, MultiMarginOptions};
pub use norm::BatchNormTraining;

/// Builds a [`Graph`].
///
/// Every op returns the [`Value`] that it makes, or an [`EngineError::Op`] with the layer path, what was expected
/// and what came. Shapes follow PyTorch; the last dimension is contiguous.
///
/// ```
/// use kiln_engine::{DType, GraphBuilder};
///
/// # fn main() -> Result<(), kiln_engine::EngineError> {
/// let mut g = GraphBuilder::new("example");
/// let x = g.input("x", &[2, 3], DType::F32);
/// let weight = g.constant("weight", &[4, 3]);
/// let y = g.linear(x, weight, None)?;
/// g.output("y", y);
/// assert_eq!(g.desc(y).shape, [2, 4]);
///
/// let mistake = g.scope("head", |g| g.linear(y, weight, None)).unwrap_err();
/// assert_eq!(
///     mistake.to_string(),
///     "matmul \"example/head\": right side depth: expected 4, as left side f32[2, 4] has, got f32[4, 3]"
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GraphBuilder {
    graph: Graph,
    path: String,
    named: HashMap<Origin, Value>,
}

impl GraphBuilder {
    /// Starts a graph; its name begins every layer path.
    pub fn new(name: &str) -> Self {
        Self { graph: Graph::empty(name), path: name.to_owned(), named: HashMap::new() }
    }

    /// The graph that has been built.
    pub fn finish(self) -> Graph {
        self.graph
    }

    /// Description of a value.
    pub fn desc(&self, value: Value) -> &TensorDesc {
        self.graph.desc(value)
    }

    /// Builds inside a deeper layer path: `minilm/layer0` within `g.scope("layer0", |g| ...)`.
    pub fn scope<R>(&mut self, name: impl Display, body: impl FnOnce(&mut Self) -> R) -> R {
        let length = self.path.len();
        self.path = format!("{}/{name}", self.path);
        let result = body(self);
        self.path.truncate(length);
        result
    }

    /// A tensor that is given with every run.
    pub fn input(&mut self, name: &str, shape: &[usize], dtype: DType) -> Value {
        self.named_value(TensorDesc::new(shape, dtype), Origin::Input(name.to_owned()))
    }

    /// An f32 tensor that is read by name from a [`WeightSource`](crate::WeightSource) when the graph is loaded.
    /// The same name twice is the same value.
    pub fn constant(&mut self, name: &str, shape: &[usize]) -> Value {
        self.named_value(TensorDesc::f32(shape), Origin::Constant(name.to_owned()))
    }

    /// Numbers that belong to the graph itself.
    ///
    /// # Errors
    /// [`EngineError::Elements`] where their number is not the product of the shape.
    pub fn literal(&mut self, shape: &[usize], data: &[f32]) -> Result<Value> {
        self.literal_bits(TensorDesc::f32(shape), data.iter().map(|number| number.to_bits()).collect())
    }

    /// Integers that belong to the graph itself.
    ///
    /// # Errors
    /// [`EngineError::Elements`] where their number is not the product of the shape.
    pub fn literal_u32(&mut self, shape: &[usize], data: &[u32]) -> Result<Value> {
        self.literal_bits(TensorDesc::new(shape, DType::U32), data.to_vec())
    }

    fn literal_bits(&mut self, desc: TensorDesc, bits: Vec<u32>) -> Result<Value> {
        if desc.elements() != bits.len() {
            let expected = desc.elements();
            return Err(EngineError::Elements { shape: desc.shape, expected, got: bits.len() });
        }
        Ok(self.graph.add_value(desc, Origin::Literal(bits)))
    }

    /// A single number, of shape `[]`, which broadcasts with everything.
    pub fn scalar(&mut self, number: f32) -> Value {
        self.graph.add_value(TensorDesc::f32([]), Origin::Literal(vec![number.to_bits()]))
    }

    /// A device buffer that starts as zeros, lasts as long as the session, and is shared by name among its plans.
    pub fn variable(&mut self, name: &str, shape: &[usize], dtype: DType) -> Value {
        self.named_value(TensorDesc::new(shape, dtype), Origin::Variable(name.to_owned()))
    }

    /// Many small variables that lie one after the other in one, so that a single kernel changes them all. Gives the vector,
    /// which is a variable of this name. `members` are laid out as [`FlatConcat`] lays out tensors: each has names, and the
    /// shape of what has one of them. Several lie directly behind each other, as the rows of one tensor do.
    ///
    /// A member is a part of it that has a name of its own: [`variable`](Self::variable) gives it from here on, a
    /// [`Session`](crate::Session) reads and writes it by that name, and no graph of the same session may declare it by
    /// itself. Only the whole can be updated.
    ///
    /// ```
    /// use kiln_engine::updates::Accumulate;
    /// use kiln_engine::{DType, GraphBuilder};
    ///
    /// # fn main() -> Result<(), kiln_engine::EngineError> {
    /// let mut g = GraphBuilder::new("example");
    /// let sums = g.flat_variable("sums", &[(&["weight"], &[3, 20]), (&["mean", "variance"], &[20])])?;
    /// assert_eq!(g.desc(sums).shape, [128]);
    /// let weight = g.variable("weight", &[3, 20], DType::F32);
    /// let (moments, share) = (g.input("moments", &[2, 20], DType::F32), g.input("share", &[2], DType::F32));
    /// let (weight, moments) = (g.exp(weight)?, g.exp(moments)?);
    /// let both = g.flat_concat(&[weight, moments])?;
    /// g.update(Accumulate, &[sums], &[both, share])?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`EngineError::Op`] where there are no members, or one has no elements or no name.
    pub fn flat_variable(&mut self, name: &str, members: &[(&[&str], &[usize])]) -> Result<Value> {
        let of_all =
            |(names, shape): &(&[&str], &[usize])| TensorDesc::f32([&[names.len()], *shape].concat());
        let descs: Vec<TensorDesc> = members.iter().map(of_all).collect();
        let descs: Vec<&TensorDesc> = descs.iter().collect();
        let desc = Op::from(FlatConcat).infer(&descs);
        let desc = desc.map_err(|mismatch| mismatch.at("flat_variable", &self.path))?;
        let flat = self.variable(name, &desc.shape, DType::F32);
        for ((names, shape), first) in members.iter().zip(FlatConcat::starts(&descs)) {
            let desc = TensorDesc::f32(*shape);
            for (row, member) in names.iter().enumerate() {
                let start = first + row * desc.elements();
                let elements = self.slice(flat, 0, start, start + desc.elements())?;
                let value = if desc.rank() == 1 { elements } else { self.reshape(elements, shape)? };
                self.named.insert(Origin::Variable((*member).to_owned()), value);
                let (name, variable) = ((*member).to_owned(), name.to_owned());
                self.graph.parts.push(Part { name, desc: desc.clone(), variable, start });
            }
        }
        Ok(flat)
    }

    /// Gives a variable a new value, after everything in the graph has been computed from the old one ([`Assign`]).
    ///
    /// # Errors
    /// [`EngineError::Op`] where the descriptions differ or `variable` is none.
    pub fn assign(&mut self, variable: Value, value: Value) -> Result<()> {
        self.update(Assign, &[variable], &[value])
    }

    /// Changes variables by a rule, after everything in the graph has been computed from their old values. A variable
    /// is changed by one rule at most, which [`Graph::check`] sees to.
    ///
    /// # Errors
    /// [`EngineError::Op`] where the rule does not fit the variables and inputs, or a variable is none.
    pub fn update(&mut self, rule: impl Into<Rule>, variables: &[Value], inputs: &[Value]) -> Result<()> {
        let update = Update {
            rule: rule.into(),
            variables: variables.to_vec(),
            inputs: inputs.to_vec(),
            path: self.path.clone(),
        };
        let is_none = |value: &&Value| !matches!(self.graph.origin(**value), Origin::Variable(_));
        let mismatch = match variables.iter().find(is_none) {
            Some(&other) => Some(Mismatch::new("target", "a variable", self.desc(other))),
            None => self.graph.check_update(&update).err(),
        };
        if let Some(mismatch) = mismatch {
            return Err(mismatch.at(update.rule.name(), &self.path));
        }
        self.graph.updates.push(update);
        Ok(())
    }

    /// Names a result of the graph.
    pub fn output(&mut self, name: &str, value: Value) {
        self.graph.outputs.push((name.to_owned(), value));
    }

    /// Applies any op: the methods below are short forms of this.
    ///
    /// # Errors
    /// [`EngineError::Op`] where the op cannot work on such inputs.
    pub fn apply(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Result<Value> {
        self.graph.add_node(op.into(), inputs.to_vec(), self.path.clone())
    }

    /// What has been built so far.
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The present layer path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Builds at a layer path of its own.
    pub(crate) fn at<R>(&mut self, path: String, body: impl FnOnce(&mut Self) -> R) -> R {
        let outer = std::mem::replace(&mut self.path, path);
        let result = body(self);
        self.path = outer;
        result
    }

    fn named_value(&mut self, desc: TensorDesc, origin: Origin) -> Value {
        // A name declared again with another shape becomes a second value, which `Graph::check` reports.
        if let Some(&value) = self.named.get(&origin)
            && *self.graph.desc(value) == desc
        {
            return value;
        }
        let value = self.graph.add_value(desc, origin.clone());
        self.named.insert(origin, value);
        value
    }
}

/// The ops. Each returns [`EngineError::Op`] where shapes, types or options do not fit; the types named in the
/// text give the contract in full.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
impl GraphBuilder {
    /// `a b` over the last two dimensions ([`Matmul`]).
    pub fn matmul(&mut self, a: Value, b: Value) -> Result<Value> {
        self.apply(Matmul::new(), &[a, b])
    }

    /// `a b^T` over the last two dimensions ([`Matmul`]).
    pub fn matmul_nt(&mut self, a: Value, b: Value) -> Result<Value> {
        self.apply(Matmul::with_rhs(RhsLayout::Transposed), &[a, b])
    }

    /// `a^T b` over the last two dimensions ([`Matmul`]).
    pub fn matmul_tn(&mut self, a: Value, b: Value) -> Result<Value> {
        self.apply(Matmul { lhs: LhsLayout::Transposed, ..Matmul::new() }, &[a, b])
    }

    /// `x weight^T + bias` with a weight of `[out][in]`: `torch.nn.functional.linear`. The weight may also be one of
    /// [`pack_half`](Self::pack_half), u32 `[out][in / 2]`; the sums are of f32 all the same.
    pub fn linear(&mut self, x: Value, weight: Value, bias: Option<Value>) -> Result<Value> {
        let rhs = match self.desc(weight).dtype {
            DType::F32 => RhsLayout::Transposed,
            DType::U32 => RhsLayout::TransposedHalves,
        };
        let product = self.apply(Matmul::with_rhs(rhs), &[x, weight])?;
        match bias {
            Some(bias) => self.add(product, bias),
            None => Ok(product),
        }
    }

    /// f32 `[..][n]` rounded to half precision, as u32 `[..][n / 2]` ([`PackHalf`]).
    pub fn pack_half(&mut self, x: Value) -> Result<Value> {
        self.apply(PackHalf, &[x])
    }

    /// u32 `[..][n]` of two halves each as f32 `[..][2 n]` ([`UnpackHalf`]).
    pub fn unpack_half(&mut self, x: Value) -> Result<Value> {
        self.apply(UnpackHalf, &[x])
    }

    /// `a + b`, broadcast ([`Binary::Add`]).
    pub fn add(&mut self, a: Value, b: Value) -> Result<Value> {
        self.apply(Binary::Add, &[a, b])
    }

    /// `a - b`, broadcast ([`Binary::Sub`]).
    pub fn sub(&mut self, a: Value, b: Value) -> Result<Value> {
        self.apply(Binary::Sub, &[a, b])
    }

    /// `a * b` element by element, broadcast ([`Binary::Mul`]).
    pub fn mul(&mut self, a: Value, b: Value) -> Result<Value> {
        self.apply(Binary::Mul, &[a, b])
    }

    /// `a / b`, broadcast ([`Binary::Div`]).
    pub fn div(&mut self, a: Value, b: Value) -> Result<Value> {
        self.apply(Binary::Div, &[a, b])
    }

    /// The larger of `a` and `b`, broadcast ([`Binary::Maximum`]).
    pub fn maximum(&mut self, a: Value, b: Value) -> Result<Value> {
        self.apply(Binary::Maximum, &[a, b])
    }

    /// The smaller of `a` and `b`, broadcast ([`Binary::Minimum`]).
    pub fn minimum(&mut self, a: Value, b: Value) -> Result<Value> {
        self.apply(Binary::Minimum, &[a, b])
    }

    /// 1 where `a` is greater than `b`, else 0, broadcast ([`Binary::Greater`]).
    pub fn greater(&mut self, a: Value, b: Value) -> Result<Value> {
        self.apply(Binary::Greater, &[a, b])
    }

    /// 1 where `a` equals `b`, else 0, broadcast ([`Binary::Equal`]).
    pub fn equal(&mut self, a: Value, b: Value) -> Result<Value> {
        self.apply(Binary::Equal, &[a, b])
    }

    /// `-x`.
    pub fn neg(&mut self, x: Value) -> Result<Value> {
        self.apply(Unary::Neg, &[x])
    }

    /// `e^x`.
    pub fn exp(&mut self, x: Value) -> Result<Value> {
        self.apply(Unary::Exp, &[x])
    }

    /// The natural logarithm.
    pub fn log(&mut self, x: Value) -> Result<Value> {
        self.apply(Unary::Log, &[x])
    }

    /// The square root.
    pub fn sqrt(&mut self, x: Value) -> Result<Value> {
        self.apply(Unary::Sqrt, &[x])
    }

    /// `1 / sqrt(x)`.
    pub fn rsqrt(&mut self, x: Value) -> Result<Value> {
        self.apply(Unary::Rsqrt, &[x])
    }

    /// `|x|`.
    pub fn abs(&mut self, x: Value) -> Result<Value> {
        self.apply(Unary::Abs, &[x])
    }

    /// Rows of a table by id ([`Embedding`]).
    pub fn embedding(&mut self, table: Value, ids: Value) -> Result<Value> {
        self.apply(Embedding, &[table, ids])
    }

    /// Slices along `dim` by index ([`IndexSelect`]).
    pub fn index_select(&mut self, x: Value, dim: usize, index: Value) -> Result<Value> {
        self.apply(IndexSelect { dim }, &[x, index])
    }

    /// Slices added up along `dim` by index, into zeros of `extent` there ([`IndexAdd`]).
    pub fn index_add(&mut self, x: Value, dim: usize, index: Value, extent: usize) -> Result<Value> {
        let rows = self.apply(IndexRows { extent }, &[index])?;
        self.apply(IndexAdd { dim, extent }, &[x, rows])
    }

    /// Attention over packed sequences ([`Attention`]).
    pub fn attention(
        &mut self,
        q: Value,
        k: Value,
        v: Value,
        spans: Value,
        options: Attention,
    ) -> Result<Value> {
        self.apply(options, &[q, k, v, spans])
    }

    /// Attention over packed sequences with a bias by distance ([`Attention`], whose `relative_bias` it sets).
    pub fn relative_attention(
        &mut self,
        [q, k, v]: [Value; 3],
        spans: Value,
        bias: Value,
        options: Attention,
    ) -> Result<Value> {
        self.apply(Attention { relative_bias: true, ..options }, &[q, k, v, spans, bias])
    }

    /// Attention of new tokens to those behind them, whose keys and values were kept ([`CachedAttention`]).
    pub fn cached_attention(
        &mut self,
        qkv: Value,
        cache: Value,
        past: Value,
        bias: Value,
        options: CachedAttention,
    ) -> Result<Value> {
        self.apply(options, &[qkv, cache, past, bias])
    }

    /// Means of consecutive rows ([`SegmentMean`]).
    pub fn segment_mean(&mut self, x: Value, offsets: Value) -> Result<Value> {
        self.apply(SegmentMean, &[x, offsets])
    }

    /// The same elements under another shape ([`Reshape`]).
    pub fn reshape(&mut self, x: Value, shape: &[usize]) -> Result<Value> {
        self.apply(Reshape { shape: shape.to_vec() }, &[x])
    }

    /// Dimensions in another order ([`Permute`]).
    pub fn permute(&mut self, x: Value, dims: &[usize]) -> Result<Value> {
        self.apply(Permute { dims: dims.to_vec() }, &[x])
    }

    /// The value repeated to a shape that it broadcasts to ([`Expand`]).
    pub fn expand(&mut self, x: Value, shape: &[usize]) -> Result<Value> {
        self.apply(Expand { shape: shape.to_vec() }, &[x])
    }

    /// The indices `start..end` of `dim` ([`Slice`]).
    pub fn slice(&mut self, x: Value, dim: usize, start: usize, end: usize) -> Result<Value> {
        self.apply(Slice { dim, start, end }, &[x])
    }

    /// Values joined along `dim` ([`Concat`]).
    pub fn concat(&mut self, values: &[Value], dim: usize) -> Result<Value> {
        self.apply(Concat { dim }, values)
    }

    /// Values of any shapes as parts of one vector ([`FlatConcat`]).
    pub fn flat_concat(&mut self, values: &[Value]) -> Result<Value> {
        self.apply(FlatConcat, values)
    }

    /// Any [`Reduction`] over `dims` ([`Reduce`]).
    pub fn reduce(
        &mut self,
        reduction: Reduction,
        x: Value,
        dims: &[usize],
        keep_dim: bool,
    ) -> Result<Value> {
        self.apply(Reduce { reduction, dims: dims.to_vec(), keep_dim }, &[x])
    }

    /// The sum over `dims`.
    pub fn sum(&mut self, x: Value, dims: &[usize], keep_dim: bool) -> Result<Value> {
        self.reduce(Reduction::Sum, x, dims, keep_dim)
    }

    /// The mean over `dims`.
    pub fn mean(&mut self, x: Value, dims: &[usize], keep_dim: bool) -> Result<Value> {
        self.reduce(Reduction::Mean, x, dims, keep_dim)
    }

    /// The maximum over `dims`.
    pub fn max(&mut self, x: Value, dims: &[usize], keep_dim: bool) -> Result<Value> {
        self.reduce(Reduction::Max, x, dims, keep_dim)
    }

    /// The u32 index of the first maximum over `dims`.
    pub fn argmax(&mut self, x: Value, dims: &[usize], keep_dim: bool) -> Result<Value> {
        self.reduce(Reduction::Argmax, x, dims, keep_dim)
    }
}
