//! What scripts and people may rely on: the JSON lines, quietness, pipes, and the data that is
//! taken where there is none.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use common::cli::{Home, export, json_lines, stderr, stdout};
use serde_json::Value as Json;

/// A search of four trials on a small folder of data.
fn small<'a>(home: &Home, more: &[&'a str]) -> Vec<&'a str> {
    if !home.path("data").exists() {
        home.write_data("data", 300, 60, 8);
    }
    let fixed = ["search", "--data", "data", "--validation", "holdout:60", "--trials", "4"];
    fixed.into_iter().chain(["--epochs", "2"]).chain(more.iter().copied()).collect()
}

fn has_keys(object: &Json, keys: &[&str]) {
    for key in keys {
        assert!(object.get(key).is_some(), "no `{key}` in {object}");
    }
}

#[test]
fn json_is_an_object_a_finished_trial_and_one_at_the_end_and_nothing_else() {
    let home = Home::new();
    let output = home.succeed(&small(&home, &["--json", "--study", "s.jsonl"]));
    let lines = json_lines(&output);
    assert_eq!(lines.len(), 5, "{lines:?}");
    let (trials, summary) = (&lines[..4], &lines[4]);
    let mut numbers = Vec::new();
    for trial in trials {
        assert_eq!(trial["event"], "trial");
        has_keys(trial, &["number", "state", "value", "params", "epochs", "seconds"]);
        assert_eq!(trial["state"], "complete");
        let rate = trial["params"]["learning_rate"].as_f64().expect("a learning rate");
        assert!((1e-4..=1.0).contains(&rate), "{trial}");
        assert!(trial["value"].as_f64().is_some_and(|error| (0.0..=1.0).contains(&error)));
        numbers.push(trial["number"].as_u64().expect("a number"));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3]);

    assert_eq!(summary["event"], "summary");
    let keys = ["best", "test_error", "trial_epochs_per_second", "seconds", "device", "data"];
    has_keys(summary, &keys);
    assert!(summary["study"].as_str().is_some_and(|path| path.ends_with("s.jsonl")));
    let smallest = trials.iter().map(|trial| trial["value"].as_f64().expect("a value"));
    assert_eq!(summary["best"]["value"].as_f64(), smallest.reduce(f64::min));
    assert!(summary["test_error"].as_f64().is_some_and(|error| (0.0..=1.0).contains(&error)));
    assert!(summary["device"].as_str().is_some_and(|device| device.contains("cpu")));
    assert!(!stderr(&output).is_empty(), "lines for the eye belong on standard error");
}

#[test]
fn what_json_says_is_what_the_study_holds() {
    let home = Home::new();
    let lines = json_lines(&home.succeed(&small(&home, &["--json", "--study", "s.jsonl"])));
    let study = export(&home, "s.jsonl");
    for recorded in study["trials"].as_array().expect("trials") {
        let said = lines.iter().find(|line| line["number"] == recorded["number"]);
        let said = said.unwrap_or_else(|| panic!("{recorded} was not announced"));
        for key in ["state", "value", "params"] {
            assert_eq!(said[key], recorded[key], "{key}");
        }
    }
}

#[test]
fn quiet_says_nothing_on_standard_error() {
    let home = Home::new();
    let quiet = home.succeed(&small(&home, &["--quiet", "--study", "a.jsonl"]));
    assert_eq!(stderr(&quiet), "");
    let both = home.succeed(&small(&home, &["--quiet", "--json", "--study", "b.jsonl"]));
    assert_eq!(stderr(&both), "");
    assert_eq!(json_lines(&both).len(), 5);
}

#[test]
fn a_finished_search_that_is_run_again_trains_nothing_and_says_the_same() {
    let home = Home::new();
    let arguments = small(&home, &["--json", "--study", "s.jsonl"]);
    let first = json_lines(&home.succeed(&arguments));
    let before = std::fs::read(home.path("s.jsonl")).expect("the study");
    let again = json_lines(&home.succeed(&arguments));
    let (first, again) = (first.last().expect("a summary"), again.last().expect("a summary"));
    assert_eq!(first["best"], again["best"]);
    assert_eq!(first["test_error"], again["test_error"]);
    let study = String::from_utf8(before).expect("a study is text");
    let after = std::fs::read_to_string(home.path("s.jsonl")).expect("the study");
    let created = |text: &str| text.lines().filter(|l| l.contains("\"op_code\":4")).count();
    assert_eq!(created(&study), created(&after), "trials were added");
}

