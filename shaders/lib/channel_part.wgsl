//! channel_part
//!
//! The parts in which sums by channel are made: up to part_images images of one channel and, of each, one of `segments`
//! stretches of `length` loads of the plane, which has `inner`. Parts are counted by channels first. The params have
//! channels, images, inner, part_images, segments and length.

struct Part {
    channel: u32,
    // Among the parts of its channel.
    number: u32,
    // Loads of each plane: from the first to before the last.
    begin: u32,
    end: u32,
    image: u32,
    last_image: u32,
}

fn channel_part(index: u32) -> Part {
    let number = index / params.channels;
    let begin = number % params.segments * params.length;
    let image = number / params.segments * params.part_images;
    return Part(
        index % params.channels,
        number,
        begin,
        min(begin + params.length, params.inner),
        image,
        min(image + params.part_images, params.images),
    );
}
