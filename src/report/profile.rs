//! Profiles as tables, for the eye and for Markdown, and as JSON and CSV for scripts.

use std::io::Write;

use comfy_table::{TableStyle, presets};
use csv::Writer;
use serde_json::{Value as Json, json};

use super::table;
use crate::engine::profile::KernelFacts;
use crate::measure::profile::{Profile, Rates, RoofMet, Row, Unit};

/// A table for a terminal.
pub fn table(profile: &Profile) -> String {
    grid(profile, presets::NOTHING)
}

/// The same in Markdown.
pub fn markdown(profile: &Profile) -> String {
    grid(profile, presets::ASCII_MARKDOWN)
}

fn grid(profile: &Profile, style: TableStyle) -> String {
    let columns: Vec<&Column> = COLUMNS.iter().filter(|column| (column.shown)(profile)).collect();
    let mut table = table::empty(columns.iter().map(|column| column.title(profile.unit)));
    table.load_style(style);
    for row in &profile.rows {
        table.add_row(columns.iter().map(|column| (column.cell)(profile, row)));
    }
    table::finished(table, &["phase", "operation", "roof", "limit"])
}

/// A column of the table: its title, where it is shown, and what stands in it.
struct Column {
    title: &'static str,
    shown: fn(&Profile) -> bool,
    cell: fn(&Profile, &Row) -> String,
}

impl Column {
    fn title(&self, unit: Unit) -> &'static str {
        match (unit, self.title) {
            (Unit::WarpInstructions, "ms") => "warp instructions",
            (Unit::WarpInstructions, "us a call") => "instructions a call",
            (_, title) => title,
        }
    }
}

const COLUMNS: &[Column] = &[
    Column { title: "operation", shown: always, cell: |_, row| row.place.operation.to_string() },
    Column { title: "layer", shown: on_cpu, cell: |_, row| or_dash(row.place.layer) },
    Column {
        title: "phase",
        shown: on_cpu,
        cell: |_, row| or_dash(row.place.phase.map(|phase| phase.name())),
    },
    Column { title: "calls", shown: always, cell: |_, row| format!("{:.0}", row.spent.calls) },
    Column {
        title: "ms",
        shown: always,
        cell: |profile, row| match profile.unit {
            Unit::Seconds => format!("{:.2}", row.spent.seconds * 1e3),
            Unit::WarpInstructions => format!("{:.0}", row.spent.seconds * 1e9),
        },
    },
    Column { title: "share", shown: always, cell: |_, row| percent(row.share) },
    Column {
        title: "us a call",
        shown: always,
        cell: |profile, row| {
            let each = row.spent.seconds / row.spent.calls.max(1.0);
            match profile.unit {
                Unit::Seconds => format!("{:.3}", each * 1e6),
                Unit::WarpInstructions => format!("{:.0}", each * 1e9),
            }
        },
    },
    Column {
        title: "GFLOP/s",
        shown: has_time,
        cell: |_, row| {
            rate(row, |rates| (rates.flops_per_second > 0.0).then_some(rates.flops_per_second))
        },
    },
    Column {
        title: "GB/s",
        shown: has_time,
        cell: |_, row| rate(row, |rates| Some(rates.bytes_per_second)),
    },
    Column {
        title: "FLOP/B",
        shown: has_time,
        cell: |_, row| match &row.rates {
            Some(rates) if rates.flops_per_second > 0.0 => format!("{:.2}", rates.intensity()),
            _ => "-".to_owned(),
        },
    },
    Column {
        title: "roof",
        shown: has_roofs,
        cell: |_, row| or_dash(met(row).map(|(roof, _)| roof.name())),
    },
    Column {
        title: "of roof",
        shown: has_roofs,
        cell: |_, row| match met(row) {
            // Not under a roof of ours.
            None | Some((RoofMet::Cache, _)) => "-".to_owned(),
            Some((_, share)) => percent(share),
        },
    },
    Column {
        title: "threads",
        shown: on_gpu,
        cell: |_, row| fact(row, |kernel| kernel.threads.to_string()),
    },
    Column {
        title: "blocks",
        shown: on_gpu,
        cell: |_, row| fact(row, |kernel| (kernel.blocks / kernel.launches.max(1)).to_string()),
    },
    Column {
        title: "registers",
        shown: on_gpu,
        cell: |_, row| {
            fact(row, |kernel| or_dash(Some(kernel.registers).filter(|count| *count > 0)))
        },
    },
    Column {
        title: "shared B",
        shown: on_gpu,
        cell: |_, row| fact(row, |kernel| kernel.shared_bytes.to_string()),
    },
    Column {
        title: "spilled B",
        shown: on_gpu,
        cell: |_, row| fact(row, |kernel| kernel.local_bytes.to_string()),
    },
    Column {
        title: "occupancy",
        shown: on_gpu,
        cell: |_, row| fact(row, |kernel| percent(kernel.occupancy)),
    },
    Column {
        title: "limit",
        shown: on_gpu,
        cell: |_, row| fact(row, |kernel| kernel.limit.to_owned()),
    },
];

