//! The study file as a user, a crash and Optuna meet it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value as Json, json};
use warpsweep::report;
use warpsweep::space::{Condition, Config, Distribution, Operator, Parameter, Space, Value};
use warpsweep::study::{EpochRecord, Header, State, Study, TrialRecord};

fn parameter(name: &str, distribution: Distribution) -> Parameter {
    Parameter { name: name.into(), distribution, when: None }
}

fn text(word: &str) -> Value {
    Value::Text(word.into())
}

fn header() -> Header {
    let choices = |choices: &[Value]| Distribution::Categorical { choices: choices.to_vec() };
    let deep =
        Condition { parent: "layers".into(), operator: Operator::AtLeast, value: Value::Int(2) };
    let units = parameter("units_2", Distribution::int(32, 1024, true));
    let space = Space::new(vec![
        parameter("learning_rate", Distribution::float(1e-4, 1.0, true)),
        parameter(
            "momentum",
            Distribution::Float { low: 0.0, high: 0.9, log: false, step: Some(0.3) },
        ),
        parameter("layers", Distribution::int(1, 6, false)),
        parameter("batch_size", Distribution::Fixed { value: Value::Int(16) }),
        parameter("activation", choices(&[text("relu"), text("größer ≥ 😀")])),
        parameter("nesterov", choices(&[Value::Bool(false), Value::Bool(true)])),
        parameter("weight_decay", Distribution::LogNormal { mean: -7.0, sd: 1.5 }),
        Parameter { when: Some(deep), ..units },
    ]);
    let settings = json!({"seed": u64::MAX, "epochs": 2, "data": "synthetic", "note": "ü"});
    let settings = settings.as_object().unwrap().clone();
    Header { name: "sweep".into(), space: space.unwrap(), settings }
}

