//! Rules that change variables, besides those of the optimizers.

use kiln_engine::updates::{Accumulate, Lerp, PutRows};
use kiln_engine::{DType, EngineError, GraphBuilder, NoWeights, Session, Tensor};
use kiln_gpu::{DeviceProfile, Limits};
use kiln_reference::Array;
use kiln_tests::compare::assert_close;
use kiln_tests::graph::{f32_tensor, profiles, seeded, u32_tensor};
use kiln_tests::{data, device};

/// The running variance of a batch norm, unbiased.
#[test]
fn running_means_move_towards_batches() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    for profile in profiles(gpu) {
        for count in [1, 20, 67, 513] {
            let mut g = GraphBuilder::new("statistics");
            let running = g.variable("running", &[count], DType::F32);
            let (batch, guard) = (g.input("batch", &[count], DType::F32), g.input("guard", &[5], DType::F32));
            let momentum = g.literal(&[count], &vec![0.1; count])?;
            let factor = g.literal(&[count], &vec![100.0 / 99.0; count])?;
            g.update(Lerp, &[running], &[batch, momentum, factor, guard])?;
            let mut session = Session::with_profile(gpu, profile.clone());
            let plan = session.load(&g.finish(), &NoWeights)?;
            let mut expected: Vec<f64> = vec![1.0; count];
            session.write_variable("running", &f32_tensor(&[count], vec![1.0; count]))?;
            for step in 0..5 {
                let batch = seeded(&format!("batch{step}"), &[count]);
                // A scale that clips is no less of a yes, and 0 is a no.
                let scale = [1.0, 0.25, 0.0, 1.0, 0.5][step];
                let guard = f32_tensor(&[5], vec![scale, 1.0, 0.0, 1.0, 1.0]);
                session.run(plan, &[("batch", &batch), ("guard", &guard)])?;
                if scale > 0.0 {
                    for (old, new) in expected.iter_mut().zip(batch.as_f32()?) {
                        *old = 0.9 * *old + 0.1 * f64::from(*new) * 100.0 / 99.0;
                    }
                }
            }
            let got = session.read_variable("running")?.into_f32()?;
            assert_close(count, &got, &Array::new(&[count], expected), &vec![1e-6; count]);
        }
    }
    Ok(())
}

/// Three batches of 40, 40 and 20 examples are one of 100, twice over.
#[test]
fn gradients_accumulate_by_their_shares() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let shape = [7, 19];
    let mut g = GraphBuilder::new("accumulate");
    let sum = g.variable("sum", &shape, DType::F32);
    let (gradient, mix) = (g.input("gradient", &shape, DType::F32), g.input("mix", &[2], DType::F32));
    g.update(Accumulate, &[sum], &[gradient, mix])?;
    let mut session = Session::new(gpu);
    let plan = session.load(&g.finish(), &NoWeights)?;
    session.write_variable("sum", &f32_tensor(&shape, vec![f32::NAN; 133]))?;
    for round in 0..2 {
        let mut expected = Array::new(&shape, vec![0.0; 133]);
        for (batch, share) in [0.4f32, 0.4, 0.2].into_iter().enumerate() {
            let gradient = seeded(&format!("gradient {round} {batch}"), &shape);
            for (sum, x) in expected.data.iter_mut().zip(gradient.as_f32()?) {
                *sum += f64::from(share) * f64::from(*x);
            }
            let mix = f32_tensor(&[2], vec![if batch == 0 { 0.0 } else { 1.0 }, share]);
            session.run(plan, &[("gradient", &gradient), ("mix", &mix)])?;
        }
        let got = session.read_variable("sum")?.into_f32()?;
        assert_close("sum", &got, &expected, &[3e-7; 133]);
    }
    Ok(())
}

