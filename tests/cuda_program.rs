//! The program where there is no CUDA: it starts, says what is missing, and takes nothing else
//! instead of what was asked for.

mod common;

use std::process::Output;

use common::cli::{Home, json_lines, stderr, stdout};

/// Runs the program where neither a driver nor NVRTC can be found, whatever this machine has.
fn without_cuda(home: &Home, arguments: &[&str]) -> Output {
    let nowhere = home.path("cache");
    let mut command = home.warpsweep(arguments);
    command.env("WARPSWEEP_NVRTC", &nowhere);
    // A machine with a driver still has it on the loader's path: then it has no GPU to show.
    command.env("CUDA_VISIBLE_DEVICES", "").env_remove("LD_LIBRARY_PATH");
    command.output().expect("the program starts")
}

#[test]
fn the_binary_is_linked_with_nothing_of_cuda() {
    let output = std::process::Command::new("ldd").arg(env!("CARGO_BIN_EXE_warpsweep")).output();
    let Ok(output) = output else { return common::skip("there is no ldd") };
    let linked = stdout(&output);
    assert!(linked.contains("libc"), "{linked}");
    assert!(!linked.contains("cuda") && !linked.contains("nvrtc"), "{linked}");
}

#[test]
fn auto_takes_the_cpu_and_says_why_in_every_output() {
    let home = Home::new();
    let data = home.write_data("data", 60, 20, 4);
    let data = data.to_str().unwrap();
    let common = ["--data", data, "--epochs", "1", "--validation", "holdout:20", "--json"];
    for command in [&["search", "--trials", "1"][..], &["train", "--save-model", "m.safetensors"]] {
        let output = without_cuda(&home, &[command, &common].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let summary = json_lines(&output).pop().unwrap();
        let why = summary["device_choice"].as_str().unwrap_or_default();
        assert!(why.contains("NVIDIA driver") && !why.contains("install"), "{summary}");
        assert_eq!(summary["precision"], "float32");
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
    let output = without_cuda(&home, &["eval", "m.safetensors", "--data", data, "--json"]);
    let result = json_lines(&output).pop().unwrap();
    assert!(result["device_choice"].as_str().is_some_and(|why| why.contains("NVIDIA driver")));
}

#[test]
fn asking_for_the_cpu_needs_no_reason() {
    let home = Home::new();
    let data = home.write_data("data", 60, 20, 4);
    let arguments = ["train", "--data", data.to_str().unwrap(), "--epochs", "1", "--json"];
    let options = ["--validation", "test", "--device", "cpu"];
    let output = without_cuda(&home, &[&arguments[..], &options].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(json_lines(&output).pop().unwrap()["device_choice"].is_null());
}

#[test]
fn asking_for_a_gpu_where_there_is_none_is_a_mistake_with_one_line() {
    let home = Home::new();
    for device in ["cuda", "cuda:0", "cuda:7"] {
        for command in ["search", "train"] {
            let output = without_cuda(&home, &[command, "--device", device, "--data", "synthetic"]);
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(said.contains("cpu") && stdout(&output).is_empty(), "{said}");
        }
    }
}

#[test]
fn a_precision_that_the_cpu_does_not_have_is_refused() {
    let home = Home::new();
    for (device, precision) in [("cpu", "tf32"), ("cpu", "3xtf32"), ("auto", "tf32")] {
        let asked = ["train", "--device", device, "--precision", precision, "--data", "synthetic"];
        let output = without_cuda(&home, &asked);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(precision) && said.contains("--precision fp32"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
