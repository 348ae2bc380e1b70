//! Labels as rows of zeros with a one.

use kiln_tests::graph::{conforms, u32_tensor};
use kiln_tests::{data, device};

#[test]
fn ones_at_the_labels() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, classes) in [(&[][..], 3), (&[1], 1), (&[7], 10), (&[67], 13), (&[3, 5], 4)] {
        let mut labels = data::indices("labels", shape.iter().product(), classes);
        if labels.len() > 5 {
            labels[2] = classes as u32;
            labels[4] = u32::MAX;
        }
        let expected = kiln_reference::one_hot(shape, &labels, classes);
        let bounds = vec![0.0; expected.data.len()];
        let what = format!("{shape:?} of {classes}");
        let operands = [u32_tensor(shape, labels)];
        conforms(gpu, what, &operands, |g, v| g.one_hot(v[0], classes), &expected, &bounds);
    }
}
