//! Image files of every kind against PIL, and the ImageNet recipe against torchvision.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_models::image::{Image, Recipe};
use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/goldens/image").join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(golden(name)).expect("the golden should be there"))
        .expect("it should be JSON")
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().expect("it should be text").as_bytes();
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("it should be hexadecimal") as u8;
    hex.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn number(value: &Value) -> usize {
    value.as_u64().expect("it should be a whole number") as usize
}

fn farthest(ours: &[u8], theirs: &[u8]) -> u8 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// What may lie between two JPEG decoders: their transforms and the way they enlarge the colour differ.
fn tolerance(file: &str) -> u8 {
    match file {
        "rgb_420.jpg" => 6,
        file if file.ends_with(".jpg") => 2,
        _ => 0,
    }
}

#[test]
fn every_kind_of_file_is_read_as_pil_reads_it() {
    let golden_files = json("files.json");
    let files = golden_files["files"].as_array().expect("there should be files");
    assert_eq!(files.len(), fs::read_dir(golden("files")).expect("a folder").count());
    for entry in files {
        let file = entry["file"].as_str().expect("it should have a name");
        let image = Image::open(&golden("files").join(file)).unwrap_or_else(|error| panic!("{error}"));
        let size = (image.width(), image.height());
        assert_eq!(size, (number(&entry["width"]), number(&entry["height"])), "{file}");
        let distance = farthest(image.pixels(), &bytes(&entry["rgb"]));
        assert!(distance <= tolerance(file), "{file}: {distance} levels from PIL's pixels");
    }
}

#[test]
fn the_imagenet_recipe_is_that_of_torchvision() {
    for entry in json("recipe.json")["images"].as_array().expect("there should be images") {
        let file = entry["file"].as_str().expect("it should have a name");
        let image = Image::open(&golden("recipe").join(file)).unwrap_or_else(|error| panic!("{error}"));
        let view = Recipe::IMAGENET.view(&image).expect("it should be resized and cropped");
        assert_eq!((view.width(), view.height()), (224, 224));
        let pixel = |x: usize, y: usize| view.pixels()[(y * 224 + x) * 3..][..3].to_vec();

        let every = number(&entry["every"]);
        let at = (0..224).step_by(every).flat_map(|y| (0..224).step_by(every).map(move |x| (x, y)));
        let grid: Vec<u8> = at.flat_map(|(x, y)| pixel(x, y)).collect();
        assert_eq!(farthest(&grid, &bytes(&entry["grid"])), 0, "{file}: the grid");
        let row = number(&entry["row"]);
        let line: Vec<u8> = (0..224).flat_map(|x| pixel(x, row)).collect();
        assert_eq!(farthest(&line, &bytes(&entry["row_rgb"])), 0, "{file}: row {row}");
        for channel in 0..3 {
            let sum: usize =
                view.pixels().iter().skip(channel).step_by(3).map(|value| usize::from(*value)).sum();
            assert_eq!(sum, number(&entry["sum"][channel]), "{file}: the sum of channel {channel}");
        }

        let tensor = Recipe::IMAGENET.batch(&[image]).expect("it should be prepared");
        assert_eq!(tensor.shape(), [1, 3, 224, 224]);
        let values = tensor.as_f32().expect("it should be f32");
        let place = &entry["values_at"];
        let columns = place["columns"].as_array().expect("columns");
        let at = (0..3).flat_map(|c| columns.iter().map(move |x| (c, number(x))));
        for ((channel, x), expected) in at.zip(entry["values"].as_array().expect("values")) {
            let value = values[(channel * 224 + number(&place["row"])) * 224 + x];
            let expected = expected.as_f64().expect("a number");
            assert!((f64::from(value) - expected).abs() <= 1e-6, "{file}: {value}, expected {expected}");
        }
    }
}

#[test]
fn a_batch_is_its_images_one_after_the_other() {
    let open = |file: &str| Image::open(&golden("recipe").join(file)).expect("the golden should be read");
    let images = [open("tall.png"), open("wide.png")];
    let batch = Recipe::IMAGENET.batch(&images).expect("they should be prepared");
    assert_eq!(batch.shape(), [2, 3, 224, 224]);
    let both = images.chunks(1).flat_map(|image| Recipe::IMAGENET.batch(image).unwrap().into_f32().unwrap());
    assert!(both.eq(batch.into_f32().expect("it should be f32")));
    let message = Recipe::IMAGENET.normalise(&images).expect_err("they are no views").to_string();
    assert!(message.contains("tall.png: expected a view of 224x224 pixels, got "), "{message}");
}

