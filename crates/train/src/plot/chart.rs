//! Charts of lines, as SVG.

use std::ops::Range;
use std::path::Path;

use plotters::chart::SeriesLabelPosition;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;

use crate::TrainError;

/// Charts side by side.
pub(crate) struct Chart {
    pub(crate) panels: Vec<Panel>,
    /// Width and height of each.
    pub(crate) size: [u32; 2],
}

/// One of them.
#[derive(Default)]
pub(crate) struct Panel {
    pub(crate) title: String,
    /// What the axes show, where the title does not say it.
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) x_scale: Scale,
    pub(crate) lines: Vec<Line>,
    /// No value is above this.
    pub(crate) highest: Option<f64>,
    /// Whether lines rise, so that their names belong below.
    pub(crate) rising: bool,
}

/// How the axis to the right counts.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Scale {
    /// In whole numbers.
    #[default]
    Whole,
    /// By factors, with a mark at each point; for numbers above 0.
    Logarithmic,
}

/// Points joined by a line.
#[derive(Default)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// Which of the colors.
    pub(crate) color: usize,
    pub(crate) dashed: bool,
    pub(crate) points: Vec<Point>,
}

/// A point, and how far it may be off, up and down.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) deviation: f64,
}

const INK: RGBColor = RGBColor(33, 37, 41);
const GRID: RGBColor = RGBColor(222, 226, 230);
/// Okabe and Ito's colors, which people who see colors differently can tell apart, the light ones left out.
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(80, 80, 80),
];
/// Single points are marked where there are at most this many on a line.
const MARKED: usize = 40;
/// About so many marks stand on an axis.
const MARKS: f64 = 6.0;

/// Marks on an axis that goes by factors are apart by at least this share of it.
const LEAST_GAP: f64 = 0.07;

type Failure = DrawingAreaErrorKind<std::io::Error>;

impl Chart {
    /// The text of an SVG file; `file` stands for it in messages.
    pub(crate) fn to_svg(&self, file: &Path) -> Result<String, TrainError> {
        let mut svg = String::new();
        self.draw(&mut svg)
            .map_err(|error| TrainError::Drawing { file: file.to_owned(), message: error.to_string() })?;
        Ok(svg)
    }

    fn draw(&self, svg: &mut String) -> Result<(), Failure> {
        let count = self.panels.len().max(1);
        let [width, height] = self.size;
        let root = SVGBackend::with_string(svg, (width * count as u32, height)).into_drawing_area();
        root.fill(&WHITE)?;
        for (panel, area) in self.panels.iter().zip(root.split_evenly((1, count))) {
            panel.draw(&area)?;
        }
        root.present()
    }
}

impl Panel {
    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Failure> {
        let (x, y) = (self.x_axis(), self.y_axis());
        let [low, high] = [y.low, y.high];
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 24).into_font().color(&INK))
            .margin(16)
            .x_label_area_size(52)
            .y_label_area_size(60)
            .build_cartesian_2d(x, y)?;
        let label = ("sans-serif", 17).into_font().color(&INK);
        chart
            .configure_mesh()
            .x_desc(&self.x)
            .y_desc(&self.y)
            .label_style(label.clone())
            .axis_desc_style(("sans-serif", 18).into_font().color(&INK))
            .x_label_formatter(&|value| plain(self.x_scale.back(*value)))
            .y_label_formatter(&|value| plain(*value))
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(INK)
            .draw()?;
        for line in &self.lines {
            let color = COLORS[line.color % COLORS.len()];
            let points: Vec<(f64, f64)> =
                line.points.iter().map(|point| (self.x_scale.there(point.x), point.y)).collect();
            let stroke = color.stroke_width(2);
            let key = move |(x, y): (i32, i32)| PathElement::new([(x, y), (x + 20, y)], stroke);
            if line.dashed {
                let dashes = DashedLineSeries::new(points.clone(), 6, 4, stroke);
                chart.draw_series(dashes)?.label(roomy(&line.name)).legend(key);
            } else {
                chart
                    .draw_series(LineSeries::new(points.clone(), stroke))?
                    .label(roomy(&line.name))
                    .legend(key);
            }
            if points.len() <= MARKED {
                chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
            }
            let bars = line.points.iter().filter(|point| point.deviation > 0.0);
            chart.draw_series(bars.map(|point| {
                let x = self.x_scale.there(point.x);
                let (below, above) = (point.y - point.deviation, point.y + point.deviation);
                PathElement::new([(x, below.max(low)), (x, above.min(high))], color.stroke_width(1))
            }))?;
        }
        let corner =
            if self.rising { SeriesLabelPosition::LowerRight } else { SeriesLabelPosition::UpperRight };
        chart
            .configure_series_labels()
            .position(corner)
            .background_style(WHITE.mix(0.85))
            .border_style(GRID)
            .label_font(label)
            .legend_area_size(26)
            .margin(8)
            .draw()
    }

    fn points(&self) -> impl Iterator<Item = Point> {
        self.lines.iter().flat_map(|line| line.points.iter().copied())
    }

    fn x_axis(&self) -> Axis {
        let values = self.points().map(|point| self.x_scale.there(point.x));
        let (low, high) = span(values).unwrap_or((0.0, 1.0));
        match self.x_scale {
            Scale::Whole => {
                let (low, high) = if low < high { (low, high) } else { (low - 1.0, high + 1.0) };
                let step = nice((high - low) / MARKS).max(1.0);
                Axis { low, high, marks: marks(low, high, step) }
            }
            Scale::Logarithmic => {
                let mut marks: Vec<f64> = self.points().map(|point| self.x_scale.there(point.x)).collect();
                marks.sort_by(f64::total_cmp);
                // Labels need room.
                let mut last = f64::NEG_INFINITY;
                marks.retain(|mark| {
                    let free = mark - last > (high - low) * LEAST_GAP;
                    last = if free { *mark } else { last };
                    free
                });
                let room = ((high - low) * 0.04).max(0.02);
                Axis { low: low - room, high: high + room, marks }
            }
        }
    }

    fn y_axis(&self) -> Axis {
        let ends = |point: Point| [point.y - point.deviation, point.y + point.deviation];
        let (low, high) = span(self.points().flat_map(ends)).unwrap_or((0.0, 1.0));
        let room = if high > low { (high - low) * 0.06 } else { high.abs().max(1.0) * 0.1 };
        // Values are never below 0; an axis that begins near it may as well begin there.
        let low = if low - room < 0.15 * high { 0.0 } else { low - room };
        let high = self.highest.map_or(high + room, |highest| (high + room).min(highest));
        Axis { low, high, marks: marks(low, high, nice((high - low) / MARKS)) }
    }
}