fn config(layers: i64, activation: &str) -> Config {
    let mut values = vec![
        ("learning_rate", Value::Float(0.1 + 0.2 * layers as f64 / 7.0)),
        ("momentum", Value::Float(0.3)),
        ("layers", Value::Int(layers)),
        ("batch_size", Value::Int(16)),
        ("activation", text(activation)),
        ("nesterov", Value::Bool(layers % 2 == 0)),
        ("weight_decay", Value::Float(9.118819655545162e-4)),
    ];
    if layers >= 2 {
        values.push(("units_2", Value::Int(128)));
    }
    Config(values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn trial(number: u32, state: State, config: Config, losses: &[f64]) -> TrialRecord {
    let record = |(index, &train_loss): (usize, &f64)| EpochRecord {
        epoch: index + 1,
        train_loss,
        validation_loss: train_loss * 1.1,
        validation_error: 0.3 / (index as f64 + 1.0),
    };
    let epochs: Vec<EpochRecord> = losses.iter().enumerate().map(record).collect();
    let value = epochs.last().map(|epoch| epoch.validation_error);
    let (value, reason) = match state {
        State::Failed => (None, Some("the loss was not finite in epoch 2".to_owned())),
        _ => (value, None),
    };
    TrialRecord { number, state, config, value, epochs, reason, seconds: 1.0 / 3.0 }
}

/// One trial of every state; the last is still running.
fn trials() -> Vec<TrialRecord> {
    let mut running = trial(3, State::Running, config(1, "relu"), &[]);
    (running.value, running.seconds) = (None, 0.0);
    vec![
        trial(0, State::Complete, config(3, "größer ≥ 😀"), &[0.7, 0.1 + 0.2]),
        trial(1, State::Failed, config(1, "relu"), &[2.5, f64::INFINITY]),
        trial(2, State::Pruned, config(2, "relu"), &[5e-324]),
        running,
    ]
}

fn begin_all(study: &mut Study) {
    let configs: Vec<_> = trials().into_iter().map(|trial| (trial.number, trial.config)).collect();
    study.begin(&configs).unwrap();
}

fn write_study(path: &Path) -> Study {
    let mut study = Study::open(path, &header()).unwrap();
    begin_all(&mut study);
    // Out of order, in two groups.
    let trials = trials();
    study.finish(&[trials[2].clone(), trials[0].clone()]).unwrap();
    study.finish(&trials[1..2]).unwrap();
    study
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.jsonl");
    (folder, path)
}

/// The message, which must be one line that ends the command with this code.
fn refusal<T>(result: warpsweep::Result<T>, code: u8) -> String {
    let error = result.err().expect("it must be refused");
    let message = error.to_string();
    assert_eq!(error.exit_code(), code, "{message}");
    assert!(!message.contains('\n') && message.contains("; "), "{message}");
    message
}

#[test]
fn a_study_is_read_back_to_the_last_bit() {
    let (_folder, path) = folder();
    let study = write_study(&path);
    assert_eq!(study.trials(), trials());
    let read = Study::read(&path).unwrap();
    assert_eq!(read.trials(), trials());
    assert_eq!(read.header(), Some(&header()));
    assert_eq!(read.best().map(|trial| trial.number), Some(0));
    let resumed = Study::open(&path, &header()).unwrap();
    assert_eq!(resumed.trials(), trials());
    assert_eq!(resumed.repair(), None);
}

#[test]
fn of_equal_values_the_lowest_number_is_best_and_failed_ones_never_are() {
    let (_folder, path) = folder();
    let mut study = Study::open(&path, &header()).unwrap();
    assert!(study.best().is_none());
    begin_all(&mut study);
    let done = |number, value| TrialRecord {
        value: Some(value),
        ..trial(number, State::Complete, config(1, "relu"), &[])
    };
    let pruned = TrialRecord { state: State::Pruned, ..done(0, 0.01) };
    study.finish(&[done(3, 0.2), pruned, done(2, 0.2), done(1, 0.3)]).unwrap();
    let ranked: Vec<u32> = study.ranked().iter().map(|trial| trial.number).collect();
    assert_eq!(ranked, [2, 3, 1]);
}

#[test]
fn a_study_torn_at_any_byte_of_a_group_is_repaired_and_finished() {
    let (_folder, path) = folder();
    let mut study = Study::open(&path, &header()).unwrap();
    begin_all(&mut study);
    let before = fs::read(&path).unwrap();
    let ended = [trials()[1].clone(), trials()[0].clone()];
    study.finish(&ended).unwrap();
    let whole = fs::read(&path).unwrap();
    for length in before.len()..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let read = Study::read(&path).unwrap();
        let mut study = Study::open(&path, &header()).unwrap();
        let torn = length - whole[..length].iter().rposition(|&byte| byte == b'\n').unwrap() - 1;
        for (study, cut) in [(&read, false), (&study, true)] {
            let repair = study.repair().map(|repair| (repair.bytes, repair.cut));
            assert_eq!(repair, (torn > 0).then_some((torn as u64, cut)), "at {length}");
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), (length - torn) as u64);
        assert_eq!(read.trials().len(), 4);
        let running =
            |trial: &&TrialRecord| study.trials()[trial.number as usize].state == State::Running;
        let rest: Vec<TrialRecord> = ended.iter().filter(running).cloned().collect();
        study.finish(&rest).unwrap();
        for trial in &ended {
            assert_eq!(study.trials()[trial.number as usize], *trial, "at {length}");
        }
        assert_eq!(Study::read(&path).unwrap().trials(), study.trials(), "at {length}");
    }
}

#[test]
fn a_study_torn_in_its_first_groups_begins_again() {
    let (_folder, path) = folder();
    begin_all(&mut Study::open(&path, &header()).unwrap());
    let whole = fs::read(&path).unwrap();
    // Every place would take a minute; those around the ends of lines matter most.
    let near = |length: &usize| whole[length.saturating_sub(2)..*length].contains(&b'\n');
    for length in (0..whole.len()).filter(|length| length % 29 < 1 || near(length)) {
        fs::write(&path, &whole[..length]).unwrap();
        let mut study = Study::open(&path, &header()).unwrap();
        let begun = study.trials().len();
        let rest = trials().into_iter().skip(begun).map(|trial| (trial.number, trial.config));
        study.begin(&rest.collect::<Vec<_>>()).unwrap();
        let configs = |study: &Study| -> Vec<Config> {
            study.trials().iter().map(|trial| trial.config.clone()).collect()
        };
        let wanted: Vec<Config> = trials().into_iter().map(|trial| trial.config).collect();
        assert_eq!(configs(&study), wanted, "at {length}");
        assert_eq!(Study::read(&path).unwrap().header(), Some(&header()), "at {length}");
    }
}

