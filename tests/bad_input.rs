//! Whatever is wrong with what the program is given: one clear line, the right exit code, and
//! nothing lost.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::cli::{Home, export, idx, images, labels, stderr, stdout, without_times, write};
use common::samples;
use flate2::Compression;
use flate2::write::GzEncoder;

const SIDE: usize = 6;
const TRAIN: usize = 80;

/// The options of a small search on a folder of data.
const SMALL: [&str; 6] = ["--validation", "holdout:20", "--trials", "2", "--epochs", "1"];

fn search_in(data: &Path) -> Vec<&str> {
    let data = data.to_str().expect("a UTF-8 path");
    [&["search", "--data", data][..], &SMALL].concat()
}

/// The program must have refused: this exit code, one line that says these things and what to do
/// next, nothing on standard output.
fn assert_refused(case: &str, output: &Output, code: i32, says: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{case}: exit code; it said {message:?}");
    assert_eq!(message.lines().count(), 1, "{case}: one line was expected, not {message:?}");
    assert!(message.ends_with('\n'), "{case}: the line has no end: {message:?}");
    assert!(!message.contains("panicked"), "{case}: {message}");
    for part in says {
        assert!(message.contains(part), "{case}: `{part}` is missing in {message:?}");
    }
    // After the last semicolon stands what to do.
    let next_step = message.trim_end().rsplit_once(';').is_some_and(|(_, step)| step.len() > 5);
    assert!(next_step, "{case}: no next step in {message:?}");
    assert_eq!(stdout(output), "", "{case}: standard output");
}

/// Every file and folder under a folder.
fn listing(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    let below: Vec<_> =
        found.iter().filter(|path| path.is_dir()).flat_map(|p| listing(p)).collect();
    found.extend(below);
    found.sort();
    found
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// A gzip file of some bytes and then a gibibyte of zeros.
fn bomb(head: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(head).expect("memory");
    let zeros = vec![0; 1 << 24];
    (0..64).for_each(|_| encoder.write_all(&zeros).expect("memory"));
    encoder.finish().expect("memory")
}

/// Runs a program under a limit of the shell's `ulimit`.
fn limited(home: &Home, limit: &str, arguments: &[&str]) -> Output {
    let mut shell = home.command(Path::new("sh"));
    let program = env!("CARGO_BIN_EXE_warpsweep");
    shell.args(["-c", &format!("{limit}; exec \"$0\" \"$@\""), program]).args(arguments);
    shell.output().expect("a shell")
}

/// Breaks one file of a good data set, and expects a search to refuse it by name.
fn assert_file_refused(case: &str, file: &str, damage: impl FnOnce(&Path), says: &[&str]) {
    let home = Home::new();
    let data = home.write_data("data", TRAIN, 30, SIDE);
    let path = data.join(file);
    damage(&path);
    let before = listing(&home.path(""));
    let named = [&[file.split('.').next().expect("a stem")][..], says].concat();
    assert_refused(case, &home.run(&search_in(&data)), 2, &named);
    assert_eq!(before, listing(&home.path("")), "{case}: files were left or lost");
}

const IMAGES: &str = "train-images-idx3-ubyte";
const LABELS: &str = "train-labels-idx1-ubyte";

/// Replaces a plain file by a gzipped one.
fn as_gzip(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).expect("the plain file");
    write(&path.with_extension("gz"), bytes);
}

#[test]
fn a_good_data_set_is_taken_plain_and_gzipped() {
    let home = Home::new();
    let data = home.write_data("data", TRAIN, 30, SIDE);
    home.succeed(&search_in(&data));
    for file in [IMAGES, LABELS] {
        let path = data.join(file);
        as_gzip(&path, &gzip(&fs::read(&path).expect("the plain file")));
    }
    home.succeed(&[&search_in(&data)[..], &["--study", "second.jsonl"]].concat());
}

#[test]
fn a_truncated_gzip_file_is_refused() {
    let whole = gzip(&images(&samples(TRAIN, SIDE * SIDE, 10, 0), SIDE));
    for keep in [1, 5, 12, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        let damage = |path: &Path| as_gzip(path, &whole[..keep]);
        assert_file_refused(&format!("{keep} bytes of gzip"), IMAGES, damage, &[]);
    }
}

#[test]
fn a_gzip_file_with_a_flipped_bit_is_refused() {
    let mut bytes = gzip(&images(&samples(TRAIN, SIDE * SIDE, 10, 0), SIDE));
    let checksum = bytes.len() - 6;
    bytes[checksum] ^= 4;
    assert_file_refused("checksum", IMAGES, |path| as_gzip(path, &bytes), &[]);
}

