//! The command line as clap sees it, and what resolves from it.

use super::*;

fn refusal(line: &[&str]) -> String {
    let line = std::iter::once("warpsweep").chain(line.iter().copied()).map(OsString::from);
    let error = run(line).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn the_definition_of_the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_first_command_is_the_chapter_s_search() {
    let cli = Cli::try_parse_from(["warpsweep", "search"]).unwrap();
    let Command::Search(args) = cli.command else { panic!("not a search: {cli:?}") };
    let shown = format!("{args:?}");
    for part in ["trials: 5", "epochs: 8", "batch_size: 16", "seed: 0", "\"holdout\"", "PerTrial"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
}

#[test]
fn mistakes_are_one_line_with_what_was_wrong_and_where_to_look() {
    for (line, parts) in [
        (&["search", "--trials", "0"][..], &["--trials 0", "at least 1"][..]),
        (&["search", "--trials", "-1"], &["'-1'", "--trials", "see warpsweep search --help"]),
        (&["search", "--trials", "x"], &["'x'", "--trials", "see warpsweep search --help"]),
        (&["search", "--trails", "3"], &["--trails", "--trials", "see warpsweep search --help"]),
        (&["search", "--array", "0"], &["--array 0"]),
        (&["search", "--threads", "0"], &["--threads 0"]),
        (&["search", "--batch-size", "0"], &["--batch-size 0"]),
        (&["search", "--device", "cuda:999"], &["no "]),
        (&["search", "--time-limit", "NaN"], &["--time-limit NaN", "above 0"]),
        (&["search", "--time-limit=-1"], &["--time-limit -1"]),
        (&["search", "--time-limit", "0"], &["--time-limit 0"]),
        (&["search", "--target-error", "nan"], &["--target-error NaN", "from 0 to 1"]),
        (&["search", "--target-error", "15"], &["--target-error 15"]),
        (&["search", "--validation", "some"], &["`some`", "holdout:N"]),
        (&["search", "--param", "learning_rate=loguniform(0,1)"], &["learning_rate", "low > 0"]),
        (&["search", "--param", "learning_rat=0.1"], &["learning_rat", "did you mean"]),
        (&["search", "--save-model", "no/such/folder/m"], &["no/such/folder", "--save-model"]),
        (&["train", "--param", "learning_rate=uniform(0.1,1)"], &["uniform(0.1,1.0)", "search"]),
        (&["train", "--epochs", "0"], &["--epochs 0"]),
        (&["train", "--study", "s", "--seed", "1"], &["--seed", "--study"]),
        (&["train", "--study", "s"], &["--trial"]),
        (&["eval"], &["<MODEL>", "see warpsweep eval --help"]),
        (&["eval", "no/such/model"], &["no/such/model"]),
        (&[], &["a command is missing; see warpsweep --help"]),
        (&["study"], &["a command is missing; see warpsweep study --help"]),
        (&["sarch"], &["sarch", "search", "see warpsweep --help"]),
    ] {
        let message = refusal(line);
        for part in parts {
            assert!(message.contains(part), "{line:?}: {part:?} is not in {message:?}");
        }
    }
}

#[test]
fn a_parameter_of_the_command_line_goes_before_the_file_s_and_keeps_its_condition() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("space.toml");
    let text = "[layers]\ntype = \"int\"\nlow = 0\nhigh = 3\n\n[dropout]\ntype = \"float\"\n\
                low = 0.0\nhigh = 0.5\nwhen = \"layers >= 1\"\n";
    std::fs::write(&file, text).unwrap();
    let given = ["dropout=0.25".to_owned(), "momentum=0.9".to_owned()];
    let space = options::space(Some(&file), &given, "unused=1").unwrap();
    let shown: Vec<String> =
        space.parameters().iter().map(|p| format!("{}={}", p.name, p.distribution)).collect();
    assert_eq!(shown, ["layers=randint(0,3)", "dropout=0.25", "momentum=0.9"]);
    assert!(space.get("dropout").unwrap().when.is_some());
}
