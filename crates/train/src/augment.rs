//! Changing examples by chance, so that a network sees each one differently in every epoch.
//!
//! Changes are written as words, separated by commas, and happen in that order:
//!
//! | word | what it does |
//! |---|---|
//! | `flip` | mirrors left and right, half of the time |
//! | `crop4` | adds 4 rows and columns of zeros on each side and takes a piece of the old size, anywhere |
//! | `rotate15` | turns about the middle by up to 15 degrees, either way |
//! | `jitter0.2` | scales brightness, contrast and, of colours, saturation, each by 0.8 to 1.2 |
//! | `none` | nothing; alone only |
//!
//! They work on bytes, before the normalization, as torchvision's do.

mod crop;
mod flip;
mod jitter;
mod rotate;

use std::fmt;
use std::str::FromStr;

use crate::TrainError;
use crate::random::Random;
use crate::words::Words;

const WORDS: Words =
    Words { list: "augmentation", known: "flip, crop4, rotate15, jitter0.2 (numbers vary), none" };

/// One change.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// Mirrors left and right, half of the time (torchvision's `RandomHorizontalFlip`).
    Flip,
    /// Takes a piece of the old size, anywhere in the example with this many zeros added on each side (torchvision's
    /// `RandomCrop(size, padding)`).
    Crop {
        /// Rows and columns added on each side; at least 1, less than height and width.
        padding: u32,
    },
    /// Turns about the middle, by bilinear interpolation; what comes in from outside is 0 (torchvision's
    /// `RandomRotation(degrees, BILINEAR)`).
    Rotate {
        /// The largest angle either way, in degrees; above 0, at most 180.
        degrees: f64,
    },
    /// Scales brightness, then contrast, then saturation, each by a factor between `1 - strength` and `1 + strength`
    /// (torchvision's `ColorJitter(strength, strength, strength)`, which shuffles the three). Gray examples have no
    /// saturation.
    Jitter {
        /// Above 0, at most 1.
        strength: f64,
    },
}

impl Change {
    /// The letters that the word begins with.
    fn name(&self) -> &'static str {
        match self {
            Change::Flip => "flip",
            Change::Crop { .. } => "crop",
            Change::Rotate { .. } => "rotate",
            Change::Jitter { .. } => "jitter",
        }
    }

    fn parse(word: &str) -> Result<Change, TrainError> {
        let (name, number) = WORDS.name(word);
        match name {
            "flip" => WORDS.alone(word, number).map(|()| Change::Flip),
            "crop" => {
                let expected = "a whole number of pixels from 1, such as crop4";
                let padding = WORDS.number(word, number, expected, |padding| *padding >= 1)?;
                Ok(Change::Crop { padding })
            }
            "rotate" => {
                let expected = "degrees above 0 and up to 180, such as rotate15";
                let fits = |degrees: &f64| *degrees > 0.0 && *degrees <= 180.0;
                Ok(Change::Rotate { degrees: WORDS.number(word, number, expected, fits)? })
            }
            "jitter" => {
                let expected = "a strength above 0 and up to 1, such as jitter0.2";
                let fits = |strength: &f64| *strength > 0.0 && *strength <= 1.0;
                Ok(Change::Jitter { strength: WORDS.number(word, number, expected, fits)? })
            }
            _ => Err(WORDS.unknown(word)),
        }
    }

    fn apply(&self, example: &mut [u8], [channels, height, width]: [usize; 3], random: &mut Random) {
        let plane = height * width;
        match *self {
            Change::Flip => {
                if random.coin() {
                    flip::flip(example, width);
                }
            }
            Change::Crop { padding } => {
                let (down, right) = (random.below(2 * padding + 1), random.below(2 * padding + 1));
                let shift = [down, right].map(|place| i64::from(place) - i64::from(padding));
                example.chunks_exact_mut(plane).for_each(|plane| crop::shift(plane, width, shift));
            }
            Change::Rotate { degrees } => {
                let turn = rotate::Turn::new(random.between(-degrees, degrees));
                example.chunks_exact_mut(plane).for_each(|plane| turn.apply(plane, width));
            }
            Change::Jitter { strength } => {
                let mut factor = || random.between(1.0 - strength, 1.0 + strength) as f32;
                jitter::brightness(example, factor());
                jitter::contrast(example, channels, factor());
                if channels == 3 {
                    jitter::saturation(example, factor());
                }
            }
        }
    }
}

