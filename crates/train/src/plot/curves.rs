//! Loss and accuracy over the epochs.

use std::path::Path;

use super::chart::{Chart, Line, Panel, Point};
use crate::TrainError;
use crate::progress::{Epoch, Score};

/// Draws loss and accuracy, of training and where there is one of validation, as an SVG; `file` stands for it in
/// messages. Networks that reconstruct have no accuracy.
///
/// # Errors
/// Where it cannot be drawn: a mistake of ours.
pub fn curves(file: &Path, epochs: &[Epoch]) -> Result<String, TrainError> {
    let panel = |name: &str, value: &dyn Fn(&Score) -> Option<f64>| {
        let points = |score: &dyn Fn(&Epoch) -> Option<Score>| -> Vec<Point> {
            let point = |epoch: &Epoch| {
                let y = value(&score(epoch)?).filter(|value| value.is_finite())?;
                Some(Point { x: epoch.epoch.into(), y, deviation: 0.0 })
            };
            epochs.iter().filter_map(point).collect()
        };
        let parts = [
            ("training", points(&|epoch| Some(epoch.train))),
            ("validation", points(&|epoch| epoch.validation)),
        ];
        let parts = parts.into_iter().enumerate().filter(|(_, (_, points))| !points.is_empty());
        let line = |(color, (part, points)): (usize, (&str, Vec<Point>))| Line {
            name: part.to_owned(),
            color,
            points,
            ..Line::default()
        };
        Panel {
            title: name.to_owned(),
            x: "epoch".to_owned(),
            lines: parts.map(line).collect(),
            ..Panel::default()
        }
    };
    let accuracy = panel("accuracy (%)", &|score| score.accuracy.map(|accuracy| 100.0 * accuracy));
    let mut panels = vec![panel("loss", &|score| Some(score.loss))];
    if !accuracy.lines.is_empty() {
        panels.push(Panel { highest: Some(100.0), rising: true, ..accuracy });
    }
    Chart { panels, size: [560, 400] }.to_svg(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(count: u32, validated: bool) -> Vec<Epoch> {
        let epoch = |epoch: u32| {
            let falling = 2.3 * (-f64::from(epoch) / 6.0).exp() + 0.1;
            let train = Score { loss: falling, accuracy: Some(1.0 - falling / 3.0) };
            let validation = Score { loss: falling * 1.1 + 0.05, accuracy: Some(0.95 - falling / 3.0) };
            let validation = validated.then_some(validation);
            Epoch { epoch, steps: u64::from(epoch) * 10, lr: 0.1, train, validation, best: true }
        };
        (1..=count).map(epoch).collect()
    }

    fn draw(epochs: &[Epoch]) -> String {
        curves(Path::new("curves.svg"), epochs).unwrap()
    }

    #[test]
    fn it_shows_what_there_is() {
        let svg = draw(&epochs(20, true));
        for text in ["<svg", "epoch", "training", "validation", "loss", "accuracy (%)"] {
            assert!(svg.contains(text), "{text}");
        }
        assert_eq!(svg, draw(&epochs(20, true)));
        assert!(!draw(&epochs(3, false)).contains("validation"));
        let mut blind = epochs(2, true);
        for epoch in &mut blind {
            epoch.train.accuracy = None;
            epoch.validation = None;
        }
        assert!(!draw(&blind).contains("accuracy"));
    }

    #[test]
    fn few_epochs_and_strange_losses_are_drawn() {
        draw(&[]);
        draw(&epochs(1, true));
        let mut strange = epochs(4, true);
        strange[1].train.loss = f64::INFINITY;
        strange[2].train.loss = f64::NAN;
        strange[3].train.loss = 1e300;
        draw(&strange);
        let mut flat = epochs(5, false);
        flat.iter_mut().for_each(|epoch| epoch.train = Score { loss: 0.0, accuracy: Some(1.0) });
        draw(&flat);
    }
}
