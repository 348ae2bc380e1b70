//! Choices that stand in for those of the table (`select`): plain data, from a question to the name of an answer.
//!
//! Wherever the table has a choice between kernels, layouts or algorithms that all give the result, it asks
//! `Target::choose`: the first candidate is its own choice, and the others are legal too. A `Question` says what is
//! chosen for which op of which shapes, and its key is what a stored choice is found by.

mod question;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;

use kiln_gpu::DeviceProfile;

pub(crate) use question::{Operand, Question};

/// Names of candidates by the keys of questions, for one device: what tuning finds out. Where it says
/// nothing, or names what there is not, the table chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices(BTreeMap<String, String>);

impl Choices {
    /// None: the table chooses everywhere.
    pub const NONE: &'static Choices = &Choices(BTreeMap::new());

    /// The name chosen for a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Chooses a name for a key.
    pub fn set(&mut self, key: impl Into<String>, name: impl Into<String>) {
        self.0.insert(key.into(), name.into());
    }

    /// Keys and names, ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, name)| (key.as_str(), name.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the table chooses everywhere.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<String>, N: Into<String>> FromIterator<(K, N)> for Choices {
    fn from_iter<I: IntoIterator<Item = (K, N)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(key, name)| (key.into(), name.into())).collect())
    }
}

impl<K: Into<String>, N: Into<String>> Extend<(K, N)> for Choices {
    fn extend<I: IntoIterator<Item = (K, N)>>(&mut self, pairs: I) {
        self.0.extend(pairs.into_iter().map(|(key, name)| (key.into(), name.into())));
    }
}

/// One of several ways to do the same, by its name: short, stable from build to build and unique among those that answer
/// one question.
pub(crate) trait Candidate: Copy {
    /// That name, such as `matmul_shared/t64` or `winograd4`.
    fn name(&self) -> Cow<'static, str>;
}

/// Ways that a pass knows by name.
impl<T: Copy> Candidate for (&'static str, T) {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(self.0)
    }
}

/// What a graph is compiled for: a device, and the choices made for it. A profile alone is a target on which the table
/// chooses.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    pub(crate) profile: &'a DeviceProfile,
    choices: &'a Choices,
    journal: Option<&'a Journal>,
}

impl<'a> Target<'a> {
    /// A device with choices made for it.
    pub fn new(profile: &'a DeviceProfile, choices: &'a Choices) -> Self {
        Self { profile, choices, journal: None }
    }

    /// The same, writing down every question that is asked.
    pub(crate) fn noting(self, journal: &'a Journal) -> Self {
        Self { journal: Some(journal), ..self }
    }

    /// The candidate that the choices name; the first, which is the table's, where they name none that there is.
    ///
    /// # Panics
    /// Without candidates.
    pub(crate) fn choose<C: Candidate>(&self, question: impl FnOnce() -> Question, candidates: &[C]) -> C {
        let table = *candidates.first().expect("a question should have a candidate");
        if candidates.len() == 1 || self.choices.is_empty() && self.journal.is_none() {
            return table;
        }
        let question = question();
        let key = question.key();
        let named = self.choices.get(&key);
        let chosen = named.and_then(|name| candidates.iter().copied().find(|other| other.name() == name));
        if let Some(journal) = self.journal.filter(|_| question.can_be_measured()) {
            journal.note(key, question, candidates.iter().map(|candidate| candidate.name().into()));
        }
        chosen.unwrap_or(table)
    }
}

impl<'a> From<&'a DeviceProfile> for Target<'a> {
    fn from(profile: &'a DeviceProfile) -> Self {
        Self::new(profile, Choices::NONE)
    }
}

/// A question that came up while graphs were compiled, with the names of its candidates, the table's first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) key: String,
    pub(crate) question: Question,
    pub(crate) names: Vec<String>,
    /// How many times.
    pub(crate) times: usize,
}

impl Asked {
    /// Whether choices name one of the candidates.
    pub(crate) fn is_answered(&self, choices: &Choices) -> bool {
        choices.get(&self.key).is_some_and(|chosen| self.names.iter().any(|name| name == chosen))
    }

    /// How much depends on it: what the op computes, each time that it is asked.
    pub(crate) fn weight(&self) -> u64 {
        self.question.flops().saturating_mul(self.times as u64)
    }
}

/// The questions that came up, in the order in which they first did.
#[derive(Debug, Default)]
pub(crate) struct Journal(RefCell<Vec<Asked>>);