fn always(_: &Profile) -> bool {
    true
}

fn on_gpu(profile: &Profile) -> bool {
    profile.rows.iter().any(|row| row.kernel.is_some())
}

fn on_cpu(profile: &Profile) -> bool {
    !on_gpu(profile)
}

fn has_time(profile: &Profile) -> bool {
    profile.unit == Unit::Seconds
}

fn has_roofs(profile: &Profile) -> bool {
    profile.ceilings.is_some()
}

fn met(row: &Row) -> Option<(RoofMet, f64)> {
    row.rates.and_then(|rates| rates.met)
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// In units of 10^9 a second.
fn rate(row: &Row, of: impl Fn(&Rates) -> Option<f64>) -> String {
    row.rates.as_ref().and_then(of).map_or("-".to_owned(), |rate| format!("{:.1}", rate / 1e9))
}

fn fact(row: &Row, of: impl Fn(&KernelFacts) -> String) -> String {
    row.kernel.as_ref().map_or("-".to_owned(), of)
}

/// Everything, with the conditions that it holds under.
pub fn json(profile: &Profile, conditions: &Json) -> Json {
    json!({
        "event": "profile",
        "conditions": conditions,
        "unit": profile.unit.name(),
        "lanes": profile.lanes,
        "trial_epochs": profile.trial_epochs,
        "wall_seconds": profile.run.wall,
        "processor_seconds": profile.run.processor,
        "loop_seconds": profile.loop_seconds,
        "ceilings": profile.ceilings,
        "rows": profile.rows.iter().map(|row| json_row(row, profile.unit)).collect::<Vec<_>>(),
        "ticks": profile.ticks.map(|ticks| json!({
            "one_by_one": ticks.apart,
            "one_by_one_in_kernels": in_unit(ticks.apart_kernel_seconds, profile.unit),
            "one_by_one_between_kernels": in_unit(ticks.apart_gap_seconds, profile.unit),
            "in_graphs": ticks.graphs,
            "in_graphs_total": in_unit(ticks.graph_seconds, profile.unit),
        })),
    })
}

/// Seconds, or counted instructions.
fn in_unit(seconds: f64, unit: Unit) -> Json {
    match unit {
        Unit::Seconds => json!(seconds),
        Unit::WarpInstructions => json!((seconds * 1e9).round() as u64),
    }
}

fn json_row(row: &Row, unit: Unit) -> Json {
    let rates = row.rates.as_ref();
    let flops = rates.filter(|rates| rates.flops_per_second > 0.0);
    json!({
        "operation": row.place.operation,
        "layer": row.place.layer,
        "phase": row.place.phase.map(|phase| phase.name()),
        "calls": row.spent.calls.round(),
        "timed_calls": row.spent.timed,
        "total": in_unit(row.spent.seconds, unit),
        "share": row.share,
        "flop": row.spent.work.flops,
        "bytes": row.spent.work.bytes,
        "flops_per_second": flops.map(|rates| rates.flops_per_second),
        "bytes_per_second": rates.map(|rates| rates.bytes_per_second),
        "flop_per_byte": flops.map(Rates::intensity),
        "roof": met(row).map(|(roof, _)| roof.name()),
        "share_of_roof": met(row).filter(|(roof, _)| *roof != RoofMet::Cache).map(|(_, share)| share),
        "kernel": row.kernel.as_ref().map(|kernel| json!({
            "threads": kernel.threads,
            "blocks_a_launch": kernel.blocks / kernel.launches.max(1),
            "registers": kernel.registers,
            "shared_bytes": kernel.shared_bytes,
            "spilled_bytes": kernel.local_bytes,
            "resident_blocks": kernel.resident,
            "occupancy": kernel.occupancy,
            "limit": kernel.limit,
        })),
    })
}

/// A line a row (RFC 4180), with the fields of the JSON; what a row does not have is empty.
pub fn csv(profile: &Profile, out: &mut dyn Write) -> std::io::Result<()> {
    const FIELDS: [&str; 14] = [
        "operation",
        "layer",
        "phase",
        "calls",
        "timed_calls",
        "total",
        "share",
        "flop",
        "bytes",
        "flops_per_second",
        "bytes_per_second",
        "flop_per_byte",
        "roof",
        "share_of_roof",
    ];
    const KERNEL: [&str; 8] = [
        "threads",
        "blocks_a_launch",
        "registers",
        "shared_bytes",
        "spilled_bytes",
        "resident_blocks",
        "occupancy",
        "limit",
    ];
    let mut writer = Writer::from_writer(out);
    writer.write_record(FIELDS.into_iter().chain(["unit"]).chain(KERNEL))?;
    for row in &profile.rows {
        let json = json_row(row, profile.unit);
        let fields = FIELDS.iter().map(|field| plain(&json[field]));
        let kernel = KERNEL.iter().map(|field| plain(&json["kernel"][field]));
        writer.write_record(fields.chain([profile.unit.name().to_owned()]).chain(kernel))?;
    }
    writer.flush()
}

fn plain(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}
