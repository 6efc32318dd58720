//! `warpsweep bench` as a user and a script run it. What it measures is never asserted: only that it is
//! whole, kept, and compared as the intervals say.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::cli::{Home, stderr, stdout};
use serde_json::Value as Json;

/// The least that can be measured.
const LEAST: [&str; 10] = [
    "--device",
    "cpu",
    "--data",
    "data",
    "--min-time",
    "0",
    "--time-limit",
    "0.01",
    "--passes",
    "1",
];

fn home() -> Home {
    let home = Home::new();
    home.write_data("data", 120, 40, 8);
    home
}

fn bench<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["bench"][..], more, &LEAST].concat()
}

fn read(path: &Path) -> Json {
    let text = fs::read_to_string(path).expect("a file of results");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn points(run: &Json) -> &Vec<Json> {
    run["points"].as_array().expect("points")
}

fn assert_says(output: &Output, code: i32, parts: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    parts.iter().for_each(|part| assert!(said.contains(part), "{part} is not in {said:?}"));
}

#[test]
fn every_suite_measures_or_says_why_not_with_conditions_and_a_checked_result() {
    let home = home();
    let suites = ["gemm", "kernels", "train", "search", "data", "known"];
    home.succeed(&bench(&[&suites[..], &["--quick", "--output", "run.json"]].concat()));
    let run = read(&home.path("run.json"));
    let keys =
        ["machine", "device", "data", "data_fingerprint", "seed", "date", "version", "command"];
    for key in keys {
        assert!(run["conditions"].get(key).is_some(), "no {key} in {}", run["conditions"]);
    }
    assert_eq!(run["conditions"]["simulated"], false);
    for suite in suites {
        let own: Vec<&Json> = points(&run).iter().filter(|point| point["suite"] == suite).collect();
        assert!(own.iter().any(|point| point.get("measured").is_some()), "{suite}: {own:?}");
        for point in own {
            let Some(measured) = point.get("measured") else {
                assert!(
                    point["skipped"].as_str().is_some_and(|reason| reason.len() > 10),
                    "{point}"
                );
                continue;
            };
            assert!(measured["checked"].as_str().is_some_and(|text| !text.is_empty()), "{point}");
            let time = measured["time"]["median"].as_f64();
            assert!(time.is_some_and(|time| time > 0.0 && time.is_finite()), "{point}");
            assert!(measured["rounds"].as_array().is_some_and(|rounds| !rounds.is_empty()));
        }
    }
    let train = points(&run).iter().find(|point| point["suite"] == "train").expect("training");
    let measured = &train["measured"];
    for key in ["model", "training_samples", "validation_samples"] {
        assert!(measured["conditions"].get(key).is_some(), "no {key} in {measured}");
    }
    assert!(measured["work"]["trial_epochs"].as_f64().is_some_and(|epochs| epochs > 0.0));
    assert!(measured["share"].as_f64().is_some_and(|share| share > 0.0));
}

#[test]
fn axes_are_crossed_and_a_precision_that_is_not_there_is_skipped_with_a_reason() {
    let home = home();
    let axes = ["--axis", "batch=8:16:x2", "--axis", "units=4,6", "--axis", "inputs=32"];
    let more =
        ["--axis", "precision=fp32,tf32", "--filter", "product=forward", "--output", "g.json"];
    home.succeed(&bench(&[&["gemm"][..], &axes, &more].concat()));
    let run = read(&home.path("g.json"));
    assert_eq!(points(&run).len(), 8);
    for point in points(&run) {
        assert_eq!(point["axes"]["product"], "forward");
        let skipped = point["skipped"].as_str();
        match point["axes"]["precision"].as_str() {
            Some("fp32") => {
                assert!(point.get("measured").is_some() && skipped.is_none(), "{point}")
            }
            _ => assert!(skipped.is_some_and(|reason| reason.contains("float32 only")), "{point}"),
        }
    }
}

#[test]
fn the_readme_shows_what_the_committed_run_says() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(repository.join("README.md")).expect("the README");
    let run = "benches/results/2026-11-29-bench-train.json";
    let command = format!("warpsweep bench --render {run} --format markdown");
    assert!(readme.contains(&command), "{command}");
    let path = repository.join(run);
    let path = path.to_str().expect("a path in UTF-8");
    let table = stdout(&home().succeed(&["bench", "--render", path, "--format", "markdown"]));
    assert!(
        readme.contains(&table),
        "the README lacks this, which the command above it prints:\n{table}"
    );
}

