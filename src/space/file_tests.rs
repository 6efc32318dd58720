use super::*;

const EXAMPLE: &str = r#"
momentum = 0.9
weight_decay = "loguniform(1e-6,1e-2) if momentum > 0"

[units_3]
type = "int"
low = 32
high = 1024
step = 32
when = "layers >= 3"

[learning_rate]
type = "float"
low = 1e-6
high = 1
log = true

[layers]
type = "int"
low = 1
high = 6

[activation]
type = "categorical"
choices = ["relu", "tanh"]

[batch_size]
type = "fixed"
value = 16

[dropout]
type = "float"
low = 0
high = 0.5
step = 0.25

[label_smoothing]
type = "normal"
mean = 0.1
sd = 0.001

[x]
type = "lognormal"
mean = -3
sd = 1
"#;

#[test]
fn a_table_a_parameter_reads_as_the_command_line_does() {
    let arguments = [
        "momentum=0.9",
        "weight_decay=loguniform(1e-6,1e-2) if momentum > 0",
        "units_3=randint(32,1024) if layers >= 3",
        "learning_rate=loguniform(1e-6,1)",
        "layers=randint(1,6)",
        "activation=choice(relu,tanh)",
        "batch_size=16",
        "dropout=quniform(0,0.5,0.25)",
        "label_smoothing=normal(0.1,0.001)",
        "x=lognormal(-3,1)",
    ];
    let spelled = Space::from_arguments(&arguments.map(String::from)).expect("a space");
    let mut expected = spelled.parameters().to_vec();
    expected[2].distribution = Distribution::Int { low: 32, high: 1024, log: false, step: 32 };
    let read = from_text(EXAMPLE).expect("a space");
    assert_eq!(read.parameters(), expected);
}

