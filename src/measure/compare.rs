//! Is it slower than yesterday? An answer from intervals, with a word for not knowing.
//!
//! Two runs cannot take turns, and between them the machine changes: its clock, its neighbours, the
//! other programs on its cores. What is done about it, each for a reason that was measured:
//!
//! - What disturbs only ever costs time. So a round keeps its fastest sample, and of each pass over all
//!   points, a while apart, the fastest round is its floor. The interval is around the two lowest floors: where
//!   they do not agree, the machine's own speed was not reached in two passes, and it is wide.
//! - Where cores had to be waited for, in either run, processor time stands in for wall time, in both.
//! - Samples take turns with a reference, a loop that never changes. Where that was slower at its best in one
//!   run than in the other, the machine was, and the work may owe as much of its time to that. Costs are not
//!   divided by it: the two do not slow down alike, and that was measured to add more noise than it takes.
//! - But for work that memory binds. Its floor is the luck of a moment in which nobody else used the memory,
//!   while the reference, a copy, is slowed down as it is. So there a round's cost is divided by its
//!   reference's, and the medians are compared: of 20 copies of 10 % more, floors found 11, medians 18.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ceilings::Roof;
use super::error::MeasureError;
use super::record::{Measured, Round, Run};
use super::statistics::{Interval, median, median_interval, quantile};
use super::workload::Ceiling;

/// Confidence of a run's interval where there is one pass only.
const CONFIDENCE: f64 = 0.99;

/// A round is clean if its reference was at least this fast, as a share of what it did at its best.
const CLEAN: f64 = 0.95;

/// What two runs of the same program differ by all the same: where its memory lay, above all. A change that is
/// surely within this is none, and none is called one that may be within it.
pub const DRIFT: f64 = 0.05;

/// [`DRIFT`] of work that several threads do: what they lose by waiting for each other depends on where the
/// system put them, and was 13 % apart in 40 runs.
pub const SHARED_DRIFT: f64 = 0.10;

/// Seconds from which on a call is long beside a disturbance, and beside the reference's millisecond: even its
/// fastest one met the machine as it was in the middle, and not at its best.
const LONG: f64 = 5e-3;

/// Below this share of a core's time that was had when it was wanted, the machine was busy.
pub const QUIET: f64 = 0.97;

/// What is said of a point beside its baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Same,
    Faster,
    Slower,
    /// The intervals are too wide to tell.
    Unclear,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Same => "same",
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::Unclear => "unclear",
        }
    }
}

/// Which clock a comparison goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    Wall,
    Processor,
}

/// A point beside its baseline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub verdict: Verdict,
    /// New cost over old: 1.1 is 10 % slower.
    pub ratio: Interval,
    pub clock: Clock,
}

/// Sets every point of a run beside the same point of an earlier one; new points stay alone.
pub fn compare(run: &mut Run, baseline: &Run) {
    for point in &mut run.points {
        let before = baseline.points.iter().find(|before| before.is_same(point));
        point.baseline = match (&point.measured, before.and_then(|before| before.measured.as_ref()))
        {
            (Some(now), Some(before)) => change(now, before),
            _ => None,
        };
    }
}

/// Refuses a baseline whose times say nothing about the program here.
pub fn check(run: &Run, baseline: &Run, path: &Path) -> Result<(), MeasureError> {
    let (here, there) = (&run.conditions, &baseline.conditions);
    let pairs = [
        ("machine", &there.machine, &here.machine),
        ("device", &there.device, &here.device),
        ("data set", &there.data_fingerprint, &here.data_fingerprint),
        ("seed", &there.seed.to_string(), &here.seed.to_string()),
    ];
    for (what, baseline, here) in pairs {
        if baseline != here {
            let (path, baseline, here) = (path.to_path_buf(), baseline.clone(), here.clone());
            return Err(MeasureError::OtherConditions { path, what, baseline, here });
        }
    }
    Ok(())
}

