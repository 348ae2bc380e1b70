//! What a network is trained for, and how unless one says otherwise.

use super::fault::meant;
use super::fields::{ABOVE_0, Codec, FROM_0, Fields, PROBABILITY, WORDS};

/// What training makes smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Objective {
    /// The cross-entropy of the softmax over the outputs, one for each class: `"classification"`.
    #[default]
    Classification,
    /// The binary cross-entropy of the one output's sigmoid, for two classes: `"binary"`.
    Binary,
    /// The mean square of the difference to the input image: `"reconstruction"`.
    Reconstruction,
}

impl Objective {
    const ALL: [Objective; 3] = [Objective::Classification, Objective::Binary, Objective::Reconstruction];

    /// The word for it in a description.
    pub fn word(self) -> &'static str {
        match self {
            Objective::Classification => "classification",
            Objective::Binary => "binary",
            Objective::Reconstruction => "reconstruction",
        }
    }

    /// The objective of a word, or what to say of a word that is none.
    pub(super) fn of_word(word: &str) -> Result<Objective, String> {
        let known = Objective::ALL.into_iter().find(|objective| objective.word() == word);
        let words = || Objective::ALL.into_iter().map(Objective::word);
        known.ok_or_else(|| format!("unknown objective {word:?}{}", meant(word, words())))
    }
}

/// How a network is trained where the command does not say: good for some 20 epochs with batches of 100.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingDefaults {
    /// One of [`OPTIMIZERS`].
    pub optimizer: String,
    /// The learning rate that the schedule starts from.
    pub lr: f64,
    /// The momentum of `sgd` and `rmsprop`.
    pub momentum: f64,
    /// The factor of the weights in their own gradient, or with `adamw` in their own decay.
    pub weight_decay: f64,
    /// How the learning rate changes, in words: `constant`, `cosine`, `warmup1,cosine`, `step10x0.1`.
    pub schedule: String,
}

/// The words for optimizers.
pub const OPTIMIZERS: [&str; 4] = ["sgd", "adam", "adamw", "rmsprop"];

impl Default for TrainingDefaults {
    /// SGD with momentum.
    fn default() -> TrainingDefaults {
        TrainingDefaults::sgd(0.02)
    }
}

impl TrainingDefaults {
    /// What suits most small networks with an optimizer, where nothing else is said of it: a file that names no more
    /// than the optimizer, or a command that asks for another one than the network's own.
    ///
    /// | optimizer | learning rate | momentum | weight decay | schedule |
    /// |---|---|---|---|---|
    /// | sgd | 0.02 | 0.9 | 0.0005 | cosine |
    /// | adam | 0.001 | 0 | 0 | cosine |
    /// | adamw | 0.001 | 0 | 0.01 | cosine |
    /// | rmsprop | 0.001 | 0 | 0 | cosine |
    ///
    /// `None` for a word that is not one of [`OPTIMIZERS`].
    pub fn of(optimizer: &str) -> Option<TrainingDefaults> {
        let adaptive = TrainingDefaults { optimizer: optimizer.to_owned(), ..TrainingDefaults::adam(0.001) };
        match optimizer {
            "sgd" => Some(TrainingDefaults::default()),
            "adam" | "rmsprop" => Some(adaptive),
            "adamw" => Some(adaptive.with_weight_decay(0.01)),
            _ => None,
        }
    }

    pub(super) fn sgd(lr: f64) -> TrainingDefaults {
        TrainingDefaults { momentum: 0.9, weight_decay: 5e-4, ..TrainingDefaults::plain("sgd", lr) }
    }

    pub(super) fn adam(lr: f64) -> TrainingDefaults {
        TrainingDefaults::plain("adam", lr)
    }

    fn plain(optimizer: &str, lr: f64) -> TrainingDefaults {
        let schedule = "cosine".to_owned();
        TrainingDefaults { optimizer: optimizer.to_owned(), lr, momentum: 0.0, weight_decay: 0.0, schedule }
    }

    pub(super) fn with_schedule(self, schedule: &str) -> TrainingDefaults {
        TrainingDefaults { schedule: schedule.to_owned(), ..self }
    }

    pub(super) fn with_weight_decay(self, weight_decay: f64) -> TrainingDefaults {
        TrainingDefaults { weight_decay, ..self }
    }

    /// Walks over the options of the table `training`.
    pub(super) fn fields(&mut self, fields: &mut impl Fields) {
        fields.optional("optimizer", &OPTIMIZER, &mut self.optimizer);
        fields.optional("lr", &ABOVE_0, &mut self.lr);
        fields.optional("momentum", &MOMENTUM, &mut self.momentum);
        fields.optional("weight_decay", &FROM_0, &mut self.weight_decay);
        fields.optional("schedule", &WORDS, &mut self.schedule);
    }
}

const OPTIMIZER: Codec<String> = Codec {
    expected: "\"sgd\", \"adam\", \"adamw\" or \"rmsprop\"",
    read: |value| value.as_str().filter(|word| OPTIMIZERS.contains(word)).map(str::to_owned),
    write: |word| toml::Value::String(word.clone()),
};

/// With 1 nothing would ever be forgotten.
const MOMENTUM: Codec<f64> = PROBABILITY;
