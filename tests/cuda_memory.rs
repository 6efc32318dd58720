//! Device memory that does not hold all trials at once: they are trained in groups, and no number
//! changes.

mod common;

use common::cli::{Home, stderr};
use common::cuda_search::{command, numbers, on_simulated_device, run, search};

const CUDA: &[&str] = &["--device", "cuda"];

#[test]
fn trials_that_do_not_fit_together_are_trained_one_group_after_another() {
    if !on_simulated_device() {
        return;
    }
    let home = Home::new();
    let data = home.write_data("data", 60, 20, 4);
    run(&home, &search(&data, "all.jsonl", CUDA), &[]);
    let few = run(&home, &search(&data, "few.jsonl", CUDA), &[("CUDA_SIM_MEMORY", "64K")]);
    assert_eq!(numbers(&home, "all.jsonl"), numbers(&home, "few.jsonl"));
    assert!(!stderr(&few).contains("did not fit"), "the estimate was too low: {}", stderr(&few));
}

#[test]
fn an_allocation_that_fails_all_the_same_halves_the_array_and_says_so() {
    if !on_simulated_device() {
        return;
    }
    let home = Home::new();
    let data = home.write_data("data", 60, 20, 4);
    // One path, so that all trials are one group.
    let layered = [CUDA, &["--kernel", "layered"]].concat();
    run(&home, &search(&data, "all.jsonl", &layered), &[]);
    let short = [("CUDA_SIM_MEMORY", "64K"), ("CUDA_SIM_PHANTOM_MEMORY", "1G")];
    let halved = run(&home, &search(&data, "halved.jsonl", &layered), &short);
    assert_eq!(numbers(&home, "all.jsonl"), numbers(&home, "halved.jsonl"));
    let said = stderr(&halved);
    assert!(said.contains("12 trials did not fit"), "{said}");
}

#[test]
fn a_trial_that_does_not_fit_by_itself_is_an_error_of_one_line() {
    if !on_simulated_device() {
        return;
    }
    let home = Home::new();
    let data = home.write_data("data", 60, 20, 4);
    let arguments = search(&data, "none.jsonl", CUDA);
    let mut command = command(&home, &arguments, &[("CUDA_SIM_MEMORY", "8K")]);
    let output = command.output().expect("the program starts");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("bytes left") && !said.contains("panicked"), "{said}");
}
