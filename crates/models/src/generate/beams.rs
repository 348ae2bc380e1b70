//! Beam search: several sequences of each prompt are followed at once (transformers' `BeamSearchScorer` and
//! `_beam_search`).

use std::ops::{ControlFlow, Range};

use super::hypotheses::Hypotheses;
use super::numbers::{check, largest, log_softmax};
use super::processors::{Processors, Warpers};
use super::random::Draws;
use super::{Decoder, Finish, GenerateOptions, Sequence, SpecialIds};
use crate::error::ModelError;

/// What sets all beams but the first back before the first step: they are the same, and one is enough.
const SET_BACK: f32 = -1e9;

pub(super) fn search(
    decoder: &mut dyn Decoder,
    places: Range<usize>,
    special: &SpecialIds,
    options: &GenerateOptions,
    on_token: &mut dyn FnMut(usize, Option<u32>) -> ControlFlow<()>,
) -> Result<Vec<Sequence>, ModelError> {
    let vocab = decoder.vocab_size();
    // So many candidates leave one for each beam, were each EOS token of each beam among them.
    let share = (special.eos.len() + 1).max(2);
    if vocab < share {
        let expected =
            format!("1 for a model of {vocab} tokens of which {} end a sequence", special.eos.len());
        return Err(ModelError::GenerateOption { option: "beams", expected, got: options.beams.to_string() });
    }
    let processors = Processors::new(options, special);
    let warpers = options.sampling.map(|sampling| Warpers::new(&sampling, share));
    let mut searches: Vec<Search<'_>> = places.map(|place| Search::new(place, special, options)).collect();
    let mut tokens = vec![special.decoder_start; searches.len() * options.beams];
    let mut parents: Vec<usize> = (0..tokens.len()).collect();

    'steps: for step in 0..options.max_new_tokens {
        let mut logits = decoder.logits(&tokens, &parents)?;
        tokens.clear();
        parents.clear();
        let scores = logits.chunks_exact_mut(options.beams * vocab);
        for (index, (search, scores)) in searches.iter_mut().zip(scores).enumerate() {
            if !search.done {
                for (beam, row) in search.beams.iter().zip(scores.chunks_exact_mut(vocab)) {
                    check(row, search.place, step)?;
                    log_softmax(row);
                    processors.apply(&beam.ids, row);
                    if let Some(warpers) = &warpers {
                        warpers.apply(row);
                    }
                    row.iter_mut().for_each(|score| *score += beam.sum);
                }
                let candidates = match &mut search.draws {
                    None => largest(scores, share * options.beams),
                    Some(draws) => draws.several(scores, share * options.beams),
                };
                let candidates = candidates.into_iter().map(|place| Candidate {
                    beam: place / vocab,
                    token: (place % vocab) as u32,
                    sum: scores[place],
                });
                search.step(&candidates.collect::<Vec<_>>());
            }
            let first = index * options.beams;
            tokens.extend(search.next.iter().map(|next| next.token));
            parents.extend(search.next.iter().map(|next| first + next.beam));
        }
        let last = step + 1 == options.max_new_tokens;
        for search in &mut searches {
            if last {
                search.close();
            }
            if search.tell(on_token).is_break() {
                break 'steps;
            }
        }
        if searches.iter().all(|search| search.done) {
            break;
        }
    }

    Ok(searches.into_iter().map(|search| search.sequence(options.max_new_tokens)).collect())
}

/// How a sequence may go on.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// Which beam it continues.
    beam: usize,
    token: u32,
    /// The sum of all log-probabilities, this token's included.
    sum: f32,
}

/// A sequence that goes on.
struct Beam {
    /// The decoder's start token first.
    ids: Vec<u32>,
    sum: f32,
}

/// The search of one prompt.
struct Search<'a> {
    /// The prompt's place among all that are asked for.
    place: usize,
    special: &'a SpecialIds,
    beams: Vec<Beam>,
    /// What the decoder reads next for each beam.
    next: Vec<Candidate>,
    hypotheses: Hypotheses,
    /// Whether nothing that goes on matters any more.
    done: bool,
    draws: Option<Draws>,
    /// How many ids of the answer the caller has heard of.
    told: usize,
}

