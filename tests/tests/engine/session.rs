//! What a session promises: named inputs and outputs, shared weights, variables, one pool.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;

use kiln_engine::{
    DType, EngineError, Graph, GraphBuilder, NoWeights, Session, Tensor, TensorDesc, WeightError,
    WeightSource,
};
use kiln_tests::{data, device};

#[test]
fn a_run_gives_what_the_graph_says() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let mut g = GraphBuilder::new("sums");
    let a = g.input("a", &[2, 3], DType::F32);
    let b = g.input("b", &[3], DType::F32);
    let sum = g.add(a, b)?;
    let total = g.sum(sum, &[0, 1], false)?;
    g.output("sum", sum);
    g.output("total", total);
    let mut session = Session::new(gpu);
    let plan = session.load(&g.finish(), &NoWeights)?;
    let a = Tensor::f32([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
    let b = Tensor::f32([3], vec![10.0, 20.0, 30.0])?;
    let outputs = session.run(plan, &[("a", &a), ("b", &b)])?;
    assert_eq!(outputs["sum"].as_f32()?, [11.0, 22.0, 33.0, 14.0, 25.0, 36.0]);
    assert_eq!(outputs["total"].as_f32()?, [141.0]);
    assert_eq!(outputs["total"].shape(), [0usize; 0]);
    Ok(())
}

/// Integers in the graph: read in each run, and at load where everything else is constant; and not taken for numbers of
/// the same bits.
#[test]
fn literals_of_integers_are_indices() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    for long in [1, 9] {
        let mut g = GraphBuilder::new("literals");
        let x = g.input("x", &[4, 2], DType::F32);
        let table = g.constant("table", &[4, 2]);
        let ids: Vec<u32> = (0..3 * long).map(|i| [2, 0, 3][i % 3]).collect();
        let bits: Vec<f32> = ids.iter().map(|&id| f32::from_bits(id)).collect();
        let index = g.literal_u32(&[ids.len()], &ids)?;
        let numbers = g.literal(&[ids.len()], &bits)?;
        let (some, fixed) = (g.embedding(x, index)?, g.embedding(table, index)?);
        let column = [ids.len(), 1];
        let (column, numbers) = (g.reshape(index, &column)?, g.reshape(numbers, &column)?);
        g.output("some", some);
        g.output("fixed", fixed);
        g.output("column", column);
        g.output("numbers", numbers);
        let graph = g.finish();
        let shown = graph.to_string();
        assert!(long > 1 || shown.contains("= literal [2, 0, 3] u32[3]"), "{shown}");
        let mut session = Session::new(gpu);
        let weights = Tensor::f32([4, 2], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])?;
        let plan = session.load(&graph, &HashMap::from([("table".to_owned(), weights)]))?;
        let x = Tensor::f32([4, 2], vec![0.0, -1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0])?;
        let made = session.run(plan, &[("x", &x)])?;
        assert_eq!(made["some"].as_f32()?, [-4.0, -5.0, -0.0, -1.0, -6.0, -7.0].repeat(long));
        assert_eq!(made["fixed"].as_f32()?, [4.0, 5.0, 0.0, 1.0, 6.0, 7.0].repeat(long));
        assert_eq!(made["column"].as_u32()?, ids);
        assert_eq!(made["numbers"].as_f32()?, bits);
    }
    let wrong = GraphBuilder::new("net").literal_u32(&[2, 2], &[1, 2, 3]).expect_err("a number is missing");
    assert_eq!(
        wrong.to_string(),
        GraphBuilder::new("net").literal(&[2, 2], &[0.0; 3]).expect_err("too").to_string()
    );
    Ok(())
}

#[test]
fn wrong_inputs_are_named() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let mut g = GraphBuilder::new("double");
    let x = g.input("x", &[3], DType::F32);
    let y = g.add(x, x)?;
    g.output("y", y);
    let mut session = Session::new(gpu);
    let plan = session.load(&g.finish(), &NoWeights)?;
    let short = Tensor::f32([2], vec![0.0; 2])?;
    let messages: Vec<String> = [&[("x", &short)][..], &[("z", &short)], &[]]
        .into_iter()
        .map(|inputs| session.run(plan, inputs).expect_err("the input is wrong").to_string())
        .collect();
    assert_eq!(
        messages,
        [
            "plan \"double\": input \"x\": expected f32[3], got f32[2]",
            "plan \"double\": input \"z\": expected one of x, got an unknown name",
            "plan \"double\": input \"x\": expected f32[3], got nothing",
        ]
    );
    Ok(())
}

