//! What ops and steps count as their work. No device is needed.

use kiln_engine::ops::{Activation, ConvOptions, ConvTransposeOptions, Op, PoolOptions};
use kiln_engine::plan::{Constants, Dispatch};
use kiln_engine::updates::Lerp;
use kiln_engine::{Attention, DType, EngineError, Graph, GraphBuilder, Padding, Plan, PutRows, Value, Work};
use kiln_gpu::{DeviceKind, DeviceProfile, Limits};

type Build<'a> = &'a dyn Fn(&mut GraphBuilder) -> Result<Value, EngineError>;

fn graph(build: Build<'_>) -> Result<Graph, EngineError> {
    let mut g = GraphBuilder::new("work");
    let y = build(&mut g)?;
    g.output("y", y);
    Ok(g.finish())
}

fn input(g: &mut GraphBuilder, name: &str, shape: &[usize]) -> Value {
    g.input(name, shape, DType::F32)
}

fn ids(g: &mut GraphBuilder, name: &str, shape: &[usize]) -> Value {
    g.input(name, shape, DType::U32)
}

fn works(graph: &Graph) -> Vec<(&'static str, Work)> {
    let work = |op: &Op, inputs: &[Value], output| {
        let inputs: Vec<_> = inputs.iter().map(|&input| graph.desc(input)).collect();
        op.work(&inputs, graph.desc(output))
    };
    graph.nodes().iter().map(|node| (node.op.name(), work(&node.op, &node.inputs, node.output))).collect()
}