/// How a point stands to its baseline; none where one of them has too few rounds to say anything.
pub fn change(now: &Measured, before: &Measured) -> Option<Change> {
    if in_turn_with_copies(now) && in_turn_with_copies(before) {
        let ratio = copies(&now.rounds)?.over(&copies(&before.rounds)?);
        let verdict = verdict(&ratio, drift(now));
        return Some(Change { verdict, ratio, clock: Clock::Processor });
    }
    let busy = |measured: &Measured| is_busy(&measured.rounds);
    // Counts of a simulated device are exact, and there is no processor in them.
    let waits = |measured: &Measured| measured.rounds.iter().all(|round| round.processor == 0.0);
    let clock = match (busy(now) || busy(before)) && !waits(now) && !waits(before) {
        true => Clock::Processor,
        false => Clock::Wall,
    };
    let (now_cost, before_cost) = (cost(&now.rounds, clock)?, cost(&before.rounds, clock)?);
    let drift = if now_cost.is_exact() && before_cost.is_exact() { 0.0 } else { drift(now) };
    let ratio = now_cost.over(&before_cost);
    // Above 1: the machine was slower than it was for the baseline.
    let at_best = best_reference(&before.rounds) / best_reference(&now.rounds);
    let in_the_middle = match now_cost.low.min(before_cost.low) > LONG {
        true => middle_reference(&before.rounds) / middle_reference(&now.rounds),
        false => at_best,
    };
    let low = ratio.low / at_best.max(in_the_middle).max(1.0);
    let high = ratio.high / at_best.min(in_the_middle).min(1.0);
    let ratio = Interval { low, high, ..ratio };
    Some(Change { verdict: verdict(&ratio, drift), ratio, clock })
}

/// What is no change of such work.
fn drift(measured: &Measured) -> f64 {
    if Ceiling::is_of_several_threads(&measured.ceiling) { SHARED_DRIFT } else { DRIFT }
}

/// The verdict on a ratio of costs that lies in an interval.
fn verdict(ratio: &Interval, drift: f64) -> Verdict {
    match (ratio.low, ratio.high) {
        (low, _) if low > 1.0 + drift => Verdict::Slower,
        (_, high) if high < 1.0 / (1.0 + drift) => Verdict::Faster,
        (low, high) if low >= 1.0 / (1.0 + drift) && high <= 1.0 + drift => Verdict::Same,
        _ => Verdict::Unclear,
    }
}

/// Whether memory binds a point's work, and so the loop that it took turns with was a copy.
fn in_turn_with_copies(measured: &Measured) -> bool {
    let has_reference = measured.rounds.iter().any(|round| round.reference_processor != 1.0);
    measured.roof == Some(Roof::Copy) && has_reference
}

/// A call's cost in bytes that the reference copied in that time. Processor time in both: of a round it is
/// that of the middle sample, and not of the fastest, as the reference's is.
fn copies(rounds: &[Round]) -> Option<Interval> {
    let cost = |round: &Round| round.processor * round.reference_processor;
    median_interval(&rounds.iter().map(cost).collect::<Vec<f64>>(), CONFIDENCE)
}

/// A call's seconds on an undisturbed machine: an interval around the floor that was reached.
fn cost(rounds: &[Round], clock: Clock) -> Option<Interval> {
    let all: Vec<f64> = rounds.iter().map(|round| seconds(round, clock)).collect();
    // Exact: every round says the same.
    if let Some(&first) = all.first().filter(|first| all.iter().all(|cost| cost == *first)) {
        return Some(Interval { low: first, middle: first, high: first });
    }
    match floors(rounds, clock)[..] {
        // The machine's own speed lies below the lowest, and not far where the next is near.
        [lowest, next, ..] => Some(Interval {
            low: (2.0 * lowest - next).max(0.5 * lowest),
            middle: lowest,
            high: next,
        }),
        _ => median_interval(&all, CONFIDENCE),
    }
}

/// The cost that each pass came down to, lowest first.
fn floors(rounds: &[Round], clock: Clock) -> Vec<f64> {
    let passes = rounds.iter().map(|round| round.pass).max().map_or(0, |last| last + 1);
    let floor = |pass: usize| {
        let own = rounds.iter().filter(|round| round.pass == pass);
        floor_of(own.map(|round| seconds(round, clock)).collect(), clock)
    };
    let mut floors: Vec<f64> = (0..passes).filter_map(floor).collect();
    floors.sort_by(f64::total_cmp);
    floors
}

/// How far the two lowest floors lie apart, as a share of the lowest; none before there are two passes.
pub fn floors_apart(rounds: &[Round]) -> Option<f64> {
    match floors(rounds, clock_of(rounds))[..] {
        [lowest, next, ..] => Some(next / lowest - 1.0),
        _ => None,
    }
}

