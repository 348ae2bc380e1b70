//! One sequence for each prompt: the likeliest token at each step, or one drawn by chance.

use std::ops::{ControlFlow, Range};

use super::numbers::{argmax, check, check_largest};
use super::processors::{Processors, Warpers};
use super::random::Draws;
use super::{Decoder, Finish, GenerateOptions, Likeliest, Sequence, SpecialIds};
use crate::error::ModelError;

pub(super) fn search(
    decoder: &mut dyn Decoder,
    places: Range<usize>,
    special: &SpecialIds,
    options: &GenerateOptions,
    on_token: &mut dyn FnMut(usize, Option<u32>) -> ControlFlow<()>,
) -> Result<Vec<Sequence>, ModelError> {
    let prompts = places.len();
    let processors = Processors::new(options, special);
    let warpers = options.sampling.map(|sampling| Warpers::new(&sampling, 1));
    let mut draws: Vec<Draws> = match options.sampling {
        Some(sampling) => places.clone().map(|place| Draws::new(sampling.seed, place)).collect(),
        None => Vec::new(),
    };
    let vocab = decoder.vocab_size();
    let parents: Vec<usize> = (0..prompts).collect();
    // Of each prompt all ids so far, the decoder's start token included, and why they ended.
    let mut ids = vec![vec![special.decoder_start]; prompts];
    let mut finished = vec![None; prompts];
    let mut tokens = vec![special.decoder_start; prompts];
    // Whether this step has been started already, from what the one before chose. What is under way when the search ends
    // is of no use to anyone: the decoder gives it up with whatever it does next.
    let mut ahead = false;

    'steps: for step in 0..options.max_new_tokens {
        let chosen: Vec<u32> = if warpers.is_none() && processors.are_idle(step + 1) {
            if !ahead {
                decoder.start(&tokens, &parents)?;
            }
            // Rows that have ended go on too, each alone. Nobody changes what the others choose.
            ahead = step + 1 < options.max_new_tokens;
            if ahead {
                decoder.follow()?;
            }
            let likeliest = decoder.chosen()?;
            for (prompt, Likeliest { id, logit }) in likeliest.iter().enumerate() {
                if finished[prompt].is_none() {
                    check_largest(*id, *logit, places.start + prompt, step)?;
                }
            }
            likeliest.into_iter().map(|Likeliest { id, .. }| id).collect()
        } else {
            ahead = false;
            let mut logits = decoder.logits(&tokens, &parents)?;
            let mut chosen = vec![special.pad; prompts];
            for (prompt, row) in logits.chunks_exact_mut(vocab).enumerate() {
                if finished[prompt].is_some() {
                    continue;
                }
                check(row, places.start + prompt, step)?;
                processors.apply(&ids[prompt], row);
                let token = match &warpers {
                    None => argmax(row),
                    Some(warpers) => {
                        warpers.apply(row);
                        // Where every token is excluded, the first: what greedy decoding takes.
                        draws[prompt].one(row).unwrap_or(0)
                    }
                };
                chosen[prompt] = token as u32;
            }
            chosen
        };
        for (prompt, token) in chosen.into_iter().enumerate() {
            if finished[prompt].is_some() {
                tokens[prompt] = special.pad;
                continue;
            }
            tokens[prompt] = token;
            ids[prompt].push(token);
            if special.eos.contains(&token) {
                finished[prompt] = Some(Finish::Eos);
            } else if step + 1 == options.max_new_tokens {
                finished[prompt] = Some(Finish::Length);
            }
            if on_token(places.start + prompt, Some(token)).is_break() {
                break 'steps;
            }
        }
        if finished.iter().all(Option::is_some) {
            break;
        }
    }

    let sequences = ids.into_iter().zip(finished).map(|(mut ids, finish)| {
        ids.remove(0);
        Sequence { ids, finish: finish.unwrap_or(Finish::Stopped), score: None }
    });
    Ok(sequences.collect())
}