#[test]
fn an_earlier_run_is_shown_again_in_every_format() {
    let home = home();
    home.succeed(&bench(&["train", "--quick", "--output", "t.json"]));
    let shown =
        |format: &str| stdout(&home.succeed(&["bench", "--render", "t.json", "--format", format]));
    for format in ["table", "markdown"] {
        let text = shown(format);
        for part in [
            "trial-epochs/s",
            "sample-updates/s",
            "GFLOP/s",
            "of ceiling",
            "conditions:",
            "float32 only",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
    assert!(shown("markdown").contains("| --- |"));
    let csv = shown("csv");
    assert_eq!(csv.lines().count(), 1 + points(&read(&home.path("t.json"))).len());
    assert!(csv.starts_with("suite,trials,batch,units,layers,samples,precision,median_seconds,"));
    let json: Json = serde_json::from_str(&shown("json")).expect("JSON");
    assert_eq!(json, read(&home.path("t.json")));
}

#[test]
fn results_go_to_standard_output_in_the_format_that_is_asked_for() {
    let home = home();
    let output = home.succeed(&bench(&["data", "--quick", "--format", "json", "--quiet"]));
    let run: Json = serde_json::from_str(&stdout(&output)).expect("JSON and nothing else");
    assert_eq!(run["format"], "warpsweep bench 1");
    assert_eq!(stderr(&output), "");
    home.succeed(&bench(&["data", "--quick", "--quiet", "--output", "d.csv"]));
    let csv = fs::read_to_string(home.path("d.csv")).expect("a file");
    assert!(csv.starts_with("suite,op,samples,"), "{csv}");
}

/// A run with a round of made-up times, `factor` times as slow in one point.
fn write_run(home: &Home, from: &str, to: &str, factor: f64) {
    let mut run = read(&home.path(from));
    let points = run["points"].as_array_mut().expect("points");
    for (index, point) in points.iter_mut().enumerate() {
        let Some(measured) = point.get_mut("measured") else { continue };
        let factor = if index == 0 { factor } else { 1.0 };
        let round = |i: usize| {
            let seconds = 1e-3 * factor * (1.0 + 1e-3 * (i % 7) as f64);
            serde_json::json!({
                "pass": i / 10, "wall": seconds, "processor": seconds,
                "reference_wall": 1e11, "reference_processor": 1e11,
            })
        };
        measured["rounds"] = (0..20).map(round).collect();
    }
    fs::write(home.path(to), run.to_string()).expect("a file");
}

#[test]
fn a_baseline_says_same_slower_or_faster_and_fails_on_slower_if_asked() {
    let home = home();
    home.succeed(&bench(&["gemm", "--quick", "--output", "made.json"]));
    for (name, factor) in
        [("old.json", 1.0), ("new.json", 1.0), ("slow.json", 1.1), ("fast.json", 0.9)]
    {
        write_run(&home, "made.json", name, factor);
    }
    let compared = |run: &str, more: &[&str]| {
        home.run(&[&["bench", "--render", run, "--baseline", "old.json"][..], more].concat())
    };
    let fail = ["--fail-on", "slower"];
    let same = compared("new.json", &fail);
    assert_eq!(same.status.code(), Some(0), "{}", stderr(&same));
    assert!(stdout(&same).contains("same +0.0 %") && !stdout(&same).contains("slower"));
    let slower = compared("slow.json", &fail);
    assert_says(&slower, 1, &["1 of 3 points are slower"]);
    assert!(stdout(&slower).contains("slower +10.0 %"), "{}", stdout(&slower));
    assert_eq!(compared("slow.json", &[]).status.code(), Some(0));
    let faster = compared("fast.json", &fail);
    assert!(faster.status.success() && stdout(&faster).contains("faster -10.0 %"));
    // The same while measuring: whatever comes out, each point says something or has too few rounds.
    let axes = ["gemm", "--quick", "--baseline", "old.json", "--output", "now.json"];
    home.succeed(&bench(&axes));
    assert!(
        points(&read(&home.path("now.json"))).len() == points(&read(&home.path("old.json"))).len()
    );
}

#[test]
fn a_planted_slow_down_is_a_condition_of_the_run() {
    let home = home();
    let run = |slowdown: &str| {
        let mut command = home.warpsweep(&bench(&["known", "--filter", "op=small_product"]));
        command.env("WARPSWEEP_BENCH_SLOWDOWN", slowdown).output().expect("the program starts")
    };
    assert!(stdout(&run("300")).contains("planted slowdown percent"), "{}", stdout(&run("300")));
    assert!(!stdout(&run("")).contains("planted"), "{}", stdout(&run("")));
}

#[test]
fn what_was_measured_before_ctrl_c_is_in_the_file() {
    let home = home();
    let line = [
        "bench",
        "gemm",
        "--device",
        "cpu",
        "--data",
        "data",
        "--min-time",
        "600",
        "--time-limit",
        "600",
        "--passes",
        "1000",
        "--axis",
        "inputs=16",
        "--output",
        "kept.json",
    ];
    let mut child = home.warpsweep(&line).spawn().expect("the program starts");
    let begun = Instant::now();
    let measured = || {
        let text = fs::read_to_string(home.path("kept.json")).unwrap_or_default();
        let run: Option<Json> = serde_json::from_str(&text).ok();
        run.map_or(0, |run| points(&run).iter().filter(|p| p.get("measured").is_some()).count())
    };
    while measured() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(120), "nothing was measured");
        std::thread::sleep(Duration::from_millis(50));
    }
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status().expect("kill");
    assert!(sent.success());
    assert_eq!(child.wait().expect("an end").code(), Some(130));
    assert!(measured() >= 2);
    let again = home.succeed(&["bench", "--render", "kept.json"]);
    assert!(stdout(&again).contains("gemm"), "{}", stdout(&again));
}

