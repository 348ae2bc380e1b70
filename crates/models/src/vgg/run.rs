//! VGG at work on a device.

use std::collections::HashMap;

use super::{INPUT, LOGITS, PROBABILITIES, Tap, VggConfig};
use crate::error::ModelError;
use kiln_engine::{Device, Graph, Outputs, PlanId, Session, Tensor, WeightSource};

/// A network with its weights on a device.
///
/// Each size of batch and image has a plan, loaded when it is first needed; the plans share their weights, of which
/// only those are read that a plan needs.
///
/// ```no_run
/// use kiln_engine::Tensor;
/// use kiln_gpu::{AdapterChoice, Gpu};
/// use kiln_models::vgg::{Vgg, VggConfig, VggWeights};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = VggConfig::by_name("vgg16")?;
/// let weights = VggWeights::open("vgg16.safetensors".as_ref(), &config)?;
/// let mut vgg = Vgg::new(&Gpu::open(&AdapterChoice::Strongest)?, config, weights);
/// let images = Tensor::f32([1, 3, 224, 224], vec![0.0; 3 * 224 * 224])?;
/// for (class, probability) in vgg.classify(&images)?.top(0, 5) {
///     println!("{class}: {probability}");
/// }
/// # Ok(())
/// # }
/// ```
pub struct Vgg {
    config: VggConfig,
    weights: Box<dyn WeightSource + Send>,
    session: Session,
    plans: HashMap<Graph, PlanId>,
}

impl Vgg {
    /// A network whose weights are read, by torchvision's names, when they are first needed.
    pub fn new(
        device: impl Into<Device>,
        config: VggConfig,
        weights: impl WeightSource + Send + 'static,
    ) -> Vgg {
        Vgg::in_session(Session::new(device), config, weights)
    }

    /// The same in a session of the caller's, such as one that plans for other limits.
    pub fn in_session(
        session: Session,
        config: VggConfig,
        weights: impl WeightSource + Send + 'static,
    ) -> Vgg {
        Vgg { config, weights: Box::new(weights), session, plans: HashMap::new() }
    }

    /// What kind of network it is.
    pub fn config(&self) -> &VggConfig {
        &self.config
    }

    /// Makes the plan for a batch of images of `[channels, height, width]` and brings the weights to the device, so
    /// that [`classify`](Self::classify) does nothing but compute.
    pub fn prepare(&mut self, batch: usize, input: [usize; 3]) -> Result<(), ModelError> {
        let graph = self.config.graph(batch, input)?;
        self.plan(graph).map(drop)
    }

    /// Logits and probabilities of images, f32 `[N][channels][height][width]` as the network's preprocessing makes
    /// them.
    pub fn classify(&mut self, images: &Tensor) -> Result<Classification, ModelError> {
        let (batch, input) = self.config.images_in(images)?;
        let graph = self.config.graph(batch, input)?;
        let mut outputs = self.run(graph, images)?;
        let mut take = |name| outputs.take(name).expect("the graph should have this output");
        let result = Classification { logits: take(LOGITS), probabilities: take(PROBABILITIES) };
        for (image, row) in result.logits.as_f32()?.chunks(self.config.classes).enumerate() {
            if let Some(class) = row.iter().position(|value| !value.is_finite()) {
                let (network, value) = (self.config.name.clone(), row[class]);
                return Err(ModelError::NotFiniteLogit { network, image, class, value });
            }
        }
        Ok(result)
    }

    /// What the network makes of images at each of `taps`, in their order; each tensor has the batch as its first
    /// dimension. Nothing behind the deepest of them is computed, nor are its weights read.
    pub fn features(&mut self, images: &Tensor, taps: &[Tap]) -> Result<Vec<(String, Tensor)>, ModelError> {
        let (batch, input) = self.config.images_in(images)?;
        let graph = self.config.features(batch, input, taps)?;
        let mut outputs = self.run(graph, images)?;
        let take = |tap: &Tap| {
            let tensor = outputs.take(&tap.name).expect("the graph should have an output for each tap");
            (tap.name.clone(), tensor)
        };
        Ok(taps.iter().map(take).collect())
    }

    fn run(&mut self, graph: Graph, images: &Tensor) -> Result<Outputs, ModelError> {
        let plan = self.plan(graph)?;
        Ok(self.session.run(plan, &[(INPUT, images)])?)
    }

    fn plan(&mut self, graph: Graph) -> Result<PlanId, ModelError> {
        if let Some(&plan) = self.plans.get(&graph) {
            return Ok(plan);
        }
        let plan = self.session.load(&graph, &*self.weights)?;
        self.plans.insert(graph, plan);
        Ok(plan)
    }
}

/// What a network says about a batch of images.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    /// f32 `[N][classes]`, all finite.
    pub logits: Tensor,
    /// f32 `[N][classes]`; each row adds up to 1.
    pub probabilities: Tensor,
}

impl Classification {
    /// The `count` most probable classes of an image, most probable first, with their probabilities. Equal ones stand
    /// in the order of their numbers.
    ///
    /// # Panics
    /// Where there is no such image.
    pub fn top(&self, image: usize, count: usize) -> Vec<(usize, f32)> {
        let classes = self.probabilities.desc().last();
        let all = self.probabilities.as_f32().expect("probabilities should be f32");
        let row = &all[image * classes..][..classes];
        let mut ranked: Vec<(usize, f32)> = row.iter().copied().enumerate().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.truncate(count);
        ranked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_classes_come_first() {
        let tensor = Tensor::f32([2, 4], vec![0.1, 0.4, 0.4, 0.1, 0.0, 0.0, 0.0, 1.0]).unwrap();
        let result = Classification { logits: tensor.clone(), probabilities: tensor };
        assert_eq!(result.top(0, 3), [(1, 0.4), (2, 0.4), (0, 0.1)]);
        assert_eq!(result.top(1, 1), [(3, 1.0)]);
        assert_eq!(result.top(0, 9).len(), 4);
    }
}
