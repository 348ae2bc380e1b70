//! Reading image files: JPEG, PNG and WebP.
//!
//! Every file becomes RGB of 8 bits by the rules of PIL's `convert("RGB")`: gray is repeated, a palette is looked
//! up, and alpha is dropped, not blended with anything, so that the colour behind a transparent pixel shows. Of 16
//! bits the upper eight are kept. Colour profiles are not applied. Then the image is turned upright by its EXIF
//! orientation, as a viewer would show it. Of an animation the first frame is read.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use ::image::error::LimitErrorKind;
use ::image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::{Image, check_size};
use crate::{ModelError, quiet};

/// The longest file that is read: far beyond what [`MAX_PIXELS`](super::MAX_PIXELS) take.
const MAX_FILE: u64 = 1 << 30;
/// What a decoder may take while it works: an image of the most pixels with four channels of 16 bits fits.
const MAX_ALLOCATION: u64 = 1 << 30;

impl Image {
    /// Reads a JPEG, PNG or WebP file. What it is is told by its content; its name does not matter.
    ///
    /// # Errors
    /// [`ModelError::Io`] where the file cannot be read, [`ModelError::Image`] where it is not a sound image of a
    /// known kind, [`ModelError::ImageSize`] where it has too many pixels, which is found out before anything is
    /// allocated for them.
    pub fn open(path: &Path) -> Result<Image, ModelError> {
        let io = |error| ModelError::io(path, error);
        let mut bytes = Vec::new();
        File::open(path).map_err(io)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(ModelError::image(path, format!("longer than {MAX_FILE} bytes, which is the limit")));
        }
        Image::decode(path, &bytes)
    }

    /// Decodes the bytes of a JPEG, PNG or WebP file; `name` stands for it in messages.
    ///
    /// # Errors
    /// Those of [`open`](Image::open), but for [`ModelError::Io`].
    pub fn decode(name: &Path, bytes: &[u8]) -> Result<Image, ModelError> {
        if bytes.is_empty() {
            return Err(ModelError::image(name, "empty file"));
        }
        let Ok(format) = ::image::guess_format(bytes) else {
            let kind = if looks_like_text(bytes) { "it holds text" } else { "its first bytes are unknown" };
            return Err(ModelError::image(name, format!("not an image ({kind}); {KNOWN}")));
        };
        let title = match format {
            ImageFormat::Jpeg => "JPEG",
            ImageFormat::Png => "PNG",
            ImageFormat::WebP => "WebP",
            other => {
                let other = other.extensions_str().first().copied().unwrap_or("another").to_uppercase();
                return Err(ModelError::image(name, format!("an image of the kind {other}; {KNOWN}")));
            }
        };
        let failed =
            |message: String| ModelError::image(name, format!("not a sound {title} image: {message}"));
        let decoded = quiet::catch(|| decode(name, bytes, format)).unwrap_or_else(|message| {
            Err(Failure::Decoder(
                message.unwrap_or_else(|| format!("it does not follow the {title} standard")),
            ))
        });
        decoded.map_err(|failure| match failure {
            Failure::Decoder(message) => failed(message),
            Failure::Size(error) => error,
        })
    }
}

const KNOWN: &str = "expected JPEG, PNG or WebP";
const CUT_OFF: &str = "it is cut off";

/// Why an image did not come out.
enum Failure {
    /// What the decoder says.
    Decoder(String),
    /// What we say about its size.
    Size(ModelError),
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Failure {
        let message = match &error {
            ImageError::Limits(limits) if limits.kind() == LimitErrorKind::InsufficientMemory => {
                format!("it needs more than {MAX_ALLOCATION} bytes to decode, which is the limit")
            }
            // The kind of image stands in front already.
            ImageError::Decoding(decoding) => match std::error::Error::source(decoding) {
                Some(source) => source.to_string(),
                None => error.to_string(),
            },
            ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                CUT_OFF.to_owned()
            }
            other => other.to_string(),
        };
        // The JPEG decoder says so in words of its own.
        let cut_off = ["Not enough bytes", "Premature End"].iter().any(|words| message.contains(words));
        let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
        Failure::Decoder(if cut_off { CUT_OFF.to_owned() } else { line.trim_matches('"').to_owned() })
    }
}

fn decode(name: &Path, bytes: &[u8], format: ImageFormat) -> Result<Image, Failure> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_ALLOCATION);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    check_size(name, "an image of", width, height).map_err(Failure::Size)?;
    if format == ImageFormat::Jpeg && jpeg_is_cut_off(bytes) {
        return Err(Failure::Decoder(CUT_OFF.to_owned()));
    }
    // An orientation that cannot be read is no reason to refuse the pixels.
    let orientation = decoder.orientation().unwrap_or(::image::metadata::Orientation::NoTransforms);
    let decoded = DynamicImage::from_decoder(decoder)?;
    let rgb = ::image::RgbImage::from_raw(width, height, rgb8(decoded));
    let rgb = rgb.ok_or_else(|| Failure::Decoder("it holds fewer pixels than it says".to_owned()))?;
    let mut upright = DynamicImage::ImageRgb8(rgb);
    upright.apply_orientation(orientation);
    let (width, height) = (upright.width(), upright.height());
    Ok(Image { path: name.to_owned(), width, height, pixels: upright.into_rgb8().into_raw() })
}

/// The pixels as RGB of 8 bits.
fn rgb8(decoded: DynamicImage) -> Vec<u8> {
    let upper = |value: u16| (value >> 8) as u8;
    match decoded {
        DynamicImage::ImageRgb8(pixels) => pixels.into_raw(),
        DynamicImage::ImageLuma8(pixels) => pixels.iter().flat_map(|&gray| [gray; 3]).collect(),
        DynamicImage::ImageLumaA8(pixels) => pixels.pixels().flat_map(|pixel| [pixel[0]; 3]).collect(),
        DynamicImage::ImageRgba8(pixels) => {
            pixels.pixels().flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
        }
        DynamicImage::ImageLuma16(pixels) => pixels.iter().flat_map(|&gray| [upper(gray); 3]).collect(),
        DynamicImage::ImageLumaA16(pixels) => {
            pixels.pixels().flat_map(|pixel| [upper(pixel[0]); 3]).collect()
        }
        DynamicImage::ImageRgb16(pixels) => pixels.iter().map(|&value| upper(value)).collect(),
        DynamicImage::ImageRgba16(pixels) => {
            pixels.pixels().flat_map(|pixel| [pixel[0], pixel[1], pixel[2]].map(upper)).collect()
        }
        other => other.into_rgb8().into_raw(),
    }
}

/// Whether the end marker is missing behind the first scan. The decoder would fill what is missing with gray.
fn jpeg_is_cut_off(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    // Segments before the scan, a thumbnail among them, may hold any bytes, so they are stepped over.
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        match marker {
            START_OF_SCAN => return !bytes[at..].windows(2).any(|pair| pair == [0xff, 0xd9]),
            0xff => at += 1, // a fill byte
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
    // An odd structure is the decoder's affair.
    false
}

fn looks_like_text(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(512)];
    let is_utf8 = match std::str::from_utf8(start) {
        Ok(_) => true,
        // A character may be cut in two.
        Err(error) => error.error_len().is_none(),
    };
    is_utf8 && !start.iter().any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace())
}
