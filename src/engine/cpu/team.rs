//! The threads that train one trial together, where some would have none.
//!
//! Where there are fewer trials than threads, the others would stand idle: a trial of four layers of 900
//! units took 8.6 s on one core and 4.2 s on two. Where there are enough, each is trained by a thread:
//! six trials of 700 to 1024 units in 3 to 6 layers took both cores 1.2 times as long one after the other as side by
//! side.
//!
//! What is dealt out is parts of a result, each of whose numbers is one thread's, in the order of additions
//! that it has alone: a team changes no bit.

use std::collections::BTreeMap;

use rayon_core::ThreadPoolBuilder;

use crate::engine::Trial;
use crate::error::{Error, Result};

/// Multiply-adds of a step from which on it is worth dealing out: half a millisecond's, for each of its
/// layers has threads wait for each other a few times, some 10 us each.
const WORTH: usize = 10_000_000;

/// How many threads train a trial together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Team {
    threads: usize,
}

impl Team {
    /// A thread by itself.
    pub const ALONE: Team = Team { threads: 1 };

    /// The team for a trial, of so many threads for so many trials.
    pub fn of(trial: &Trial, threads: usize, trials: usize) -> Team {
        let (architecture, numbers) = (&trial.recipe.architecture, &trial.recipe.hyperparameters);
        let parameters = architecture.parameter_count();
        if architecture.hidden.is_empty() || 3 * parameters * numbers.batch_size < WORTH {
            return Team::ALONE;
        }
        Team { threads: (threads / trials.max(1)).max(1) }
    }

    /// The sizes of some teams, the largest first, and how many of each work at a time on so many threads.
    pub fn in_turn(teams: impl Iterator<Item = Team>, threads: usize) -> Vec<(Team, usize)> {
        let mut alike = BTreeMap::new();
        for team in teams {
            *alike.entry(team).or_insert(0) += 1;
        }
        let at_a_time = |(team, count): (Team, usize)| (team, count.min(threads / team.threads));
        alike.into_iter().rev().map(at_a_time).collect()
    }

    /// How many threads it has.
    pub fn threads(self) -> usize {
        self.threads
    }

    pub fn is_alone(self) -> bool {
        self.threads == 1
    }

    /// Does `work` where [`Team::each`] finds the team: here, or on a pool of its threads.
    pub fn run(self, work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
        if self.is_alone() {
            return work();
        }
        let threads = self.threads;
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        pool.map_err(|error| Error::Threads { threads, reason: error.to_string() })?.install(work)
    }

    /// So many columns or rows in parts: how many a part has. All of them for a thread by itself, else a few parts
    /// a thread, so that one that is held up leaves some to the others.
    pub fn part(self, total: usize) -> usize {
        let parts = if self.is_alone() { 1 } else { 4 * self.threads };
        total.div_ceil(parts).max(1)
    }

    /// Does `work` on each of the parts, on the team's threads: to be called within [`Team::run`].
    pub fn each<T: Send>(self, parts: impl Iterator<Item = T>, work: impl Fn(T) + Sync) {
        if self.is_alone() {
            return parts.for_each(work);
        }
        rayon_core::in_place_scope(|scope| {
            let work = &work;
            parts.for_each(|part| scope.spawn(move |_| work(part)));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::model::{
        Activation, Architecture, Hidden, Hyperparameters, Init, LrSchedule, Recipe,
    };

    /// Threads of the team for a model of two hidden layers, one of so many trials on eight threads.
    fn threads(units: usize, batch_size: usize, trials: usize) -> usize {
        let hidden = Hidden { units, activation: Activation::Relu, dropout: 0.0 };
        let layers = if units > 0 { vec![hidden; 2] } else { Vec::new() };
        let architecture = Architecture { inputs: 784, hidden: layers, classes: 10 };
        let hyperparameters = Hyperparameters {
            learning_rate: 0.1,
            lr_schedule: LrSchedule::Constant,
            batch_size,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.0,
            label_smoothing: 0.0,
            init: Init::Default,
        };
        let trial =
            Trial { number: 0, recipe: Recipe { architecture, hyperparameters, epochs: 1 } };
        Team::of(&trial, 8, trials).threads()
    }

    #[test]
    fn small_steps_are_a_threads_own_and_large_ones_are_dealt_out_where_that_pays() {
        assert_eq!(threads(0, 60_000, 1), 1, "softmax regression");
        assert_eq!(threads(64, 16, 1), 1, "a step of a few microseconds");
        assert_eq!(threads(500, 64, 1), 8, "nobody else has work");
        assert_eq!(threads(500, 64, 4), 2);
        assert_eq!(threads(500, 64, 3), 2, "three teams of two; two threads idle");
        assert_eq!(threads(2000, 16, 8), 1, "each has work of its own");
        assert_eq!(threads(2000, 16, 100), 1);
    }

    #[test]
    fn teams_take_turns_by_size_and_never_want_more_threads_than_there_are() {
        let teams = [1, 4, 1, 1, 4, 2].map(|threads| Team { threads });
        let in_turn = |threads| {
            let sizes = Team::in_turn(teams.into_iter(), threads).into_iter();
            sizes.map(|(team, at_a_time)| (team.threads(), at_a_time)).collect::<Vec<_>>()
        };
        assert_eq!(in_turn(4), [(4, 1), (2, 1), (1, 3)]);
        assert_eq!(in_turn(9), [(4, 2), (2, 1), (1, 3)]);
    }

    #[test]
    fn each_part_is_worked_on_once() {
        for threads in [1, 3] {
            let team = Team { threads };
            let done: [AtomicUsize; 30] = Default::default();
            let work = || {
                team.each(done.iter(), |part| {
                    part.fetch_add(1, Ordering::Relaxed);
                });
                Ok(())
            };
            team.run(work).unwrap();
            assert!(done.iter().all(|part| part.load(Ordering::Relaxed) == 1), "{threads}");
        }
    }
}
