//! Where the time of a trial's epoch goes, operation by operation; or no such question.
//!
//! The batch tells a [`Probe`] after each of its passes; the time since the last such moment is
//! charged to it. A read of the clock costs 25 to 50 ns and a step of softmax regression has five
//! of them in 7 to 20 us, so one step in [`ONE_IN`] is timed and stands for the others, which are
//! alike but for the last, shorter one; of each lap the cost of one read is taken off again. The whole
//! epoch is timed beside it, so a profile can say how well its parts add up.

use std::time::{Duration, Instant};

use crate::engine::profile::{Phase, Place, Recorder, Span, Spent, Work};

/// One operation of a batch. The names of kernels are in the words of both wings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The order of an epoch's samples.
    Shuffle,
    /// The samples of a step: labels, and pixels as floats where they are not read in place.
    Gather,
    Transpose,
    Forward,
    Activate,
    /// Loss and gradient, or loss and predicted class.
    SoftmaxXent,
    InputGradient,
    /// With the update of the weights, which is the end of that product here.
    WeightGradient,
    /// The biases: their gradient and update.
    Sgd,
}

const ALL: [Operation; 9] = [
    Operation::Shuffle,
    Operation::Gather,
    Operation::Transpose,
    Operation::Forward,
    Operation::Activate,
    Operation::SoftmaxXent,
    Operation::InputGradient,
    Operation::WeightGradient,
    Operation::Sgd,
];

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Shuffle => "shuffle",
            Operation::Gather => "gather",
            Operation::Transpose => "transpose",
            Operation::Forward => "forward",
            Operation::Activate => "activate",
            Operation::SoftmaxXent => "softmax_xent",
            Operation::InputGradient => "input_gradient",
            Operation::WeightGradient => "weight_gradient",
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

/// One step in so many is timed.
pub const ONE_IN: usize = 4;

/// Takes the times of one epoch of one trial.
pub struct Laps {
    begun: Instant,
    /// The end of the last operation.
    last: Instant,
    phase: Phase,
    /// Whether this step is timed.
    on: bool,
    /// Steps of this phase, from a number that differs from epoch to epoch.
    steps: usize,
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
    /// `[layer][operation]`
    laps: Vec<[Lap; ALL.len()]>,
}

/// How many there were, and how many were timed.
#[derive(Default, Clone, Copy)]
struct Counted {
    all: usize,
    timed: usize,
}

impl Counted {
    /// What something timed stands for.
    fn scale(self) -> f64 {
        self.all as f64 / self.timed.max(1) as f64
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
            let (calls, samples) = match operation {
                Operation::Shuffle => (1.0, 1.0), // outside of all steps
                _ => (self.steps.scale(), self.samples.scale()),
            };
            let seconds = (lap.time.as_secs_f64() - lap.calls as f64 * clock).max(0.0) * samples;
            let Work { flops, bytes } = lap.work;
            let work = Work { flops: flops * samples, bytes: bytes * samples };
            let spent = Spent { calls: lap.calls as f64 * calls, timed: lap.calls, seconds, work };
            (operation, layer, spent)
        })
    }
}

impl Laps {
    /// For an epoch that begins now, of a trial that was trained for `epochs` before.
    pub fn new(recorder: &Recorder, epochs: usize) -> Laps {
        let begun = Instant::now();
        Laps {
            begun,
            last: begun,
            phase: Phase::Training,
            on: true,
            steps: epochs,
            phases: Default::default(),
            spans_left: recorder.spans_an_epoch(),
            kept: Vec::new(),
        }
    }

    /// Hands the epoch over, which ends now.
    pub fn finish(self, recorder: &Recorder, thread: usize, name: &str) {
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
        records.loop_seconds += (ended - self.begun).as_secs_f64();
        if recorder.spans_an_epoch() > 0 {
            records.spans.push(span(name.to_owned(), self.begun, ended));
            let kept = self.kept.iter().map(|&(operation, layer, from, to)| {
                let place = if layer > 0 { format!(" {layer}") } else { String::new() };
                span(format!("{}{place}", operation.name()), from, to)
            });
            records.spans.extend(kept);
        }
        for (phase, sums) in [Phase::Training, Phase::Validation].into_iter().zip(&self.phases) {
            sums.rows(recorder.clock()).for_each(|(operation, layer, spent)| {
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
        (self.phase, self.on, self.last) = (phase, true, Instant::now());
    }

    fn step(&mut self, samples: usize) {
        self.steps += 1;
        let sums = &mut self.phases[self.phase as usize];
        // The first of an epoch always, so that there is one; and as many in a row as a trace shows.
        self.on = self.steps.is_multiple_of(ONE_IN) || sums.steps.timed == 0 || self.spans_left > 0;
        sums.steps.all += 1;
        sums.samples.all += samples;
        if self.on {
            sums.steps.timed += 1;
            sums.samples.timed += samples;
            self.last = Instant::now();
        }
    }

    fn lap(&mut self, operation: Operation, layer: usize, work: impl FnOnce() -> Work) {
        if !self.on {
            return;
        }
        let now = Instant::now();
        self.phases[self.phase as usize].add(operation, layer, now - self.last, work());
        if self.spans_left > 0 {
            self.spans_left -= 1;
            self.kept.push((operation, layer, self.last, now));
        }
        self.last = now;
    }
}
