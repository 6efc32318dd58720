//! Where the time of a trial's epoch goes, operation by operation; or no such question.
//!
//! The batch tells a [`Probe`] after each of its passes; the time since the last such moment is
//! charged to it. A read of the clock costs 25 to 50 ns and a step of softmax regression has five
//! of them in 7 to 20 us, which would be 1 to 4 % of it. So only so many steps are timed that the clock
//! takes [`CLOCK_SHARE`] of them, all of them where steps are long; they stand for the others, which are
//! alike but for the last, shorter one, and of each lap the cost of one read is taken off again. The
//! whole epoch is timed beside it, so a profile can say how well its parts add up: on a machine whose
//! cores are shared, a few steps in which another process ran count for too much or too little.

use std::time::{Duration, Instant};

use super::team::Team;
use crate::engine::profile::{Phase, Place, Recorder, Span, Spent, Work};

/// One operation of a batch. The names of kernels are in the words of both wings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The order of an epoch's samples.
    Shuffle,
    /// The samples of a step: labels, and pixels as floats where they are not read in place.
    Gather,
    Forward,
    Activate,
    /// Loss and gradient, or loss and predicted class.
    SoftmaxXent,
    InputGradient,
    /// With the update of the weights, which is the end of that product here.
    WeightGradient,
    /// Both of these, where a team takes strip by strip.
    Backward,
    /// The biases: their gradient and update.
    Sgd,
}

const ALL: [Operation; 9] = [
    Operation::Shuffle,
    Operation::Gather,
    Operation::Forward,
    Operation::Activate,
    Operation::SoftmaxXent,
    Operation::InputGradient,
    Operation::WeightGradient,
    Operation::Backward,
    Operation::Sgd,
];

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Shuffle => "shuffle",
            Operation::Gather => "gather",
            Operation::Forward => "forward",
            Operation::Activate => "activate",
            Operation::SoftmaxXent => "softmax_xent",
            Operation::InputGradient => "input_gradient",
            Operation::WeightGradient => "weight_gradient",
            Operation::Backward => "backward",
            Operation::Sgd => "sgd",
        }
    }
}

/// Is told what an epoch does, while it does it.
pub trait Probe {
    /// A part of the epoch begins.
    fn enter(&mut self, phase: Phase);

    /// A step on so many samples begins.
    fn step(&mut self, samples: usize);

    /// An operation on a layer (counted from 1; 0: on none) ends, which has done this work.
    fn lap(&mut self, operation: Operation, layer: usize, work: impl FnOnce() -> Work);
}

/// Asks nothing: no instruction is left of it.
pub struct Unwatched;

impl Probe for Unwatched {
    #[inline(always)]
    fn enter(&mut self, _: Phase) {}

    #[inline(always)]
    fn step(&mut self, _: usize) {}

    #[inline(always)]
    fn lap(&mut self, _: Operation, _: usize, _: impl FnOnce() -> Work) {}
}

/// The share of its time that a profiled epoch may spend on reading the clock.
const CLOCK_SHARE: f64 = 0.01;

/// One step in so many is timed at least, however short they are.
const MOST_APART: usize = 16;

/// Takes the times of one epoch of one trial.
pub struct Laps {
    begun: Instant,
    /// Seconds that a read of the clock takes.
    clock: f64,
    /// The end of the last operation.
    last: Instant,
    phase: Phase,
    /// Whether operations are timed.
    on: bool,
    /// When the timed step began that has not ended; none between phases.
    step_begun: Option<Instant>,
    /// Its operations so far.
    step_laps: usize,
    /// Steps until one is timed again.
    wait: usize,
    phases: [Sums; 2],
    /// Single operations that may still be kept for a trace.
    spans_left: usize,
    kept: Vec<(Operation, usize, Instant, Instant)>,
}

/// The sums of a phase.
#[derive(Default)]
struct Sums {
    steps: Counted,
    samples: Counted,
    /// Seconds of the shortest timed step: in the others the thread may have had to wait.
    shortest: Option<f64>,
    /// `[layer][operation]`
    laps: Vec<[Lap; ALL.len()]>,
}

/// How many there were, and how many were timed.
#[derive(Default, Clone, Copy)]
struct Counted {
    all: usize,
    timed: usize,
}