#[test]
fn more_trials_go_on_from_those_that_are_there() {
    let home = Home::new();
    home.succeed(&small(&home, &["--study", "s.jsonl", "--quiet"]));
    let mut more = small(&home, &["--study", "s.jsonl", "--quiet"]);
    let trials = more.iter().position(|&argument| argument == "4").expect("--trials 4");
    let four = export(&home, "s.jsonl");
    more[trials] = "7";
    home.succeed(&more);
    let seven = export(&home, "s.jsonl");
    let trials = |study: &Json| study["trials"].as_array().expect("trials").clone();
    assert_eq!(trials(&seven).len(), 7);
    assert_eq!(trials(&seven)[..4], trials(&four)[..]);
}

#[test]
fn a_reader_that_goes_away_is_no_disaster() {
    let home = Home::new();
    home.succeed(&small(&home, &["--study", "s.jsonl", "--quiet"]));
    let commands: [&[&str]; 4] = [
        &["--help"],
        &["completions", "bash"],
        &["study", "export", "s.jsonl", "--format", "json"],
        &["data", "info", "--data", "data", "--validation", "test"],
    ];
    for arguments in commands {
        let mut child = home.warpsweep(arguments);
        let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the program starts");
        drop(child.stdout.take());
        let mut message = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut message).expect("text");
        let status = child.wait().expect("a child of ours");
        assert_eq!(message, "", "{arguments:?}");
        assert_ne!(status.code(), Some(101), "{arguments:?} panicked");
    }
}

#[test]
fn a_search_whose_reader_leaves_after_one_line_can_be_resumed() {
    let home = Home::new();
    home.succeed(&small(&home, &["--study", "whole.jsonl", "--quiet"]));
    let arguments = small(&home, &["--study", "s.jsonl", "--array", "1", "--json", "--quiet"]);
    let mut child = home.warpsweep(&arguments);
    let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    let output = child.wait_with_output().expect("a child of ours");
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    home.succeed(&arguments);
    let values = |study| -> Vec<Json> {
        let trials = export(&home, study)["trials"].as_array().expect("trials").clone();
        trials.into_iter().map(|trial| trial["value"].clone()).collect()
    };
    assert_eq!(values("whole.jsonl"), values("s.jsonl"));
}

#[test]
fn without_files_and_network_the_main_command_says_first_and_last_that_it_uses_synthetic_data() {
    let home = Home::new();
    let arguments = ["search", "--trials", "1", "--epochs", "1", "--study", "s.jsonl"];
    let output = home.succeed(&arguments);
    let said = stdout(&output);
    for line in [said.lines().next(), said.lines().last()] {
        assert!(line.is_some_and(|line| line.contains("synthetic")), "{said}");
    }
    let study = std::fs::read_to_string(home.path("s.jsonl")).expect("the study");
    assert!(study.contains("synthetic"), "the study does not say which data it used");

    let lines = json_lines(&home.succeed(&[&arguments[..], &["--json"]].concat()));
    let summary = lines.last().expect("a summary").to_string();
    assert!(summary.contains("synthetic"), "{summary}");
}

#[test]
fn completions_are_made_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(&home.succeed(&["completions", shell]));
        assert!(script.contains("warpsweep") && script.contains("search"), "{shell}");
    }
}

#[test]
fn help_has_examples_and_no_colour_where_there_is_no_terminal() {
    let home = Home::new();
    for arguments in [&["--help"][..], &["search", "--help"], &["train", "--help"]] {
        let help = stdout(&home.succeed(arguments));
        assert!(help.contains("xample") && help.contains("warpsweep"), "{arguments:?}");
        assert!(!help.contains('\x1b'), "{arguments:?}: colours");
    }
}

#[test]
fn a_trained_model_can_be_saved_and_evaluated() {
    let home = Home::new();
    home.write_data("data", 300, 60, 8);
    let train = ["train", "--data", "data", "--validation", "holdout:60", "--epochs", "3"];
    let more = ["--param", "learning_rate=0.1", "--param", "layers=1", "--param", "units=20"];
    let save = ["--save-model", "model.safetensors"];
    home.succeed(&[&train[..], &more, &save].concat());
    let output = home.succeed(&["eval", "model.safetensors", "--data", "data"]);
    assert!(stdout(&output).contains("error"), "{}", stdout(&output));
}