#[test]
fn each_mistake_in_a_file_gets_its_one_line_with_line_and_column() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    for (text, message) in [
        ("", "line 1, column 1: the space has no parameters; add a table such as [learning_rate]"),
        (
            "[x]\ntype = ",
            "line 2, column 8: string values must be quoted, expected literal string; mend the TOML there",
        ),
        ("[x\n", "line 1, column 3: unclosed table, expected `]`; mend the TOML there"),
        ("x = 1\nx = 2", "line 2, column 1: duplicate key; mend the TOML there"),
        (
            "[x]\nlow = 1",
            r#"line 1, column 1, parameter "x": the key `type` is missing; a parameter of type float, int, categorical or fixed needs it"#,
        ),
        (
            "[x]\ntype = \"float\"\nlow = 1",
            r#"line 1, column 1, parameter "x": the key `high` is missing; a parameter of type float needs it"#,
        ),
        (
            "[x]\ntype = \"flaot\"",
            r#"line 2, column 8, parameter "x": unknown type `flaot` (did you mean float?); known are float, int, categorical, fixed, normal, lognormal"#,
        ),
        (
            "[x]\ntype = 3",
            r#"line 2, column 8, parameter "x": type is 3, expected a string; give one"#,
        ),
        (
            "[x]\ntype = \"int\"\nlow = 1\nhihg = 2",
            r#"line 4, column 1, parameter "x": unknown key `hihg` (did you mean high?); a parameter of type int takes type, when, low, high, log, step"#,
        ),
        (
            "[x]\ntype = \"int\"\nlow = 1.5\nhigh = 2",
            r#"line 3, column 7, parameter "x": low is 1.5, expected a whole number of 64 bits; give one"#,
        ),
        (
            "[x]\ntype = \"int\"\nlow = 99999999999999999999\nhigh = 2",
            r#"line 3, column 7, parameter "x": low is 99999999999999999999, expected a whole number of 64 bits; give one"#,
        ),
        (
            "[x]\ntype = \"float\"\nlow = \"a\"\nhigh = 2",
            r#"line 3, column 7, parameter "x": low is "a", expected a number; give one"#,
        ),
        (
            "[x]\ntype = \"float\"\nlow = 0\nhigh = nan",
            r#"line 1, column 1, parameter "x": high is NaN, which is not a finite number; give a finite one"#,
        ),
        (
            "[x]\ntype = \"float\"\nlow = 0\nhigh = 1\nlog = 1",
            r#"line 5, column 7, parameter "x": log is 1, expected true or false; give one"#,
        ),
        (
            "[x]\ntype = \"float\"\nlow = 0\nhigh = 1\nlog = true",
            r#"line 1, column 1, parameter "x": a logarithmic range needs low > 0, but low is 0.0; use a small one such as 1e-6"#,
        ),
        (
            "[x]\ntype = \"int\"\nlow = 1\nhigh = 10\nstep = 4",
            r#"line 1, column 1, parameter "x": high 10 is not low 1 plus a multiple of 4; use high = 9"#,
        ),
        (
            "[x]\ntype = \"float\"\nlow = 1\nhigh = 10\nstep = 4",
            r#"line 1, column 1, parameter "x": high 10.0 is not low 1.0 plus a multiple of 4.0; use high = 9.0"#,
        ),
        (
            "[x]\ntype = \"int\"\nlow = 1\nhigh = 10\nstep = 3\nlog = true",
            r#"line 1, column 1, parameter "x": log and step 3 together have no meaning; drop one"#,
        ),
        (
            "[x]\ntype = \"int\"\nlow = 1\nhigh = 10\nstep = 0",
            r#"line 1, column 1, parameter "x": step is 0; use one above 0, with no more than 9e15 of them from low to high"#,
        ),
        (
            "[x]\ntype = \"categorical\"\nchoices = []",
            r#"line 1, column 1, parameter "x": there are no choices; list at least one"#,
        ),
        (
            "[x]\ntype = \"categorical\"\nchoices = \"a\"",
            r#"line 3, column 11, parameter "x": choices is "a", expected an array such as [16, 32, 64]; give one"#,
        ),
        (
            "[x]\ntype = \"fixed\"\nvalue = 1979-05-27",
            r#"line 3, column 9, parameter "x": value is 1979-05-27, expected a number, a string, true or false; give one"#,
        ),
        (
            "x = [1]",
            r#"line 1, column 5, parameter "x": x is an array, expected a number, a string, true or false; give one"#,
        ),
        (
            "x = \"unifrm(0,1)\"",
            r#"line 1, column 5, parameter "x": unknown distribution `unifrm` (did you mean uniform?); known are uniform, loguniform, randint, lograndint, quniform, choice, normal, lognormal"#,
        ),
        (
            "y = 1\n[x]\ntype = \"fixed\"\nvalue = 1\nwhen = \"y >\"",
            r#"line 5, column 8, parameter "x": found the end at column 4, expected a value to compare with; mend it there"#,
        ),
        (
            "y = 1\n[x]\ntype = \"fixed\"\nvalue = 1\nwhen = \"z > 1\"",
            r#"line 2, column 2, parameter "x": its condition `z > 1` refers to z, which is not in the space; add it"#,
        ),
        (
            "\"\" = 1",
            r#"line 1, column 1, parameter "": `` is not a name; use letters, digits and `_`, not beginning with a digit"#,
        ),
    ] {
        std::fs::write(file.path(), text).expect("written");
        let refusal = match Space::from_toml(file.path()) {
            Ok(space) => panic!("{text:?} was read as {space:?}"),
            Err(error) => error.to_string(),
        };
        let expected = format!("{}, {message}", file.path().display());
        assert_eq!(refusal, expected, "{text:?}");
    }
}

#[test]
fn what_is_no_text_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let absent = Space::from_toml(&folder.path().join("space.toml")).expect_err("absent");
    assert!(absent.to_string().contains("space.toml: No such file"), "{absent}");
    let error = Space::from_toml(folder.path()).expect_err("a folder");
    assert!(error.to_string().contains("directory"), "{error}");
    let path = folder.path().join("binary.toml");
    std::fs::write(&path, b"x = \"\xff\"").expect("written");
    let error = Space::from_toml(&path).expect_err("not UTF-8");
    assert!(error.to_string().contains("byte 5 is not UTF-8 text; save it as UTF-8"), "{error}");
    std::fs::write(&path, vec![b'#'; 2 << 20]).expect("written");
    let error = Space::from_toml(&path).expect_err("too large");
    assert!(error.to_string().contains("over 1048576 bytes"), "{error}");
}
