//! Searches by the program on the simulated device, which obeys the `CUDA_SIM_` variables.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;

use super::cli::{Home, export, stderr, without_times};

/// A search of twelve small models of all sorts.
pub fn search<'a>(data: &'a Path, study: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let fixed = [
        "search",
        "--data",
        data.to_str().expect("a UTF-8 path"),
        "--validation",
        "holdout:20",
        "--trials",
        "12",
        "--epochs",
        "2",
        "--seed",
        "17",
        "--param",
        "learning_rate=loguniform(1e-3,0.3)",
        "--param",
        "batch_size=choice(5,16,40)",
        "--param",
        "momentum=choice(0.0,0.9)",
        "--param",
        "layers=randint(0,2)",
        "--param",
        "units=lograndint(4,24)",
        "--param",
        "activation=choice(relu,tanh,gelu)",
        "--param",
        "dropout=uniform(0,0.4)",
        "--study",
        study,
    ];
    fixed.iter().chain(more).copied().collect()
}

/// The same of models that are trained inside one launch.
pub fn fused_search<'a>(data: &'a Path, study: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let one_layer_at_most =
        |argument| if argument == "layers=randint(0,2)" { "layers=randint(0,1)" } else { argument };
    let all = search(data, study, more).into_iter().map(one_layer_at_most);
    all.chain(["--kernel", "fused"]).collect()
}

/// The program on the device of this test run, which these variables change.
pub fn command(home: &Home, arguments: &[&str], set: &[(&str, &str)]) -> Command {
    let mut command = home.warpsweep(arguments);
    if let Some(nvrtc) = std::env::var_os("WARPSWEEP_NVRTC") {
        command.env("WARPSWEEP_NVRTC", nvrtc);
    }
    command.envs(set.iter().copied());
    command
}

/// Runs it to its end, which must be a success.
pub fn run(home: &Home, arguments: &[&str], set: &[(&str, &str)]) -> Output {
    let output = command(home, arguments, set).output().expect("the program starts");
    assert!(output.status.success(), "{arguments:?} with {set:?} failed: {}", stderr(&output));
    output
}

/// All that a finished study holds but the times.
pub fn numbers(home: &Home, study: &str) -> Json {
    let all = without_times(export(home, study));
    let trials = all["trials"].as_array().expect("a list of trials");
    assert_eq!(trials.len(), 12, "{study}: trials");
    assert!(trials.iter().all(|trial| trial["state"] == "complete"), "{study}: {all}");
    all
}

/// Whether the GPU of this test run is the simulated device; said aloud if not.
pub fn on_simulated_device() -> bool {
    let Some(gpu) = super::cuda::gpu() else { return false };
    let simulated = gpu.device.gpu().is_simulated();
    if !simulated {
        super::skip("a real GPU does not fail, fill up or double on demand");
    }
    simulated
}