#[test]
fn a_bad_magic_number_is_refused() {
    let pixels = vec![7; TRAIN * SIDE * SIDE];
    let bad = idx(0x0802, &[TRAIN, SIDE, SIDE], &pixels);
    assert_file_refused("images", IMAGES, |path| write(path, &bad), &["00000803"]);
    let bad = idx(0x0803, &[TRAIN], &[0; TRAIN]);
    assert_file_refused("labels", LABELS, |path| write(path, &bad), &["00000801"]);
}

#[test]
fn counts_that_do_not_fit_are_refused() {
    let pixels = vec![7; TRAIN * SIDE * SIDE];
    let short = idx(0x0803, &[TRAIN + 1, SIDE, SIDE], &pixels);
    assert_file_refused("too few pixels", IMAGES, |path| write(path, &short), &[]);
    let long = idx(0x0803, &[TRAIN - 1, SIDE, SIDE], &pixels);
    assert_file_refused("too many pixels", IMAGES, |path| write(path, &long), &[]);
    let none = idx(0x0803, &[0, SIDE, SIDE], &[]);
    assert_file_refused("no images", IMAGES, |path| write(path, &none), &[]);
    let fewer = labels(&[1; TRAIN - 1]);
    assert_file_refused("fewer labels", LABELS, |path| write(path, &fewer), &["79", "80"]);
    let header = &images(&samples(TRAIN, SIDE * SIDE, 10, 0), SIDE)[..11];
    assert_file_refused("half a header", IMAGES, |path| write(path, header), &[]);
    let wide = idx(0x0803, &[30, SIDE, SIDE + 1], &[0; 30 * SIDE * (SIDE + 1)]);
    let file = "t10k-images-idx3-ubyte";
    assert_file_refused("test images of another size", file, |path| write(path, &wide), &[]);
}

#[test]
fn a_label_over_nine_is_refused_with_its_sample() {
    let mut bytes = labels(&samples(TRAIN, 1, 10, 0).labels);
    bytes[8 + 33] = 10;
    assert_file_refused("label 10", LABELS, |path| write(path, &bytes), &["10", "33"]);
    bytes[8 + 33] = 255;
    assert_file_refused("label 255", LABELS, |path| write(path, &bytes), &["255", "33"]);
}

#[test]
fn an_empty_file_and_a_folder_are_refused() {
    assert_file_refused("empty images", IMAGES, |path| write(path, b""), &["empty"]);
    assert_file_refused("empty labels", LABELS, |path| write(path, b""), &["empty"]);
    assert_file_refused("empty gzip", IMAGES, |path| as_gzip(path, b""), &["empty"]);
    let folder = |path: &Path| {
        fs::remove_file(path).expect("the file");
        fs::create_dir(path).expect("a folder");
    };
    assert_file_refused("folder", IMAGES, folder, &["folder"]);
    assert_file_refused("missing", LABELS, |path| fs::remove_file(path).expect("the file"), &[]);
}

#[test]
fn a_file_without_permission_is_refused() {
    let home = Home::new();
    let data = home.write_data("data", TRAIN, 30, SIDE);
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a file of ours")
    };
    mode(&data.join(IMAGES), 0o000);
    let mut command = home.warpsweep(&search_in(&data));
    if fs::metadata(&data).expect("the folder").uid() == 0 {
        // Root may read anything: the program runs as nobody, from where nobody may run it. `cp`
        // writes the copy, for a file that this process has open for writing cannot be run.
        let program = home.path("warpsweep");
        let copy = Command::new("cp").arg(env!("CARGO_BIN_EXE_warpsweep")).arg(&program).status();
        assert!(copy.expect("cp").success());
        for path in [home.path(""), program.clone(), home.path("cache")] {
            mode(&path, 0o777);
        }
        command = home.command(&program);
        command.args(search_in(&data)).uid(65_534).gid(65_534);
    }
    let output = command.output().expect("the program starts");
    assert_refused("no permission", &output, 2, &[IMAGES, "permission"]);
}

#[test]
fn a_gzip_bomb_is_refused_in_little_memory() {
    let honest = images(&samples(TRAIN, SIDE * SIDE, 10, 0), SIDE);
    let many = (1 << 30) / (SIDE * SIDE);
    let announced = bomb(&idx(0x0803, &[many, SIDE, SIDE], &[]));
    let cases = [
        ("a gibibyte after the images", bomb(&honest), TRAIN, "goes on"),
        ("a gibibyte announced", announced.clone(), TRAIN, "80 labels"),
        ("a gibibyte that has its labels", announced, many, "not so much memory"),
        (
            "more than there is",
            bomb(&idx(0x0803, &[u32::MAX as usize; 3], &[])),
            TRAIN,
            "80 labels",
        ),
    ];
    for (case, bytes, count, says) in cases {
        let home = Home::new();
        let data = home.write_data("data", TRAIN, 30, SIDE);
        write(&data.join(LABELS), &labels(&vec![1; count]));
        as_gzip(&data.join(IMAGES), &bytes);
        // In KiB of address space; a program that unpacks the bomb is killed or aborts.
        let output = limited(&home, "ulimit -v 800000", &search_in(&data));
        assert_refused(case, &output, 2, &[IMAGES, says]);
    }
}