/// Outside of all steps.
const ONCE: Counted = Counted { all: 1, timed: 1 };

impl Counted {
    /// Something of them all, from that of the timed ones; whole numbers stay whole where they are.
    fn of_all(self, timed: f64) -> f64 {
        timed * self.all as f64 / self.timed as f64
    }
}

#[derive(Default, Clone, Copy)]
struct Lap {
    calls: u64,
    time: Duration,
    work: Work,
}

impl Sums {
    fn add(&mut self, operation: Operation, layer: usize, time: Duration, work: Work) {
        while self.laps.len() <= layer {
            self.laps.push(Default::default());
        }
        let lap = &mut self.laps[layer][operation as usize];
        lap.calls += 1;
        lap.time += time;
        lap.work += work;
    }

    /// What was spent on each operation of each layer, the cost of the clock (seconds a read) taken
    /// off.
    fn rows(&self, clock: f64) -> impl Iterator<Item = (Operation, usize, Spent)> {
        let of_layer =
            |(layer, laps)| ALL.into_iter().zip(laps).map(move |(op, lap)| (op, layer, lap));
        let all = self.laps.iter().enumerate().flat_map(of_layer);
        all.filter(|(.., lap)| lap.calls > 0).map(move |(operation, layer, lap)| {
            let (steps, samples) = match operation {
                Operation::Shuffle => (ONCE, ONCE),
                _ => (self.steps, self.samples),
            };
            let seconds = (lap.time.as_secs_f64() - lap.calls as f64 * clock).max(0.0);
            let Work { flops, bytes } = lap.work;
            let spent = Spent {
                calls: steps.of_all(lap.calls as f64),
                timed: lap.calls,
                seconds: samples.of_all(seconds),
                work: Work { flops: samples.of_all(flops), bytes: samples.of_all(bytes) },
            };
            (operation, layer, spent)
        })
    }
}

impl Laps {
    /// For an epoch that begins now.
    pub fn new(recorder: &Recorder) -> Laps {
        let begun = Instant::now();
        Laps {
            begun,
            clock: recorder.clock(),
            last: begun,
            phase: Phase::Training,
            on: true,
            step_begun: None,
            step_laps: 0,
            wait: 0,
            phases: Default::default(),
            spans_left: recorder.spans_an_epoch(),
            kept: Vec::new(),
        }
    }

    /// After a timed step: how many of its like are not timed, so that the clock takes its share only.
    fn end_step(&mut self) {
        let Some(begun) = self.step_begun.take() else { return };
        let seconds = (self.last - begun).as_secs_f64();
        let shortest = &mut self.phases[self.phase as usize].shortest;
        let least = shortest.map_or(seconds, |shortest| shortest.min(seconds));
        *shortest = Some(least);
        let reads = (self.step_laps + 1) as f64 * self.clock;
        let apart = (reads / (CLOCK_SHARE * least)).ceil() as usize;
        self.wait = apart.clamp(1, MOST_APART) - 1;
    }

    /// Hands the epoch over, which ends now. A team's time is that of all its threads.
    pub fn finish(self, recorder: &Recorder, (thread, team): (usize, Team), name: &str) {
        let ended = Instant::now();
        let track = format!("cpu thread {thread}");
        let span = |name: String, from: Instant, to: Instant| Span {
            track: track.clone(),
            name,
            start: recorder.seconds_at(from),
            seconds: (to - from).as_secs_f64(),
        };
        let mut records = recorder.records();
        records.trial_epochs += 1;
        let threads = team.threads() as f64;
        records.loop_seconds += threads * (ended - self.begun).as_secs_f64();
        if recorder.spans_an_epoch() > 0 {
            records.spans.push(span(name.to_owned(), self.begun, ended));
            let kept = self.kept.iter().map(|&(operation, layer, from, to)| {
                let place = if layer > 0 { format!(" {layer}") } else { String::new() };
                span(format!("{}{place}", operation.name()), from, to)
            });
            records.spans.extend(kept);
        }
        let clock = self.clock;
        for (phase, sums) in [Phase::Training, Phase::Validation].into_iter().zip(&self.phases) {
            sums.rows(clock).for_each(|(operation, layer, mut spent)| {
                spent.seconds *= threads;
                let place = Place {
                    phase: Some(phase),
                    operation: operation.name().into(),
                    layer: Some(layer).filter(|layer| *layer > 0),
                };
                records.charge(place, spent);
            });
        }
    }
}

