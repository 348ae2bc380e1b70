//! Which class was taken for which, as a picture.

use kiln_models::image::Picture;

use super::canvas::{Canvas, Color, INK, Letters, WHITE, between};
use crate::TrainError;
use crate::metrics::Confusion;

/// What is right is blue, what is wrong red.
const RIGHT: Color = [8, 81, 156];
const WRONG: Color = [203, 24, 29];
const EMPTY: Color = [244, 245, 247];
const FAINT: Color = [108, 117, 125];

const MARGIN: usize = 16;
const GAP: usize = 2;
/// The side of the cells together, where there are many.
const SIDE: usize = 1200;
const LARGEST_CELL: usize = 56;
const SMALLEST_CELL: usize = 2;
/// Letters of a class's name that are shown.
const LONGEST_NAME: usize = 18;

/// A row for each class, a column for each class that it was taken for; each cell with its count, the stronger the
/// larger its share of the row. Where there are too many classes for numbers and names there are none.
///
/// # Errors
/// Where there are so many classes that no picture holds them, or none.
pub fn confusion(confusion: &Confusion, classes: &[String]) -> Result<Picture, TrainError> {
    let count = confusion.classes();
    let cell = (SIDE / count.max(1)).clamp(SMALLEST_CELL, LARGEST_CELL);
    let letters = if cell >= 40 { Letters::Large } else { Letters::Small };
    let named = cell > letters.height();
    let names: Vec<String> = (0..count).map(|class| shown(classes.get(class), class)).collect();
    let longest = names.iter().map(|name| letters.width(name)).max().unwrap_or(0);
    let names_room = if named { longest + MARGIN / 2 } else { 0 };
    let title = Letters::Large.height() + MARGIN / 2;
    let recalls = if named { letters.width("100.0 %") + MARGIN } else { 0 };
    let [left, top] = [MARGIN + title + names_room, MARGIN + 2 * title + names_room];
    let side = count * cell;
    let heading = heading(confusion);
    let width = (left + side + recalls + MARGIN).max(2 * MARGIN + Letters::Large.width(&heading));
    let mut canvas = Canvas::new(width, top + side + MARGIN);

    canvas.text([MARGIN, MARGIN], &heading, Letters::Large, INK);
    let centered = |text: &str| (side.saturating_sub(Letters::Large.width(text))) / 2;
    let (across, down) = ("taken for", "class");
    canvas.text([left + centered(across), MARGIN + title], across, Letters::Large, FAINT);
    let below = top + side - centered(down);
    canvas.text_upward([MARGIN, below.saturating_sub(1)], down, Letters::Large, FAINT);
    for (class, name) in names.iter().enumerate() {
        let middle = class * cell + (cell.saturating_sub(letters.height())) / 2;
        if named {
            let start = left - MARGIN / 2 - letters.width(name);
            canvas.text([start, top + middle], name, letters, INK);
            canvas.text_upward([left + middle, top - MARGIN / 2 - 1], name, letters, INK);
            if let Some(recall) = confusion.recall(class) {
                let recall = format!("{:5.1} %", 100.0 * recall);
                canvas.text([left + side + MARGIN / 2, top + middle], &recall, letters, FAINT);
            }
        }
        for predicted in 0..count {
            let place = [left + predicted * cell, top + class * cell];
            draw_cell(&mut canvas, place, cell, confusion, [class, predicted]);
        }
    }
    canvas.finish("confusion")
}

fn draw_cell(
    canvas: &mut Canvas,
    [x, y]: [usize; 2],
    cell: usize,
    confusion: &Confusion,
    [class, predicted]: [usize; 2],
) {
    let count = confusion.count(class, predicted);
    let share = count as f64 / confusion.of_class(class).max(1) as f64;
    let full = if class == predicted { RIGHT } else { WRONG };
    // The root, so that the few that are wrong can be told from none.
    let strength = share.sqrt();
    let color = if count == 0 { EMPTY } else { between(WHITE, full, 0.08 + 0.92 * strength) };
    let gap = if cell > 8 { GAP } else { 0 };
    canvas.fill([x, y], [cell - gap, cell - gap], color);
    let text = count.to_string();
    let fits = |letters: &Letters| letters.width(&text) + 2 <= cell && letters.height() <= cell;
    if count > 0
        && let Some(letters) = [Letters::Large, Letters::Small].into_iter().find(fits)
    {
        let ink = if strength > 0.55 { WHITE } else { INK };
        let inside = |room: usize, taken: usize| (room - gap).saturating_sub(taken) / 2;
        let place = [x + inside(cell, letters.width(&text)), y + inside(cell, letters.height())];
        canvas.text(place, &text, letters, ink);
    }
}

fn heading(confusion: &Confusion) -> String {
    let (right, all) = (confusion.correct(), confusion.examples());
    match confusion.error() {
        Some(error) => format!("{right} of {all} right, {:.2} % wrong", 100.0 * error),
        None => "no examples".to_owned(),
    }
}

/// A class's name, or its number where it has none, not too long.
fn shown(name: Option<&String>, class: usize) -> String {
    let name = name.cloned().unwrap_or_else(|| class.to_string());
    if name.chars().count() <= LONGEST_NAME {
        return name;
    }
    name.chars().take(LONGEST_NAME - 2).chain("..".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(classes: usize, examples: u32) -> Picture {
        let mut counts = Confusion::new(classes);
        for example in 0..examples {
            let label = example % classes as u32;
            let wrong = example % 7 == 0;
            counts.add(&[if wrong { (label + 1 + example / 7) % classes as u32 } else { label }], &[label]);
        }
        let names: Vec<String> = (0..classes).map(|class| format!("class {class}")).collect();
        confusion(&counts, &names).unwrap()
    }

    #[test]
    fn it_has_room_for_any_number_of_classes() {
        for classes in [1, 2, 10, 37, 100, 300] {
            let picture = picture(classes, 5000);
            assert!(picture.width() > classes * SMALLEST_CELL && picture.width() < 2000, "{classes}");
            assert_eq!(picture.channels(), 3);
        }
    }

    #[test]
    fn what_is_right_is_blue_and_what_is_wrong_red() {
        let mut counts = Confusion::new(2);
        counts.add(&[0, 0, 0, 1], &[0, 0, 1, 1]);
        let picture = confusion(&counts, &["a".to_owned(), "b".to_owned()]).unwrap();
        let has = |color: Color| picture.pixels().chunks_exact(3).any(|pixel| *pixel == color);
        assert!(has(RIGHT) && has(between(WHITE, WRONG, 0.08 + 0.92 * 0.5_f64.sqrt())) && has(EMPTY));
    }

    #[test]
    fn long_names_and_foreign_letters_are_drawn() {
        let names = ["a name that goes on and on".to_owned(), "\u{4e2d}\u{6587} \u{e4}".to_owned()];
        assert_eq!(shown(Some(&names[0]), 0).chars().count(), LONGEST_NAME);
        assert!(confusion(&Confusion::new(2), &names).is_ok());
        assert!(confusion(&Confusion::new(3), &[]).is_ok());
    }
}