#[test]
fn a_tail_of_zeros_or_of_half_lines_is_cut_off() {
    let (_folder, path) = folder();
    write_study(&path);
    let whole = fs::read(&path).unwrap();
    for tail in ["\0\0\0\0", "\0\0\n", "\0\0\n{\"op_code\":6,\n", "{\"op_code\":6,\"tri\n", "}\n"] {
        fs::write(&path, [&whole, tail.as_bytes()].concat()).unwrap();
        let study = Study::open(&path, &header()).unwrap();
        assert_eq!(study.repair().map(|repair| repair.bytes), Some(tail.len() as u64));
        assert_eq!(study.trials(), trials());
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
}

#[test]
fn damage_before_the_end_is_refused_with_its_line_and_nothing_is_cut() {
    let (_folder, path) = folder();
    write_study(&path);
    let whole = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = whole.lines().collect();
    let cases = [
        (6, "{\"op_code\":4,\"worker"),
        (2, "\0\0\0\0"),
        (8, "{\"op_code\":6,\"trial_id\":0,\"state\":17,\"values\":null}"),
        (9, "{\"op_code\":6}"),
        (10, "{\"op_code\":\"six\"}"),
        (lines.len(), "[1]"),
    ];
    for (number, damage) in cases {
        let good = std::mem::replace(&mut lines[number - 1], damage);
        let damaged = lines.join("\n") + "\n";
        fs::write(&path, &damaged).unwrap();
        for result in [Study::read(&path), Study::open(&path, &header())] {
            let message = refusal(result, 2);
            assert!(message.contains(&format!("damaged in line {number}:")), "{message}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
        lines[number - 1] = good;
    }
}

#[test]
fn a_file_that_is_no_journal_is_refused_and_left_as_it_is() {
    let (_folder, path) = folder();
    for content in ["# Notes\n", "x", "{}\n", "{\"a\": 1}", "[1, 2]\n", "\n", "{\"op_code\":4,\n"] {
        fs::write(&path, content).unwrap();
        for result in [Study::read(&path), Study::open(&path, &header())] {
            let message = refusal(result, 2);
            assert!(message.contains("is not a study file"), "{message}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn what_cannot_be_a_file_is_refused_in_one_line() {
    let (folder, path) = folder();
    assert!(refusal(Study::open(folder.path(), &header()), 2).contains("it is a folder"));
    assert!(refusal(Study::read(folder.path()), 2).contains("it is a folder"));
    assert!(refusal(Study::read(&path), 2).contains("cannot read the study file"));
    fs::write(&path, "").unwrap();
    assert!(refusal(Study::open(&path.join("below"), &header()), 2).contains("there is no folder"));
    assert!(refusal(Study::read(&path), 2).contains("has no study yet"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_may_not_be_made_or_is_a_device_is_refused_in_one_line() {
    // Nobody may make a file there, not even root, for whom permissions are no bar.
    let message = refusal(Study::open(Path::new("/proc/self/study.jsonl"), &header()), 2);
    assert!(message.contains("cannot make the study file"), "{message}");
    let message = refusal(Study::open(Path::new("/dev/full"), &header()), 2);
    assert!(message.contains("not a regular file"), "{message}");
}

type Change = dyn Fn(&mut Vec<Parameter>, &mut Map<String, Json>);

#[test]
fn another_space_or_other_settings_are_refused_by_their_first_difference() {
    let (_folder, path) = folder();
    write_study(&path);
    let bytes = fs::read(&path).unwrap();
    let refuse = |change: &Change, words: &str| {
        let mut asked = header();
        let mut parameters = asked.space.parameters().to_vec();
        change(&mut parameters, &mut asked.settings);
        asked.space = Space::new(parameters).unwrap();
        let message = refusal(Study::open(&path, &asked), 2);
        assert!(message.contains(words), "{message}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    };
    refuse(
        &|space, _| space[0].distribution = Distribution::float(1e-3, 1.0, true),
        "parameter learning_rate is loguniform(0.0001,1.0) there, but loguniform(0.001,1.0) was asked",
    );
    refuse(&|space, _| drop(space.remove(1)), "parameter momentum is ");
    refuse(
        &|space, _| space.push(parameter("dropout", Distribution::float(0.0, 0.5, false))),
        "parameter dropout is absent there, but uniform(0.0,0.5) was asked",
    );
    refuse(&|space, _| space.swap(0, 1), "the order of the parameters is learning_rate, momentum");
    refuse(&|space, _| space[7].when = None, "lograndint(32,1024) when layers >= 2 there, but");
    refuse(
        &|space, _| space[3].distribution = Distribution::Fixed { value: text("16") },
        "parameter batch_size is {",
    );
    refuse(
        &|_, settings| drop(settings.insert("epochs".into(), 3.into())),
        "epochs is 2 there, but 3 was asked",
    );
    refuse(
        &|_, settings| drop(settings.insert("device".into(), "cpu".into())),
        "device is not set there, but cpu was asked",
    );
}

#[test]
fn a_trial_out_of_its_order_or_twice_is_refused() {
    let (_folder, path) = folder();
    let mut study = write_study(&path);
    let mut second = Study::open(&path, &header()).unwrap();
    second.begin(&[(4, config(1, "relu"))]).unwrap();
    // The first study finds under the lock that another search was faster.
    assert!(refusal(study.begin(&[(4, config(1, "relu"))]), 1).contains("next trial is 5"));
    study.begin(&[(5, config(2, "relu"))]).unwrap();
    let done = TrialRecord { number: 3, ..trials()[0].clone() };
    second.finish(std::slice::from_ref(&done)).unwrap();
    assert!(refusal(study.finish(&[done]), 1).contains("it is complete there"));
    let none = TrialRecord { number: 9, ..trials()[0].clone() };
    assert!(refusal(study.finish(&[none]), 1).contains("it is absent there"));
    let stranger = Config(vec![("layers".into(), Value::Int(1)), ("x".into(), Value::Int(1))]);
    assert!(refusal(study.begin(&[(6, stranger)]), 1).contains("no parameter x"));
    assert_eq!(Study::read(&path).unwrap().trials().len(), 6);
}

#[test]
fn no_number_that_is_not_finite_reaches_the_file() {
    let (_folder, path) = folder();
    let mut study = Study::open(&path, &header()).unwrap();
    begin_all(&mut study);
    let before = fs::read(&path).unwrap();
    let mut complete = trials()[0].clone();
    complete.value = Some(f64::NAN);
    refusal(study.finish(&[complete.clone()]), 1);
    complete.value = Some(0.5);
    complete.epochs[1].validation_error = f64::INFINITY;
    refusal(study.finish(&[trials()[1].clone(), complete]), 1);
    assert_eq!(fs::read(&path).unwrap(), before);
    study.finish(&trials()[1..2]).unwrap();
    let written = fs::read_to_string(&path).unwrap();
    assert!(written.contains(r#""train_loss":[2.5,"Infinity"]"#), "{written}");
}

#[test]
fn several_studies_share_a_file() {
    let (_folder, path) = folder();
    write_study(&path);
    let other = Header { name: "other".into(), ..header() };
    let mut study = Study::open(&path, &other).unwrap();
    begin_all(&mut study);
    study.finish(&trials()[..1]).unwrap();
    study.note("warpsweep:test_error", json!(0.25)).unwrap();
    assert!(refusal(Study::read(&path), 2).contains("several studies: sweep, other"));
    assert!(refusal(Study::read_named(&path, Some("x")), 2).contains("no study named `x`"));
    let first = Study::read_named(&path, Some("sweep")).unwrap();
    assert_eq!(first.trials(), trials());
    let second = Study::read_named(&path, Some("other")).unwrap();
    assert_eq!(second.trials()[0], trials()[0]);
    assert_eq!(second.trials()[1].state, State::Running);
    assert!(
        second.attributes().any(|(key, value)| key == "warpsweep:test_error" && *value == 0.25)
    );
}

#[test]
fn studies_of_other_programs_are_read_but_not_gone_on_with() {
    let (_folder, path) = folder();
    let lines = [
        r#"{"op_code":0,"worker_id":"a","study_name":"sweep","directions":[2]}"#,
        r#"{"op_code":0,"worker_id":"a","study_name":"sweep","directions":[1]}"#,
        r#"{"op_code":3,"worker_id":"a","study_id":0,"system_attr":{"k":1}}"#,
        r#"{"op_code":4,"worker_id":"a","study_id":0,"datetime_start":"2026-01-01T00:00:00.000000+00:00"}"#,
        r#"{"op_code":5,"worker_id":"a","trial_id":0,"param_name":"x","param_value_internal":2.0,"distribution":"{\"name\": \"IntDistribution\", \"attributes\": {\"log\": false, \"step\": 1, \"low\": 1, \"high\": 9}}"}"#,
        r#"{"op_code":7,"worker_id":"a","trial_id":0,"step":1,"intermediate_value":NaN}"#,
        r#"{"op_code":8,"worker_id":"a","trial_id":0,"user_attr":{"a\"NaN":"Infinity \\"}}"#,
        r#"{"op_code":6,"worker_id":"a","trial_id":0,"state":1,"values":[-Infinity],"datetime_complete":"2026-01-01T00:00:00.000000+00:00"}"#,
        r#"{"op_code":4,"worker_id":"a","study_id":0,"datetime_start":null,"state":4,"value":null,"values":null,"distributions":{},"params":{},"user_attrs":{},"system_attrs":{"fixed_params":{"n":3}},"intermediate_values":{}}"#,
        r#"{"op_code":10,"worker_id":"a","trial_ids":[0]}"#,
    ];
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let study = Study::read(&path).unwrap();
    assert_eq!(study.trials().len(), 2);
    assert_eq!(study.trials()[0].config, Config(vec![("x".into(), Value::Int(2))]));
    assert_eq!(study.trials()[0].state, State::Complete);
    assert!(study.trials()[0].epochs[0].validation_error.is_nan());
    assert!(refusal(Study::open(&path, &header()), 2).contains("was not written by warpsweep"));
    // Beside it there is room for a study of ours, whose trials count over both.
    let beside = Header { name: "ours".into(), ..header() };
    let mut study = Study::open(&path, &beside).unwrap();
    begin_all(&mut study);
    study.finish(&trials()[..1]).unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains(r#""trial_id":2,"state":1"#));
    // Deleted, it leaves its trial ids behind.
    let delete = "{\"op_code\":1,\"worker_id\":\"a\",\"study_id\":0}\n";
    OpenOptions::new().append(true).open(&path).unwrap().write_all(delete.as_bytes()).unwrap();
    study.finish(&trials()[1..2]).unwrap();
    assert_eq!(Study::read(&path).unwrap().trials()[1], trials()[1]);
}

#[test]
fn exports_and_tables_show_every_trial_with_all_parameters() {
    let (_folder, path) = folder();
    let study = write_study(&path);
    let all: Vec<&TrialRecord> = study.trials().iter().collect();
    let mut out = Vec::new();
    report::csv::write(&all, &mut out).unwrap();
    let csv = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 5, "{csv}");
    assert!(lines[0].starts_with("number,state,value,epochs,seconds,reason,params_learning_rate,"));
    assert!(lines[0].ends_with(",params_weight_decay,params_units_2"), "{csv}");
    assert!(lines[1].starts_with("0,complete,0.15,2,0.3333333333333333,,"), "{csv}");
    assert!(lines[1].ends_with(",0.0009118819655545162,128"), "{csv}");
    assert!(
        lines[2].starts_with("1,failed,,2,0.3333333333333333,the loss was not finite"),
        "{csv}"
    );
    assert!(lines[2].ends_with(','), "a parameter that is not there is an empty field: {csv}");

    let json = report::json::study(&study);
    assert_eq!(json["best"], 0);
    assert_eq!(json["counts"]["pruned"], 1);
    assert_eq!(json["trials"][0]["params"]["activation"], "größer ≥ 😀");
    assert_eq!(json["trials"][1]["epochs"][1]["train_loss"], Json::Null);

    let table = report::table::trials(&all);
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(!table.contains('\x1b') && table.contains("the loss was not finite in epoch 2"));
}

/// The child of the test below: it fills a file whose size is limited, and says how that ended.
#[test]
fn a_full_disk_child() {
    let Some(path) = std::env::var_os("WARPSWEEP_FULL_DISK_CHILD") else { return };
    let mut study = Study::open(Path::new(&path), &header()).unwrap();
    for number in 0.. {
        if let Err(error) = study.begin(&[(number, config(1, "relu"))]) {
            println!("held={} code={} error={error}", study.trials().len(), error.exit_code());
            return;
        }
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_file_as_it_was_before_the_group() {
    let (_folder, path) = folder();
    // With the signal ignored, a write over the limit fails as one to a full disk does.
    let script = "trap '' XFSZ; ulimit -f 40; exec \"$0\" --exact a_full_disk_child --nocapture";
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("WARPSWEEP_FULL_DISK_CHILD", &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    let study = Study::open(&path, &header()).unwrap();
    assert!(study.trials().len() > 3, "{said}");
    assert!(said.contains(&format!("held={} code=1", study.trials().len())), "{said}");
    assert!(said.contains("cannot write the study file"), "{said}");
    assert_eq!(study.repair(), None);
}

#[test]
fn a_search_that_other_programs_cut_short_is_told_so() {
    let (_folder, path) = folder();
    let mut study = write_study(&path);
    fs::write(&path, "").unwrap();
    assert!(
        refusal(study.begin(&[(4, config(1, "relu"))]), 1).contains("changed by another program")
    );
    fs::remove_file(&path).unwrap();
    assert!(
        refusal(study.begin(&[(4, config(1, "relu"))]), 1).contains("changed by another program")
    );
}

#[test]
fn optuna_reads_what_was_written_and_what_it_writes_is_tolerated() {
    let Some(python) = std::env::var_os("WARPSWEEP_PYTHON") else {
        assert!(std::env::var_os("WARPSWEEP_REQUIRE_ALL").is_none(), "WARPSWEEP_PYTHON is not set");
        println!("skipped: WARPSWEEP_PYTHON does not name a Python with optuna");
        return;
    };
    let (folder, path) = folder();
    let mut study = write_study(&path);
    study.note("warpsweep:test_error", json!(0.1)).unwrap();
    let expected = folder.path().join("expected.json");
    fs::write(&expected, expected_by_optuna().to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_study.py");
    let check = Command::new(python).arg(script).arg(&path).arg(&expected).output().unwrap();
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(check.status.success(), "{said}{}", String::from_utf8_lossy(&check.stdout));

    // Optuna has added trial 4; our trial 3 is still ours to finish, and 5 is the next.
    let done = TrialRecord { number: 3, ..trials()[0].clone() };
    study.finish(std::slice::from_ref(&done)).unwrap();
    assert!(refusal(study.begin(&[(4, config(1, "relu"))]), 1).contains("next trial is 5"));
    let study = Study::open(&path, &header()).unwrap();
    assert_eq!(study.trials()[3].value, done.value);
    assert_eq!(study.trials()[4].value, Some(0.75));
    assert_eq!(study.trials()[4].config.0.len(), 1);
}

/// What Optuna must see, written down by hand.
fn expected_by_optuna() -> Json {
    let float = |low: f64, high: f64, log: bool, step: Option<f64>| {
        json!({"name": "FloatDistribution", "attributes": {"low": low, "high": high, "log": log, "step": step}}).to_string()
    };
    let int = |low: i64, high: i64, log: bool| {
        json!({"name": "IntDistribution", "attributes": {"low": low, "high": high, "log": log, "step": 1}}).to_string()
    };
    let choice = |choices: Json| {
        json!({"name": "CategoricalDistribution", "attributes": {"choices": choices}}).to_string()
    };
    let distributions = json!({
        "learning_rate": float(1e-4, 1.0, true, None),
        "momentum": float(0.0, 0.9, false, Some(0.3)),
        "layers": int(1, 6, false),
        "batch_size": choice(json!([16])),
        "activation": choice(json!(["relu", "größer ≥ 😀"])),
        "nesterov": choice(json!([false, true])),
        "weight_decay": float((-22.0f64).exp(), (8.0f64).exp(), true, None),
        "units_2": int(32, 1024, true),
    });
    let states = ["COMPLETE", "FAIL", "PRUNED", "RUNNING"];
    let trials = trials().into_iter().zip(states).map(|(trial, state)| {
        let mut distributions = distributions.clone();
        if trial.config.get("units_2").is_none() {
            distributions.as_object_mut().unwrap().shift_remove("units_2");
        }
        let steps: Map<String, Json> = (trial.epochs.iter())
            .map(|epoch| (epoch.epoch.to_string(), epoch.validation_error.into()))
            .collect();
        let user_attrs = match trial.number {
            0 => json!({"train_loss": [0.7, 0.1 + 0.2], "seconds": 1.0 / 3.0}),
            1 => json!({"train_loss": [2.5, "Infinity"], "reason": trial.reason}),
            _ => json!({}),
        };
        json!({
            "number": trial.number,
            "state": state,
            "value": trial.value,
            "params": trial.config,
            "distributions": distributions,
            "intermediate_values": steps,
            "user_attrs": user_attrs,
        })
    });
    json!({
        "name": "sweep",
        "attributes": {
            "warpsweep:settings": header().settings,
            "warpsweep:version": env!("CARGO_PKG_VERSION"),
            "warpsweep:test_error": 0.1,
        },
        "trials": trials.collect::<Vec<Json>>(),
    })
}
