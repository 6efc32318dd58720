//! Runs of the bench as tables, for the eye and for Markdown, and as comma-separated values.

use std::fmt::Write as _;

use csv::Writer;
use serde_json::Value as Json;

use super::table;
use crate::measure::ceilings::Roof;
use crate::measure::compare::{Change, Verdict};
use crate::measure::record::{Measured, PointRecord, Run, Work};

/// A suite's points with what they have in common taken out.
struct Section<'a> {
    suite: &'a str,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Conditions that all of its points share.
    common: Vec<String>,
    notes: Vec<String>,
}

/// Tables for the terminal, a suite each, then the conditions.
pub fn tables(run: &Run) -> String {
    let mut out = String::new();
    for section in sections(run) {
        let header = section.header.iter().map(String::as_str);
        let left = ["notes", "roof", "model", "baseline"];
        let _ = writeln!(out, "{}{}", title(&section), table::plain(header, &section.rows, &left));
        section.notes.iter().for_each(|note| {
            let _ = writeln!(out, "  {note}");
        });
    }
    out + &closing(run, "")
}

/// The same in Markdown.
pub fn markdown(run: &Run) -> String {
    let mut out = String::new();
    for section in sections(run) {
        let row = |cells: &[String]| {
            let cells = cells.iter().map(|cell| cell.replace('|', "\\|"));
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let rule = vec!["---".to_owned(); section.header.len()];
        let _ = write!(out, "{}\n{}{}", title(&section), row(&section.header), row(&rule));
        section.rows.iter().for_each(|cells| out += &row(cells));
        out.push('\n');
        section.notes.iter().for_each(|note| {
            let _ = writeln!(out, "- {note}");
        });
        // A line that follows a list at once would belong to it.
        out += if section.notes.is_empty() { "" } else { "\n" };
    }
    out + &closing(run, "\n")
}

/// What stands over a section: its suite, and the conditions that all its points share.
fn title(section: &Section<'_>) -> String {
    match &section.common[..] {
        [] => format!("{}\n", section.suite),
        common => format!("{}: {}\n", section.suite, common.join(", ")),
    }
}

/// What holds for the whole run.
fn closing(run: &Run, between: &str) -> String {
    let mut out = String::new();
    for named in &run.ceilings {
        let (gflops, gbytes) =
            (named.ceilings.flops_per_second / 1e9, named.ceilings.bytes_per_second / 1e9);
        let _ = writeln!(
            out,
            "ceilings of {}: {} GFLOP/s, {} GB/s copied{between}",
            named.name,
            figure(gflops),
            figure(gbytes)
        );
    }
    if run.conditions.simulated {
        let _ = writeln!(
            out,
            "SIMULATED DEVICE: counts of warp instructions (of bytes, for copies) in place of times; they say \
             nothing of a real GPU's speed{between}"
        );
    }
    let _ = writeln!(out, "conditions: {}", run.conditions);
    out
}

fn sections(run: &Run) -> Vec<Section<'_>> {
    let mut suites: Vec<&str> = Vec::new();
    for point in &run.points {
        if !suites.contains(&point.suite.as_str()) {
            suites.push(&point.suite);
        }
    }
    suites.into_iter().map(|suite| section(run, suite)).collect()
}

fn section<'a>(run: &'a Run, suite: &'a str) -> Section<'a> {
    let points: Vec<&PointRecord> =
        run.points.iter().filter(|point| point.suite == suite).collect();
    let measured: Vec<&PointRecord> =
        points.iter().copied().filter(|point| point.measured.is_some()).collect();
    let (common, own) = conditions(&measured);
    let columns = columns(run, &measured, &own);
    let axes = points.first().map(|point| point.axes.keys().cloned()).into_iter().flatten();
    let header = axes.chain(columns.iter().map(|column| column.title.clone())).collect();
    let row = |point: &&PointRecord| {
        let axes = point.axes.values().map(text);
        let cells = columns.iter().map(|column| (column.cell)(point));
        axes.chain(cells).collect::<Vec<String>>()
    };
    let rows = measured.iter().map(row).collect();
    let skipped = points.iter().filter_map(|point| point.skipped.as_deref());
    let notes = grouped(skipped.map(|reason| ("skipped", reason)))
        .chain(grouped(measured.iter().flat_map(|point| notes_of(point))));
    Section { suite, header, rows, common, notes: notes.collect() }
}