/// Counts what is read, so that a second read of a shared weight shows.
struct Counting {
    tensors: HashMap<String, Tensor>,
    reads: Cell<usize>,
}

impl WeightSource for Counting {
    fn desc(&self, name: &str) -> Option<TensorDesc> {
        WeightSource::desc(&self.tensors, name)
    }

    fn read(&self, name: &str, elements: Range<usize>, out: &mut [f32]) -> Result<(), WeightError> {
        self.reads.set(self.reads.get() + 1);
        self.tensors.read(name, elements, out)
    }
}

#[test]
fn plans_share_weights_by_name() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let weight = Tensor::f32([4, 3], data::uniform("weight", 12))?;
    let weights =
        Counting { tensors: HashMap::from([("weight".to_owned(), weight.clone())]), reads: Cell::new(0) };
    let mut session = Session::new(gpu);
    let mut results = vec![];
    for rows in [7, 9] {
        let mut g = GraphBuilder::new("linear");
        let x = g.input("x", &[rows, 3], DType::F32);
        let w = g.constant("weight", &[4, 3]);
        let y = g.linear(x, w, None)?;
        g.output("y", y);
        let plan = session.load(&g.finish(), &weights)?;
        let x = Tensor::f32([rows, 3], data::uniform("x", rows * 3))?;
        results.push(session.run(plan, &[("x", &x)])?["y"].as_f32()?.to_vec());
    }
    assert_eq!(weights.reads.get(), 1, "the second plan finds the weight in the session");
    assert_eq!(results[0][..], results[1][..28], "and both see the same numbers");
    Ok(())
}

/// The same name with another shape is another tensor, also where it is packed at load.
#[test]
fn a_name_with_another_shape_is_another_weight() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let run = |session: &mut Session, depth: usize| -> Result<Vec<f32>, EngineError> {
        let mut g = GraphBuilder::new("linear");
        let x = g.input("x", &[6, depth], DType::F32);
        let w = g.constant("w", &[4, depth]);
        let y = g.linear(x, w, None)?;
        g.output("y", y);
        let weights =
            HashMap::from([("w".to_owned(), Tensor::f32([4, depth], data::uniform("w", 4 * depth))?)]);
        let plan = session.load(&g.finish(), &weights)?;
        let x = Tensor::f32([6, depth], data::uniform("x", 6 * depth))?;
        session.run(plan, &[("x", &x)])?.take("y").expect("y is an output").into_f32()
    };
    let mut shared = Session::new(gpu);
    run(&mut shared, 5)?;
    assert_eq!(run(&mut shared, 3)?, run(&mut Session::new(gpu), 3)?);
    Ok(())
}

#[test]
fn a_refused_plan_leaves_no_variable_behind() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let graph = |width: usize| -> Result<_, EngineError> {
        let mut g = GraphBuilder::new("state");
        let state = g.variable("state", &[width], DType::F32);
        let w = g.constant("w", &[width]);
        let y = g.add(state, w)?;
        g.output("y", y);
        Ok(g.finish())
    };
    /// Declares a weight that cannot be read.
    struct Broken;
    impl WeightSource for Broken {
        fn desc(&self, _: &str) -> Option<TensorDesc> {
            Some(TensorDesc::f32([4]))
        }

        fn read(&self, name: &str, _: Range<usize>, _: &mut [f32]) -> Result<(), WeightError> {
            Err(WeightError(format!("{name} is out of reach")))
        }
    }
    let mut session = Session::new(gpu);
    let error = session.load(&graph(4)?, &Broken).expect_err("the weight cannot be read");
    assert_eq!(error.to_string(), "weight \"w\": w is out of reach");
    assert!(session.read_variable("state").is_err(), "nothing is left of the first plan");
    let weights = HashMap::from([("w".to_owned(), Tensor::f32([8], vec![1.0; 8])?)]);
    session.load(&graph(8)?, &weights)?;
    let error = session.load(&graph(4)?, &Broken).expect_err("the name has another shape");
    assert_eq!(error.to_string(), "variable \"state\": expected f32[8], got f32[4]");
    assert_eq!(session.read_variable("state")?.as_f32()?, [0.0; 8]);
    Ok(())
}