impl Journal {
    fn note(&self, key: String, question: Question, names: impl Iterator<Item = String>) {
        let mut asked = self.0.borrow_mut();
        match asked.iter_mut().find(|asked| asked.key == key) {
            Some(asked) => asked.times += 1,
            None => asked.push(Asked { key, question, names: names.collect(), times: 1 }),
        }
    }

    pub(crate) fn into_asked(self) -> Vec<Asked> {
        self.0.into_inner()
    }

    /// Whether choices answer all of them.
    pub(crate) fn is_answered(&self, choices: &Choices) -> bool {
        self.0.borrow().iter().all(|asked| asked.is_answered(choices))
    }

    /// Says in the log where the choices made a difference, and where they could not.
    pub(crate) fn tell(self, choices: &Choices) {
        for Asked { key, names, .. } in self.into_asked() {
            let table = &names[0];
            match choices.get(&key) {
                Some(name) if name == table => log::debug!("{key}: {name}, as the table has it"),
                Some(name) if names.iter().any(|other| other == name) => {
                    log::info!("{key}: {name} instead of {table}");
                }
                Some(name) => log::info!("{key}: {table}, since no candidate is called {name}"),
                None => log::debug!("{key}: {table} by the table"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kiln_gpu::{DeviceKind, Limits};

    use super::*;
    use crate::ops::Matmul;
    use crate::tensor::TensorDesc;

    fn question() -> Question {
        let operand = || Operand { desc: TensorDesc::f32([8, 8]), constant: false };
        Question::new("kernel", &Matmul::new().into(), vec![operand(), operand()])
    }

    /// Some of these names begin as others do.
    const CANDIDATES: [(&str, u32); 5] = [("table", 0), ("a_wide", 1), ("a", 2), ("b", 3), ("b_wide", 4)];

    fn chosen(choices: &Choices) -> u32 {
        let profile = DeviceProfile::made_up(DeviceKind::Discrete, Limits::BASELINE);
        Target::new(&profile, choices).choose(question, &CANDIDATES).1
    }

    #[test]
    fn a_name_that_there_is_is_followed() {
        let named = |name: &str| chosen(&Choices::from_iter([(question().key(), name)]));
        assert_eq!(["table", "a_wide", "a", "b", "b_wide"].map(named), [0, 1, 2, 3, 4]);
        assert_eq!(["c", "", "a_", "b_w", "wide", "b_wider", "B"].map(named), [0; 7]);
        assert_eq!(chosen(Choices::NONE), 0);
        assert_eq!(chosen(&Choices::from_iter([("another question", "a")])), 0);
        let key = question().key();
        assert_eq!(chosen(&Choices::from_iter([(&key[..key.len() - 1], "a"), (&format!("{key}0"), "b")])), 0);
    }

    #[test]
    fn nobody_is_asked_in_vain() {
        let profile = DeviceProfile::made_up(DeviceKind::Discrete, Limits::BASELINE);
        let never = || -> Question { panic!("there is nothing to ask") };
        assert_eq!(Target::from(&profile).choose(never, &CANDIDATES), CANDIDATES[0]);
        let choices = Choices::from_iter([(question().key(), "a")]);
        assert_eq!(Target::new(&profile, &choices).choose(never, &CANDIDATES[..1]), CANDIDATES[0]);
    }

    #[test]
    fn a_journal_has_each_question_once() {
        let profile = DeviceProfile::made_up(DeviceKind::Discrete, Limits::BASELINE);
        let journal = Journal::default();
        let target = Target::from(&profile).noting(&journal);
        for _ in 0..3 {
            target.choose(question, &CANDIDATES);
        }
        let known = Choices::from_iter([(question().key(), "b")]);
        assert!(journal.is_answered(&known) && !journal.is_answered(Choices::NONE));
        for unknown in ["c", "", "a_", "b_wider"] {
            assert!(!journal.is_answered(&Choices::from_iter([(question().key(), unknown)])), "{unknown}");
        }
        let asked = journal.into_asked();
        assert_eq!(asked.len(), 1);
        assert_eq!((asked[0].times, asked[0].names.join(" ").as_str()), (3, "table a_wide a b b_wide"));
        assert_eq!(asked[0].weight(), 3 * 2 * 8 * 8 * 8);
    }

    #[test]
    fn later_choices_replace_earlier_ones() {
        let mut choices = Choices::from_iter([("b", "1"), ("a", "2")]);
        choices.extend([("b", "3"), ("c", "4")]);
        choices.set("a", "5");
        assert_eq!(choices.iter().collect::<Vec<_>>(), [("a", "5"), ("b", "3"), ("c", "4")]);
        assert_eq!((choices.len(), choices.is_empty(), choices.get("d")), (3, false, None));
    }
}
