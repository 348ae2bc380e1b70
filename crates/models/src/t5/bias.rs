//! The relative position bias: from distances to classes ("buckets"), and from a table by class to one by distance.

use kiln_engine::{EngineError, GraphBuilder, Value};

use super::config::T5Config;

/// Which keys a query sees, and so how the classes are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// Those before and behind it, half of the classes each: the encoder.
    Both,
    /// Itself and those before it: the decoder.
    Back,
}

/// The class of the distance `key - query`: `T5Attention._relative_position_bucket` of transformers. Near distances
/// have one each, farther ones share in steps that grow with the logarithm, up to the farthest that is told apart.
///
/// In f32, as there: rounding decides at the borders.
pub(super) fn bucket(distance: i64, sight: Sight, buckets: usize, farthest: usize) -> usize {
    let (buckets, first) = match sight {
        Sight::Both if distance > 0 => (buckets / 2, buckets / 2),
        Sight::Both => (buckets / 2, 0),
        Sight::Back => (buckets, 0),
    };
    let away = match sight {
        Sight::Both => distance.unsigned_abs() as usize,
        Sight::Back => (-distance).max(0) as usize,
    };
    let exact = buckets / 2;
    if away < exact {
        return first + away;
    }
    let steps = (away as f32 / exact as f32).ln() / (farthest as f64 / exact as f64).ln() as f32;
    let shared = exact + (steps * (buckets - exact) as f32) as usize;
    first + shared.min(buckets - 1)
}

/// The bias by distance, f32 `[heads][2 * reach + 1]`, entry `[head][reach + key - query]`, from the constant `name` of
/// `[buckets][heads]`. All that is farther than `reach` is as `reach` is.
pub(super) fn by_distance(
    g: &mut GraphBuilder,
    name: &str,
    config: &T5Config,
    sight: Sight,
) -> Result<Value, EngineError> {
    let reach = config.relative_attention_max_distance as i64;
    expand(g, name, config, sight, -reach..=reach)
}

/// The bias of the keys behind a query, f32 `[heads][reach + 1]`, entry `[head][query - key]`.
pub(super) fn behind(g: &mut GraphBuilder, name: &str, config: &T5Config) -> Result<Value, EngineError> {
    let reach = config.relative_attention_max_distance as i64;
    expand(g, name, config, Sight::Back, (-reach..=0).rev())
}

/// Depends on weights alone, so it is computed once, when a plan is loaded.
fn expand(
    g: &mut GraphBuilder,
    name: &str,
    config: &T5Config,
    sight: Sight,
    distances: impl Iterator<Item = i64>,
) -> Result<Value, EngineError> {
    let (buckets, farthest) = (config.relative_attention_num_buckets, config.relative_attention_max_distance);
    let table = g.constant(name, &[buckets, config.num_heads]);
    let classes: Vec<u32> =
        distances.map(|distance| bucket(distance, sight, buckets, farthest) as u32).collect();
    let classes = g.literal_u32(&[classes.len()], &classes)?;
    let rows = g.index_select(table, 0, classes)?;
    g.permute(rows, &[1, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Borders as `transformers` 4.41.2 draws them, for 32 classes up to 128.
    #[test]
    fn borders_are_those_of_transformers() {
        let both = |distance| bucket(distance, Sight::Both, 32, 128);
        let behind = [(0, 0), (-1, 1), (-7, 7), (-8, 8), (-11, 8), (-12, 9), (-15, 9), (-16, 10), (-22, 10)];
        let behind = behind.into_iter().chain([(-23, 11), (-31, 11), (-32, 12), (-45, 12), (-46, 13)]);
        for (distance, expected) in
            behind.chain([(-63, 13), (-64, 14), (-90, 14), (-91, 15), (-128, 15), (-9999, 15)])
        {
            assert_eq!(both(distance), expected, "{distance}");
            if distance < 0 {
                assert_eq!(both(-distance), expected + 16, "{}", -distance);
            }
        }
        let back = |distance| bucket(distance, Sight::Back, 32, 128);
        for (distance, expected) in [
            (5, 0),
            (0, 0),
            (-15, 15),
            (-16, 16),
            (-18, 16),
            (-19, 17),
            (-32, 21),
            (-64, 26),
            (-112, 30),
            (-113, 31),
            (-128, 31),
            (-500, 31),
        ] {
            assert_eq!(back(distance), expected, "{distance}");
        }
    }

    /// Every distance up to 600, from `assets/goldens/t5/make.py`, for sizes whose borders fall elsewhere too.
    #[test]
    fn buckets_are_those_of_transformers() {
        #[derive(serde::Deserialize)]
        struct Golden {
            buckets: Vec<Table>,
        }
        #[derive(serde::Deserialize)]
        struct Table {
            buckets: usize,
            max_distance: usize,
            bidirectional: bool,
            /// Where a class begins, and which.
            changes: Vec<(i64, usize)>,
        }
        let golden = include_str!("../../../../assets/goldens/t5/expected.json");
        let golden: Golden = serde_json::from_str(golden).unwrap();
        assert_eq!(golden.buckets.len(), 8);
        for Table { buckets, max_distance, bidirectional, changes } in golden.buckets {
            let sight = if bidirectional { Sight::Both } else { Sight::Back };
            for distance in -600..=if bidirectional { 600 } else { 0 } {
                let (_, expected) = changes.iter().rev().find(|(from, _)| *from <= distance).unwrap();
                let found = bucket(distance, sight, buckets, max_distance);
                assert_eq!(found, *expected, "{distance}, {sight:?}, {buckets} up to {max_distance}");
            }
        }
    }

    #[test]
    fn all_that_is_farther_is_as_the_farthest() {
        for (buckets, farthest) in [(32, 128), (4, 3), (8, 5), (16, 200)] {
            for sight in [Sight::Both, Sight::Back] {
                let at = |distance| bucket(distance, sight, buckets, farthest);
                let reach = farthest as i64;
                assert!((reach..reach + 1000).all(|away| at(-away) == at(-reach) && at(away) == at(reach)));
            }
        }
    }
}
