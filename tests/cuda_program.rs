//! The program where there is no CUDA: it starts, says what is missing, and takes nothing else
//! instead of what was asked for.

mod common;

use std::process::{Command, Output};

use common::cli::{Home, json_lines, stderr, stdout};
use common::cuda::gpu;

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

/// The program with this process's driver and NVRTC.
fn on_this_gpu(home: &Home, arguments: &[&str]) -> Command {
    let mut command = home.warpsweep(arguments);
    if let Some(nvrtc) = std::env::var_os("WARPSWEEP_NVRTC") {
        command.env("WARPSWEEP_NVRTC", nvrtc);
    }
    command
}

/// Runs the program on the first GPU, real or simulated, which must succeed.
fn on_a_gpu(home: &Home, arguments: &[&str]) -> Output {
    let output = on_this_gpu(home, arguments).output().expect("the program starts");
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    output
}

const SMALL: [&str; 8] =
    ["--epochs", "2", "--batch-size", "16", "--validation", "holdout:20", "--json", "--seed=5"];

#[test]
fn a_search_on_a_gpu_draws_and_finds_what_the_cpu_does() {
    let (Some(_), home) = (gpu(), Home::new()) else { return };
    let data = home.write_data("data", 84, 20, 4);
    let data = ["--data", data.to_str().unwrap()];
    let space = ["--param", "learning_rate=loguniform(1e-3,1)", "--param", "layers=randint(0,1)"];
    let search = |device: &str| {
        let study = format!("{device}.journal");
        let own = ["search", "--trials", "3", "--device", device, "--study", &study];
        let output = on_a_gpu(&home, &[&own[..], &data, &space, &SMALL].concat());
        let mut lines = json_lines(&output);
        let summary = lines.pop().unwrap();
        lines.sort_by_key(|trial| trial["number"].as_u64());
        (summary, lines)
    };
    let (cpu, cuda) = (search("cpu"), search("cuda:0"));
    assert!(cuda.0["device"].as_str().is_some_and(|device| device.starts_with("cuda (")));
    assert_eq!(cuda.0["precision"], "float32");
    assert!(cuda.0["device_choice"].is_null());
    assert_eq!(cuda.1.len(), 3);
    for (cpu, cuda) in cpu.1.iter().zip(&cuda.1) {
        assert_eq!(cpu["params"], cuda["params"]);
        let wrong = |trial: &serde_json::Value| 20.0 * trial["value"].as_f64().unwrap();
        // Rounding may tip a sample that is near a tie.
        assert!((wrong(cpu) - wrong(cuda)).abs() < 1.5, "{cpu} {cuda}");
    }
    // A study belongs to the arithmetic that it was made with: the other is refused.
    let mut other = home.warpsweep(&["search", "--trials", "3", "--device", "cpu"]);
    other.args(["--study", "cuda:0.journal"]).args(data).args(space).args(SMALL);
    let other = other.output().unwrap();
    assert_eq!(other.status.code(), Some(2), "{}", stderr(&other));
    assert!(stderr(&other).contains("engine"), "{}", stderr(&other));
}