impl<'a> Search<'a> {
    fn new(place: usize, special: &'a SpecialIds, options: &GenerateOptions) -> Search<'a> {
        let beam =
            |beam| Beam { ids: vec![special.decoder_start], sum: if beam == 0 { 0.0 } else { SET_BACK } };
        Search {
            place,
            special,
            beams: (0..options.beams).map(beam).collect(),
            next: Vec::with_capacity(options.beams),
            hypotheses: Hypotheses::new(options),
            done: false,
            draws: options.sampling.map(|sampling| Draws::new(sampling.seed, place)),
            told: 0,
        }
    }

    /// Takes the best candidates, which come in the order of their sums, for the next beams. Of those that end a
    /// sequence only as many as there are beams are looked at.
    fn step(&mut self, candidates: &[Candidate]) {
        let beams = self.beams.len();
        // The new token included, the start token not.
        let length = self.beams[0].ids.len();
        self.next.clear();
        for (rank, candidate) in candidates.iter().enumerate() {
            if !self.special.eos.contains(&candidate.token) {
                self.next.push(*candidate);
            } else if rank < beams {
                self.hypotheses.add(&self.beams[candidate.beam].ids, candidate.sum, length, true);
            }
            if self.next.len() == beams {
                break;
            }
        }
        assert_eq!(self.next.len(), beams, "there should be a candidate for each beam");
        let go_on = |next: &Candidate| {
            let mut ids = self.beams[next.beam].ids.clone();
            ids.push(next.token);
            Beam { ids, sum: next.sum }
        };
        self.beams = self.next.iter().map(go_on).collect();
        if self.hypotheses.are_final(candidates[0].sum, length) {
            self.finish();
        }
    }

    /// Lets the sequences that go on stand for what they are, and ends the search.
    fn close(&mut self) {
        if !self.done {
            for beam in &self.beams {
                self.hypotheses.add(&beam.ids, beam.sum, beam.ids.len() - 1, false);
            }
            self.finish();
        }
    }

    /// From here on the decoder reads padding.
    fn finish(&mut self) {
        self.done = true;
        for (beam, next) in self.next.iter_mut().enumerate() {
            *next = Candidate { beam, token: self.special.pad, sum: 0.0 };
        }
    }

    /// Tells the ids that all sequences share that may still win, or that there is none that is new.
    fn tell(&mut self, on_token: &mut dyn FnMut(usize, Option<u32>) -> ControlFlow<()>) -> ControlFlow<()> {
        let before = self.told;
        while let Some(id) = self.settled() {
            self.told += 1;
            on_token(self.place, Some(id))?;
        }
        if self.told == before && !self.done {
            on_token(self.place, None)?;
        }
        ControlFlow::Continue(())
    }

    /// The next id of the answer, where that is certain.
    fn settled(&self) -> Option<u32> {
        let place = self.told + 1;
        if self.done {
            let best = self.hypotheses.best()?;
            let end = (best.ended && place == best.ids.len()).then(|| self.special.eos[0]);
            return best.ids.get(place).copied().or(end);
        }
        let id = *self.beams[0].ids.get(place)?;
        let beams = self.beams.iter().map(|beam| &beam.ids);
        let ended = self.hypotheses.kept().iter().map(|hypothesis| &hypothesis.ids);
        beams.chain(ended).all(|ids| ids.get(place) == Some(&id)).then_some(id)
    }

    /// The answer.
    fn sequence(mut self, max_new_tokens: usize) -> Sequence {
        let stopped = !self.done;
        self.close();
        let best = self.hypotheses.best().expect("a search that is closed should have an answer").clone();
        let mut ids = best.ids;
        ids.remove(0);
        let finish = if best.ended {
            ids.push(self.special.eos[0]);
            Finish::Eos
        } else if stopped && ids.len() < max_new_tokens {
            Finish::Stopped
        } else {
            Finish::Length
        };
        Sequence { ids, finish, score: Some(best.score as f32) }
    }
}