impl Scale {
    fn there(self, value: f64) -> f64 {
        match self {
            Scale::Whole => value,
            Scale::Logarithmic => value.max(f64::MIN_POSITIVE).log10(),
        }
    }

    fn back(self, value: f64) -> f64 {
        match self {
            Scale::Whole => value,
            Scale::Logarithmic => 10_f64.powf(value),
        }
    }
}

struct Axis {
    low: f64,
    high: f64,
    marks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        start + (f64::from(end - start) * share).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, hint: H) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.marks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        plain(*value)
    }
}

fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).fold(None, |span, value| {
        let (low, high) = span.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })
}

/// The next larger of 1, 2 and 5 times a power of ten.
fn nice(step: f64) -> f64 {
    let power = 10_f64.powf(step.max(f64::MIN_POSITIVE).log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    factors.map(|factor| factor * power).into_iter().find(|nice| *nice >= step * 0.999).unwrap_or(step)
}

/// The multiples of a step within a range.
fn marks(low: f64, high: f64, step: f64) -> Vec<f64> {
    let (first, last) = ((low / step).ceil(), ((high + step * 1e-6) / step).floor());
    let count = (last - first).clamp(0.0, 100.0) as usize;
    (0..=count)
        .map(|place| (first + place as f64) * step)
        .filter(|mark| *mark <= high + step * 1e-6)
        .collect()
}

/// A number without digits that say nothing; large ones to three digits, in thousands (k) or millions (M).
fn plain(value: f64) -> String {
    let rounded = |value: f64, digits: usize| {
        let text = format!("{value:.digits$}");
        if digits == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
    };
    let three = |value: f64| rounded(value, if value < 10.0 { 2 } else { usize::from(value < 100.0) });
    match value.abs() {
        size if size >= 1e9 || (size != 0.0 && size < 1e-4) => format!("{value:.1e}"),
        size if size >= 999_500.0 => format!("{}M", three(value / 1e6)),
        size if size >= 9_999.5 => format!("{}k", three(value / 1e3)),
        _ => rounded(value, 4),
    }
}

/// A name with spaces behind it: how wide letters are, only the viewer knows, and the box of names is drawn for narrow
/// ones.
fn roomy(name: &str) -> String {
    format!("{name}{}", " ".repeat(1 + name.len() / 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_at_plain_numbers() {
        assert_eq!([0.3, 1.0, 1.7, 23.0, 0.0004].map(nice), [0.5, 1.0, 2.0, 50.0, 0.0005]);
        assert_eq!(marks(0.0, 2.4, 0.5), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(marks(1.0, 20.0, 5.0), [5.0, 10.0, 15.0, 20.0]);
        let written = [0.0, 0.25, 100.0, 5000.0, 60_000.0, 442_210.0, 999_999.0, 1_754_610.0].map(plain);
        assert_eq!(written, ["0", "0.25", "100", "5000", "60k", "442k", "1M", "1.75M"]);
        assert_eq!([0.00001, 2e12, 18_834.0, -0.5].map(plain), ["1.0e-5", "2.0e12", "18.8k", "-0.5"]);
    }
}