#[test]
fn a_list_shows_suites_and_axes_or_the_points_and_measures_nothing() {
    let home = Home::new();
    let text = stdout(&home.succeed(&["bench", "--list"]));
    for part in
        ["gemm: ", "kernels: ", "train: ", "search: ", "data: ", "known: ", "precision", "trials"]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let line =
        ["bench", "train", "--list", "--axis", "trials=1:4096:x8", "--filter", "units=0 batch=16"];
    let points = stdout(&home.succeed(&line));
    assert_eq!(points.lines().count(), 5, "{points}");
    assert!(points.lines().all(|line| line.starts_with("train trials=")), "{points}");
}

#[test]
fn its_help_alone_shows_a_sweep_over_two_axes_and_a_comparison_with_yesterday() {
    let home = Home::new();
    for help in ["-h", "--help"] {
        let text = stdout(&home.succeed(&["bench", help]));
        let examples = text.split_once("Examples:").expect("examples").1;
        let two_axes = |line: &&str| line.matches("--axis").count() == 2;
        assert!(
            examples.lines().any(|line| two_axes(&line)) || text.lines().any(|l| two_axes(&l)),
            "{text}"
        );
        assert!(text.contains("--baseline yesterday.json"), "{text}");
    }
}

#[test]
fn whatever_is_wrong_is_one_line_with_what_to_do() {
    let home = home();
    fs::write(home.path("text.json"), "no json").expect("a file");
    fs::write(home.path("other.json"), "{\"format\": \"warpsweep bench 99\"}").expect("a file");
    fs::write(home.path("empty.json"), "{}").expect("a file");
    fs::write(home.path("cut.json"), "{\"format\": \"warpsweep bench 1\", \"points\"")
        .expect("a file");
    fs::write(home.path("bytes.json"), [0xff, 0xfe, 0]).expect("a file");
    home.succeed(&bench(&["data", "--quick", "--output", "good.json"]));
    let mut elsewhere = read(&home.path("good.json"));
    elsewhere["conditions"]["machine"] = "another processor".into();
    fs::write(home.path("elsewhere.json"), elsewhere.to_string()).expect("a file");
    let mut seed = read(&home.path("good.json"));
    seed["conditions"]["seed"] = 9.into();
    fs::write(home.path("seed.json"), seed.to_string()).expect("a file");
    for (case, says) in [
        (&["gem"][..], &["no suite gem", "gemm", "--list"][..]),
        (&["gemm", "--axis", "batch"], &["--axis batch", "no `=`", "NAME=VALUES"]),
        (&["gemm", "--axis", "batch=64:16:x2"], &["goes down"]),
        (&["gemm", "--axis", "batch=1:16:x1"], &["never"]),
        (&["gemm", "--axis", "batch=0"], &["batch=0", "from 1 to"]),
        (&["gemm", "--axis", "batch=many"], &["batch=many", "whole numbers"]),
        (&["gemm", "--axis", "precision=fp64"], &["fp64", "3xtf32"]),
        (&["gemm", "--axis", "bach=16"], &["bach", "batch", "--list"]),
        (&["data", "--axis", "units=1"], &["units", "data has no such axis"]),
        (&["gemm", "--axis", "batch=1:9999", "--axis", "units=1:9999"], &["points, more than"]),
        (&["gemm", "--filter", "product=sideways"], &["none of", "product=sideways"]),
        (&["gemm", "--min-time=-1"], &["--min-time -1"]),
        (&["gemm", "--min-time", "9", "--time-limit", "3"], &["--time-limit 3", "--min-time"]),
        (&["gemm", "--noise", "0"], &["--noise 0"]),
        (&["gemm", "--passes", "0"], &["--passes 0"]),
        (&["gemm", "--threads", "0"], &["--threads 0"]),
        (&["data", "--baseline", "no.json"], &["no.json", "does not exist"]),
        (&["data", "--baseline", "text.json"], &["text.json", "no JSON"]),
        (&["data", "--baseline", "bytes.json"], &["bytes.json", "no text"]),
        (&["data", "--baseline", "cut.json"], &["cut.json", "no JSON"]),
        (&["data", "--baseline", "empty.json"], &["empty.json", "not a run"]),
        (&["data", "--baseline", "other.json"], &["bench 99", "bench 1"]),
        (&["data", "--baseline", "elsewhere.json"], &["another processor", "baseline of the same"]),
        (&["data", "--baseline", "seed.json"], &["seed 9", "here it is 0"]),
        (&["data", "--fail-on", "slower"], &["--baseline"]),
        (&["data", "--output", "no/such/folder/x.json"], &["no/such/folder", "--output"]),
        (&["--render", "text.json"], &["text.json", "no JSON"]),
        (&["gemm", "--render", "good.json"], &["--render"]),
    ] {
        // An option that is given twice would be another mistake.
        let given = |option: &str| case.iter().any(|word| word.split('=').next() == Some(option));
        let mut line = [&["bench"][..], case].concat();
        if !given("--render") {
            line.extend(["--device", "cpu", "--data", "data", "--quick"]);
        }
        let output = home.run(&line);
        assert_says(&output, 2, says);
        assert_eq!(stderr(&output).lines().count(), 1, "{case:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{case:?}");
    }
}