impl fmt::Display for Change {
    /// The word.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Change::Flip => Ok(()),
            Change::Crop { padding } => padding.fmt(f),
            Change::Rotate { degrees: number } | Change::Jitter { strength: number } => number.fmt(f),
        }
    }
}

/// Changes, one after the other. By default there are none.
///
/// Written and read as words: `"flip,crop4".parse()`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Augmentation {
    changes: Vec<Change>,
}

impl Augmentation {
    /// The changes in their order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Refuses what cannot be done to examples of a shape (channels, height, width): padding as large as the example,
    /// and jitter of anything but gray and RGB.
    ///
    /// # Errors
    /// As said, naming the word.
    pub fn check(&self, [channels, height, width]: [usize; 3]) -> Result<(), TrainError> {
        for change in &self.changes {
            let problem = match change {
                Change::Crop { padding } if *padding as usize >= height.min(width) => {
                    format!("expected less than the {height}x{width} pixels of an example")
                }
                Change::Jitter { .. } if channels != 1 && channels != 3 => {
                    format!("expected examples of 1 or 3 channels, got {channels}")
                }
                _ => continue,
            };
            return Err(WORDS.error(&change.to_string(), problem));
        }
        Ok(())
    }

    /// Changes an example, `[channel][row][column]`, of a shape that [`check`](Augmentation::check) lets pass. All
    /// chance comes from `random`, which the [`Loader`](crate::Loader) keys by seed, epoch and example.
    ///
    /// # Panics
    /// Where the example is not of that shape.
    pub fn apply(&self, example: &mut [u8], shape: [usize; 3], random: &mut Random) {
        assert_eq!(example.len(), shape.iter().product::<usize>(), "an example should be of shape {shape:?}");
        self.changes.iter().for_each(|change| change.apply(example, shape, random));
    }
}

impl FromStr for Augmentation {
    type Err = TrainError;

    /// # Errors
    /// For a word that is not known, lacks its number or has an impossible one, or stands there twice.
    fn from_str(text: &str) -> Result<Augmentation, TrainError> {
        if text.trim() == "none" {
            return Ok(Augmentation::default());
        }
        let mut changes: Vec<Change> = Vec::new();
        for word in WORDS.split(text) {
            if word == "none" {
                return Err(WORDS.error(word, "stands alone"));
            }
            let change = Change::parse(word)?;
            if changes.iter().any(|other| other.name() == change.name()) {
                return Err(WORDS.error(word, format!("{} is there twice", change.name())));
            }
            changes.push(change);
        }
        Ok(Augmentation { changes })
    }
}