fn refused(name: &str, bytes: &[u8]) -> String {
    let error = Image::decode(Path::new(name), bytes).expect_err("it should be refused");
    assert!(error.is_input_error(), "{error}");
    let message = error.to_string();
    assert!(message.starts_with(name) && message.lines().count() == 1, "{message}");
    message
}

/// A PNG file of no pixels whose header says otherwise.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    let mut crc = u32::MAX;
    for byte in &chunk {
        crc ^= u32::from(*byte);
        (0..8).for_each(|_| crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 });
    }
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    file.extend(chunk);
    file.extend((!crc).to_be_bytes());
    // The decoder reads on to the first data before it tells the size.
    file.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xae\x42\x60\x82");
    file
}

#[test]
fn a_bomb_is_refused_by_its_header() {
    let message = refused("bomb.png", &png_header(50_000, 50_000));
    assert_eq!(
        message,
        "bomb.png: an image of 50000x50000 is 2500000000 pixels, over the limit of 100000000"
    );
    let mut jpeg = fs::read(golden("files/rgb.jpg")).expect("the golden should be there");
    let frame =
        jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).expect("there should be a frame header");
    jpeg[frame + 5..frame + 9].fill(0xff);
    assert!(refused("bomb.jpg", &jpeg).contains("65535x65535 is 4294836225 pixels, over the limit"));
    assert!(refused("none.png", &png_header(9, 9)).starts_with("none.png: not a sound PNG image: "));
}

#[test]
fn what_is_no_image_is_told_in_a_line() {
    assert_eq!(refused("empty.png", b""), "empty.png: empty file");
    let text = "Der Brennofen glüht.\n".repeat(40);
    assert_eq!(
        refused("notes.jpg", text.as_bytes()),
        "notes.jpg: not an image (it holds text); expected JPEG, PNG or WebP"
    );
    assert_eq!(
        refused("noise.png", &[0x9e; 3000]),
        "noise.png: not an image (its first bytes are unknown); expected JPEG, PNG or WebP"
    );
    assert_eq!(
        refused("old.png", b"GIF89a\x01\0\x01\0\0\0\0"),
        "old.png: an image of the kind GIF; expected JPEG, PNG or WebP"
    );
    let missing = Image::open(&golden("missing.png")).expect_err("it is not there");
    assert!(missing.is_input_error() && missing.to_string().contains("missing.png"), "{missing}");
    let folder = Image::open(&golden("files")).expect_err("it is a folder");
    assert!(folder.is_input_error(), "{folder}");
}

#[test]
fn half_a_file_is_not_taken_for_a_whole_one() {
    for file in ["rgb.jpg", "progressive.jpg", "exif1.jpg", "rgb.png", "lossless.webp", "lossy.webp"] {
        let bytes = fs::read(golden("files").join(file)).expect("the golden should be there");
        for length in [bytes.len() / 2, bytes.len() * 3 / 4, bytes.len() - 20] {
            refused(file, &bytes[..length]);
        }
    }
    let jpeg = fs::read(golden("files/rgb.jpg")).expect("the golden should be there");
    assert_eq!(
        refused("half.jpg", &jpeg[..jpeg.len() - 60]),
        "half.jpg: not a sound JPEG image: it is cut off"
    );
}

#[test]
fn the_name_of_a_file_does_not_matter() {
    let bytes = fs::read(golden("files/rgb.png")).expect("the golden should be there");
    let image = Image::decode(Path::new("photo.jpg"), &bytes).expect("it is a PNG image all the same");
    assert_eq!((image.width(), image.height(), image.path()), (13, 8, Path::new("photo.jpg")));
}

#[test]
fn damaged_files_are_refused_or_read_and_never_more() {
    let mut state = 7_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (mut read, mut refused) = (0, 0);
    for entry in fs::read_dir(golden("files")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let bytes = fs::read(&path).expect("the golden should be there");
        for _ in 0..60 {
            let mut damaged = bytes.clone();
            if random(3) == 0 {
                damaged.truncate(random(bytes.len()));
            }
            for _ in 0..random(4) {
                if !damaged.is_empty() {
                    let at = random(damaged.len());
                    damaged[at] = random(256) as u8;
                }
            }
            match Image::decode(&path, &damaged) {
                Ok(image) => {
                    assert_eq!(image.pixels().len(), image.width() * image.height() * 3);
                    read += 1;
                }
                Err(error) => {
                    assert!(error.is_input_error() && !error.to_string().contains('\n'), "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
}