fn notes_of(point: &PointRecord) -> impl Iterator<Item = (&str, &str)> {
    let notes = point.measured.iter().flat_map(|measured| measured.notes.iter());
    notes.filter_map(|note| note.split_once(": "))
}

/// Notes of one kind, and skipped points of one reason, are one line: the first, and how many.
fn grouped<'a>(notes: impl Iterator<Item = (&'a str, &'a str)>) -> impl Iterator<Item = String> {
    let mut groups: Vec<(&str, &str, usize)> = Vec::new();
    for (kind, note) in notes {
        let same = |group: &&mut (&str, &str, usize)| {
            group.0 == kind && (kind != "skipped" || group.1 == note)
        };
        match groups.iter_mut().find(same) {
            Some((.., count)) => *count += 1,
            None => groups.push((kind, note, 1)),
        }
    }
    let line = |(kind, note, count): (&str, &str, usize)| match count {
        1 => format!("{kind} (1 point): {note}"),
        _ if kind == "skipped" => format!("{kind} ({count} points): {note}"),
        _ => format!("{kind} ({count} points): the first: {note}"),
    };
    groups.into_iter().map(line)
}

/// Conditions that all points share, in words, and the names of those that differ.
fn conditions(points: &[&PointRecord]) -> (Vec<String>, Vec<String>) {
    let of = |point: &PointRecord, name: &str| {
        point.measured.as_ref().and_then(|measured| measured.conditions.get(name)).cloned()
    };
    let (mut common, mut own) = (Vec::new(), Vec::new());
    let Some(first) = points.first() else { return (common, own) };
    let names = first.measured.iter().flat_map(|measured| measured.conditions.keys());
    for name in names {
        let value = of(first, name);
        if points.iter().any(|point| of(point, name) != value) {
            own.push(name.clone());
        } else if let Some(value) = value.filter(|value| !value.is_null()) {
            common.push(format!("{} {}", name.replace('_', " "), text(&value)));
        }
    }
    (common, own)
}

type Cell<'a> = Box<dyn Fn(&PointRecord) -> String + 'a>;

struct Column<'a> {
    title: String,
    cell: Cell<'a>,
}

fn column<'a>(
    title: &str,
    cell: impl Fn(&PointRecord, &Measured) -> Option<String> + 'a,
) -> Column<'a> {
    let cell = move |point: &PointRecord| {
        let measured = point.measured.as_ref();
        measured.and_then(|measured| cell(point, measured)).unwrap_or_else(|| "-".to_owned())
    };
    Column { title: title.to_owned(), cell: Box::new(cell) }
}

/// The columns behind the axes: only those that say something of some point.
fn columns<'a>(run: &'a Run, points: &[&PointRecord], own: &[String]) -> Vec<Column<'a>> {
    let mut columns: Vec<Column<'a>> = Vec::new();
    for name in own {
        let key = name.clone();
        let title = name.replace('_', " ");
        columns.push(column(&title, move |_, measured| measured.conditions.get(&key).map(text)));
    }
    if run.conditions.simulated {
        columns.push(column("count", |_, measured| Some(figure(measured.time.median))));
    } else {
        columns.push(column("time", |_, measured| Some(duration(measured.time.median))));
        columns.push(column("noise", |_, measured| Some(percent(measured.time.noise))));
        for (title, scale, amount) in RATES {
            let cell = move |_: &PointRecord, measured: &Measured| {
                let amount = amount(&measured.work);
                (amount > 0.0).then(|| figure(amount / measured.time.median / scale))
            };
            columns.push(column(title, cell));
        }
        columns.push(column("of ceiling", |_, measured| measured.share.map(percent)));
        columns.push(column("roof", |_, measured| {
            measured.roof.map(|roof| roof_name(roof).to_owned())
        }));
        columns.push(column("x cuBLAS", |_, measured| {
            measured.cublas_seconds.map(|seconds| format!("{:.2}", seconds / measured.time.median))
        }));
    }
    columns.push(column("baseline", |point, _| point.baseline.as_ref().map(change)));
    columns.push(column("notes", |point, _| {
        let kinds: Vec<&str> = notes_of(point).map(|(kind, _)| kind).collect();
        (!kinds.is_empty()).then(|| kinds.join(" "))
    }));
    columns.retain(|column| points.iter().any(|point| (column.cell)(point) != "-"));
    columns
}

