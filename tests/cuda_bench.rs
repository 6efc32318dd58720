//! `warpsweep bench` on a GPU. On the simulated device every suite runs with counts in place of times,
//! the same in every run.

mod common;

use std::fs;
use std::process::Output;

use common::cli::{Home, stderr, stdout};
use common::cuda::gpu;
use serde_json::Value as Json;

fn run(home: &Home, arguments: &[&str]) -> Output {
    let mut command = home.warpsweep(arguments);
    if let Some(nvrtc) = std::env::var_os("WARPSWEEP_NVRTC") {
        command.env("WARPSWEEP_NVRTC", nvrtc);
    }
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    output
}

fn read(home: &Home, name: &str) -> Json {
    let text = fs::read_to_string(home.path(name)).expect("a file");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn every_suite_runs_on_the_gpu_and_a_simulated_one_is_said_to_be_one() {
    let Some(gpu) = gpu() else { return };
    let simulated = gpu.device.gpu().is_simulated();
    let home = Home::new();
    home.write_data("data", 120, 40, 8);
    let suites = ["gemm", "kernels", "train", "search", "data"];
    let fixed =
        ["--quick", "--device", "cuda:0", "--data", "data", "--min-time", "0", "--passes", "1"];
    let bench = |output: &str, baseline: &[&str]| {
        let line = [&["bench"][..], &suites, &fixed, &["--output", output], baseline].concat();
        run(&home, &line)
    };
    let first = bench("one.json", &[]);
    let one = read(&home, "one.json");
    assert_eq!(one["conditions"]["simulated"], simulated);
    assert_eq!(stdout(&first).contains("SIMULATED DEVICE"), simulated, "{}", stdout(&first));
    let points = one["points"].as_array().expect("points");
    for suite in suites {
        let measured = points.iter().filter(|p| p["suite"] == suite && p.get("measured").is_some());
        assert!(measured.count() > 0, "nothing of {suite} was measured");
    }
    for kernel in ["gather", "softmax_xent", "sgd", "init"] {
        let of = |point: &&Json| point["axes"]["op"] == kernel && point.get("measured").is_some();
        assert!(points.iter().any(|point| of(&point)), "{kernel} was not measured");
    }
    if !simulated {
        return;
    }
    assert_eq!(one["ceilings"], serde_json::json!([]));
    let counts = points.iter().filter_map(|point| point["measured"]["time"]["median"].as_f64());
    assert!(counts.clone().all(|count| count > 0.0 && count.fract() == 0.0));
    // Counts are exact, so beside its own baseline each point is the same to the last digit.
    bench("two.json", &["--baseline", "one.json", "--fail-on", "slower"]);
    for point in read(&home, "two.json")["points"].as_array().expect("points") {
        if point.get("measured").is_some() {
            assert_eq!(point["baseline"]["verdict"], "same", "{point}");
            assert_eq!(point["baseline"]["ratio"]["middle"], 1.0, "{point}");
        }
    }
}