/// The cost that a pass came down to.
fn floor_of(mut costs: Vec<f64>, clock: Clock) -> Option<f64> {
    costs.sort_by(f64::total_cmp);
    match clock {
        Clock::Wall => costs.first().copied(),
        // What a thread has used is told late where it runs on another core, now and then too late.
        Clock::Processor => (!costs.is_empty()).then(|| quantile(&costs, 0.25)),
    }
}

/// The rounds in which nothing else had the core, as far as the reference tells.
fn clean(rounds: &[Round]) -> Vec<&Round> {
    let bar = CLEAN * best_reference(rounds);
    rounds.iter().filter(|round| round.reference_processor >= bar).collect()
}

/// How fast the reference was at its best: its fastest round but for two, which may have been luck.
fn best_reference(rounds: &[Round]) -> f64 {
    let mut rates: Vec<f64> = rounds.iter().map(|round| round.reference_processor).collect();
    rates.sort_by(|a, b| b.total_cmp(a));
    rates.get(2).or(rates.last()).copied().unwrap_or(1.0)
}

/// How fast the reference was in the middle of its rounds.
fn middle_reference(rounds: &[Round]) -> f64 {
    let rates: Vec<f64> = rounds.iter().map(|round| round.reference_processor).collect();
    if rates.is_empty() { 1.0 } else { median(&rates) }
}

fn seconds(round: &Round, clock: Clock) -> f64 {
    match clock {
        Clock::Wall => round.wall,
        Clock::Processor => round.processor,
    }
}

/// A call's cost in every clean round, by the clock that these rounds would be compared by.
pub fn costs(rounds: &[Round]) -> Vec<f64> {
    let clock = clock_of(rounds);
    clean(rounds)
        .into_iter()
        .map(|round| seconds(round, clock) * round.reference_processor)
        .collect()
}

fn clock_of(rounds: &[Round]) -> Clock {
    if is_busy(rounds) { Clock::Processor } else { Clock::Wall }
}

/// Whether cores had to be waited for.
fn is_busy(rounds: &[Round]) -> bool {
    share_of_cores(rounds) < QUIET
}