#[test]
fn missing_and_misshapen_weights_are_named() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let mut g = GraphBuilder::new("linear");
    let x = g.input("x", &[2, 3], DType::F32);
    let w = g.constant("weight", &[4, 3]);
    let y = g.linear(x, w, None)?;
    g.output("y", y);
    let graph = g.finish();
    let mut session = Session::new(gpu);
    let missing = session.load(&graph, &NoWeights).expect_err("there is no weight");
    assert_eq!(missing.to_string(), "weight \"weight\": expected f32[4, 3], but there is none of that name");
    let other = HashMap::from([("weight".to_owned(), Tensor::f32([3, 4], vec![0.0; 12])?)]);
    let misshapen = session.load(&graph, &other).expect_err("the weight has another shape");
    assert_eq!(misshapen.to_string(), "weight \"weight\": expected f32[4, 3], got f32[3, 4]");
    Ok(())
}

#[test]
fn variables_last_and_are_shared() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let mut session = Session::new(gpu);
    // Two counters that change places while they grow: each must read the other's old value.
    let mut g = GraphBuilder::new("swap");
    let a = g.variable("a", &[2], DType::F32);
    let b = g.variable("b", &[2], DType::F32);
    let one = g.scalar(1.0);
    let next_a = g.add(b, one)?;
    let next_b = g.mul(a, one)?;
    g.assign(a, next_a)?;
    g.assign(b, next_b)?;
    g.output("old a", a);
    let flat = g.reshape(a, &[2, 1])?;
    g.output("old a, reshaped", flat);
    let step = session.load(&g.finish(), &NoWeights)?;

    let mut g = GraphBuilder::new("read");
    let a = g.variable("a", &[2], DType::F32);
    let y = g.neg(a)?;
    g.output("negative", y);
    let read = session.load(&g.finish(), &NoWeights)?;

    assert_eq!(session.read_variable("a")?.as_f32()?, [0.0, 0.0], "variables start as zeros");
    session.write_variable("a", &Tensor::f32([2], vec![5.0, 6.0])?)?;
    session.write_variable("b", &Tensor::f32([2], vec![1.0, 2.0])?)?;
    let outputs = session.run(step, &[])?;
    assert_eq!(outputs["old a"].as_f32()?, [5.0, 6.0], "an output shows the value before the assignment");
    assert_eq!(outputs["old a, reshaped"].as_f32()?, [5.0, 6.0]);
    assert_eq!(session.read_variable("a")?.as_f32()?, [2.0, 3.0]);
    assert_eq!(session.read_variable("b")?.as_f32()?, [5.0, 6.0]);
    session.run(step, &[])?;
    assert_eq!(session.run(read, &[])?["negative"].as_f32()?, [-6.0, -7.0]);

    let mut g = GraphBuilder::new("clash");
    let a = g.variable("a", &[3], DType::F32);
    g.output("a", a);
    let clash = session.load(&g.finish(), &NoWeights).expect_err("the name has another shape");
    assert!(clash.to_string().contains("variable \"a\""), "{clash}");
    Ok(())
}

#[test]
fn variables_may_change_places() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let mut g = GraphBuilder::new("swap");
    let (a, b) = (g.variable("a", &[3], DType::F32), g.variable("b", &[3], DType::F32));
    g.assign(a, b)?;
    g.assign(b, a)?;
    let mut session = Session::new(gpu);
    let plan = session.load(&g.finish(), &NoWeights)?;
    session.write_variable("a", &Tensor::f32([3], vec![1.0, 2.0, 3.0])?)?;
    session.write_variable("b", &Tensor::f32([3], vec![4.0, 5.0, 6.0])?)?;
    session.run(plan, &[])?;
    assert_eq!(session.read_variable("a")?.as_f32()?, [4.0, 5.0, 6.0]);
    assert_eq!(session.read_variable("b")?.as_f32()?, [1.0, 2.0, 3.0]);
    Ok(())
}