impl Probe for Laps {
    fn enter(&mut self, phase: Phase) {
        self.end_step();
        (self.phase, self.wait) = (phase, 0);
        (self.on, self.last) = (true, Instant::now());
    }

    fn step(&mut self, samples: usize) {
        self.end_step();
        // As many in a row as a trace shows.
        self.on = self.wait == 0 || self.spans_left > 0;
        self.wait = self.wait.saturating_sub(1);
        let sums = &mut self.phases[self.phase as usize];
        sums.steps.all += 1;
        sums.samples.all += samples;
        if self.on {
            sums.steps.timed += 1;
            sums.samples.timed += samples;
            let now = Instant::now();
            (self.step_begun, self.step_laps, self.last) = (Some(now), 0, now);
        }
    }

    fn lap(&mut self, operation: Operation, layer: usize, work: impl FnOnce() -> Work) {
        if !self.on {
            return;
        }
        let now = Instant::now();
        self.phases[self.phase as usize].add(operation, layer, now - self.last, work());
        self.step_laps += 1;
        if self.spans_left > 0 {
            self.spans_left -= 1;
            self.kept.push((operation, layer, self.last, now));
        }
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    /// The spent time of an operation in microseconds and its calls.
    fn of(sums: &Sums, operation: Operation, clock: f64) -> (f64, f64) {
        let mut rows = sums.rows(clock);
        let (.., spent) = rows.find(|(op, ..)| *op == operation).expect("a row");
        ((spent.seconds * 1e6).round(), spent.calls)
    }

    #[test]
    fn timed_steps_stand_for_the_others_and_the_clock_is_taken_off() {
        // Three steps of 16 and one of 8 samples, of which two of 16 were timed.
        let (steps, samples) = (Counted { all: 4, timed: 2 }, Counted { all: 56, timed: 32 });
        let mut sums = Sums { steps, samples, ..Sums::default() };
        for _ in 0..2 {
            sums.add(Operation::Forward, 1, 9 * US, Work::product([1, 1, 1], 4));
        }
        sums.add(Operation::Shuffle, 0, 5 * US, Work::default());
        // 2 x (9 - 1) us, times 56 / 32.
        assert_eq!(of(&sums, Operation::Forward, 1e-6), (28.0, 4.0));
        assert_eq!(of(&sums, Operation::Shuffle, 1e-6), (4.0, 1.0), "once an epoch, never scaled");
        let flops: f64 = sums.rows(0.0).map(|(.., spent)| spent.work.flops).sum();
        assert_eq!(flops, 2.0 * 2.0 * 56.0 / 32.0);
    }

    #[test]
    fn the_first_step_of_a_phase_is_timed_however_short_the_last_one_was() {
        let mut laps = Laps::new(&Recorder::new(false));
        laps.clock = 1.0; // as if every step were short beside it
        let work = || Work::product([1, 1, 1], 4);
        laps.enter(Phase::Training);
        laps.lap(Operation::Shuffle, 0, Work::default);
        laps.step(16);
        laps.lap(Operation::Forward, 1, work);
        laps.enter(Phase::Validation);
        laps.step(60);
        laps.lap(Operation::Forward, 1, work);
        laps.end_step();
        for sums in &laps.phases {
            assert_eq!((sums.steps.all, sums.steps.timed), (1, 1));
            assert_eq!(of(sums, Operation::Forward, 0.0).1, 1.0);
        }
    }

    #[test]
    fn short_steps_are_timed_seldom_and_long_ones_always() {
        // Five operations and a beginning, of 50 ns each, in steps of 10 us, 1 ms and 100 ns.
        for (step, expected) in [(10e-6, 2), (1e-3, 0), (1e-7, MOST_APART - 1)] {
            let mut laps = Laps::new(&Recorder::new(false));
            laps.clock = 50e-9;
            (laps.step_begun, laps.step_laps) = (Some(laps.begun), 5);
            laps.last = laps.begun + Duration::from_secs_f64(step);
            laps.end_step();
            assert_eq!(laps.wait, expected, "{step} s");
        }
    }
}