type Amount = fn(&Work) -> f64;

/// Rates: title, unit, and what is counted.
const RATES: [(&str, f64, Amount); 5] = [
    ("trials/s", 1.0, |work| work.trials),
    ("trial-epochs/s", 1.0, |work| work.trial_epochs),
    ("sample-updates/s", 1.0, |work| work.sample_updates),
    ("GFLOP/s", 1e9, |work| work.flop),
    ("GB/s", 1e9, |work| work.bytes),
];

fn roof_name(roof: Roof) -> &'static str {
    match roof {
        Roof::Arithmetic => "arithmetic",
        Roof::Copy => "copy",
    }
}

/// `slower +10.2 % (+8.1 to +12.0)`
fn change(change: &Change) -> String {
    let percent = |ratio: f64| format!("{:+.1}", 100.0 * (ratio - 1.0));
    let ratio = &change.ratio;
    let word = change.verdict.name();
    format!(
        "{word} {} % ({} to {})",
        percent(ratio.middle),
        percent(ratio.low),
        percent(ratio.high)
    )
}

/// How many points have each verdict, in words; none without a baseline.
pub fn verdicts(run: &Run) -> Option<String> {
    let of = |verdict| {
        run.points
            .iter()
            .filter_map(|point| point.baseline)
            .filter(|c| c.verdict == verdict)
            .count()
    };
    let all = [Verdict::Same, Verdict::Faster, Verdict::Slower, Verdict::Unclear];
    let counts: Vec<String> = all
        .into_iter()
        .filter(|&verdict| of(verdict) > 0)
        .map(|verdict| format!("{} {}", of(verdict), verdict.name()))
        .collect();
    (!counts.is_empty()).then(|| format!("beside the baseline: {}", counts.join(", ")))
}

