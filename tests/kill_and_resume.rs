//! A search gives the same numbers, to the last bit, however often it is killed and resumed, on
//! however many threads, in arrays of whatever size.

mod common;

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use common::cli::{Home, export, without_times};
use serde_json::Value as Json;
use warpsweep::random::{Purpose, Stream, unit_f32};

/// Kills at the least, and how many of them must have met a study that was half done: on a machine that
/// gets busier meanwhile the first few may come too early, and then there are more.
const KILLS: usize = 10;
const IN_THE_MIDDLE: usize = 3;

/// Models of all sorts, long enough to be killed in.
fn search<'a>(data: &'a Path, study: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let fixed = [
        "search",
        "--data",
        data.to_str().expect("a UTF-8 path"),
        "--validation",
        "holdout:500",
        "--trials",
        "64",
        "--epochs",
        "3",
        "--seed",
        "17",
        "--quiet",
        "--param",
        "learning_rate=loguniform(1e-3,0.5)",
        "--param",
        "batch_size=lograndint(8,64)",
        "--param",
        "momentum=choice(0.0,0.9)",
        "--param",
        "layers=randint(0,3)",
        "--param",
        "units=lograndint(8,128)",
        "--param",
        "activation=choice(relu,tanh,gelu)",
        "--param",
        "dropout=uniform(0,0.4)",
        "--study",
        study,
    ];
    fixed.iter().chain(more).copied().collect()
}

/// Everything that a finished study holds but the times; it must be worth comparing.
fn numbers(home: &Home, study: &str) -> Json {
    let all = without_times(export(home, study));
    let trials = trials(&all);
    assert_eq!(trials.len(), 64, "{study}: trials");
    for trial in trials {
        let has = |key: &str| trial.get(key).is_some_and(|value| !value.is_null());
        assert!(["number", "params", "state", "epochs"].into_iter().all(has), "{trial}");
        let epochs = trial["epochs"].as_array().expect("a list of epochs");
        assert!(trial["state"] != "complete" || (epochs.len() == 3 && has("value")), "{trial}");
        assert!(epochs.iter().all(|epoch| epoch["train_loss"].is_f64()), "{trial}");
    }
    all
}

fn trials(export: &Json) -> &Vec<Json> {
    export["trials"].as_array().expect("a list of trials")
}

/// Trials of a killed study that are on disk as finished; none while there is no study.
fn finished(home: &Home, study: &str) -> usize {
    let output = home.run(&["study", "export", study, "--format", "json"]);
    let Ok(json) = serde_json::from_slice::<Json>(&output.stdout) else { return 0 };
    trials(&json).iter().filter(|trial| trial["state"] != "running").count()
}

/// Waits until a process ends or the time is over; true if it was killed.
fn kill_after(mut child: Child, time: Duration) -> bool {
    let start = Instant::now();
    while start.elapsed() < time {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            assert!(status.success(), "the search failed by itself: {status}");
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("a child of ours"); // SIGKILL: it gets no word in
    !child.wait().expect("a child of ours").success()
}

#[test]
fn ten_kills_at_random_instants_change_no_bit() {
    let home = Home::new();
    let data = home.write_data("data", 3000, 500, 20);
    let start = Instant::now();
    home.succeed(&search(&data, "straight.jsonl", &["--threads", "2", "--array", "8"]));
    let whole_run = start.elapsed();
    let straight = numbers(&home, "straight.jsonl");

    let instants = Stream::new(2026, Purpose::Synthetic(950), 0);
    let (mut kills, mut in_the_middle, mut study) = (0, 0, 0);
    let enough = |kills, in_the_middle| kills >= KILLS && in_the_middle >= IN_THE_MIDDLE;
    while !enough(kills, in_the_middle) {
        study += 1;
        let file = format!("killed-{study}.jsonl");
        loop {
            let word = instants.word((kills + 100 * study) as u64);
            let time = whole_run.mul_f64(f64::from(unit_f32(word)) / 2.0);
            let arguments = search(&data, &file, &["--threads", "2", "--array", "8"]);
            let child = home.warpsweep(&arguments).spawn().expect("the program starts");
            if !kill_after(child, time) {
                break;
            }
            kills += 1;
            in_the_middle += usize::from((1..64).contains(&finished(&home, &file)));
            assert!(kills < 20 * KILLS, "{in_the_middle} of {kills} kills met a half-done study");
            if enough(kills, in_the_middle) {
                home.succeed(&arguments);
                break;
            }
        }
        assert_eq!(straight, numbers(&home, &file), "{file} after {kills} kills");
    }
}

#[test]
fn threads_and_array_size_change_no_bit() {
    let home = Home::new();
    let data = home.write_data("data", 1500, 300, 12);
    let small = |study, threads, array| {
        let more = ["--threads", threads, "--array", array];
        home.succeed(&search(&data, study, &more));
        numbers(&home, study)
    };
    let first = small("1-1.jsonl", "1", "1");
    assert_eq!(first, small("1-64.jsonl", "1", "64"), "1 thread, arrays of 64");
    assert_eq!(first, small("2-1.jsonl", "2", "1"), "2 threads, arrays of 1");
    assert_eq!(first, small("2-64.jsonl", "2", "64"), "2 threads, arrays of 64");
}

#[test]
fn another_seed_gives_other_trials() {
    let home = Home::new();
    let data = home.write_data("data", 800, 100, 6);
    let mut arguments = search(&data, "a.jsonl", &[]);
    home.succeed(&arguments);
    let seed = arguments.iter().position(|&argument| argument == "17").expect("the seed");
    let study = arguments.iter().position(|&argument| argument == "a.jsonl").expect("the study");
    (arguments[seed], arguments[study]) = ("18", "b.jsonl");
    home.succeed(&arguments);
    let (a, b) = (numbers(&home, "a.jsonl"), numbers(&home, "b.jsonl"));
    for (a, b) in trials(&a).iter().zip(trials(&b)) {
        assert_ne!(a["params"], b["params"]);
    }
}