#[test]
fn a_history_keeps_its_rows() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    for dtype in [DType::F32, DType::U32] {
        let mut g = GraphBuilder::new("history");
        let history = g.variable("history", &[4, 3], dtype);
        let (row, index) = (g.input("row", &[1, 3], dtype), g.input("index", &[1], DType::U32));
        g.update(PutRows { first_col: 0 }, &[history], &[row, index])?;
        let mut session = Session::new(gpu);
        let plan = session.load(&g.finish(), &NoWeights)?;
        let mut expected = vec![0u32; 12];
        for (step, index) in [2u32, 0, 2, 4, u32::MAX].into_iter().enumerate() {
            let numbers = data::indices(&format!("row{step}"), 3, 1000);
            let row = match dtype {
                DType::F32 => f32_tensor(&[1, 3], numbers.iter().map(|&x| x as f32).collect()),
                DType::U32 => u32_tensor(&[1, 3], numbers.clone()),
            };
            session.run(plan, &[("row", &row), ("index", &u32_tensor(&[1], vec![index]))])?;
            if let Some(place) = expected.chunks_mut(3).nth(index as usize) {
                place.copy_from_slice(&numbers);
            }
        }
        let made = session.read_variable("history")?;
        let made = match dtype {
            DType::F32 => made.as_f32()?.iter().map(|&x| x as u32).collect(),
            DType::U32 => made.into_u32()?,
        };
        assert_eq!(made, expected, "{dtype}");
    }
    Ok(())
}

/// The middle columns of each row find their places in a table, whole and in pieces.
#[test]
fn rows_find_their_places() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let own = gpu.profile();
    let limits = Limits { max_binding: 16 << 10, max_buffer: 20 << 10, ..own.limits };
    let small = DeviceProfile { limits, ..own.clone() };
    // 500 rows of 36 columns are 70 KiB; three tables, one to a piece, are of 100 rows.
    for (dtype, shape, width, first_col) in [
        (DType::F32, vec![500, 36], 108, 36),
        (DType::F32, vec![500, 35], 71, 3),
        (DType::U32, vec![500, 36], 36, 0),
        (DType::U32, vec![500, 33], 40, 7),
        (DType::F32, vec![3, 100, 36], 120, 12),
        (DType::U32, vec![3, 100, 33], 108, 7),
    ] {
        let [rows, cols] = [shape[shape.len() - 2], shape[shape.len() - 1]];
        let last = rows as u32 - 1;
        for (profile, places) in
            [(own, [last, 0, last + 1, 50, u32::MAX]), (&small, [17, last, 20, 0, last + 1])]
        {
            let mut g = GraphBuilder::new("cache");
            let table = g.variable("table", &shape, dtype);
            let (made, index) = (g.input("rows", &[5, width], dtype), g.input("index", &[5], DType::U32));
            g.update(PutRows { first_col }, &[table], &[made, index])?;
            let mut session = Session::with_profile(gpu, profile.clone());
            let plan = session.load(&g.finish(), &NoWeights)?;
            let tensor = |shape: &[usize], bits: Vec<u32>| match dtype {
                DType::F32 => Tensor::f32(shape, bits.into_iter().map(|x| x as f32).collect()),
                DType::U32 => Tensor::u32(shape, bits),
            };
            let mut expected = data::indices("table", shape.iter().product(), 1 << 20);
            session.write_variable("table", &tensor(&shape, expected.clone())?)?;
            let numbers = data::indices("rows", 5 * width, 1 << 20);
            let made = tensor(&[5, width], numbers.clone())?;
            session.run(plan, &[("rows", &made), ("index", &u32_tensor(&[5], places.to_vec()))])?;
            for (part, table) in expected.chunks_mut(rows * cols).enumerate() {
                for (row, place) in numbers.chunks(width).zip(places) {
                    if let Some(place) = table.chunks_mut(cols).nth(place as usize) {
                        place.copy_from_slice(&row[first_col + part * cols..][..cols]);
                    }
                }
            }
            assert_eq!(session.read_variable("table")?, tensor(&shape, expected)?, "{dtype} {shape:?}");
        }
    }
    Ok(())
}

