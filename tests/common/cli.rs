//! Running the program as a user does: in an empty folder, without cache, settings or network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;
use tempfile::TempDir;
use warpsweep::data::Samples;

use super::samples;

/// A user's empty home and working folder; it is deleted in the end.
pub struct Home {
    folder: TempDir,
}

impl Home {
    pub fn new() -> Self {
        let home = Home { folder: tempfile::tempdir().expect("a temporary folder") };
        fs::create_dir(home.path("cache")).expect("an empty cache folder");
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program, to be run here: no data set but those named is found, nothing can be fetched.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WARPSWEEP") {
                command.env_remove(name);
            }
        }
        command.env("HOME", self.folder.path()).env("XDG_CACHE_HOME", self.path("cache"));
        // Port 9 discards: a proxy there refuses at once, on a machine with and without network.
        for proxy in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"] {
            command.env(proxy, "http://127.0.0.1:9");
            command.env(proxy.to_lowercase(), "http://127.0.0.1:9");
        }
        command.env_remove("NO_PROXY").env_remove("no_proxy").env_remove("RUST_BACKTRACE");
        command
    }

    pub fn warpsweep(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_warpsweep")));
        command.args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.warpsweep(arguments).output().expect("the program starts")
    }

    /// Runs the program, which must succeed.
    pub fn succeed(&self, arguments: &[&str]) -> Output {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?} failed: {}", stderr(&output));
        output
    }

    /// Writes a data set of `train` and `test` images of `side x side` as four plain IDX files.
    pub fn write_data(&self, name: &str, train: usize, test: usize, side: usize) -> PathBuf {
        let folder = self.path(name);
        fs::create_dir(&folder).expect("a new folder");
        for (part, count, number) in [("train", train, 0), ("t10k", test, 1)] {
            let samples = samples(count, side * side, 10, number);
            write(&folder.join(format!("{part}-images-idx3-ubyte")), &images(&samples, side));
            write(&folder.join(format!("{part}-labels-idx1-ubyte")), &labels(&samples.labels));
        }
        folder
    }
}

pub fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("a file that can be written");
}

/// An IDX file of images: magic number, three sizes, pixels.
pub fn images(samples: &Samples, side: usize) -> Vec<u8> {
    idx(0x0803, &[samples.len(), side, side], &samples.pixels)
}

/// An IDX file of labels.
pub fn labels(labels: &[u8]) -> Vec<u8> {
    idx(0x0801, &[labels.len()], labels)
}

pub fn idx(magic: u32, sizes: &[usize], bytes: &[u8]) -> Vec<u8> {
    let mut file = magic.to_be_bytes().to_vec();
    sizes.iter().for_each(|&size| file.extend((size as u32).to_be_bytes()));
    file.extend(bytes);
    file
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("output is UTF-8")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("messages are UTF-8")
}

/// Each line of standard output as JSON.
pub fn json_lines(output: &Output) -> Vec<Json> {
    let line = |line: &str| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in line {line:?}"))
    };
    stdout(output).lines().map(line).collect()
}

/// What a study holds, as `study export` tells it.
pub fn export(home: &Home, study: &str) -> Json {
    let output = home.succeed(&["study", "export", study, "--format", "json"]);
    serde_json::from_str(&stdout(&output)).expect("an export is JSON")
}

/// The same without the times, which are the only numbers that may differ between two runs.
pub fn without_times(json: Json) -> Json {
    match json {
        Json::Object(map) => {
            let is_time = |key: &str| {
                key == "seconds" || key.starts_with("datetime") || key.ends_with("per_second")
            };
            let kept = map.into_iter().filter(|(key, _)| !is_time(key));
            Json::Object(kept.map(|(key, value)| (key, without_times(value))).collect())
        }
        Json::Array(values) => values.into_iter().map(without_times).collect(),
        other => other,
    }
}