/// One line a point with plain numbers: seconds, and work a second.
pub fn csv(run: &Run) -> Result<String, String> {
    let mut axes: Vec<&String> = Vec::new();
    for name in run.points.iter().flat_map(|point| point.axes.keys()) {
        if !axes.contains(&name) {
            axes.push(name);
        }
    }
    let mut writer = Writer::from_writer(Vec::new());
    let time = if run.conditions.simulated { "count" } else { "seconds" };
    let fixed = [
        "median",
        "lower_quartile",
        "upper_quartile",
        "noise",
        "samples",
        "outliers",
        "trials_per_second",
        "trial_epochs_per_second",
        "sample_updates_per_second",
        "flop_per_second",
        "bytes_per_second",
        "roof",
        "share_of_ceiling",
        "cublas_seconds",
        "verdict",
        "ratio",
        "ratio_low",
        "ratio_high",
        "skipped",
        "notes",
        "conditions",
        "machine",
        "device",
        "data",
        "seed",
    ];
    let header = ["suite".to_owned()].into_iter().chain(axes.iter().map(|axis| axis.to_string()));
    let fixed = fixed.iter().map(|name| match *name {
        "median" | "lower_quartile" | "upper_quartile" => format!("{name}_{time}"),
        other => other.to_owned(),
    });
    writer.write_record(header.chain(fixed)).map_err(|error| error.to_string())?;
    for point in &run.points {
        let axes = axes.iter().map(|axis| point.axes.get(*axis).map(text).unwrap_or_default());
        let cells = [point.suite.clone()].into_iter().chain(axes).chain(csv_cells(run, point));
        writer.write_record(cells).map_err(|error| error.to_string())?;
    }
    let bytes = writer.into_inner().map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

fn csv_cells(run: &Run, point: &PointRecord) -> Vec<String> {
    let measured = point.measured.as_ref();
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let of = |value: fn(&Measured) -> f64| number(measured.map(value));
    let rate = |(_, _, amount): &(&str, f64, Amount)| {
        let rate = measured.map(|m| amount(&m.work) / m.time.median);
        number(rate.filter(|&rate| rate > 0.0 && !run.conditions.simulated))
    };
    let change = point.baseline;
    let conditions = measured.map(|m| Json::Object(m.conditions.clone()).to_string());
    let mut cells = vec![
        of(|m| m.time.median),
        of(|m| m.time.lower_quartile),
        of(|m| m.time.upper_quartile),
        of(|m| m.time.noise),
        of(|m| m.time.count as f64),
        of(|m| m.time.outliers as f64),
    ];
    cells.extend(RATES.iter().map(rate));
    cells.extend([
        measured.and_then(|m| m.roof).map(roof_name).unwrap_or_default().to_owned(),
        number(measured.and_then(|m| m.share)),
        number(measured.and_then(|m| m.cublas_seconds)),
        change.map(|change| change.verdict.name().to_owned()).unwrap_or_default(),
        number(change.map(|change| change.ratio.middle)),
        number(change.map(|change| change.ratio.low)),
        number(change.map(|change| change.ratio.high)),
        point.skipped.clone().unwrap_or_default(),
        measured.map(|m| m.notes.join("; ")).unwrap_or_default(),
        conditions.unwrap_or_default(),
        run.conditions.machine.clone(),
        run.conditions.device.clone(),
        run.conditions.data.clone(),
        run.conditions.seed.to_string(),
    ]);
    cells
}

fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Number(number) if number.is_f64() => figure(number.as_f64().unwrap_or(f64::NAN)),
        other => other.to_string(),
    }
}

/// Three significant digits, thousands kept apart: `0.0123`, `12.3`, `1,230`.
fn figure(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let digits = if value == 0.0 { 0 } else { 2 - value.abs().log10().floor() as i32 };
    if digits >= 0 {
        return format!("{value:.*}", digits.min(12) as usize);
    }
    let plain = format!("{value:.0}");
    let (sign, digits) = plain.strip_prefix('-').map_or(("", &*plain), |digits| ("-", digits));
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    format!("{sign}{out}")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// `1.23 ms`
fn duration(seconds: f64) -> String {
    let (value, unit) = match seconds {
        0.0..1e-6 => (seconds * 1e9, "ns"),
        1e-6..1e-3 => (seconds * 1e6, "us"),
        1e-3..1.0 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    format!("{} {unit}", figure(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_times_a_unit() {
        let figures = [0.0, 0.012345, 1.0, 12.345, 123.45, 1234.5, 1234567.0, -4321.0].map(figure);
        assert_eq!(figures, ["0", "0.0123", "1.00", "12.3", "123", "1,234", "1,234,567", "-4,321"]);
        let times = [5e-8, 1.234e-5, 0.0200, 3.0].map(duration);
        assert_eq!(times, ["50.0 ns", "12.3 us", "20.0 ms", "3.00 s"]);
    }

    #[test]
    fn notes_of_a_kind_are_one_line_and_reasons_are_told_apart() {
        let notes = [("busy", "50 %"), ("busy", "52 %"), ("skipped", "a"), ("skipped", "b")];
        let lines: Vec<String> = grouped(notes.into_iter()).collect();
        assert_eq!(
            lines,
            ["busy (2 points): the first: 50 %", "skipped (1 point): a", "skipped (1 point): b"]
        );
    }
}
