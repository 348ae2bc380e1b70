//! Shapes, types and options at the far ends: refused where they are given, and never a panic. No device is needed.

use kiln_engine::ops::{
    AveragePadding, ConvOptions, ConvTransposeOptions, LocalResponseNorm, PadMode, PoolOptions,
};
use kiln_engine::{DType, EngineError, GraphBuilder, Padding, Value};

/// An op on an image, with weights of the image's channels where it has any.
type Apply = fn(&mut GraphBuilder, Value) -> Result<Value, EngineError>;

const OPS: [(&str, Apply); 29] = [
    ("conv2d", |g, x| {
        let weight = g.constant("weight", &[4, 6, 3, 3]);
        g.conv2d(x, weight, None, ConvOptions { padding: Padding::Same, ..Default::default() })
    }),
    ("conv_transpose2d", |g, x| {
        let weight = g.constant("weight", &[6, 4, 3, 3]);
        g.conv_transpose2d(x, weight, None, ConvTransposeOptions::default())
    }),
    ("max_pool2d", |g, x| g.max_pool2d(x, PoolOptions::new([2, 2]))),
    ("max_pool2d_indices", |g, x| g.max_pool2d_indices(x, PoolOptions::new([2, 2]))),
    ("avg_pool2d", |g, x| g.avg_pool2d(x, PoolOptions::new([2, 2]), AveragePadding::Include)),
    ("adaptive_max_pool2d", |g, x| g.adaptive_max_pool2d(x, [3, 3])),
    ("adaptive_avg_pool2d", |g, x| g.adaptive_avg_pool2d(x, [3, 3])),
    ("global_avg_pool2d", |g, x| g.global_avg_pool2d(x)),
    ("global_max_pool2d", |g, x| g.global_max_pool2d(x)),
    ("batch_norm", |g, x| {
        let channel = channel(g, x);
        g.batch_norm(x, channel, channel, channel, None, 1e-5)
    }),
    ("group_norm", |g, x| {
        let channel = channel(g, x);
        g.group_norm(x, 1, channel, channel, 1e-5)
    }),
    ("instance_norm", |g, x| {
        let channel = channel(g, x);
        g.instance_norm(x, channel, channel, 1e-5)
    }),
    ("layer_norm", |g, x| {
        let shape = g.desc(x).shape.clone();
        let plane = g.constant("plane", &shape[2..]);
        g.layer_norm(x, plane, plane, 1e-5)
    }),
    ("local_response_norm", |g, x| g.local_response_norm(x, LocalResponseNorm::new(5))),
    ("prelu", |g, x| {
        let channel = channel(g, x);
        g.prelu(x, channel)
    }),
    ("softplus", |g, x| g.softplus(x, 1.0, 20.0)),
    ("log_softmax", |g, x| g.log_softmax(x, 1)),
    ("softmax", |g, x| g.softmax(x, None, 3)),
    ("pad", |g, x| g.pad(x, &[[1, 1], [0, 2]], PadMode::Replicate)),
    ("pad by a number", |g, x| g.pad(x, &[[1, 1]; 4], PadMode::Constant(0.0))),
    ("upsample_nearest2d", |g, x| g.upsample_nearest2d(x, [9, 9])),
    ("upsample_bilinear2d", |g, x| g.upsample_bilinear2d(x, [9, 9], false)),
    ("upsample_bilinear2d by corners", |g, x| g.upsample_bilinear2d(x, [9, 9], true)),
    ("channel_shuffle", |g, x| g.channel_shuffle(x, 1)),
    ("concat", |g, x| g.concat(&[x, x], 3)),
    ("permute", |g, x| g.permute(x, &[0, 2, 3, 1])),
    ("reshape", |g, x| g.reshape(x, &[7])),
    ("slice", |g, x| g.slice(x, 3, 0, 1)),
    ("sum", |g, x| g.sum(x, &[1, 2], false)),
];

fn channel(g: &mut GraphBuilder, x: Value) -> Value {
    let channels = g.desc(x).shape[1];
    g.constant("channel", &[channels])
}

