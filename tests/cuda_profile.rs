//! `warpsweep profile --device cuda`: on the simulated device counts stand in the place of times, and
//! are called counts.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::cli::{Home, json_lines, stderr, stdout};
use common::cuda_search::{command, on_simulated_device, run};
use serde_json::Value as Json;

/// A profile of three models of two sorts on 40 + 20 images of 16 pixels.
fn small<'a>(home: &Home, more: &[&'a str]) -> Vec<&'a str> {
    if !home.path("data").exists() {
        home.write_data("data", 60, 20, 4);
    }
    let fixed = ["profile", "--data", "data", "--validation", "holdout:20", "--trials", "3"];
    let model = ["--device", "cuda", "--param", "layers=1", "--param", "units=24", "--epochs", "2"];
    fixed.into_iter().chain(model).chain(more.iter().copied()).collect()
}

fn rows(profile: &Json) -> BTreeMap<String, Json> {
    let rows = profile["rows"].as_array().expect("rows").iter();
    rows.map(|row| (row["operation"].as_str().expect("a name").to_owned(), row.clone())).collect()
}

/// The row of a kernel, whatever its tile.
fn row<'a>(rows: &'a BTreeMap<String, Json>, kernel: &str) -> &'a Json {
    let found = rows.iter().find(|(name, _)| name.starts_with(kernel));
    found.unwrap_or_else(|| panic!("no {kernel} in {:?}", rows.keys())).1
}

/// What the simulated device counted.
fn counts(home: &Home, file: &str) -> BTreeMap<String, Json> {
    let text = std::fs::read_to_string(home.path(file)).expect("counts");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_simulated_device_is_profiled_in_counts_that_are_those_of_the_device() {
    if !on_simulated_device() {
        return;
    }
    let home = Home::new();
    let arguments = small(&home, &["--format", "json"]);
    let counted = home.path("counts.json");
    let counted = counted.to_str().expect("a UTF-8 path");
    let profile = json_lines(&run(&home, &arguments, &[("CUDA_SIM_COUNTS", counted)])).remove(0);
    assert_eq!(profile["unit"], "warp instructions");
    assert_eq!(profile["ceilings"], Json::Null);
    assert_eq!(profile["trial_epochs"], 6);
    let notes = profile["notes"].to_string();
    assert!(notes.contains("simulated device") && notes.contains("counted"), "{notes}");
    let ticks = &profile["ticks"];
    assert!(ticks["one_by_one"].as_u64() > Some(0) && ticks["in_graphs"].as_u64() > Some(0));

    let (rows, counts) = (rows(&profile), counts(&home, "counts.json"));
    for kernel in ["begin", "gather", "forward", "softmax_xent", "input_gradient", "sgd_bias"] {
        let row = row(&rows, kernel);
        let name = row["operation"].as_str().expect("a name");
        let count = &counts[name];
        assert_eq!(row["calls"].as_f64(), count["launches"].as_f64(), "{name}");
        // From three graphs in four, and the trials idle in the last ticks.
        let share = row["total"].as_f64().expect("instructions")
            / count["warp_instructions"].as_f64().expect("a count");
        assert!((0.8..1.25).contains(&share), "{name}: {share}");
        assert_eq!(row["flops_per_second"], Json::Null, "a simulated device has no rates");
        assert!(row["kernel"]["threads"].as_u64() >= Some(32), "{row}");
        assert!(row["kernel"]["limit"].as_str().is_some_and(|limit| !limit.is_empty()), "{row}");
    }
    // Three trials, two epochs: 40 samples forward and 20 scored, through 16 x 24 and 24 x 10.
    let flop = |kernel: &str| {
        let all = rows.iter().filter(|(name, _)| name.starts_with(kernel));
        all.map(|(_, row)| row["flop"].as_f64().expect("a number")).sum::<f64>()
    };
    let weights = 16.0 * 24.0 + 24.0 * 10.0;
    assert_eq!(flop("forward"), 6.0 * 60.0 * 2.0 * weights);
    assert_eq!(flop("weight_gradient"), 6.0 * 40.0 * 2.0 * weights);
    assert_eq!(flop("input_gradient"), 6.0 * 40.0 * 2.0 * 240.0);
}

#[test]
fn a_fused_kernel_is_one_row_with_all_the_products_of_its_trials() {
    if !on_simulated_device() {
        return;
    }
    let home = Home::new();
    home.write_data("data", 60, 20, 4);
    let fixed = ["profile", "--data", "data", "--validation", "holdout:20", "--trials", "3"];
    let more = ["--device", "cuda", "--kernel", "fused", "--epochs", "2", "--format", "json"];
    let output = run(&home, &[&fixed[..], &more].concat(), &[]);
    let profile = json_lines(&output).remove(0);
    let rows = rows(&profile);
    assert_eq!(rows.len(), 1, "{rows:?}");
    let fused = row(&rows, "fused_softmax");
    // Three trials, two epochs: 40 samples forward and back and 20 scored, through 16 x 10.
    assert_eq!(fused["flop"], 6.0 * (60.0 + 40.0) * 2.0 * 160.0);
    assert_eq!(profile["trial_epochs"], 6);
    assert!(profile["notes"].to_string().contains("--kernel layered"), "{profile}");
}

#[test]
fn the_table_of_a_simulated_device_shows_instructions_and_no_milliseconds() {
    if !on_simulated_device() {
        return;
    }
    let home = Home::new();
    let table = stdout(&run(&home, &small(&home, &[]), &[]));
    for words in ["warp instructions", "occupancy", "limit", "too few blocks", "in their place"] {
        assert!(table.contains(words), "{words} in {table}");
    }
    for words in [" ms", "GFLOP/s", "of roof"] {
        assert!(!table.contains(words), "{words} in {table}");
    }
}

#[test]
fn once_launches_a_kernel_exactly_once() {
    if !on_simulated_device() {
        return;
    }
    let home = Home::new();
    let counted = home.path("once.json");
    let counted = counted.to_str().expect("a UTF-8 path");
    // The second forward product of the model is another launch of the same name or of another tile.
    for kernel in ["gather", "forward", "sgd_bias"] {
        let arguments = small(&home, &["--once", kernel, "--format", "json"]);
        let output = run(&home, &arguments, &[("CUDA_SIM_COUNTS", counted)]);
        let profile = json_lines(&output).remove(0);
        let rows = rows(&profile);
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(row(&rows, kernel)["calls"], 1.0);
        let counts = counts(&home, "once.json");
        let launched = counts.iter().filter(|(name, _)| name.starts_with(kernel));
        let launches: u64 = launched.filter_map(|(_, count)| count["launches"].as_u64()).sum();
        assert_eq!(launches, 1, "{kernel}: {counts:?}");
    }
}

#[test]
fn a_kernel_that_is_not_launched_is_refused_with_those_that_are() {
    if !on_simulated_device() {
        return;
    }
    let home = Home::new();
    let arguments = small(&home, &["--once", "convolution"]);
    let output = command(&home, &arguments, &[]).output().expect("the program starts");
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.contains("convolution") && message.contains("softmax_xent"), "{message}");
}

