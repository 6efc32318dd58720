//! A profile's roofline plot, as SVG: operations by FLOP a byte and FLOP/s, under this machine's roofs.
//!
//! Plain text with no crate: two lines, a grid and some circles. Both axes are logarithmic, so a roof is a
//! straight line and equal distances are equal ratios.

use std::fmt::Write as _;

use crate::measure::ceilings::Ceilings;
use crate::measure::profile::{Profile, Rates, Row};

/// Pixels of the drawing, of its plot and of the list beside it.
const WIDTH: f64 = 1080.0;
const HEIGHT: f64 = 600.0;
const PLOT: Frame = Frame { left: 84.0, top: 84.0, right: 684.0, bottom: 520.0 };
const LIST: f64 = 716.0;
/// Letters of a line under the title.
const LINE: usize = 150;
/// Operations that are drawn and listed: the costliest.
const MOST: usize = 14;

/// Colours that are told apart on white, and in greys too by the numbers in the circles (Okabe and Ito).
const COLOURS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f"];

struct Frame {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

/// The ranges of both axes, in powers of ten.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    /// Whole powers of ten around all points and the ridge.
    fn around(ceilings: &Ceilings, points: &[(&Row, Rates)]) -> Axes {
        let powers = |values: &mut dyn Iterator<Item = f64>| {
            let logs = values.map(f64::log10).filter(|log| log.is_finite());
            let (low, high) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), log| {
                (low.min(log), high.max(log))
            });
            (low.floor(), (high + 0.05).ceil().max(low.floor() + 1.0))
        };
        let intensities = points.iter().map(|(_, rates)| rates.intensity());
        let speeds = points.iter().map(|(_, rates)| rates.flops_per_second);
        let ridge = ceilings.ridge();
        Axes {
            x: powers(&mut intensities.chain([ridge * 4.0, ridge / 4.0])),
            y: powers(
                &mut speeds
                    .chain([ceilings.flops_per_second * 1.1, ceilings.flops_per_second / 30.0]),
            ),
        }
    }

    fn x(&self, intensity: f64) -> f64 {
        let share = (intensity.log10() - self.x.0) / (self.x.1 - self.x.0);
        PLOT.left + share * (PLOT.right - PLOT.left)
    }

    fn y(&self, speed: f64) -> f64 {
        let share = (speed.log10() - self.y.0) / (self.y.1 - self.y.0);
        PLOT.bottom - share * (PLOT.bottom - PLOT.top)
    }
}

/// The plot; none without roofs, which a simulated device does not have.
pub fn svg(profile: &Profile, conditions: &str) -> Option<String> {
    let ceilings = profile.ceilings?;
    let has_flops = |row: &'_ Row| row.rates.filter(|rates| rates.flops_per_second > 0.0);
    let points = profile.rows.iter().filter_map(|row| Some((row, has_flops(row)?)));
    let points: Vec<(&Row, Rates)> = points.take(MOST).collect();
    let axes = Axes::around(&ceilings, &points);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    text(&mut out, (PLOT.left, 24.0), "font-size=\"16\"", "Roofline of a training run");
    for (index, line) in lines(conditions).iter().take(2).enumerate() {
        text(&mut out, (PLOT.left, 44.0 + 16.0 * index as f64), "fill=\"#555\"", line);
    }
    grid(&mut out, &axes);
    roofs(&mut out, &axes, &ceilings);
    for (index, (row, rates)) in points.iter().enumerate() {
        let place = (axes.x(rates.intensity()), axes.y(rates.flops_per_second));
        circle(&mut out, place, index, row.share);
    }
    list(&mut out, &points);
    let rest: f64 =
        profile.rows.iter().filter(|row| has_flops(row).is_none()).map(|r| r.share).sum();
    let note =
        format!("not drawn: {:.1} % of the time, in operations without products", 100.0 * rest);
    text(&mut out, (PLOT.left, HEIGHT - 14.0), "fill=\"#555\"", &note);
    out.push_str("</svg>\n");
    Some(out)
}