#[test]
fn an_extent_of_zero_or_beyond_all_memory_is_refused() {
    for (name, apply) in OPS {
        for place in 0..4 {
            for extent in [0, 1 << 40, usize::MAX - 1, usize::MAX] {
                let mut shape = [2, 6, 8, 7];
                shape[place] = extent;
                let mut g = GraphBuilder::new("net");
                let x = g.input("x", &shape, DType::F32);
                let made = apply(&mut g, x).map(|value| g.desc(value).clone());
                assert!(made.is_err(), "{name} of {shape:?} gives {made:?}");
            }
        }
    }
    let mut g = GraphBuilder::new("net");
    let x = g.input("x", &[1, 3, 0, 5], DType::F32);
    assert_eq!(
        g.adaptive_avg_pool2d(x, [2, 2]).expect_err("nothing to pool").to_string(),
        "adaptive_avg_pool2d \"net\": shape: expected no empty dimension, got f32[1, 3, 0, 5]"
    );
}

#[test]
fn an_option_beyond_all_memory_is_refused() {
    const HUGE: [[usize; 2]; 5] =
        [[1 << 32, 1], [3, 1 << 40], [1 << 62, 7], [usize::MAX, 2], [1, usize::MAX]];
    let mut g = GraphBuilder::new("net");
    let x = g.input("x", &[2, 6, 8, 7], DType::F32);
    let weight = g.constant("weight", &[6, 6, 1, 1]);
    for huge in HUGE {
        let conv = ConvOptions::default();
        let transposed = ConvTransposeOptions::default();
        let pool = PoolOptions::new([1, 1]);
        let padding = Padding::axes(huge);
        let ops: [(&str, Result<Value, EngineError>); 16] = [
            ("conv2d stride", g.conv2d(x, weight, None, ConvOptions { stride: huge, ..conv })),
            ("conv2d dilation", g.conv2d(x, weight, None, ConvOptions { dilation: huge, ..conv })),
            ("conv2d padding", g.conv2d(x, weight, None, ConvOptions { padding, ..conv })),
            (
                "conv2d groups",
                g.conv2d(x, weight, None, ConvOptions { groups: huge[0].max(huge[1]), ..conv }),
            ),
            (
                "conv_transpose2d stride",
                g.conv_transpose2d(x, weight, None, ConvTransposeOptions { stride: huge, ..transposed }),
            ),
            (
                "conv_transpose2d padding",
                g.conv_transpose2d(x, weight, None, ConvTransposeOptions { padding: huge, ..transposed }),
            ),
            ("pool kernel", g.max_pool2d(x, PoolOptions { kernel: huge, ..pool })),
            ("pool stride", g.max_pool2d(x, PoolOptions { stride: huge, ..pool })),
            ("pool dilation", g.max_pool2d(x, PoolOptions { dilation: huge, ..pool })),
            ("pool padding", g.max_pool2d(x, PoolOptions { padding, ..pool })),
            ("adaptive_avg_pool2d", g.adaptive_avg_pool2d(x, huge)),
            ("upsample_nearest2d", g.upsample_nearest2d(x, huge)),
            ("upsample_bilinear2d", g.upsample_bilinear2d(x, huge, false)),
            ("upsample_bilinear2d by corners", g.upsample_bilinear2d(x, huge, true)),
            ("pad", g.pad(x, &[huge], PadMode::Replicate)),
            ("channel_shuffle", g.channel_shuffle(x, huge[0].max(huge[1]))),
        ];
        for (name, made) in ops {
            assert!(made.is_err(), "{name} of {huge:?} gives {:?}", made.map(|value| g.desc(value)));
        }
    }
}

/// Bits that mean a whole number are not read as another.
#[test]
fn weights_of_indices_are_refused() {
    let mut g = GraphBuilder::new("net");
    let x = g.input("x", &[2, 6, 8, 7], DType::F32);
    let weight = g.constant("weight", &[6, 6, 1, 1]);
    let channel = g.constant("channel", &[6]);
    let indices = g.input("indices", &[6], DType::U32);
    let row = g.input("row", &[7], DType::U32);
    let ops = [
        ("conv2d", g.conv2d(x, weight, Some(indices), ConvOptions::default())),
        ("conv_transpose2d", g.conv_transpose2d(x, weight, Some(indices), ConvTransposeOptions::default())),
        ("batch_norm", g.batch_norm(x, channel, channel, indices, channel, 1e-5)),
        ("group_norm", g.group_norm(x, 2, channel, indices, 1e-5)),
        ("layer_norm", g.layer_norm(x, row, row, 1e-5)),
        ("prelu", g.prelu(x, indices)),
    ];
    for (name, made) in ops {
        let error = made.expect_err(name).to_string();
        assert!(error.contains("type: expected f32, got u32["), "{name}: {error}");
    }
}