#[test]
fn auto_takes_the_gpus_that_can_be_used_and_says_why() {
    let (Some(_), home) = (gpu(), Home::new()) else { return };
    let data = home.write_data("data", 84, 20, 4);
    let data = ["--data", data.to_str().unwrap()];
    let mut train = on_this_gpu(&home, &[&["train"], &data[..], &SMALL].concat());
    // Taken for a GPU: a real one is one anyway.
    let output = train.envs([("CUDA_SIM_NAME", "GPU of a test"), ("WARPSWEEP_CUDA_PTX", "1")]);
    let output = output.output().expect("the program starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let summary = json_lines(&output).pop().unwrap();
    assert!(summary["device"].as_str().is_some_and(|device| device.starts_with("cuda (")));
    assert!(summary["device_choice"].as_str().is_some_and(|why| why.contains("usable GPU")));
    assert!(stderr(&output).contains("--device auto: "), "{}", stderr(&output));
}

#[test]
fn auto_never_trains_on_the_simulated_device() {
    let (Some(gpu), home) = (gpu(), Home::new()) else { return };
    if !gpu.device.gpu().is_simulated() {
        return common::skip("this GPU is real, and taken");
    }
    let data = home.write_data("data", 84, 20, 4);
    let data = ["--data", data.to_str().unwrap()];
    let output = on_a_gpu(&home, &[&["train"], &data[..], &SMALL].concat());
    let summary = json_lines(&output).pop().unwrap();
    assert!(summary["device"].as_str().is_some_and(|device| device.starts_with("cpu (")));
    assert!(summary["device_choice"].as_str().is_some_and(|why| why.contains("simulated")));
}

#[test]
fn a_model_trained_on_a_gpu_is_evaluated_there_as_on_the_cpu() {
    let (Some(_), home) = (gpu(), Home::new()) else { return };
    let data = home.write_data("data", 84, 20, 4);
    let data = ["--data", data.to_str().unwrap()];
    let train = ["train", "--save-model", "m.safetensors", "--device", "cuda"];
    on_a_gpu(&home, &[&train, &data[..], &SMALL].concat());
    let evaluate = |device| {
        let arguments = ["eval", "m.safetensors", "--json", "--device", device];
        json_lines(&on_a_gpu(&home, &[&arguments[..], &data].concat())).pop().unwrap()
    };
    assert_eq!(evaluate("cuda")["confusion"], evaluate("cpu")["confusion"]);
}

#[test]
fn a_gpu_before_tensor_cores_of_tf32_refuses_it() {
    let (Some(gpu), home) = (gpu(), Home::new()) else { return };
    if !gpu.device.gpu().is_simulated() {
        return common::skip("this GPU cannot be made older");
    }
    let mut command = home.warpsweep(&["train", "--device", "cuda", "--precision", "tf32"]);
    command.args(["--data", "synthetic"]).env("CUDA_SIM_CC", "75");
    let output = command.output().expect("the program starts");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("tf32") && said.contains("8.0") && said.contains("simulated"), "{said}");
}

#[test]
fn a_path_is_asked_for_on_gpus_alone() {
    let home = Home::new();
    for kernel in ["fused", "layered"] {
        let asked = ["train", "--device", "cpu", "--kernel", kernel, "--data", "synthetic"];
        let output = without_cuda(&home, &asked);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("--kernel") && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn the_path_is_in_every_output_and_never_another_than_was_asked_for() {
    let (Some(_), home) = (gpu(), Home::new()) else { return };
    let data = home.write_data("data", 60, 20, 4);
    let train = |more: &[&str]| {
        let own = ["train", "--device", "cuda:0", "--data", data.to_str().unwrap()];
        [&own[..], &SMALL, more].concat().into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let values = ["auto", "fused", "layered"].map(|kernel| {
        let arguments = train(&["--kernel", kernel]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let summary = json_lines(&on_a_gpu(&home, &arguments)).pop().unwrap();
        assert_eq!(summary["kernel"], kernel);
        assert!(summary["device"].as_str().unwrap().contains(&format!("kernel {kernel}")));
        summary["value"].as_f64().unwrap()
    });
    assert_eq!(values[0], values[1]);
    for (more, next) in [
        (["--kernel", "fused", "--precision", "tf32"], "--precision fp32"),
        (["--kernel", "fused", "--param", "layers=3"], "--kernel auto"),
    ] {
        let arguments = train(&more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = home.warpsweep(&arguments);
        if let Some(nvrtc) = std::env::var_os("WARPSWEEP_NVRTC") {
            command.env("WARPSWEEP_NVRTC", nvrtc);
        }
        let output = command.output().expect("the program starts");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(next), "{said}");
    }
}