fn grid(out: &mut String, axes: &Axes) {
    let powers = |(low, high): (f64, f64)| low as i32..=high as i32;
    for power in powers(axes.x) {
        let (x, value) = (axes.x(10f64.powi(power)), 10f64.powi(power));
        line(out, ((x, PLOT.top), (x, PLOT.bottom)), "stroke=\"#ddd\"");
        let label =
            if value >= 1.0 { format!("{value}") } else { format!("{value:.*}", -power as usize) };
        text(out, (x, PLOT.bottom + 18.0), "text-anchor=\"middle\"", &label);
    }
    for power in powers(axes.y) {
        let y = axes.y(10f64.powi(power));
        line(out, ((PLOT.left, y), (PLOT.right, y)), "stroke=\"#ddd\"");
        let label = speed(10f64.powi(power));
        let label = label.trim_end_matches("FLOP/s");
        text(out, (PLOT.left - 8.0, y + 4.0), "text-anchor=\"end\"", label);
    }
    let middle = (PLOT.left + PLOT.right) / 2.0;
    let words = "FLOP a byte (each operand moved once)";
    text(out, (middle, PLOT.bottom + 38.0), "text-anchor=\"middle\"", words);
    let at = (PLOT.left - 58.0, (PLOT.top + PLOT.bottom) / 2.0);
    let turned =
        format!("text-anchor=\"middle\" transform=\"rotate(-90 {:.1} {:.1})\"", at.0, at.1);
    text(out, at, &turned, "FLOP/s");
}

/// Memory's roof, up to the ridge, and from there on the arithmetic's.
fn roofs(out: &mut String, axes: &Axes, ceilings: &Ceilings) {
    let peak = ceilings.flops_per_second;
    let least = 10f64.powf(axes.x.0).max(10f64.powf(axes.y.0) / ceilings.bytes_per_second);
    let start = (axes.x(least), axes.y(least * ceilings.bytes_per_second));
    let ridge = (axes.x(ceilings.ridge()), axes.y(peak));
    let style = "stroke=\"#222\" stroke-width=\"2\"";
    line(out, (start, ridge), style);
    line(out, (ridge, (PLOT.right, ridge.1)), style);
    let dashed = "stroke=\"#999\" stroke-dasharray=\"3 4\"";
    line(out, (ridge, (ridge.0, PLOT.bottom)), dashed);
    let words = format!("arithmetic {}", speed(peak));
    text(out, (PLOT.right - 4.0, ridge.1 - 8.0), "text-anchor=\"end\"", &words);
    let (rise, run) = (start.1 - ridge.1, ridge.0 - start.0);
    let at = (start.0 + 0.3 * run - 6.0, start.1 - 0.3 * rise - 6.0);
    let angle = -rise.atan2(run).to_degrees();
    let turned = format!("transform=\"rotate({angle:.2} {:.1} {:.1})\"", at.0, at.1);
    let words = format!("copy through memory {:.1} GB/s", ceilings.bytes_per_second / 1e9);
    text(out, at, &turned, &words);
}

/// An operation; its area is its share of the time.
fn circle(out: &mut String, (x, y): (f64, f64), index: usize, share: f64) {
    let radius = 8.0 + 22.0 * share.max(0.0).sqrt();
    let colour = COLOURS[index % COLOURS.len()];
    let _ = writeln!(
        out,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{colour}\" fill-opacity=\"0.55\" \
         stroke=\"{colour}\"/>"
    );
    let style = "text-anchor=\"middle\" font-weight=\"bold\"";
    text(out, (x, y + 4.0), style, &(index + 1).to_string());
}

fn list(out: &mut String, points: &[(&Row, Rates)]) {
    for (index, (row, rates)) in points.iter().enumerate() {
        let y = PLOT.top + 12.0 + 30.0 * index as f64;
        let colour = COLOURS[index % COLOURS.len()];
        let _ = writeln!(
            out,
            "<circle cx=\"{LIST}\" cy=\"{:.1}\" r=\"5\" fill=\"{colour}\"/>",
            y - 4.0
        );
        let layer = row.place.layer.map_or(String::new(), |layer| format!(" {layer}"));
        let phase = row.place.phase.map_or(String::new(), |phase| format!(", {}", phase.name()));
        let name = format!("{}  {}{layer}{phase}", index + 1, row.place.operation);
        text(out, (LIST + 12.0, y), "", &name);
        let roof = rates.met.map_or(String::new(), |(roof, share)| {
            format!(", {:.0} % of {}", 100.0 * share, roof.name())
        });
        let words = format!(
            "{:.1} % of the time, {}{roof}",
            100.0 * row.share,
            speed(rates.flops_per_second)
        );
        text(out, (LIST + 12.0, y + 13.0), "font-size=\"11\" fill=\"#555\"", &words);
    }
}