#[test]
fn what_makes_no_sense_on_the_command_line_is_refused_before_anything_happens() {
    let home = Home::new();
    let data = home.write_data("data", TRAIN, 30, SIDE);
    write(&home.path("bad.toml"), b"[learning_rate]\ntype = 'float'\nlow = nan\nhigh = 1.0\n");
    write(&home.path("torn.toml"), b"[learning_rate\n");
    write(&home.path("model.safetensors"), b"not a model");
    write(&home.path("study.txt"), b"not a study\n");
    let before = listing(&home.path(""));
    let cases: &[(&[&str], &[&str])] = &[
        (&["--trials", "0"], &["trials", "0"]),
        (&["--trials", "-1"], &["--trials", "-1"]),
        (&["--trials", "many"], &["trials", "many"]),
        (&["--trails", "3"], &["--trails"]),
        (&["--array", "0"], &["array"]),
        (&["--threads", "0"], &["threads"]),
        (&["--batch-size", "0"], &["batch-size"]),
        (&["--target-error", "nan"], &["target-error"]),
        (&["--time-limit", "nan"], &["time-limit"]),
        (&["--validation", "holdout:0"], &["holdout"]),
        (&["--validation", "holdout:80"], &["holdout"]),
        (&["--validation", "some"], &["validation", "some"]),
        (&["--device", "abacus"], &["abacus", "cuda:N"]),
        (&["--device", "cuda:x"], &["cuda:x", "cuda:0"]),
        (&["--device", "cpu", "--precision", "tf32"], &["--precision tf32", "the CPU engine"]),
        (&["--param", "learning_rate=loguniform(0,1)"], &["learning_rate", "0"]),
        (&["--param", "learning_rate=loguniform(-1,1)"], &["learning_rate", "-1"]),
        (&["--param", "learning_rate=uniform(1,0)"], &["learning_rate"]),
        (&["--param", "learning_rate=uniform(nan,1)"], &["learning_rate"]),
        (&["--param", "learning_rate=uniform(0,inf)"], &["learning_rate"]),
        (&["--param", "learning_rate=nan"], &["learning_rate"]),
        (&["--param", "learning_rate=uniform(0"], &["learning_rate"]),
        (&["--param", "learning_rate=unifrom(0,1)"], &["unifrom", "uniform"]),
        (&["--param", "learning_rate"], &["learning_rate"]),
        (&["--param", "lerning_rate=0.1"], &["lerning_rate", "learning_rate"]),
        (&["--param", "batch_size=0"], &["batch_size", "0"]),
        (&["--param", "layers=7"], &["layers", "7"]),
        (&["--param", "dropout=1"], &["dropout", "1"]),
        (&["--param", "activation=cubic"], &["activation", "cubic"]),
        (&["--param", "momentum=0.9", "--param", "momentum=0.5"], &["momentum"]),
        (&["--space", "none.toml"], &["none.toml"]),
        (&["--space", "bad.toml"], &["bad.toml", "low"]),
        (&["--space", "torn.toml"], &["torn.toml"]),
        (&["--study", "study.txt/study.jsonl"], &["study.txt/study.jsonl"]),
        (&["--study", "no/such/folder/s.jsonl"], &["no folder no/such/folder", "create it"]),
        (&["--study", "cache"], &["cache"]),
        (&["--study", "study.txt"], &["study.txt"]),
    ];
    for (arguments, says) in cases {
        let output = home.run(&overriding(&search_in(&data), arguments));
        assert_refused(&format!("{arguments:?}"), &output, 2, says);
    }
    let cases: &[(&[&str], &[&str])] = &[
        (&["serach"], &["serach"]),
        (&["eval", "none.safetensors"], &["none.safetensors"]),
        (&["eval", "model.safetensors"], &["model.safetensors"]),
        (&["study", "show", "none.jsonl"], &["none.jsonl"]),
        (&["study", "show", "study.txt"], &["study.txt"]),
        (&["study", "export", "study.txt", "--format", "xml"], &["xml"]),
        (&["search", "--data", "nowhere"], &["nowhere"]),
        (&["search", "--data", "fashion-mnist"], &["fashion-mnist"]),
    ];
    for (arguments, says) in cases {
        assert_refused(&format!("{arguments:?}"), &home.run(arguments), 2, says);
    }
    assert_eq!(before, listing(&home.path("")), "files were left or lost");
}

