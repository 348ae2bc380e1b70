//! The same network for other data, or with another activation.

use super::layer::{Activation, Layer, LayerKind};
use super::training::Objective;
use super::{Architecture, extents};
use crate::error::ModelError;

impl Architecture {
    /// The same network with another activation wherever it has a `relu`.
    pub fn with_activation(mut self, activation: &Activation) -> Architecture {
        each(&mut self.layers, &mut |layer| {
            if matches!(layer.kind, LayerKind::Relu(_)) {
                layer.kind = activation.kind().clone();
            }
        });
        self
    }

    /// The same network for examples of `[channels, height, width]` and as many classes as before.
    ///
    /// # Errors
    /// As [`for_input`](Self::for_input).
    pub fn with_input(self, input: [usize; 3]) -> Result<Architecture, ModelError> {
        let classes = match self.objective {
            Objective::Binary => 2,
            Objective::Classification | Objective::Reconstruction => self.outputs(),
        };
        if input == self.input { Ok(self) } else { self.for_input(input, classes) }
    }

    /// The same network for examples of `[channels, height, width]` in so many classes.
    ///
    /// Channels of the input follow from it. With [`Objective::Classification`] the last layer with weights makes as
    /// many outputs as there are classes, with [`Objective::Reconstruction`] as many channels as the input has;
    /// [`Objective::Binary`] tells two classes apart and no more. All other layers stay as they are.
    ///
    /// # Errors
    /// [`ModelError::Architecture`] where a layer cannot work on such an input (as the windows of `base` on images that
    /// are too small), or the outputs would be of another number (as those of `base` on larger ones).
    pub fn for_input(mut self, input: [usize; 3], classes: usize) -> Result<Architecture, ModelError> {
        let before = std::mem::replace(&mut self.input, input);
        let misfit = |message: String| Err(ModelError::Architecture { origin: self.name.clone(), message });
        match self.objective {
            Objective::Classification => {
                if let Some(outputs) = last_outputs(&mut self.layers) {
                    *outputs = classes;
                }
            }
            Objective::Binary if classes != 2 => {
                return misfit(format!("objective binary: expected data of 2 classes, got {classes}"));
            }
            Objective::Binary => {}
            Objective::Reconstruction => reconstruct(&mut self.layers, before, input),
        }
        let name = self.name.clone();
        let adapted = Architecture::checked(self, &format!("{name} for input {}", extents(&input)))?;
        if adapted.objective == Objective::Classification && adapted.outputs() != classes {
            let outputs = adapted.outputs();
            let message = format!(
                "input {}: expected an output for each of {classes} classes, got {outputs}, since the network is \
                 made for {}",
                extents(&input),
                extents(&before)
            );
            return Err(ModelError::Architecture { origin: name, message });
        }
        Ok(adapted)
    }
}

/// The number of outputs of the last layer that has weights for them.
fn last_outputs(layers: &mut [Layer]) -> Option<&mut usize> {
    layers.iter_mut().rev().find_map(|layer| match &mut layer.kind {
        LayerKind::Conv2d(conv) => Some(&mut conv.out_channels),
        LayerKind::ConvTranspose2d(conv) => Some(&mut conv.out_channels),
        LayerKind::Linear(linear) => Some(&mut linear.out_features),
        LayerKind::Sequential(block) => last_outputs(&mut block.body),
        LayerKind::Residual(block) => last_outputs(&mut block.body),
        _ => None,
    })
}

/// Makes the last layer with weights give an image of the new input's channels, or all of its elements.
fn reconstruct(layers: &mut [Layer], before: [usize; 3], input: [usize; 3]) {
    let elements = |size: [usize; 3]| size.iter().fold(1usize, |product, &n| product.saturating_mul(n));
    if let Some(outputs) = last_outputs(layers) {
        if *outputs == before[0] {
            *outputs = input[0];
        } else if *outputs == elements(before) {
            *outputs = elements(input);
        }
    }
    each(layers, &mut |layer| {
        if let LayerKind::Unflatten(unflatten) = &mut layer.kind
            && unflatten.unflattened_size == before
        {
            unflatten.unflattened_size = input;
        }
    });
}

/// Goes over all layers, those within blocks included.
fn each(layers: &mut [Layer], change: &mut impl FnMut(&mut Layer)) {
    for layer in layers {
        match &mut layer.kind {
            LayerKind::Sequential(block) => each(&mut block.body, change),
            LayerKind::Residual(block) => {
                each(&mut block.body, change);
                each(&mut block.shortcut, change);
            }
            _ => change(layer),
        }
    }
}
