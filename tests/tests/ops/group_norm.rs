//! Group and instance normalisation.

use kiln_engine::{DType, GraphBuilder};
use kiln_reference::Array;
use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::tolerance::GROUP_NORM;
use kiln_tests::{data, device, golden};
use serde::Deserialize;

use crate::pytorch::{assert_oracle, decimal, operands};

const EPSILON: f32 = 1e-5;

fn check(shape: &[usize], groups: usize, x: Vec<f32>, what: &str) {
    let Some(gpu) = device::gpu() else { return };
    let channels = shape[1];
    let operands = [f32_tensor(shape, x), seeded("weight", &[channels]), seeded("bias", &[channels])];
    let [x, weight, bias] = operands.each_ref().map(array);
    let expected = kiln_reference::group_norm(&x, groups, &weight, &bias, f64::from(EPSILON));
    let terms = kiln_reference::group_norm_terms(&x, groups, &weight, &bias, f64::from(EPSILON));
    let bounds = GROUP_NORM.bounds(&terms);
    let what = format!("{what} {shape:?} in {groups} groups");
    conforms(
        gpu,
        &what,
        &operands,
        |g, v| g.group_norm(v[0], groups, v[1], v[2], EPSILON),
        &expected,
        &bounds,
    );
    if groups == channels && shape.len() > 2 {
        let build =
            |g: &mut GraphBuilder, v: &[kiln_engine::Value]| g.instance_norm(v[0], v[1], v[2], EPSILON);
        conforms(gpu, format!("{what}, by instance"), &operands, build, &expected, &bounds);
    }
}

#[test]
fn groups() {
    for (shape, groups) in [
        (&[1, 1][..], 1),
        (&[5, 6], 2),
        (&[3, 300], 3),
        (&[2, 6, 7], 3),
        (&[2, 6, 7], 1),
        (&[2, 6, 7], 6),
        (&[1, 8, 5, 5], 2),
        (&[3, 4, 16, 9], 4),
        (&[2, 4, 13, 11], 1),
        (&[1, 6, 2, 3, 4], 2),
        (&[17, 2, 3, 43], 2),
    ] {
        check(shape, groups, data::uniform("x", shape.iter().product()), "seeded");
    }
}

#[test]
fn off_centre() {
    check(&[2, 4, 33, 8], 2, data::uniform("x", 2 * 4 * 33 * 8).iter().map(|x| x + 100.0).collect(), "far");
}

/// Rows beyond what a software driver lets one invocation loop.
#[test]
fn long_rows() {
    for (shape, groups) in [
        (&[1, 2, 35_001][..], 1),
        (&[2, 70_002], 1),
        (&[1, 2, 300, 301], 2),
        // Many channels of an element or two: the loops' ends count as well.
        (&[2, 14_900], 1),
        (&[1, 8_500, 2], 1),
    ] {
        for centre in [0.0, 10.0] {
            let x = data::uniform("x", shape.iter().product()).iter().map(|x| x + centre).collect();
            check(shape, groups, x, "long");
        }
    }
}

#[test]
fn nan_fills_its_group() {
    let mut x = data::uniform("x", 2 * 6 * 10);
    x[75] = f32::NAN;
    check(&[2, 6, 10], 3, x, "NaN");
}

#[test]
fn without_weight_or_bias() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [seeded("x", &[2, 4, 9])];
    let x = array(&operands[0]);
    let (weight, bias) = (Array::new(&[4], vec![1.0; 4]), Array::new(&[4], vec![0.0; 4]));
    for groups in [2, 4] {
        let expected = kiln_reference::group_norm(&x, groups, &weight, &bias, f64::from(EPSILON));
        let terms = kiln_reference::group_norm_terms(&x, groups, &weight, &bias, f64::from(EPSILON));
        let bounds = GROUP_NORM.bounds(&terms);
        let what = format!("{groups} groups, not affine");
        conforms(
            gpu,
            what,
            &operands,
            |g, v| match groups {
                4 => g.instance_norm(v[0], None, None, EPSILON),
                _ => g.group_norm(v[0], groups, None, None, EPSILON),
            },
            &expected,
            &bounds,
        );
    }
}

#[test]
fn mistakes_name_the_layer() {
    let mut g = GraphBuilder::new("net");
    let points = g.input("points", &[2, 6], DType::F32);
    let mistake = g.scope("norm", |g| g.instance_norm(points, None, None, EPSILON)).unwrap_err();
    assert_eq!(
        mistake.to_string(),
        "instance_norm \"net/norm\": plane: expected more than one element to take the variance of, got f32[2, 6]"
    );
    let mistake = g.scope("norm", |g| g.group_norm(points, 4, None, None, EPSILON)).unwrap_err();
    assert_eq!(
        mistake.to_string(),
        "group_norm \"net/norm\": groups: expected a divisor of the 6 channels of f32[2, 6], got 4"
    );
}

#[derive(Deserialize)]
struct Attributes {
    num_groups: Option<usize>,
    eps: f32,
}

#[test]
fn as_in_pytorch() {
    for case in [golden::op_cases("group_norm"), golden::op_cases("instance_norm")].concat() {
        let Attributes { num_groups, eps } = case.attributes();
        let [x, affine @ ..] = case.inputs.as_slice() else { panic!("{}", case.name) };
        let channels = x.shape[1];
        let groups = num_groups.unwrap_or(channels);
        let (ones, zeros) =
            (Array::new(&[channels], vec![1.0; channels]), Array::new(&[channels], vec![0.0; channels]));
        let (weight, bias) = (affine.first().unwrap_or(&ones), affine.get(1).unwrap_or(&zeros));
        assert_oracle(&case, &kiln_reference::group_norm(x, groups, weight, bias, decimal(eps)));
        let Some(gpu) = device::gpu() else { continue };
        let terms = kiln_reference::group_norm_terms(x, groups, weight, bias, decimal(eps));
        conforms(
            gpu,
            &case.name,
            &operands(&case),
            |g, v| {
                let (weight, bias) = (v.get(1).copied(), v.get(2).copied());
                match num_groups {
                    Some(groups) => g.group_norm(v[0], groups, weight, bias, eps),
                    None => g.instance_norm(v[0], weight, bias, eps),
                }
            },
            &case.output,
            &GROUP_NORM.bounds(&terms),
        );
    }
}
