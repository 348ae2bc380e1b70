//! The weight of Winograd's convolution: the left sides of a batch of products.

use kiln_kernels::winograd_weight;

use super::{OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};
use crate::winograd::WinogradTile;

/// `output[P r + s][oc][ic] = (G g G^T)[r][s]` with `g = weight[oc][ic]`, of 3x3; `P` is the tile's outputs along an axis
/// + 2, and `G` belongs to the points of [`WinogradInput`](super::WinogradInput).
///
/// The weight is `[out][in][3][3]`, the output `[P^2][out][in]`. The pass [`winograd`](crate::passes::winograd) adds it;
/// for a weight that is not trained it runs once, at load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WinogradWeight {
    /// Outputs of a tile.
    pub tile: WinogradTile,
}

impl OpRules for WinogradWeight {
    const NAME: &'static str = "winograd_weight";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [weight] = expect::inputs(inputs)?;
        expect::dtype("weight", weight, DType::F32)?;
        match *weight.shape.as_slice() {
            [outputs, channels, 3, 3] => Ok(TensorDesc::f32([self.tile.places(), outputs, channels])),
            _ => Err(Mismatch::new("weight", "[out, in, 3, 3]", weight)),
        }
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let shape = &lowering.input(0).desc.shape;
        let params = winograd_weight::Params { count: (shape[0] * shape[1]) as u32 };
        let variant = match self.tile {
            WinogradTile::Two => winograd_weight::Variant::Two,
            WinogradTile::Four => winograd_weight::Variant::Four,
        };
        let (weight, output) = (lowering.whole(0)?, lowering.whole_output()?);
        let bindings = winograd_weight::Bindings { weight, output };
        let groups = u64::from(params.count.div_ceil(variant.threads()));
        lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let infer = |tile, shape: &[usize]| {
            let desc = WinogradWeight { tile }.infer(&[&TensorDesc::f32(shape)]);
            desc.map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
        };
        assert_eq!(infer(WinogradTile::Four, &[5, 7, 3, 3]), Ok(vec![36, 5, 7]));
        assert_eq!(infer(WinogradTile::Two, &[5, 7, 3, 3]), Ok(vec![16, 5, 7]));
        assert_eq!(
            infer(WinogradTile::Two, &[5, 7, 3, 1]),
            Err("weight: expected [out, in, 3, 3], got f32[5, 7, 3, 1]".into())
        );
    }
}
