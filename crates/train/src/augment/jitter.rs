//! Brightness, contrast and saturation, each a blend of the example with something plain.

use crate::data::luma;

/// `value * factor + plain * (1 - factor)`, rounded to the nearest byte.
fn blend(value: u8, plain: f32, factor: f32) -> u8 {
    let blended = f32::from(value) * factor + plain * (1.0 - factor);
    (blended + 0.5).clamp(0.0, 255.0) as u8
}

/// Blends with black.
pub(super) fn brightness(example: &mut [u8], factor: f32) {
    example.iter_mut().for_each(|value| *value = blend(*value, 0.0, factor));
}

/// Blends with the mean of the pixels' luma.
pub(super) fn contrast(example: &mut [u8], channels: usize, factor: f32) {
    let plane = example.len() / channels;
    let sum: u64 = match channels {
        3 => (0..plane).map(|pixel| u64::from(luma_at(example, plane, pixel))).sum(),
        _ => example.iter().map(|value| u64::from(*value)).sum(),
    };
    let pixels = if channels == 3 { plane } else { example.len() };
    let mean = (sum as f64 / pixels as f64) as f32;
    example.iter_mut().for_each(|value| *value = blend(*value, mean, factor));
}

/// Blends each pixel of three planes with its luma.
pub(super) fn saturation(example: &mut [u8], factor: f32) {
    let plane = example.len() / 3;
    for pixel in 0..plane {
        let gray = f32::from(luma_at(example, plane, pixel));
        for channel in 0..3 {
            let value = &mut example[channel * plane + pixel];
            *value = blend(*value, gray, factor);
        }
    }
}

fn luma_at(example: &[u8], plane: usize, pixel: usize) -> u8 {
    luma([example[pixel], example[plane + pixel], example[2 * plane + pixel]])
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 6;
    const PLANE: usize = 30;

    /// The image of the table below.
    fn image() -> Vec<u8> {
        let value = |i: usize| {
            let (c, y, x) = (i / PLANE, i % PLANE / WIDTH, i % WIDTH);
            ((c * 83 + y * 37 + x * 59 + x * y * 11) % 256) as u8
        };
        (0..3 * PLANE).map(value).collect()
    }

    /// torchvision rounds downward where we round to the nearest, its luma too, and its weights have four digits.
    fn assert_near(name: &str, got: &[u8], expected: &[u8]) {
        let off = got.iter().zip(expected).map(|(got, expected)| got.abs_diff(*expected)).max();
        assert!(off <= Some(1), "{name}: {got:?}, expected {expected:?}");
    }

    /// The first row of each plane, from `adjust_brightness`, `adjust_contrast` and `adjust_saturation` of
    /// `torchvision.transforms.functional` 0.14.
    #[test]
    fn they_are_those_of_torchvision() {
        type Row = (&'static str, fn(&mut [u8], f32), f32, [[u8; WIDTH]; 3]);
        let table: [Row; 6] = [
            ("darker", brightness, 0.7, BRIGHTNESS[0]),
            ("brighter", brightness, 1.3, BRIGHTNESS[1]),
            ("flatter", |example, factor| contrast(example, 3, factor), 0.7, CONTRAST[0]),
            ("sharper", |example, factor| contrast(example, 3, factor), 1.3, CONTRAST[1]),
            ("grayer", saturation, 0.7, SATURATION[0]),
            ("more colourful", saturation, 1.3, SATURATION[1]),
        ];
        for (name, change, factor, expected) in table {
            let mut image = image();
            change(&mut image, factor);
            for (plane, expected) in image.chunks_exact(PLANE).zip(expected) {
                assert_near(name, &plane[..WIDTH], &expected);
            }
        }
        let mut gray = image()[..PLANE].to_vec();
        contrast(&mut gray, 1, 1.3);
        assert_near("gray", &gray[..WIDTH], &[0, 37, 113, 190, 255, 11]);
    }

    const BRIGHTNESS: [[[u8; WIDTH]; 3]; 2] = [
        [[0, 41, 82, 123, 165, 27], [58, 99, 140, 2, 44, 85], [116, 157, 19, 60, 102, 143]],
        [[0, 76, 153, 230, 255, 50], [107, 184, 255, 5, 81, 158], [215, 255, 36, 113, 189, 255]],
    ];
    const CONTRAST: [[[u8; WIDTH]; 3]; 2] = [
        [[38, 80, 121, 162, 203, 66], [96, 138, 179, 41, 82, 124], [154, 196, 58, 99, 140, 182]],
        [[0, 37, 114, 191, 255, 11], [69, 145, 222, 0, 43, 119], [177, 253, 0, 74, 151, 227]],
    ];
    const SATURATION: [[[u8; WIDTH]; 3]; 2] = [
        [[20, 79, 129, 143, 202, 59], [78, 137, 187, 22, 81, 117], [136, 195, 66, 80, 139, 175]],
        [[0, 38, 106, 210, 255, 18], [87, 146, 214, 0, 44, 126], [195, 254, 0, 93, 152, 234]],
    ];

    #[test]
    fn a_factor_of_one_changes_nothing() {
        let mut changed = image();
        brightness(&mut changed, 1.0);
        contrast(&mut changed, 3, 1.0);
        saturation(&mut changed, 1.0);
        assert_eq!(changed, image());
    }

    #[test]
    fn a_factor_of_zero_leaves_the_plain() {
        let mut changed = [10, 255, 200, 0, 60, 0];
        saturation(&mut changed, 0.0);
        assert_eq!(changed, [127, 76, 127, 76, 127, 76]);
        let mut changed = [10, 255, 200, 0, 60, 0];
        contrast(&mut changed, 3, 0.0);
        assert_eq!(changed, [102; 6]);
        let mut changed = [10, 255];
        brightness(&mut changed, 0.0);
        assert_eq!(changed, [0, 0]);
    }
}
