//! One plan serves every position of a text. Alone in its process: it counts what is made on the device.

use kiln_models::generate::Decoder;
use kiln_models::t5::{Precision, Runner, T5, T5Config};
use kiln_models::weights::Weights;
use kiln_tests::device;
use kiln_tests::t5::{Form, Geometry};

/// After the first token nothing is compiled, and no memory is asked for.
#[test]
fn a_new_token_makes_nothing_on_the_device() {
    let Some(gpu) = device::gpu() else { return };
    let dir = tempfile::tempdir().expect("a folder should be made");
    Geometry::TINY.write(dir.path(), Form::F32).expect("the model should be written");
    let config = T5Config::open(&dir.path().join("config.json")).expect("the configuration should be read");
    let weights = Weights::open(&dir.path().join("model.safetensors")).expect("the file should be read");
    let t5 = T5::new(config, &weights, Precision::F32).expect("the tensors should be there");
    let mut runner = Runner::new(gpu, t5, Box::new(weights));
    let prompts = [vec![7; 17], vec![9; 5]];
    for beams in [1, 2] {
        runner.begin(&prompts, beams, 40).expect("the prompts should be encoded");
        let parents: Vec<usize> = (0..prompts.len() * beams).collect();
        let mut tokens = vec![0; parents.len()];
        let mut made = vec![];
        for _ in 0..40 {
            let likeliest = runner.argmax(&tokens, &parents).expect("a step should run");
            tokens = likeliest.into_iter().map(|row| row.id).collect();
            made.push(gpu.objects_made());
        }
        assert!(made.iter().all(|count| *count == made[0]), "{beams} beams: {made:?}");
    }
}