/// Cuts words into lines, at commas.
fn lines(words: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for part in words.split_inclusive(", ") {
        match lines.last_mut() {
            Some(line) if line.len() + part.len() <= LINE || line.is_empty() => line.push_str(part),
            _ => lines.push(part.to_owned()),
        }
    }
    lines
}

fn line(out: &mut String, (from, to): ((f64, f64), (f64, f64)), style: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        out,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>"
    );
}

fn text(out: &mut String, (x, y): (f64, f64), style: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{words}</text>");
}

/// FLOP/s in a unit that leaves one to three digits before the point.
fn speed(flops: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (size, unit) = UNITS.into_iter().find(|(size, _)| flops >= *size).unwrap_or((1.0, ""));
    let value = format!("{:.1}", flops / size);
    format!("{} {unit}FLOP/s", value.strip_suffix(".0").unwrap_or(&value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::profile::{Phase, Place, Spent, Work};
    use crate::measure::clock::Elapsed;
    use crate::measure::profile::{RoofMet, Unit};

    fn profile(ceilings: Option<Ceilings>) -> Profile {
        let rates = Rates {
            flops_per_second: 4e10,
            bytes_per_second: 1e10,
            met: Some((RoofMet::Memory, 0.5)),
        };
        let place = Place { phase: Some(Phase::Training), operation: "a<b".into(), layer: Some(1) };
        let work = Work { flops: 4e10, bytes: 1e10 };
        let spent = Spent { calls: 1.0, timed: 1, seconds: 1.0, work };
        let row = Row { place, spent, share: 0.9, rates: Some(rates), kernel: None };
        Profile {
            unit: Unit::Seconds,
            lanes: 1,
            trial_epochs: 1,
            run: Elapsed { wall: 1.0, processor: 1.0 },
            loop_seconds: 1.0,
            ceilings,
            rows: vec![row],
            ticks: None,
        }
    }

    #[test]
    fn roofs_meet_at_the_ridge_and_a_point_lies_where_its_rates_say() {
        let ceilings = Ceilings { flops_per_second: 1e11, bytes_per_second: 2e10 };
        let profile = profile(Some(ceilings));
        let axes = Axes::around(&ceilings, &[(&profile.rows[0], profile.rows[0].rates.unwrap())]);
        assert_eq!((axes.x, axes.y), ((0.0, 2.0), (9.0, 12.0)));
        assert_eq!(axes.x(10.0), (PLOT.left + PLOT.right) / 2.0);
        assert_eq!(axes.y(1e12), PLOT.top);
        let svg = svg(&profile, "cpu & more").expect("a plot");
        let (x, y) = (axes.x(4.0), axes.y(4e10));
        assert!(svg.contains(&format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\"")), "{svg}");
        let (x, y) = (axes.x(5.0), axes.y(1e11));
        assert!(svg.contains(&format!("x2=\"{x:.1}\" y2=\"{y:.1}\"")), "{svg}");
        assert!(svg.contains("a&lt;b") && svg.contains("cpu &amp; more"), "{svg}");
    }

    #[test]
    fn without_roofs_there_is_no_plot() {
        assert_eq!(svg(&profile(None), ""), None);
    }

    #[test]
    fn speeds_have_the_unit_that_fits() {
        let shown = [1e12, 2.5e11, 1e9, 3e3, 5.0].map(speed);
        assert_eq!(shown, ["1 TFLOP/s", "250 GFLOP/s", "1 GFLOP/s", "3 kFLOP/s", "5 FLOP/s"]);
    }
}