impl fmt::Display for Augmentation {
    /// The words, which parse to the same again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            return f.write_str("none");
        }
        let words: Vec<String> = self.changes.iter().map(Change::to_string).collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::Purpose;

    fn parse(words: &str) -> Result<Augmentation, String> {
        words.parse().map_err(|error: TrainError| error.to_string())
    }

    fn random(example: u32) -> Random {
        Random::new(11, Purpose::Augment, 2, example)
    }

    #[test]
    fn words_become_changes() {
        let expected = [
            Change::Flip,
            Change::Crop { padding: 4 },
            Change::Rotate { degrees: 15.0 },
            Change::Jitter { strength: 0.2 },
        ];
        assert_eq!(parse("flip,crop4, rotate15 ,jitter0.2").unwrap().changes(), expected);
        assert_eq!(parse("rotate0.5").unwrap().changes(), [Change::Rotate { degrees: 0.5 }]);
        assert_eq!(parse("none").unwrap(), Augmentation::default());
        for words in ["flip,crop4,rotate15,jitter0.2", "crop1", "jitter1,flip", "none"] {
            assert_eq!(parse(words).unwrap().to_string(), words);
        }
    }

    #[test]
    fn a_wrong_word_is_named() {
        let known = "known: flip, crop4, rotate15, jitter0.2 (numbers vary), none";
        let table = [
            ("flip,mirror", "mirror", "unknown word"),
            ("flip,,crop4", "", "a word is missing"),
            ("", "", "a word is missing"),
            ("flip2", "flip2", "\"2\" is not expected here"),
            ("crop", "crop", "expected a whole number of pixels from 1, such as crop4"),
            ("crop0", "crop0", "expected a whole number of pixels from 1, such as crop4"),
            ("crop-1", "crop-1", "expected a whole number of pixels from 1, such as crop4"),
            ("crop1.5", "crop1.5", "expected a whole number of pixels from 1, such as crop4"),
            ("rotate200", "rotate200", "expected degrees above 0 and up to 180, such as rotate15"),
            ("rotate", "rotate", "expected degrees above 0 and up to 180, such as rotate15"),
            ("rotatenan", "rotatenan", "unknown word"),
            ("jitter0", "jitter0", "expected a strength above 0 and up to 1, such as jitter0.2"),
            ("jitter2", "jitter2", "expected a strength above 0 and up to 1, such as jitter0.2"),
            ("crop4,crop8", "crop8", "crop is there twice"),
            ("flip,none", "none", "stands alone"),
            ("Flip", "Flip", "unknown word"),
        ];
        for (words, word, problem) in table {
            assert_eq!(parse(words).unwrap_err(), format!("augmentation {word:?}: {problem}; {known}"));
        }
    }

    #[test]
    fn what_does_not_fit_the_examples_is_refused() {
        let refused = |words: &str, shape| parse(words).unwrap().check(shape).unwrap_err().to_string();
        assert!(refused("flip,crop28", [1, 30, 28]).starts_with(
            "augmentation \"crop28\": expected less than the 30x28 pixels of an example; known: "
        ));
        assert!(refused("jitter0.2", [2, 4, 4]).contains("expected examples of 1 or 3 channels, got 2"));
        assert!(parse("crop27,jitter0.1").unwrap().check([1, 30, 28]).is_ok());
    }

    #[test]
    fn half_of_the_examples_are_mirrored() {
        let flip = parse("flip").unwrap();
        let mirrored = |example: &u32| {
            let mut pixels = [1, 2];
            flip.apply(&mut pixels, [1, 1, 2], &mut random(*example));
            pixels == [2, 1]
        };
        assert!((0..2000).filter(mirrored).count().abs_diff(1000) < 112);
    }

    #[test]
    fn a_crop_may_lie_anywhere() {
        let crop = parse("crop1").unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for example in 0..200 {
            let mut pixels = [1, 2, 3, 4, 5, 6, 7, 8, 9];
            crop.apply(&mut pixels, [1, 3, 3], &mut random(example));
            seen.insert(pixels);
        }
        assert_eq!(seen.len(), 9);
        assert!(seen.contains(&[0, 0, 0, 0, 1, 2, 0, 4, 5]) && seen.contains(&[5, 6, 0, 8, 9, 0, 0, 0, 0]));
    }

    #[test]
    fn the_channels_move_together() {
        let all = parse("flip,crop2,rotate30").unwrap();
        for example in 0..50 {
            let plane: Vec<u8> = (0..35).map(|i| i * 7).collect();
            let mut pixels = [plane.clone(), plane.clone(), plane].concat();
            all.apply(&mut pixels, [3, 7, 5], &mut random(example));
            assert_eq!(pixels[..35], pixels[35..70]);
            assert_eq!(pixels[..35], pixels[70..]);
        }
    }

    /// A change here changes every run that anybody has made.
    #[test]
    fn changes_stay_what_they_were() {
        let all = parse("flip,crop1,rotate20,jitter0.3").unwrap();
        let changed = |example| {
            let mut pixels: Vec<u8> = (0..12).map(|i| 20 + i * 17).collect();
            all.apply(&mut pixels, [3, 2, 2], &mut random(example));
            pixels
        };
        assert_eq!(changed(0), [8, 37, 13, 70, 8, 85, 19, 123, 8, 132, 23, 175]);
        assert_eq!(changed(1), [39, 45, 69, 77, 102, 110, 133, 142, 166, 174, 197, 205]);
    }

    proptest! {
        #[test]
        fn any_example_can_be_changed(
            height in 2_usize..9, width in 2_usize..9, gray: bool, seed: u64, bytes in prop::collection::vec(any::<u8>(), 243),
        ) {
            let shape = [if gray { 1 } else { 3 }, height, width];
            let all = parse("jitter1,rotate180,crop1,flip").unwrap();
            all.check(shape).unwrap();
            let mut example = bytes[..shape.iter().product()].to_vec();
            all.apply(&mut example, shape, &mut Random::new(seed, Purpose::Augment, 0, 0));
        }
    }
}
