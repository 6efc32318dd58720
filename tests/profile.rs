//! `warpsweep profile` on the CPU engine: what it counts is what a model's sizes say, its trace opens in
//! the usual viewers, and no number of any trial is changed by it.

mod common;

use std::collections::BTreeMap;
use std::sync::Mutex;

use common::cli::{Home, export, json_lines, stderr, stdout};
use serde_json::Value as Json;
use warpsweep::data::{Split, Validation, synthetic};
use warpsweep::engine::cpu::CpuEngine;
use warpsweep::engine::profile::{Recorder, Records};
use warpsweep::engine::{Engine, EpochMetrics, Next, Observer, ShuffleMode, Task, Trial};
use warpsweep::model::{
    Activation, Architecture, Hidden, Hyperparameters, Init, LrSchedule, Parameters, Recipe,
};

/// A profile of two trials on 240 + 60 small images.
fn small<'a>(home: &Home, more: &[&'a str]) -> Vec<&'a str> {
    if !home.path("data").exists() {
        home.write_data("data", 300, 60, 8);
    }
    let fixed = ["profile", "--data", "data", "--validation", "holdout:60", "--trials", "2"];
    fixed.into_iter().chain(["--device", "cpu"]).chain(more.iter().copied()).collect()
}

/// The rows of a profile in JSON, by operation, layer and phase.
fn rows(profile: &Json) -> BTreeMap<String, Json> {
    let rows = profile["rows"].as_array().expect("rows");
    let name = |row: &Json| format!("{} {} {}", row["operation"], row["layer"], row["phase"]);
    rows.iter().map(|row| (name(row).replace('"', ""), row.clone())).collect()
}

#[test]
fn calls_and_flop_of_softmax_regression_are_those_of_its_sizes() {
    let home = Home::new();
    let output = home.succeed(&small(&home, &["--epochs", "3", "--format", "json"]));
    let profile = &json_lines(&output)[0];
    let rows = rows(profile);
    // Two trials, three epochs, 15 steps of 16 of 240 samples, 64 pixels and 10 classes.
    let forward = &rows["forward 1 train"];
    assert_eq!(forward["calls"], 2.0 * 3.0 * 15.0);
    assert_eq!(forward["flop"], 2.0 * 3.0 * 240.0 * 2.0 * 64.0 * 10.0);
    assert_eq!(rows["weight_gradient 1 train"]["flop"], forward["flop"]);
    assert_eq!(rows["forward 1 validate"]["flop"], 2.0 * 3.0 * 60.0 * 2.0 * 64.0 * 10.0);
    assert_eq!(rows["shuffle null train"]["calls"], 6.0);
    let operations = [
        "gather null train",
        "softmax_xent null train",
        "sgd 1 train",
        "softmax_xent null validate",
    ];
    operations.iter().for_each(|name| assert!(rows.contains_key(*name), "{name} of {rows:?}"));
    let shares: f64 = rows.values().filter_map(|row| row["share"].as_f64()).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    assert_eq!(profile["trial_epochs"], 6);
    assert_eq!(profile["conditions"]["batch_size"], 16);
    assert!(profile["ceilings"]["flops_per_second"].as_f64().is_some_and(|peak| peak > 0.0));
    assert_eq!(forward["roof"].as_str().map(str::is_empty), Some(false));
}

#[test]
fn the_layers_of_a_deep_model_have_rows_of_their_own() {
    let home = Home::new();
    // Of batches too small for zeros to be passed over.
    let model = ["--param", "layers=2", "--param", "units=80", "--batch-size", "30"];
    let arguments = small(&home, &[&model[..], &["--epochs", "1", "--format", "json"]].concat());
    let rows = rows(&json_lines(&home.succeed(&arguments))[0]);
    let flop = |name: &str| rows[name]["flop"].as_f64().unwrap_or_else(|| panic!("{name}"));
    let product = |inputs: f64, outputs: f64| 2.0 * 240.0 * 2.0 * inputs * outputs;
    for (layer, (inputs, outputs)) in [(64.0, 80.0), (80.0, 80.0), (80.0, 10.0)].iter().enumerate()
    {
        let number = layer + 1;
        assert_eq!(flop(&format!("forward {number} train")), product(*inputs, *outputs));
        assert_eq!(flop(&format!("weight_gradient {number} train")), product(*inputs, *outputs));
    }
    assert_eq!(flop("input_gradient 2 train"), product(80.0, 80.0));
    assert_eq!(flop("input_gradient 3 train"), product(80.0, 10.0));
    assert!(!rows.contains_key("input_gradient 1 train"), "pixels have no gradient");
    for name in ["gather null train", "activate 1 train", "activate 2 train"] {
        assert!(rows.contains_key(name), "{name} of {:?}", rows.keys());
    }
}

