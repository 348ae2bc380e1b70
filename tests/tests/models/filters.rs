//! Image filters on the device: images larger than it holds at once.

use kiln_models::filters::{Border, Filter, FilterKernel, FilterOptions};
use kiln_models::image::Image;
use kiln_tests::device;

const WIDTH: u32 = 61;
const HEIGHT: u32 = 97;

fn image() -> Image {
    let pixels = (0..WIDTH * HEIGHT * 3).map(|i| (i * i % 251) as u8).collect();
    Image::from_rgb8("grain.png", WIDTH, HEIGHT, pixels).expect("it should be an image")
}

#[test]
fn bands_give_the_values_of_the_whole() {
    let Some(gpu) = device::gpu() else { return };
    let image = image();
    let even =
        FilterKernel::parse("even.txt".as_ref(), "1 2\n3 4\n5 6\n7 -8\n").expect("it should be a kernel");
    let sobel = FilterKernel::named("sobel-y").expect("it should be known");
    for (kernel, stride, dilation) in [(&even, 1, 3), (&even, 3, 1), (&sobel, 1, 1), (&sobel, 2, 4)] {
        for border in [Border::Zero, Border::Reflect, Border::Replicate] {
            for per_channel in [false, true] {
                let options =
                    FilterOptions { border, stride, dilation, per_channel, ..FilterOptions::default() };
                let filtered = |options: FilterOptions| {
                    let filter = Filter::new(gpu, &image, kernel, options).expect("it should fit");
                    filter.run().expect("the device should work")
                };
                let whole = filtered(options);
                // The smallest bands that there may be, and some between.
                for band_bytes in [0, 50_000] {
                    let cut = filtered(FilterOptions { band_bytes, ..options });
                    assert_eq!(cut, whole, "{} {options:?}", kernel.name());
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_filtered_is_told() {
    let Some(gpu) = device::gpu() else { return };
    let image = image();
    let kernel = FilterKernel::named("gaussian5").expect("it should be known");
    let refused =
        |options| Filter::new(gpu, &image, &kernel, options).expect_err("it should be refused").to_string();
    let plain = FilterOptions::default();
    assert_eq!(
        refused(FilterOptions { border: Border::Reflect, dilation: 31, ..plain }),
        "grain.png: 61x97 pixels cannot be mirrored by 62 columns, as far as kernel gaussian5 reaches; \
         zero and replicate padding can"
    );
    assert!(refused(FilterOptions { stride: 0, ..plain }).contains("at least 1"));
    assert!(refused(FilterOptions { dilation: usize::MAX, ..plain }).contains("which binds at most"));
}