/// Two tables in one rule, whole and in pieces.
#[test]
fn rows_find_their_places_in_two_tables() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let own = gpu.profile();
    let limits = Limits { max_binding: 16 << 10, max_buffer: 20 << 10, ..own.limits };
    let small = DeviceProfile { limits, ..own.clone() };
    // The last are two tables each, one to a piece.
    for (profile, shape) in
        [(own, vec![500, 36]), (&small, vec![500, 36]), (&small, vec![500, 35]), (&small, vec![2, 100, 36])]
    {
        let [rows_of_each, cols] = [shape[shape.len() - 2], shape[shape.len() - 1]];
        let mut g = GraphBuilder::new("caches");
        let names = ["first", "second"];
        let tables = names.map(|name| g.variable(name, &shape, DType::F32));
        let rows = names.map(|name| g.input(&format!("{name} rows"), &[3, 108], DType::F32));
        let index = g.input("index", &[3], DType::U32);
        g.update(PutRows { first_col: 36 }, &tables, &[rows[0], rows[1], index])?;
        let mut session = Session::with_profile(gpu, profile.clone());
        let plan = session.load(&g.finish(), &NoWeights)?;
        let made = names.map(|name| seeded(&format!("{name} rows"), &[3, 108]));
        for name in names {
            session.write_variable(name, &seeded(name, &shape))?;
        }
        let places = u32_tensor(&[3], vec![rows_of_each as u32 - 1, rows_of_each as u32, 17]);
        session.run(plan, &[("first rows", &made[0]), ("second rows", &made[1]), ("index", &places)])?;
        for (name, rows) in names.iter().zip(&made) {
            let mut expected = seeded(name, &shape).into_f32()?;
            for (part, table) in expected.chunks_mut(rows_of_each * cols).enumerate() {
                for (row, place) in [(0, rows_of_each - 1), (2, 17)] {
                    let from = &rows.as_f32()?[row * 108 + 36 + part * cols..][..cols];
                    table[place * cols..][..cols].copy_from_slice(from);
                }
            }
            assert_eq!(session.read_variable(name)?.as_f32()?, expected, "{name}, {shape:?}");
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_named() {
    let mut g = GraphBuilder::new("net");
    let (table, flat) = (g.variable("table", &[4, 3], DType::F32), g.variable("flat", &[3], DType::F32));
    let (row, index) = (g.input("row", &[4], DType::F32), g.input("index", &[1], DType::U32));
    let short = g.input("short", &[3], DType::F32);
    let (rows, places) = (g.input("rows", &[1, 4], DType::F32), g.input("places", &[2], DType::U32));
    for (made, expected) in [
        (
            g.update(PutRows { first_col: 0 }, &[flat], &[rows, index]),
            "put_rows \"net\": table rank: expected 2 or 3, got f32[3]",
        ),
        (
            g.update(PutRows { first_col: 0 }, &[table], &[rows, short]),
            "put_rows \"net\": index type: expected u32, got f32[3]",
        ),
        (
            g.update(PutRows { first_col: 2 }, &[table], &[rows, index]),
            "put_rows \"net\": rows: expected at least 3 columns after the first 2, got f32[1, 4]",
        ),
        (
            g.update(PutRows { first_col: usize::MAX }, &[table], &[rows, index]),
            "put_rows \"net\": rows: expected at least 3 columns after the first 18446744073709551615, got f32[1, 4]",
        ),
        (
            g.update(PutRows { first_col: 0 }, &[table], &[rows, places]),
            "put_rows \"net\": index: expected [1], got u32[2]",
        ),
        (
            g.update(PutRows { first_col: 0 }, &[table, flat], &[rows, rows, index]),
            "put_rows \"net\": second table: expected f32[4, 3], as the first, got f32[3]",
        ),
        (
            g.update(PutRows { first_col: 0 }, &[table], &[row, index]),
            "put_rows \"net\": rows rank: expected 2, got f32[4]",
        ),
        (
            g.update(Accumulate, &[flat], &[row, short]),
            "accumulate \"net\": summand: expected [3], got f32[4]",
        ),
        (g.update(Accumulate, &[flat], &[short, short]), "accumulate \"net\": mix: expected [2], got f32[3]"),
        (
            g.update(Lerp, &[flat], &[short, row, short, short]),
            "lerp \"net\": momentum: expected [3], got f32[4]",
        ),
        (
            g.update(Lerp, &[flat], &[row, short, short, short]),
            "lerp \"net\": batch's value: expected [3], got f32[4]",
        ),
        (
            g.update(Lerp, &[flat, table], &[short, short, short, short]),
            "lerp \"net\": number of variables: expected 1, got 2",
        ),
    ] {
        assert_eq!(made.map_err(|e| e.to_string()), Err(expected.to_owned()));
    }
}

/// Members of a flat variable are read, written and shared by their names, and changed together; what contradicts another
/// plan is refused.
#[test]
fn members_of_a_flat_variable_change_together() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let members: [(&str, &[usize]); 5] =
        [("scale", &[]), ("weight", &[3, 50]), ("bias", &[20]), ("mean", &[7]), ("variance", &[7])];
    let flat_variable = |g: &mut GraphBuilder| {
        let members: &[(&[&str], &[usize])] =
            &[(&["scale"], &[]), (&["weight"], &[3, 50]), (&["bias"], &[20]), (&["mean", "variance"], &[7])];
        g.flat_variable("flat", members)
    };
    for profile in profiles(gpu) {
        let mut session = Session::with_profile(gpu, profile.clone());
        // A plan that only looks comes first.
        let mut g = GraphBuilder::new("look");
        flat_variable(&mut g)?;
        for (name, shape) in members {
            let member = g.variable(name, shape, DType::F32);
            g.output(name, member);
        }
        let look = session.load(&g.finish(), &NoWeights)?;

        let mut g = GraphBuilder::new("step");
        let flat = flat_variable(&mut g)?;
        let doubled = members.map(|(name, shape)| {
            let member = g.variable(name, shape, DType::F32);
            g.add(member, member)
        });
        let mut doubled = doubled.into_iter().collect::<Result<Vec<_>, _>>()?;
        let moments = g.concat(&doubled.split_off(3), 0)?;
        let doubled = g.flat_concat(&[doubled, vec![moments]].concat())?;
        let mix = g.input("mix", &[2], DType::F32);
        g.update(Accumulate, &[flat], &[doubled, mix])?;
        // The value from before the update.
        let bias = g.variable("bias", &[20], DType::F32);
        g.output("old bias", bias);
        let step = session.load(&g.finish(), &NoWeights)?;

        for (name, shape) in members {
            session.write_variable(name, &seeded(name, shape))?;
        }
        let mut outputs = session.run(step, &[("mix", &f32_tensor(&[2], vec![1.0, 0.5]))])?;
        assert_eq!(outputs.take("old bias"), Some(seeded("bias", &[20])));
        let outputs = session.run(look, &[])?;
        for (name, shape) in members {
            let expected: Vec<f32> = seeded(name, shape).into_f32()?.iter().map(|x| x + x).collect();
            assert_eq!(outputs[name].as_f32()?, expected, "{name}");
            assert_eq!(session.read_variable(name)?, outputs[name], "{name}");
        }
        let whole = session.read_variable("flat")?.into_f32()?;
        let between = [1..64, 214..256, 276..320, 334..384].into_iter().flatten();
        assert!(whole.len() == 384 && between.clone().all(|i| whole[i] == 0.0), "zeros lie between them");

        let refused = |session: &mut Session,
                       build: &dyn Fn(&mut GraphBuilder) -> Result<(), EngineError>| {
            let mut g = GraphBuilder::new("other");
            build(&mut g)?;
            Ok::<_, EngineError>(session.load(&g.finish(), &NoWeights).map(drop).map_err(|e| e.to_string()))
        };
        let alone = refused(&mut session, &|g| {
            let bias = g.variable("bias", &[20], DType::F32);
            g.output("bias", bias);
            Ok(())
        })?;
        let expected = "f32[20] in flat from element 256 on, got f32[20] by itself";
        assert!(alone.clone().is_err_and(|e| e.contains(expected)), "{alone:?}");
        let elsewhere = refused(&mut session, &|g| {
            let other = g.flat_variable("other", &[(&["bias"], &[20])])?;
            g.output("other", other);
            Ok(())
        })?;
        assert!(elsewhere.clone().is_err_and(|e| e.contains("in other from element 0 on")), "{elsewhere:?}");
        let twice = refused(&mut session, &|g| {
            let x = g.variable("x", &[2], DType::F32);
            g.output("x", x);
            g.flat_variable("xs", &[(&["x"], &[2])]).map(drop)
        })?;
        assert!(twice.clone().is_err_and(|e| e.contains("variable \"x\" is declared twice")), "{twice:?}");
        let wrong = session.write_variable("bias", &seeded("bias", &[21])).map_err(|e| e.to_string());
        assert!(wrong.clone().is_err_and(|e| e.contains("expected f32[20], got f32[21]")), "{wrong:?}");
    }
    let mut g = GraphBuilder::new("g");
    g.flat_variable("flat", &[(&["x"], &[2])])?;
    let x = g.variable("x", &[2], DType::F32);
    let mix = g.input("mix", &[2], DType::F32);
    let alone = g.update(Accumulate, &[x], &[mix, mix]).map_err(|e| e.to_string());
    assert_eq!(alone, Err("accumulate \"g\": target: expected a variable, got f32[2]".to_owned()));
    Ok(())
}