#[test]
fn of_values_that_are_zero_no_multiplication_is_counted() {
    let home = Home::new();
    let model = ["--param", "layers=2", "--param", "units=80", "--batch-size", "40"];
    let flop = |activation: &str, name: &str| {
        let activation = format!("activation={activation}");
        let more = ["--param", &activation, "--epochs", "1", "--format", "json"];
        let output = home.succeed(&small(&home, &[&model[..], &more].concat()));
        rows(&json_lines(&output)[0])[name]["flop"].as_f64().unwrap_or_else(|| panic!("{name}"))
    };
    for name in ["forward 2 train", "weight_gradient 2 train", "input_gradient 2 train"] {
        let (all, some) = (flop("tanh", name), flop("relu", name));
        assert_eq!(all, 2.0 * 240.0 * 2.0 * 80.0 * 80.0, "{name}");
        assert!(0.2 * all < some && some < 0.65 * all, "{name}: {some} of {all}");
    }
}

/// Every event of a trace has what a viewer needs; spans of a track nest or follow each other.
fn check_trace(trace: &Json) -> Vec<Json> {
    let events = trace["traceEvents"].as_array().expect("a list of events");
    let mut open: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    let mut last: BTreeMap<u64, f64> = BTreeMap::new();
    let mut named = Vec::new();
    let mut spans = Vec::new();
    for event in events {
        assert!(event["name"].is_string() && event["pid"].is_u64(), "{event}");
        let track = event["tid"].as_u64().expect("a track");
        if event["ph"] == "M" {
            assert!(event["args"]["name"].is_string(), "{event}");
            named.push(track);
            continue;
        }
        assert_eq!(event["ph"], "X", "{event}");
        assert!(named.contains(&track), "a track without a name: {event}");
        let start = event["ts"].as_f64().expect("a time");
        let duration = event["dur"].as_f64().expect("a duration");
        assert!(start >= 0.0 && duration >= 0.0, "{event}");
        assert!(last.get(&track).is_none_or(|last| *last <= start), "goes back: {event}");
        last.insert(track, start);
        let open = open.entry(track).or_default();
        while open.pop_if(|end| *end <= start + 1e-6).is_some() {}
        assert!(open.last().is_none_or(|end| start + duration <= end + 1e-3), "leaves: {event}");
        open.push(start + duration);
        spans.push(event.clone());
    }
    spans
}

#[test]
fn a_trace_has_every_epoch_and_the_first_operations_of_each() {
    let home = Home::new();
    let output = home.succeed(&small(&home, &["--trace", "t.json", "--epochs", "2"]));
    assert!(stderr(&output).contains("ui.perfetto.dev"), "{}", stderr(&output));
    let text = std::fs::read_to_string(home.path("t.json")).expect("a trace");
    let trace: Json = serde_json::from_str(&text).expect("JSON");
    let spans = check_trace(&trace);
    let count = |name: &str| spans.iter().filter(|span| span["name"] == name).count();
    for name in ["trial 0 epoch 1", "trial 0 epoch 2", "trial 1 epoch 1", "trial 1 epoch 2"] {
        assert_eq!(count(name), 1, "{name}");
    }
    // 15 training and 4 scoring steps an epoch, less than what is kept of each.
    assert_eq!(count("forward 1"), 4 * 19);
    assert_eq!(count("weight_gradient 1"), 4 * 15);
    assert_eq!(trace["otherData"]["unit"], "real time");
}

#[test]
fn a_roofline_is_drawn_as_svg() {
    let home = Home::new();
    home.succeed(&small(&home, &["--roofline", "r.svg"]));
    let svg = std::fs::read_to_string(home.path("r.svg")).expect("a drawing");
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{svg}");
    for words in ["forward 1, train", "copy through memory", "arithmetic", "not drawn"] {
        assert!(svg.contains(words), "{words} in {svg}");
    }
}

#[test]
fn the_same_rows_are_written_in_every_format() {
    let home = Home::new();
    let of = |format| stdout(&home.succeed(&small(&home, &["--format", format])));
    let table = of("table");
    assert!(table.contains("operations: ") && table.contains("roofs, measured"), "{table}");
    let markdown = of("markdown");
    assert!(markdown.contains("| weight_gradient "), "{markdown}");
    let csv = of("csv");
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let fields = reader.headers().expect("a header").clone();
    assert_eq!(fields.iter().take(3).collect::<Vec<_>>(), ["operation", "layer", "phase"]);
    let rows = reader.records().inspect(|row| assert!(row.is_ok(), "{row:?}")).count();
    let json: Json = serde_json::from_str(&of("json")).expect("one object");
    assert_eq!(json["rows"].as_array().map(Vec::len), Some(rows));
}