/// How much of a core's time the reference had when it wanted all of it: 1 on a quiet machine.
pub fn share_of_cores(rounds: &[Round]) -> f64 {
    // Of times, which add up, and not of rates.
    let times =
        |rate: &dyn Fn(&Round) -> f64| rounds.iter().map(|round| 1.0 / rate(round)).sum::<f64>();
    let share = times(&|round| round.reference_processor) / times(&|round| round.reference_wall);
    if share.is_finite() { share.min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::record::Work;
    use crate::measure::statistics::Summary;
    use crate::random::{Purpose, Stream, unit_f32};
    use serde_json::Map;

    /// A made-up run: calls of `cost` milliseconds in rounds with some noise, on a machine that runs
    /// at `speed` and gives only `share` of its cores.
    fn run(trial: u32, cost: f64, speed: f64, share: f64, noise: f64) -> Measured {
        let stream = Stream::new(9, Purpose::Synthetic(0), trial);
        let rounds = (0..120u64).map(|i| {
            let draw = |place: u64| f64::from(unit_f32(stream.word(4 * i + place)));
            // Each round at a speed of its own, which the reference shares.
            let speed = speed * (0.9 + 0.2 * draw(0));
            // Waiting for a core comes and goes.
            let waiting = if share < 1.0 { 1.0 + (1.0 / share - 1.0) * 2.0 * draw(1) } else { 1.0 };
            let processor = 1e-3 * cost / speed * (1.0 + noise * draw(2));
            Round {
                pass: i as usize / 15,
                wall: processor * waiting,
                processor,
                reference_wall: 1e11 * speed * share,
                reference_processor: 1e11 * speed,
            }
        });
        let rounds: Vec<Round> = rounds.collect();
        let walls: Vec<f64> = rounds.iter().map(|round| round.wall).collect();
        Measured {
            checked: String::new(),
            conditions: Map::new(),
            work: Work::default(),
            calls: 40,
            time: Summary::of(&walls).unwrap(),
            ceiling: String::new(),
            roof: None,
            share: None,
            cublas_seconds: None,
            rounds,
            notes: Vec::new(),
        }
    }

    fn verdicts(of: impl Fn(u32) -> [Measured; 2]) -> Vec<Verdict> {
        let one = |trial| {
            let [before, now] = of(trial);
            change(&now, &before).unwrap().verdict
        };
        (0..200).map(one).collect()
    }

    #[test]
    fn a_busy_machine_makes_no_program_slower() {
        for share in [1.0, 0.5, 0.1] {
            let found = verdicts(|trial| {
                [run(2 * trial, 5.0, 1.0, 1.0, 0.02), run(2 * trial + 1, 5.0, 1.0, share, 0.02)]
            });
            let clear = |verdict: &&Verdict| **verdict != Verdict::Unclear;
            assert!(found.iter().filter(clear).all(|&found| found == Verdict::Same), "{share}");
            assert!(found.iter().filter(clear).count() > 150, "{share}: {found:?}");
        }
    }

    #[test]
    fn work_of_several_threads_has_to_change_by_more() {
        let verdict = |threads: usize, cost| {
            let [before, now] = [(1, 5.0), (2, cost)].map(|(trial, cost)| {
                let ceiling = Ceiling::Processor(threads).name();
                Measured { ceiling, ..run(trial, cost, 1.0, 1.0, 0.001) }
            });
            change(&now, &before).unwrap().verdict
        };
        assert_eq!([1, 2].map(|threads| verdict(threads, 5.4)), [Verdict::Slower, Verdict::Same]);
        assert_eq!([1, 2].map(|threads| verdict(threads, 5.8)), [Verdict::Slower; 2]);
    }

    #[test]
    fn ten_percent_are_found_on_a_busy_machine_too_in_both_directions() {
        for (cost, expected) in [(5.5, Verdict::Slower), (5.0 / 1.1, Verdict::Faster)] {
            let found = verdicts(|trial| {
                [run(2 * trial, 5.0, 1.0, 0.8, 0.02), run(2 * trial + 1, cost, 1.0, 0.5, 0.02)]
            });
            let missed = found.iter().filter(|&&found| found != expected).count();
            assert!(missed <= 20, "{missed} of 200 not {expected:?}");
        }
    }

    #[test]
    fn what_is_too_noisy_is_mostly_unclear_and_seldom_wrong() {
        let found = verdicts(|trial| {
            [run(2 * trial, 5.0, 1.0, 1.0, 1.0), run(2 * trial + 1, 5.0, 1.0, 1.0, 1.0)]
        });
        let wrong = |&&found: &&Verdict| matches!(found, Verdict::Slower | Verdict::Faster);
        // Calls that take up to twice as long, each at random, and five of them a pass.
        assert!(found.iter().filter(wrong).count() <= 20, "{found:?}");
        assert!(found.iter().filter(|&&found| found == Verdict::Unclear).count() > 150);
    }

    #[test]
    fn waiting_for_a_core_decides_which_clock_is_compared() {
        let quiet = run(0, 5.0, 1.0, 1.0, 0.05);
        let busy = run(1, 5.0, 1.0, 0.5, 0.05);
        assert_eq!(change(&quiet, &quiet).unwrap().clock, Clock::Wall);
        assert_eq!(change(&quiet, &busy).unwrap().clock, Clock::Processor);
        assert!((share_of_cores(&busy.rounds) - 0.5).abs() < 1e-9);
        assert_eq!(share_of_cores(&[]), 1.0);
    }

    #[test]
    fn rounds_that_were_disturbed_do_not_move_the_floor() {
        let mut contended = run(0, 5.0, 1.0, 1.0, 0.0);
        let clean = cost(&contended.rounds, Clock::Wall).unwrap();
        // A neighbour comes by: the work takes half as long again, the reference twice as long.
        for round in contended.rounds.iter_mut().skip(1).step_by(2) {
            round.wall *= 1.5;
            round.reference_processor *= 0.5;
        }
        let with_neighbour = cost(&contended.rounds, Clock::Wall).unwrap();
        assert!(
            (with_neighbour.middle / clean.middle - 1.0).abs() < 0.1,
            "{with_neighbour:?} {clean:?}"
        );
    }

    #[test]
    fn passes_that_do_not_agree_on_the_floor_make_the_interval_wide() {
        let mut drifting = run(0, 5.0, 1.0, 1.0, 0.0);
        for round in &mut drifting.rounds {
            round.wall *= 1.0 + 0.2 * round.pass as f64;
        }
        let interval = cost(&drifting.rounds, Clock::Wall).unwrap();
        assert!(interval.high > 1.3 * interval.low, "{interval:?}");
        assert_ne!(
            change(&drifting, &run(1, 5.0, 1.0, 1.0, 0.0)).unwrap().verdict,
            Verdict::Slower
        );
    }

    #[test]
    fn a_pass_that_was_disturbed_throughout_does_not_move_the_floor() {
        let mut disturbed = run(0, 5.0, 1.0, 1.0, 0.01);
        disturbed
            .rounds
            .iter_mut()
            .filter(|round| round.pass < 4)
            .for_each(|round| round.wall *= 1.6);
        let found = change(&disturbed, &run(1, 5.0, 1.0, 1.0, 0.01)).unwrap();
        assert_eq!(found.verdict, Verdict::Same, "{found:?}");
    }

    #[test]
    fn what_a_slower_machine_explains_is_unclear_and_what_it_does_not_is_found() {
        let slower = |cost| change(&run(0, cost, 0.7, 1.0, 0.01), &run(1, 5.0, 1.0, 1.0, 0.01));
        assert_eq!(slower(5.0).unwrap().verdict, Verdict::Unclear);
        assert_eq!(slower(10.0).unwrap().verdict, Verdict::Slower);
        // A machine that was faster makes nothing slower.
        let found = change(&run(0, 5.5, 1.3, 1.0, 0.0), &run(1, 5.0, 1.0, 1.0, 0.0)).unwrap();
        assert_eq!(found.verdict, Verdict::Unclear, "{found:?}");
    }

    #[test]
    fn a_long_call_may_owe_what_the_machine_lost_in_the_middle_of_a_run() {
        let disturbed = |cost: f64| {
            let mut disturbed = run(0, cost, 1.0, 1.0, 0.0);
            // But for a few rounds, in which it was no slower, the machine had a neighbour.
            for round in disturbed.rounds.iter_mut().skip(4) {
                round.reference_processor *= 0.7;
                round.reference_wall *= 0.7;
            }
            disturbed.rounds.iter_mut().for_each(|round| round.wall /= 0.8);
            change(&disturbed, &run(1, cost, 1.0, 1.0, 0.0)).unwrap().verdict
        };
        assert_eq!(disturbed(50.0), Verdict::Unclear);
        assert_eq!(disturbed(0.5), Verdict::Slower);
    }

    #[test]
    fn what_memory_binds_is_compared_in_copies_of_the_moment() {
        let copy = |trial, cost| {
            let mut copy = run(trial, cost, 1.0, 1.0, 0.04);
            // Now and then nobody else used the memory: a floor that the other run did not see.
            let lucky = copy.rounds.iter_mut().skip(trial as usize % 7).step_by(40);
            lucky.for_each(|round| {
                round.wall *= 0.8;
                round.processor *= 0.8;
                round.reference_processor /= 0.8;
            });
            copy.roof = Some(Roof::Copy);
            copy
        };
        for (cost, expected) in [(5.0, Verdict::Same), (5.5, Verdict::Slower)] {
            let found = verdicts(|trial| [copy(2 * trial, 5.0), copy(2 * trial + 1, cost)]);
            let missed = found.iter().filter(|&&found| found != expected).count();
            assert!(missed <= 10, "{missed} of 200 not {expected:?}");
        }
    }

    #[test]
    fn exact_counts_are_compared_exactly_however_few() {
        let mut one = run(0, 5.0, 1.0, 1.0, 0.0);
        let round = |wall| Round {
            pass: 0,
            wall,
            processor: 0.0,
            reference_wall: 1.0,
            reference_processor: 1.0,
        };
        one.rounds = vec![round(1000.0)];
        let mut other = one.clone();
        let verdict = |now: &Measured, before: &Measured| change(now, before).unwrap().verdict;
        assert_eq!(verdict(&other, &one), Verdict::Same);
        other.rounds = vec![round(1001.0)];
        assert_eq!(verdict(&other, &one), Verdict::Slower);
        assert_eq!(verdict(&one, &other), Verdict::Faster);
        // Three rounds that differ are too few to say anything.
        other.rounds = [1.0, 2.0, 4.0].map(round).to_vec();
        assert_eq!(change(&other, &one), None);
    }
}