/// The arguments with others in place of those of the same name.
fn overriding<'a>(arguments: &[&'a str], others: &[&'a str]) -> Vec<&'a str> {
    let mut kept = vec![arguments[0]];
    for pair in arguments[1..].chunks(2).filter(|pair| pair[0] != others[0]) {
        kept.extend(pair);
    }
    kept.extend(others);
    kept
}

/// A search with enough trials to be stopped in.
fn long_search<'a>(data: &'a Path, study: &'a str) -> Vec<&'a str> {
    let more = ["--study", study, "--array", "8", "--quiet", "--param", "layers=randint(0,1)"];
    overriding(&search_in(data), &["--trials", "60"]).into_iter().chain(more).collect()
}

#[test]
fn a_full_disk_ends_the_run_and_loses_nothing() {
    let home = Home::new();
    let data = home.write_data("data", TRAIN, 30, SIDE);
    home.succeed(&long_search(&data, "whole.jsonl"));
    let whole = without_times(export(&home, "whole.jsonl"));
    // In blocks of 512 bytes: enough for the header and some trials. Ignoring the signal makes
    // the write itself fail, as on a full disk.
    let arguments = long_search(&data, "cut.jsonl");
    let output = limited(&home, "trap '' XFSZ; ulimit -f 24", &arguments);
    assert_refused("full disk", &output, 1, &["cut.jsonl"]);
    export(&home, "cut.jsonl");
    home.succeed(&arguments);
    assert_eq!(whole, without_times(export(&home, "cut.jsonl")));
}

#[test]
fn a_study_of_another_search_is_refused_and_left_as_it_is() {
    let home = Home::new();
    let data = home.write_data("data", TRAIN, 30, SIDE);
    let other = home.write_data("other", TRAIN + 5, 30, SIDE);
    let arguments = [&search_in(&data)[..], &["--study", "s.jsonl", "--quiet"]].concat();
    home.succeed(&arguments);
    let before = fs::read(home.path("s.jsonl")).expect("the study");
    let cases: [&[&str]; 6] = [
        &["--param", "learning_rate=loguniform(1e-3,1)"],
        &["--param", "momentum=uniform(0,0.9)"],
        &["--seed", "9"],
        &["--epochs", "2"],
        &["--validation", "test"],
        &["--data", other.to_str().expect("a UTF-8 path")],
    ];
    for change in cases {
        let mut changed = overriding(&arguments[..arguments.len() - 1], change);
        changed.push("--quiet");
        assert_refused(&format!("{change:?}"), &home.run(&changed), 2, &["s.jsonl"]);
        let after = fs::read(home.path("s.jsonl")).expect("the study");
        assert!(before == after, "{change:?} changed the study");
    }
}

#[test]
fn a_damaged_tail_is_cut_back_and_said_aloud() {
    let home = Home::new();
    let data = home.write_data("data", TRAIN, 30, SIDE);
    let mut arguments = long_search(&data, "s.jsonl");
    arguments.retain(|&argument| argument != "--quiet");
    home.succeed(&arguments);
    let bytes = fs::read(home.path("s.jsonl")).expect("the study");
    let whole = without_times(export(&home, "s.jsonl"));
    let torn = |keep: usize, more: &[u8]| [&bytes[..keep], more].concat();
    // Ten bytes into a line, wherever a third of the file is gone.
    let line = |from: usize| bytes[from..].iter().position(|&b| b == b'\n').expect("a line") + from;
    let third = line(bytes.len() * 2 / 3) + 11;
    let cases = [
        ("one byte short", torn(bytes.len() - 1, b"")),
        ("half a line short", torn(bytes.len() - 40, b"")),
        ("a third short", torn(third, b"")),
        ("half a record more", torn(bytes.len(), b"{\"op_code\":4,\"worker")),
        ("zeros, as after a power cut", torn(bytes.len(), &[0; 300])),
        ("bytes that are no text", torn(bytes.len(), &[0xff, 0xfe, 0x80])),
    ];
    for (case, damaged) in cases {
        write(&home.path("s.jsonl"), &damaged);
        let message = stderr(&home.succeed(&arguments));
        assert!(message.contains("cut"), "{case}: nothing was said of it: {message:?}");
        assert_eq!(whole, without_times(export(&home, "s.jsonl")), "{case}");
    }
}

#[test]
fn damage_in_the_middle_of_a_study_is_refused_and_left_as_it_is() {
    let home = Home::new();
    let data = home.write_data("data", TRAIN, 30, SIDE);
    let arguments = long_search(&data, "s.jsonl");
    home.succeed(&arguments);
    let mut bytes = fs::read(home.path("s.jsonl")).expect("the study");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 3].copy_from_slice(b"\x00}{");
    write(&home.path("s.jsonl"), &bytes);
    assert_refused("damage", &home.run(&arguments), 2, &["s.jsonl", "line"]);
    assert!(bytes == fs::read(home.path("s.jsonl")).expect("the study"));
}
