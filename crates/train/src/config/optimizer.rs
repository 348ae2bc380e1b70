//! An optimizer and its numbers, as options.

use kiln_engine::{AdamOptions, Optimizer, RmsPropOptions, SgdOptions};

use super::RunOptions;
use crate::TrainError;

/// The optimizer of a name, with PyTorch's numbers.
pub(super) fn by_name(name: &str) -> Result<Optimizer, TrainError> {
    let known = || format!("expected one of {}", Optimizer::NAMES.join(", "));
    name.parse().map_err(|_| TrainError::option("optimizer", name, known()))
}

/// The optimizer with the numbers that the options give.
pub(super) fn with(mut optimizer: Optimizer, options: &RunOptions) -> Result<Optimizer, TrainError> {
    let name = optimizer.name();
    let foreign = |option, value: &dyn ToString| {
        TrainError::option(option, value.to_string(), format!("optimizer {name} has none"))
    };
    let given = [
        ("momentum", options.momentum),
        ("weight decay", options.weight_decay),
        ("beta1", options.beta1),
        ("beta2", options.beta2),
        ("eps", options.eps),
        ("alpha", options.alpha),
    ];
    let mut numbers = numbers(&mut optimizer);
    for (option, value) in given {
        let Some(value) = value else { continue };
        match numbers.iter_mut().find(|(name, _)| *name == option) {
            Some((_, place)) => **place = value,
            None => return Err(foreign(option, &value)),
        }
    }
    match (&mut optimizer, options.nesterov) {
        (Optimizer::Sgd(sgd), Some(nesterov)) => sgd.nesterov = nesterov,
        (_, Some(true)) => return Err(foreign("nesterov", &true)),
        _ => {}
    }
    let refused = |mismatch: kiln_engine::Mismatch| {
        TrainError::config(format!("optimizer {name}"), mismatch.to_string())
    };
    optimizer.check().map_err(refused)?;
    Ok(optimizer)
}

/// An optimizer's numbers by the names of their options.
fn numbers(optimizer: &mut Optimizer) -> Vec<(&'static str, &mut f64)> {
    match optimizer {
        Optimizer::Sgd(SgdOptions { momentum, weight_decay, .. }) => {
            vec![("momentum", momentum), ("weight decay", weight_decay)]
        }
        Optimizer::Adam(options) | Optimizer::AdamW(options) => {
            let AdamOptions { beta1, beta2, eps, weight_decay } = options;
            vec![("beta1", beta1), ("beta2", beta2), ("eps", eps), ("weight decay", weight_decay)]
        }
        Optimizer::RmsProp(RmsPropOptions { alpha, eps, weight_decay, momentum }) => {
            vec![("alpha", alpha), ("eps", eps), ("weight decay", weight_decay), ("momentum", momentum)]
        }
    }
}

/// Puts an optimizer and its numbers into the options.
pub(super) fn say(mut optimizer: Optimizer, options: &mut RunOptions) {
    options.optimizer = Some(optimizer.name().to_owned());
    if let Optimizer::Sgd(sgd) = &optimizer {
        options.nesterov = Some(sgd.nesterov);
    }
    for (name, number) in numbers(&mut optimizer) {
        let place = match name {
            "momentum" => &mut options.momentum,
            "weight decay" => &mut options.weight_decay,
            "beta1" => &mut options.beta1,
            "beta2" => &mut options.beta2,
            "eps" => &mut options.eps,
            _ => &mut options.alpha,
        };
        *place = Some(*number);
    }
}
