//! The program with `--device cuda`: a study is the same however its trials are dealt out, killed and
//! resumed; a GPU that is lost leaves a study that goes on.

mod common;

use std::path::Path;
use std::time::Duration;

use common::cli::{Home, stderr};
use common::cuda_search::{command, fused_search, numbers, on_simulated_device, run, search};

const CUDA: &[&str] = &["--quiet", "--device", "cuda"];

/// The arguments of a search, from its data set, its study file and more of them.
type Search = for<'a> fn(&'a Path, &'a str, &[&'a str]) -> Vec<&'a str>;

/// Models of which some are trained layer by layer and some in one launch, and only the latter.
const SEARCHES: [Search; 2] = [search, fused_search];

#[test]
fn arrays_and_gpus_change_no_bit_of_a_study() {
    if !on_simulated_device() {
        return;
    }
    for search in SEARCHES {
        let home = Home::new();
        let data = home.write_data("data", 60, 20, 4);
        run(&home, &search(&data, "one.jsonl", CUDA), &[]);
        let one = numbers(&home, "one.jsonl");
        let arrays = [CUDA, &["--array", "3"]].concat();
        run(&home, &search(&data, "arrays.jsonl", &arrays), &[]);
        assert_eq!(one, numbers(&home, "arrays.jsonl"), "arrays of three");
        run(&home, &search(&data, "gpus.jsonl", CUDA), &[("CUDA_SIM_DEVICES", "3")]);
        assert_eq!(one, numbers(&home, "gpus.jsonl"), "three GPUs");
    }
}

#[test]
fn a_killed_search_resumes_to_the_same_study() {
    if !on_simulated_device() {
        return;
    }
    for search in SEARCHES {
        let home = Home::new();
        let data = home.write_data("data", 60, 20, 4);
        let small = [CUDA, &["--array", "3"]].concat();
        run(&home, &search(&data, "straight.jsonl", &small), &[]);
        let arguments = search(&data, "killed.jsonl", &small);
        for tenths in [5, 10, 15] {
            let mut child = command(&home, &arguments, &[]).spawn().expect("the program starts");
            std::thread::sleep(Duration::from_millis(100 * tenths));
            child.kill().expect("a child of ours");
            child.wait().expect("a child of ours");
        }
        run(&home, &arguments, &[]);
        assert_eq!(numbers(&home, "straight.jsonl"), numbers(&home, "killed.jsonl"));
    }
}

#[test]
fn a_lost_gpu_ends_the_search_with_one_line_and_a_study_that_goes_on() {
    if !on_simulated_device() {
        return;
    }
    // A fused search launches a dozen kernels where the other launches hundreds.
    for (search, launches) in SEARCHES.into_iter().zip(["400", "12"]) {
        let home = Home::new();
        let data = home.write_data("data", 60, 20, 4);
        let small = [CUDA, &["--array", "3"]].concat();
        run(&home, &search(&data, "straight.jsonl", &small), &[]);
        let arguments = search(&data, "lost.jsonl", &small);
        let lost = command(&home, &arguments, &[("CUDA_SIM_LOSE_AFTER", launches)]).output();
        let lost = lost.expect("the program starts");
        assert_eq!(lost.status.code(), Some(1), "{}", stderr(&lost));
        let errors = stderr(&lost);
        let error = errors.lines().find(|line| line.contains("CUDA error")).expect("a CUDA error");
        assert!(error.contains("719") && error.contains("; "), "{error}");
        assert!(!errors.contains("panicked"), "{errors}");
        run(&home, &arguments, &[]);
        assert_eq!(numbers(&home, "straight.jsonl"), numbers(&home, "lost.jsonl"));
    }
}