#[test]
fn what_cannot_be_profiled_gets_one_line() {
    let home = Home::new();
    let cases: [(&[&str], &str); 8] = [
        (&["--trials", "0"], "--trials"),
        (&["--epochs", "0"], "--epochs"),
        (&["--overhead", "0"], "--overhead"),
        (&["--once", "forward"], "--device cuda"),
        (&["--trace", "missing/t.json"], "its folder does not exist"),
        (&["--roofline", "data"], "it is a folder"),
        (&["--format", "yaml"], "markdown"),
        (&["--param", "unit=3"], "units"),
    ];
    for (more, expected) in cases {
        let arguments = small(&home, &[]);
        let arguments: Vec<&str> = arguments
            .into_iter()
            .filter(|a| *a != "--trials" && *a != "2")
            .chain(more.iter().copied())
            .collect();
        let output = home.run(&arguments);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {message}");
        assert_eq!(message.lines().count(), 1, "{more:?}: {message}");
        assert!(message.contains(expected), "{more:?}: {message}");
        assert_eq!(stdout(&output), "", "{more:?}");
    }
}

#[test]
fn profiling_and_searching_are_of_the_same_trials() {
    let home = Home::new();
    let arguments = small(&home, &["--overhead", "1", "--epochs", "1"]);
    let output = stdout(&home.succeed(&arguments));
    assert!(output.contains("profiling costs") && output.contains("median of 1 pair"), "{output}");
    assert!(!home.path("s.jsonl").exists());
    let search = ["search", "--data", "data", "--validation", "holdout:60", "--trials", "2"];
    home.succeed(&[&search[..], &["--epochs", "1", "--study", "s.jsonl", "--quiet"]].concat());
    assert_eq!(export(&home, "s.jsonl")["trials"].as_array().map(Vec::len), Some(2));
}

/// Keeps what every epoch of every trial came to, without its time.
#[derive(Default)]
struct Keep {
    recorder: Option<Recorder>,
    epochs: Mutex<Vec<(usize, EpochMetrics, Parameters)>>,
}

impl Observer for Keep {
    fn after_epoch(
        &self,
        slot: usize,
        metrics: EpochMetrics,
        parameters: &dyn Fn() -> warpsweep::Result<Parameters>,
    ) -> warpsweep::Result<Next> {
        let metrics = EpochMetrics { seconds: 0.0, ..metrics };
        self.epochs.lock().expect("no panic").push((slot, metrics, parameters()?));
        Ok(if metrics.epoch == 2 { Next::Finish } else { Next::Train })
    }

    fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }
}

/// All numbers of two trials, and the records of them if they were recorded.
fn train(
    units: &[usize],
    recorder: Option<Recorder>,
) -> (Vec<(usize, EpochMetrics, Parameters)>, Option<Records>) {
    let data = synthetic::generate_sized(330, 50);
    let split = Split::new(data, Validation::Holdout(130)).expect("a split");
    let task = Task { split, seed: 3, shuffle: ShuffleMode::PerTrial };
    let hidden =
        units.iter().map(|&units| Hidden { units, activation: Activation::Gelu, dropout: 0.2 });
    let architecture = Architecture { inputs: 784, hidden: hidden.collect(), classes: 10 };
    let hyperparameters = Hyperparameters {
        learning_rate: 0.05,
        lr_schedule: LrSchedule::Cosine,
        batch_size: 23,
        momentum: 0.9,
        nesterov: true,
        weight_decay: 1e-3,
        label_smoothing: 0.1,
        init: Init::Default,
    };
    let recipe = Recipe { architecture, hyperparameters, epochs: 2 };
    let trials = (0..2).map(|number| Trial { number, recipe: recipe.clone() }).collect();
    let keep = Keep { recorder, epochs: Mutex::default() };
    let engine = CpuEngine::new(Some(2)).expect("an engine");
    engine.array(&task, trials).expect("an array").advance(&keep).expect("training");
    let mut epochs = keep.epochs.into_inner().expect("no panic");
    epochs.sort_by_key(|(slot, metrics, _)| (*slot, metrics.epoch));
    (epochs, keep.recorder.map(Recorder::into_records))
}

#[test]
fn a_recorder_changes_no_bit_of_any_trial() {
    for units in [&[][..], &[70, 20]] {
        let (plain, _) = train(units, None);
        let (recorded, records) = train(units, Some(Recorder::new(true)));
        assert!(plain == recorded, "{units:?}: a recorded trial has other numbers");
        let records = records.expect("records");
        assert_eq!(records.trial_epochs, 4);
        assert!(records.spent.values().all(|spent| spent.timed > 0), "{units:?}: {records:?}");
    }
}
