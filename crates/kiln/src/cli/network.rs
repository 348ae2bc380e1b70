//! The network that a command works with, by its name and the size of its input.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use kiln::EngineError;
use kiln::models::ModelError;
use kiln::models::network::Network;

use super::error::CliError;

/// The arguments that name a network.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// vgg11, vgg13, vgg16 or vgg19, each also with _bn behind it, hed, all-MiniLM-L6-v2, a small network such
    /// as base or resnet8, a file that describes one in TOML, or a directory with the config.json of a
    /// sentence encoder
    #[arg(value_name = "MODEL")]
    model: String,

    /// The size of one input: channels x height x width, or a number of tokens [default: as in training]
    #[arg(long, value_name = "SIZE")]
    input: Option<Size>,
}

/// Extents with an `x` in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) Vec<usize>);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let extents: Option<Vec<usize>> = text
            .split(['x', 'X'])
            .map(|part| part.trim().parse().ok().filter(|&extent| extent > 0))
            .collect();
        extents
            .map(Size)
            .ok_or_else(|| "expected whole numbers with an x in between, such as 3x224x224".into())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, extent) in self.0.iter().enumerate() {
            write!(f, "{}{extent}", if index == 0 { "" } else { "x" })?;
        }
        Ok(())
    }
}

impl NetworkArgs {
    /// The network, and the size of what it is to read.
    pub(crate) fn resolve(&self) -> Result<(Network, Size), CliError> {
        let (network, size) = self.named()?;
        let size = size.unwrap_or_else(|| Size(network.input()));
        Ok((network, size))
    }

    /// The network, and the size of its input where one was given.
    pub(crate) fn named(&self) -> Result<(Network, Option<Size>), CliError> {
        Ok((Network::by_name(&self.model)?, self.input.clone()))
    }
}

/// A network that cannot be built for an input is a mistake in the input; one that cannot be run may be the device's.
pub(crate) fn building(error: ModelError) -> CliError {
    match error {
        ModelError::Engine(error @ (EngineError::Op { .. } | EngineError::Graph { .. })) => {
            CliError::Input(error.to_string())
        }
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_extents_with_an_x_in_between() {
        assert_eq!("3x224x224".parse(), Ok(Size(vec![3, 224, 224])));
        assert_eq!("128".parse(), Ok(Size(vec![128])));
        assert_eq!(Size(vec![3, 5]).to_string(), "3x5");
        for wrong in ["", "3x", "0x3", "3x-1", "a", "3,224,224"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }
}