#[test]
fn an_output_may_be_an_input_a_constant_or_asked_for_twice() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let mut g = GraphBuilder::new("edges");
    let x = g.input("x", &[2, 2], DType::F32);
    let w = g.constant("w", &[3]);
    let two = g.scalar(2.0);
    let doubled = g.mul(w, two)?;
    let flat = g.reshape(x, &[4])?;
    for (name, value) in [("x", x), ("w", w), ("doubled", doubled), ("again", doubled), ("flat", flat)] {
        g.output(name, value);
    }
    let weights = HashMap::from([("w".to_owned(), Tensor::f32([3], vec![1.0, 2.0, 3.0])?)]);
    let mut session = Session::new(gpu);
    let plan = session.load(&g.finish(), &weights)?;
    let x = Tensor::f32([2, 2], vec![1.0, -2.0, 3.0, -4.0])?;
    for _ in 0..2 {
        let outputs = session.run(plan, &[("x", &x)])?;
        assert_eq!(outputs["x"], x);
        assert_eq!(outputs["w"].as_f32()?, [1.0, 2.0, 3.0]);
        assert_eq!(outputs["doubled"].as_f32()?, [2.0, 4.0, 6.0]);
        assert_eq!(outputs["again"], outputs["doubled"]);
        assert_eq!(outputs["flat"].as_f32()?, x.as_f32()?);
    }
    Ok(())
}

/// `y = relu(x) * 2 + x`, and a chain behind it, on `rows` rows of 64.
fn chain(rows: usize) -> Result<Graph, EngineError> {
    let mut g = GraphBuilder::new("chain");
    let x = g.input("x", &[rows, 64], DType::F32);
    let mut y = x;
    for _ in 0..3 {
        let half = g.relu(y)?;
        y = g.add(half, x)?;
    }
    g.output("y", y);
    Ok(g.finish())
}

/// What [`chain`] makes of 1 and of -1.
const UP: f32 = 4.0;
const DOWN: f32 = -1.0;

/// A plan that needs more room takes the place of those before it, which run as before.
#[test]
fn plans_share_one_pool_whatever_their_sizes() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let mut session = Session::new(gpu);
    let check = |session: &mut Session, plan, rows: usize| -> Result<(), EngineError> {
        let x: Vec<f32> = (0..rows * 64).map(|i| if i % 3 == 0 { 1.0 } else { -1.0 }).collect();
        let y = session.run(plan, &[("x", &Tensor::f32([rows, 64], x)?)])?;
        let expected: Vec<f32> = (0..rows * 64).map(|i| if i % 3 == 0 { UP } else { DOWN }).collect();
        assert_eq!(y["y"].as_f32()?, expected);
        Ok(())
    };
    let mut plans = vec![];
    for rows in [10, 3, 500, 40, 2000] {
        plans.push((session.load(&chain(rows)?, &NoWeights)?, rows));
        for &(plan, rows) in &plans {
            check(&mut session, plan, rows)?;
        }
        let memory = session.memory();
        let most = plans.iter().map(|(plan, _)| session.plan(*plan).memory().pooled).max();
        assert_eq!(Some(memory.pooled), most, "the largest plan's memory is enough for all");
        assert!(memory.total() <= memory.peak && memory.live <= memory.pooled, "{memory:?}");
    }
    Ok(())
}

/// Runs that are under way at once give what they give one after the other, in whatever order they are waited for.
#[test]
fn runs_may_be_under_way_at_once() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let mut session = Session::new(gpu);
    let (small, large) = (session.load(&chain(3)?, &NoWeights)?, session.load(&chain(700)?, &NoWeights)?);
    let input = |rows: usize, value: f32| Tensor::f32([rows, 64], vec![value; rows * 64]);
    let mut pending = vec![];
    for step in 1..6 {
        let value = step as f32;
        pending.push((session.submit(large, &[("x", &input(700, value)?)])?, UP * value));
        pending.push((session.submit(small, &[("x", &input(3, -value)?)])?, DOWN * value));
    }
    pending.rotate_left(3);
    for (pending, expected) in pending {
        let outputs = pending.wait()?;
        assert!(outputs["y"].as_f32()?.iter().all(|value| *value == expected), "{expected}");
    }
    // An input that is refused leaves nothing under way.
    let error = session.submit(small, &[("x", &input(4, 1.0)?)]).expect_err("the shape is wrong");
    assert!(error.to_string().contains("expected f32[3, 64]"), "{error}");
    Ok(())
}
