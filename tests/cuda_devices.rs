//! `warpsweep devices`, on machines of every kind: each is a child process with its own surroundings.

mod common;

use std::path::PathBuf;
use std::process::Output;

use common::cli::{Home, json_lines, stderr, stdout};
use common::cuda::nvrtc;
use common::skip;
use serde_json::Value as Json;

/// A child's surroundings: the real ones but for what is named here.
fn devices(home: &Home, json: bool, set: &[(&str, &str)], unset: &[&str]) -> Output {
    let arguments = if json { &["devices", "--json"][..] } else { &["devices"] };
    let mut command = home.warpsweep(arguments);
    if let Some(nvrtc) = std::env::var_os("WARPSWEEP_NVRTC") {
        command.env("WARPSWEEP_NVRTC", nvrtc);
    }
    for name in unset {
        command.env_remove(name);
    }
    let output = command.envs(set.iter().copied()).output().expect("the program starts");
    let said = format!("{}{}", stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    output
}

fn report(home: &Home, set: &[(&str, &str)], unset: &[&str]) -> Json {
    json_lines(&devices(home, true, set, unset)).pop().expect("one object")
}

/// The folder of the simulated device, where `tests/run.sh` has put it in the driver's place.
fn simulated() -> Option<PathBuf> {
    let path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).find(|folder| folder.join("libcuda.so.1").exists());
    if found.is_none() {
        skip("the simulated device is not in the driver's place");
    }
    found
}

#[test]
fn without_a_driver_it_says_what_to_install() {
    let home = Home::new();
    let report = report(&home, &[("CUDA_VISIBLE_DEVICES", "")], &["LD_LIBRARY_PATH"]);
    assert_eq!(report["gpus"], serde_json::json!([]));
    let error = report["driver"]["error"].as_str().expect("an error");
    assert!(error.contains("driver"), "{error}");
    assert!(report["auto"]["device"].as_str().is_some_and(|device| device.starts_with("cpu")));
    assert!(report["auto"]["why"].as_str().is_some_and(|why| why.contains("NVIDIA driver")));
    let text =
        stdout(&devices(&home, false, &[("CUDA_VISIBLE_DEVICES", "")], &["LD_LIBRARY_PATH"]));
    assert!(
        text.contains("driver ") && text.contains("NVRTC ") && text.contains("auto "),
        "{text}"
    );
}

#[test]
fn nvrtc_is_named_with_version_and_place_and_looked_for_only_where_it_is_said_to_be() {
    let home = Home::new();
    if nvrtc().is_some() {
        let report = report(&home, &[], &[]);
        let path = report["nvrtc"]["path"].as_str().expect("a path");
        assert!(path.contains("libnvrtc"), "{path}");
        assert!(report["nvrtc"]["version"].as_str().is_some_and(|version| version.contains('.')));
    }
    let nowhere = home.path("cache");
    let report = report(&home, &[("WARPSWEEP_NVRTC", nowhere.to_str().unwrap())], &[]);
    let error = report["nvrtc"]["error"].as_str().expect("an error");
    assert!(error.contains("pip install"), "{error}");
    assert!(error.contains(nowhere.to_str().unwrap()), "{error}");
}

#[test]
fn an_nvrtc_that_cannot_be_loaded_is_named() {
    let home = Home::new();
    let file = home.path("libnvrtc.so.13");
    common::cli::write(&file, b"no library");
    let report = report(&home, &[("WARPSWEEP_NVRTC", file.to_str().unwrap())], &[]);
    let error = report["nvrtc"]["error"].as_str().expect("an error");
    assert!(error.contains(file.to_str().unwrap()) && !error.contains('\n'), "{error}");
}

#[test]
fn the_simulated_device_is_described() {
    let (Some(_), home) = (simulated(), Home::new()) else { return };
    let report = report(&home, &[], &[]);
    let gpu = &report["gpus"][0];
    assert_eq!(gpu["device"], "cuda:0");
    assert!(gpu["name"].as_str().is_some_and(|name| name.starts_with("simulated")), "{report}");
    assert!(gpu["memory"].as_u64() >= gpu["free"].as_u64() && gpu["free"].as_u64() > Some(0));
    assert!(gpu["multiprocessors"].as_u64() > Some(0));
    assert!(gpu["uuid"].as_str().is_some_and(|uuid| uuid.len() == 40), "{report}");
    assert!(report["driver"]["error"].is_null());
    // It can be asked for, but `auto` trains on no simulation.
    assert_eq!(report["auto"]["device"], "cpu", "{report}");
    assert!(report["auto"]["why"].as_str().is_some_and(|why| why.contains("simulated")));
    let text = stdout(&devices(&home, false, &[], &[]));
    assert!(text.contains("cuda:0") && text.contains("multiprocessors"), "{text}");
}

#[test]
fn no_visible_device_is_no_gpu_and_the_variable_is_named() {
    let (Some(_), home) = (simulated(), Home::new()) else { return };
    let report = report(&home, &[("CUDA_VISIBLE_DEVICES", "")], &[]);
    assert_eq!(report["gpus"], serde_json::json!([]));
    let error = report["driver"]["error"].as_str().expect("an error");
    assert!(error.contains("CUDA_VISIBLE_DEVICES"), "{error}");
    assert!(report["driver"]["cuda"].is_string(), "the driver itself is there: {report}");
}

#[test]
fn a_driver_that_is_too_old_is_told_with_the_version_that_is_needed() {
    let (Some(_), home) = (simulated(), Home::new()) else { return };
    let old = report(&home, &[("CUDA_SIM_DRIVER_VERSION", "11040")], &[]);
    let error = old["driver"]["error"].as_str().expect("an error");
    assert!(error.contains("11.4") && error.contains("12.8") && error.contains("570"), "{error}");
    if nvrtc().is_some_and(|nvrtc| nvrtc.version().0 == 13) {
        // New enough for the program, too old for the compiler's code.
        let older = report(&home, &[("CUDA_SIM_DRIVER_VERSION", "12080")], &[]);
        let error = older["nvrtc"]["error"].as_str().expect("an error");
        assert!(error.contains("12.8") && error.contains("13.0"), "{error}");
    }
}

#[test]
fn two_devices_are_both_described() {
    let (Some(_), home) = (simulated(), Home::new()) else { return };
    let report = report(&home, &[("CUDA_SIM_DEVICES", "2")], &[]);
    let gpus = report["gpus"].as_array().expect("a list");
    assert_eq!(gpus.len(), 2, "{report}");
    assert_eq!(gpus[1]["device"], "cuda:1");
    assert_ne!(gpus[0]["uuid"], gpus[1]["uuid"]);
}