#[test]
fn ops_count_by_their_shapes() -> Result<(), EngineError> {
    let conv = ConvOptions { stride: [2, 2], padding: Padding::all(1), groups: 2, ..Default::default() };
    let table: [(Build<'_>, &str, Work); 13] = [
        (
            &|g| {
                let (x, y) = (input(g, "x", &[5, 7]), input(g, "y", &[7, 3]));
                g.matmul(x, y)
            },
            "matmul",
            Work::products(5 * 7 * 3),
        ),
        (
            &|g| {
                let (x, y) = (input(g, "x", &[2, 4, 5, 7]), input(g, "y", &[2, 4, 7, 3]));
                g.matmul(x, y)
            },
            "matmul",
            Work::products(2 * 4 * 5 * 7 * 3),
        ),
        // The output is [2, 8, 5, 5], each a sum over three channels of a group at nine taps.
        (
            &|g| {
                let (x, weight) = (input(g, "x", &[2, 6, 9, 9]), g.constant("w", &[8, 3, 3, 3]));
                g.conv2d(x, weight, None, conv)
            },
            "conv2d",
            Work::products(2 * 8 * 5 * 5 * 3 * 9),
        ),
        // Each of the input's elements meets four taps of each of six channels.
        (
            &|g| {
                let (x, weight) = (input(g, "x", &[2, 3, 4, 5]), g.constant("w", &[3, 6, 2, 2]));
                g.conv_transpose2d(
                    x,
                    weight,
                    None,
                    ConvTransposeOptions { stride: [2, 2], ..Default::default() },
                )
            },
            "conv_transpose2d",
            Work::products(2 * 3 * 4 * 5 * 4 * 6),
        ),
        // Scores and mixture of ten rows with twelve, eight wide over all heads.
        (
            &|g| {
                let [q, k, v] =
                    [("q", 10), ("k", 12), ("v", 12)].map(|(name, rows)| input(g, name, &[rows, 8]));
                let spans = ids(g, "spans", &[10, 2]);
                g.attention(q, k, v, spans, Attention::new(2, 1.0))
            },
            "attention",
            Work::products(2 * 10 * 12 * 8),
        ),
        (
            &|g| {
                let x = input(g, "x", &[1, 2, 4, 4]);
                g.max_pool2d(x, PoolOptions::new([2, 2]))
            },
            "max_pool2d",
            Work::elementwise(2 * 2 * 2 * 4),
        ),
        (
            &|g| {
                let x = input(g, "x", &[3, 5]);
                g.activation(Activation::Relu, x)
            },
            "unary",
            Work::elementwise(15),
        ),
        // A sum reads what it does not write.
        (
            &|g| {
                let x = input(g, "x", &[4, 100]);
                g.sum(x, &[1], false)
            },
            "reduce",
            Work::elementwise(400),
        ),
        (
            &|g| {
                let (x, y) = (input(g, "x", &[4, 100]), input(g, "y", &[100]));
                g.add(x, y)
            },
            "binary",
            Work::elementwise(400),
        ),
        (
            &|g| {
                let x = input(g, "x", &[4, 100]);
                g.permute(x, &[1, 0])
            },
            "permute",
            Work::MOVES,
        ),
        (
            &|g| {
                let x = input(g, "x", &[4, 100]);
                g.reshape(x, &[400])
            },
            "reshape",
            Work::MOVES,
        ),
        (
            &|g| {
                let (table, rows) = (g.constant("table", &[100, 8]), ids(g, "ids", &[5]));
                g.embedding(table, rows)
            },
            "embedding",
            Work::SELECTS,
        ),
        (
            &|g| {
                let x = input(g, "x", &[4, 100]);
                g.slice(x, 1, 3, 7)
            },
            "slice",
            Work::SELECTS,
        ),
    ];
    for (build, op, expected) in table {
        let works = works(&graph(build)?);
        let found = works.iter().find(|(name, _)| *name == op);
        assert_eq!(found, Some(&(op, expected)), "{works:?}");
    }
    assert_eq!(Work::products(3).and(4).flops(), 10);
    Ok(())
}

fn dispatches(graph: &Graph, limits: Limits) -> Result<Vec<Dispatch>, EngineError> {
    let profile = DeviceProfile::made_up(DeviceKind::Discrete, limits);
    Ok(Plan::build(graph, &profile, Constants::Resident)?.dispatches().cloned().collect())
}

#[test]
fn bytes_are_those_that_a_kernel_needs() -> Result<(), EngineError> {
    let table: [(Build<'_>, u64); 4] = [
        // What fills the places of bias and residual does not count.
        (
            &|g| {
                let (x, y) = (input(g, "x", &[64, 32]), input(g, "y", &[32, 48]));
                g.matmul(x, y)
            },
            4 * (64 * 32 + 32 * 48 + 64 * 48),
        ),
        (
            &|g| {
                let x = input(g, "x", &[64, 32]);
                g.add(x, x)
            },
            4 * (64 * 32 + 64 * 32),
        ),
        // As many rows of the table as are asked for.
        (
            &|g| {
                let (table, rows) = (g.constant("table", &[1000, 16]), ids(g, "ids", &[10]));
                g.embedding(table, rows)
            },
            4 * (10 * 16 + 10 + 10 * 16),
        ),
        (
            &|g| {
                let x = input(g, "x", &[64, 256]);
                g.sum(x, &[1], false)
            },
            4 * (64 * 256 + 64),
        ),
    ];
    for (build, expected) in table {
        let found = dispatches(&graph(build)?, Limits::BASELINE)?;
        assert_eq!(found.iter().map(|dispatch| dispatch.bytes).sum::<u64>(), expected, "{found:?}");
    }
    Ok(())
}

#[test]
fn parts_do_the_work_of_the_whole() -> Result<(), EngineError> {
    let build: Build<'_> = &|g| {
        let (x, weight) = (input(g, "x", &[1000, 64]), g.constant("w", &[32, 64]));
        g.linear(x, weight, None)
    };
    let whole = dispatches(&graph(build)?, Limits::BASELINE)?;
    let parts = dispatches(&graph(build)?, Limits { max_binding: 100_000, ..Limits::BASELINE })?;
    assert_eq!((whole.len(), parts.len()), (1, 3));
    let sum = |dispatches: &[Dispatch]| dispatches.iter().map(|part| part.work.multiply_adds).sum::<u64>();
    let expected = 1000 * 64 * 32;
    assert_eq!((sum(&whole), whole[0].op), (expected, "matmul"));
    // Shares are rounded down.
    assert!((expected - 3..=expected).contains(&sum(&parts)), "{}", sum(&parts));
    // Each part reads the weight anew.
    let bytes = |dispatches: &[Dispatch]| dispatches.iter().map(|part| part.bytes).sum::<u64>();
    assert_eq!(bytes(&parts), bytes(&whole) + 2 * 4 * 32 * 64);
    Ok(())
}

#[test]
fn an_update_reads_what_it_writes() -> Result<(), EngineError> {
    let mut g = GraphBuilder::new("update");
    let mean = g.variable("mean", &[100], DType::F32);
    let x = input(&mut g, "x", &[100]);
    let guard = input(&mut g, "guard", &[5]);
    let (momentum, factor) = (input(&mut g, "momentum", &[100]), input(&mut g, "factor", &[100]));
    g.update(Lerp, &[mean], &[x, momentum, factor, guard])?;
    let cache = g.variable("cache", &[1000, 8], DType::F32);
    let (rows, places) = (input(&mut g, "rows", &[3, 8]), ids(&mut g, "places", &[3]));
    g.update(PutRows { first_col: 0 }, &[cache], &[rows, places])?;
    let found = dispatches(&g.finish(), Limits::BASELINE)?;
    let found: Vec<_> = found.iter().map(|dispatch| (dispatch.op, dispatch.bytes)).collect();
    // Three rows of eight with their places are read, and as much counts as written.
    assert_eq!(found, [("lerp", 4 * (2 * 100 + 3 * 100 + 5)), ("put_rows", 2 * 4 * (3 * 8 + 3))]);
    Ok(())
}