#[test]
fn a_roofline_of_a_device_without_a_clock_is_refused() {
    if !on_simulated_device() {
        return;
    }
    let home = Home::new();
    let output = command(&home, &small(&home, &["--roofline", "r.svg"]), &[]).output();
    let output = output.expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no times"), "{}", stderr(&output));
    assert!(!home.path("r.svg").exists());
}

#[test]
fn a_trace_has_kernels_graphs_and_the_epochs_of_every_trial() {
    if !on_simulated_device() {
        return;
    }
    let home = Home::new();
    run(&home, &small(&home, &["--trace", "t.json"]), &[]);
    let text = std::fs::read_to_string(home.path("t.json")).expect("a trace");
    let trace: Json = serde_json::from_str(&text).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let names: Vec<&str> = events.iter().filter_map(|event| event["name"].as_str()).collect();
    for name in ["gather", "softmax_xent", "epoch 1", "epoch 2", "graph of 1 ticks"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let track = |name: &str| events.iter().any(|event| event["args"]["name"] == name);
    assert!(track("cuda:0 kernels") && track("cuda:0 trial 2"), "{events:?}");
    assert!(trace["otherData"]["unit"].to_string().contains("instruction"));
}

/// The lines of a tool that listened to a command's NVTX ranges: the simulated device itself.
fn ranges(home: &Home, arguments: &[&str]) -> Vec<String> {
    let folders = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let libraries = std::env::split_paths(&folders).map(|folder| folder.join("libcuda.so.1"));
    let tool: PathBuf = libraries.into_iter().find(|path| path.exists()).expect("the driver");
    let file = home.path("nvtx.txt");
    let text = |path: &PathBuf| path.to_str().expect("a UTF-8 path").to_owned();
    let set = [("NVTX_INJECTION64_PATH", text(&tool)), ("CUDA_SIM_NVTX", text(&file))];
    let set: Vec<(&str, &str)> = set.iter().map(|(name, value)| (*name, value.as_str())).collect();
    run(home, arguments, &set);
    let lines = std::fs::read_to_string(&file).unwrap_or_default();
    let _ = std::fs::remove_file(&file);
    lines.lines().map(str::to_owned).collect()
}

#[test]
fn a_tool_that_listens_hears_trials_epochs_and_kernels_by_name() {
    if !on_simulated_device() {
        return;
    }
    let home = Home::new();
    let heard = ranges(&home, &small(&home, &[]));
    for trial in 0..3 {
        for epoch in [1, 2] {
            let range = format!(" trial {trial} epoch {epoch}");
            let begun: Vec<_> = heard.iter().filter(|line| line.ends_with(&range)).collect();
            assert_eq!(begun.len(), 1, "{range} in {heard:?}");
            let number = begun[0].split(' ').nth(1).expect("a number");
            assert!(heard.contains(&format!("end {number}")), "{range} never ends");
        }
    }
    assert!(heard.contains(&"push gather".to_owned()), "{heard:?}");
    let count = |word: &str| heard.iter().filter(|line| line.starts_with(word)).count();
    assert_eq!(count("push "), count("pop"));

    let once = ranges(&home, &small(&home, &["--once", "softmax_xent"]));
    assert!(once.contains(&"push once softmax_xent".to_owned()), "{once:?}");
}

#[test]
fn a_search_on_the_cpu_is_heard_as_well() {
    if !on_simulated_device() {
        return;
    }
    let home = Home::new();
    home.write_data("data", 60, 20, 4);
    let fixed = ["search", "--data", "data", "--validation", "holdout:20", "--trials", "2"];
    let heard = ranges(&home, &[&fixed[..], &["--epochs", "1", "--device", "cpu"]].concat());
    assert_eq!(heard.iter().filter(|line| line.starts_with("start ")).count(), 2, "{heard:?}");
    assert_eq!(heard.iter().filter(|line| line.starts_with("end ")).count(), 2, "{heard:?}");
}
