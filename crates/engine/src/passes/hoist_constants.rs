//! Moves what depends on constants alone to load time.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::Rewriter;
use crate::error::Result;
use crate::graph::{Graph, Origin, Value};

/// A graph cut in two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hoisted {
    /// What runs each time. Its new constants are named by the expressions that make them.
    pub main: Graph,
    /// What runs once, at load; its outputs carry those names. It has no inputs and no variables.
    pub prepare: Graph,
}

/// Cuts a graph at the values that constants alone determine. Variables are never hoisted.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn hoist_constants(graph: &Graph) -> Result<Hoisted> {
    let constant = graph.constant_values();
    let texts = expressions(graph, &constant);

    // Constant nodes go to the prepare graph; those that the rest reads are its outputs.
    let mut prepare = Rewriter::new(graph);
    let mut main = Rewriter::new(graph);
    main.keep_inputs();
    let mut wanted: Vec<Value> = vec![];
    for node in graph.nodes() {
        if constant[node.output.index()] {
            prepare.keep(node)?;
        } else {
            wanted.extend(node.inputs.iter().filter(|input| constant[input.index()]));
        }
    }
    wanted.extend(graph.ends().filter(|value| constant[value.index()]));

    let mut made: HashMap<&str, Value> = HashMap::new();
    for value in wanted {
        if graph.values()[value.index()].origin != Origin::Node || main.map[value.index()].is_some() {
            continue;
        }
        let text = texts[value.index()].as_str();
        let desc = graph.desc(value).clone();
        // Equal expressions are one constant, within a graph and, by this name, among the plans of a session.
        let hoisted = *made.entry(text).or_insert_with(|| {
            let inside = prepare.value(value);
            prepare.new.outputs.push((text.to_owned(), inside));
            main.new.add_value(desc, Origin::Constant(text.to_owned()))
        });
        main.map[value.index()] = Some(hoisted);
    }
    for node in graph.nodes() {
        if !constant[node.output.index()] {
            main.keep(node)?;
        }
    }
    Ok(Hoisted { main: main.finish(), prepare: super::drop_dead(&prepare.new)? })
}

/// A text for each constant value that says how it is made: equal texts, equal values.
fn expressions(graph: &Graph, constant: &[bool]) -> Vec<String> {
    let mut texts: Vec<String> = graph
        .values()
        .iter()
        .map(|info| match &info.origin {
            Origin::Constant(name) => format!("{name:?}{:?}", info.desc.shape),
            Origin::Literal(bits) if bits.len() <= 8 => format!("literal {}{bits:x?}", info.desc),
            Origin::Literal(bits) => {
                let hasher = BuildHasherDefault::<DefaultHasher>::default();
                let (once, twice) = (hasher.hash_one(bits), hasher.hash_one((bits, "again")));
                format!("literal {}{once:016x}{twice:016x}", info.desc)
            }
            _ => String::new(),
        })
        .collect();
    for node in graph.nodes() {
        if constant[node.output.index()] {
            let inputs: Vec<&str> = node.inputs.iter().map(|input| texts[input.index()].as_str()).collect();
            texts[node.output.index()] = format!("{}({})", node.op, inputs.join(", "));
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{DType, GraphBuilder};

    #[test]
    fn constant_parts_move_and_variables_stay() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[2, 3], DType::F32);
        let (a, b) = (g.constant("a", &[3, 4]), g.constant("b", &[3, 4]));
        let state = g.variable("state", &[2, 4], DType::F32);
        let sum = g.add(a, b)?;
        let again = g.add(a, b)?;
        let y = g.matmul(x, sum)?;
        let z = g.matmul(x, again)?;
        let y = g.add(y, state)?;
        let doubled = g.add(state, state)?;
        g.output("y", y);
        g.output("z", z);
        g.output("doubled", doubled);
        let Hoisted { main, prepare } = hoist_constants(&g.finish())?;
        main.check()?;
        prepare.check()?;
        assert_eq!(prepare.outputs().len(), 1, "equal expressions are one:\n{prepare}");
        assert_eq!(prepare.outputs()[0].0, r#"Add("a"[3, 4], "b"[3, 4])"#);
        assert_eq!(prepare.nodes().len(), 1);
        assert_eq!(main.nodes().len(), 4, "{main}");
        assert!(!main.to_string().contains("constant \"a\""), "originals no longer used are gone:\n{main}");
        Ok(())
    }

    /// The plans of a session share what has one name: whatever makes a difference must be in it.
    #[test]
    fn what_differs_is_named_differently() -> Result<()> {
        let mut g = GraphBuilder::new("g");
        let x = g.input("x", &[2, 8], DType::F32);
        let a = g.constant("a", &[1]);
        let long = |last: f32| [&[0.5; 8][..], &[last]].concat();
        let numbers = [vec![1.0], vec![-0.0], vec![0.0], long(1.0), long(2.0)];
        for (index, numbers) in numbers.iter().enumerate() {
            let literal = g.literal(&[numbers.len()], numbers)?;
            let sum = g.add(a, literal)?;
            let sum = g.slice(sum, 0, 0, 1)?;
            let made = [g.leaky_relu(sum, 0.1)?, g.leaky_relu(sum, 0.2)?, g.exp(sum)?];
            for (function, made) in made.into_iter().enumerate() {
                let y = g.mul(x, made)?;
                g.output(&format!("{index} {function}"), y);
            }
        }
        let Hoisted { prepare, .. } = hoist_constants(&g.finish())?;
        let names: HashSet<&String> = prepare.outputs().iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 3 * numbers.len(), "{prepare}");
        Ok(())
    }
}
