//! What a reader of a measurement must know of the machine that it was made on.

use super::compare::{QUIET, share_of_cores};
use super::record::Round;
use super::statistics::{Summary, median};
use super::stopping::Stop;

/// Notes on a point: that the machine was busy, that it slowed down, that the result is not certain.
/// Each says what to do about it.
pub fn notes(rounds: &[Round], summary: &Summary, stop: Option<Stop>, error: f64) -> Vec<String> {
    let busy = || {
        let share = share_of_cores(rounds);
        (share < QUIET).then(|| {
            format!("busy: {:.0} % of the cores' time was had; close other programs", 100.0 * share)
        })
    };
    let slowed = || {
        let lost = slow_down(rounds);
        (lost > 0.1).then(|| {
            format!(
                "slowed: the machine slowed down by {:.0} % while this ran; let it cool, or leave it alone",
                100.0 * lost
            )
        })
    };
    let uncertain = || {
        (stop == Some(Stop::TimeLimit)).then(|| {
            format!(
                "uncertain: the time limit came before the median was known to {:.1} %; raise --time-limit",
                100.0 * error
            )
        })
    };
    let outliers = || {
        let share = summary.outliers as f64 / summary.count.max(1) as f64;
        (share > 0.1).then(|| format!("outliers: {:.0} % of the samples", 100.0 * share))
    };
    [busy(), slowed(), uncertain(), outliers()].into_iter().flatten().collect()
}

/// How much slower the machine was in the last third of the rounds of some pass than in its first:
/// by the reference, or where there is none by the work itself. Heat and neighbours do that.
fn slow_down(rounds: &[Round]) -> f64 {
    let passes = rounds.iter().map(|round| round.pass).max().map_or(0, |last| last + 1);
    let of_pass = |pass: usize| {
        let own: Vec<&Round> = rounds.iter().filter(|round| round.pass == pass).collect();
        let third = own.len() / 3;
        if third < 3 {
            return 0.0;
        }
        let time = |rounds: &[&Round]| {
            let one = |round: &&Round| match round.processor == 0.0 {
                true => round.wall,
                false => 1.0 / round.reference_processor,
            };
            median(&rounds.iter().map(one).collect::<Vec<_>>())
        };
        time(&own[own.len() - third..]) / time(&own[..third]) - 1.0
    };
    (0..passes).map(of_pass).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(speed: impl Fn(usize) -> f64, share: f64) -> Vec<Round> {
        let round = |i: usize| Round {
            pass: 0,
            wall: 1.0,
            processor: 1.0,
            reference_wall: 100.0 * speed(i) * share,
            reference_processor: 100.0 * speed(i),
        };
        (0..30).map(round).collect()
    }

    fn said(rounds: &[Round], samples: &[f64], stop: Stop) -> String {
        notes(rounds, &Summary::of(samples).unwrap(), Some(stop), 0.01).join("; ")
    }

    #[test]
    fn nothing_is_said_of_a_quiet_machine() {
        assert_eq!(said(&rounds(|_| 1.0, 1.0), &[1.0; 30], Stop::Certain), "");
        // One slow round is no slowing down.
        let hiccup = rounds(|i| if i == 29 { 0.3 } else { 1.0 }, 1.0);
        assert_eq!(said(&hiccup, &[1.0; 30], Stop::Certain), "");
    }

    #[test]
    fn a_busy_machine_a_hot_one_and_an_uncertain_result_are_told() {
        assert!(
            said(&rounds(|_| 1.0, 0.5), &[1.0; 30], Stop::Certain).contains("50 % of the cores")
        );
        let hot = rounds(|i| if i < 15 { 1.0 } else { 0.8 }, 1.0);
        assert!(said(&hot, &[1.0; 30], Stop::Certain).contains("slowed down by 25 %"));
        let said_of = said(&rounds(|_| 1.0, 1.0), &[1.0; 30], Stop::TimeLimit);
        assert!(said_of.contains("--time-limit"), "{said_of}");
    }

    #[test]
    fn many_outliers_are_told() {
        let mut samples = vec![1.0; 30];
        samples.extend([2.0; 6]);
        assert!(
            said(&rounds(|_| 1.0, 1.0), &samples, Stop::Certain).contains("17 % of the samples")
        );
    }
}
