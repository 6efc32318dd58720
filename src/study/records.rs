//! The lines of a journal that we write, one struct an operation, as Python's `json.dumps` would
//! write them: compact, and ASCII only.

use std::io;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::ser::Formatter;
use serde_json::{Map, Value as Json};

use super::StudyError;
use crate::error::Result;

/// Who wrote a line. Optuna only asks whether it was itself.
const WORKER: &str = "warpsweep";

/// Optuna's operation codes.
pub mod operation {
    pub const CREATE_STUDY: u64 = 0;
    pub const DELETE_STUDY: u64 = 1;
    pub const STUDY_ATTRIBUTE: u64 = 2;
    pub const CREATE_TRIAL: u64 = 4;
    pub const TRIAL_PARAMETER: u64 = 5;
    pub const TRIAL_STATE: u64 = 6;
    pub const INTERMEDIATE_VALUE: u64 = 7;
    pub const TRIAL_ATTRIBUTE: u64 = 8;
}

/// One operation; it is written with its code and its worker in front.
pub trait Operation: Serialize {
    const CODE: u64;
}

#[derive(Serialize)]
pub struct CreateStudy<'a> {
    pub study_name: &'a str,
    /// 1 is minimise.
    pub directions: [u8; 1],
}

#[derive(Serialize)]
pub struct StudyAttribute {
    pub study_id: usize,
    /// Exactly one key.
    pub user_attr: Map<String, Json>,
}

/// The one-line form: the trial is whole from its first line on, so that a torn group leaves no
/// trial without its parameters.
#[derive(Serialize)]
pub struct CreateTrial {
    pub study_id: usize,
    pub datetime_start: String,
    pub state: u8,
    pub value: Option<f64>,
    pub values: Option<[f64; 1]>,
    pub distributions: Map<String, Json>,
    pub params: Map<String, Json>,
    pub user_attrs: Map<String, Json>,
    pub system_attrs: Map<String, Json>,
    pub intermediate_values: Map<String, Json>,
}

#[derive(Serialize)]
pub struct TrialState<'a> {
    pub trial_id: usize,
    pub state: u8,
    pub values: Option<[f64; 1]>,
    pub datetime_complete: &'a str,
}

#[derive(Serialize)]
pub struct IntermediateValue {
    pub trial_id: usize,
    pub step: usize,
    pub intermediate_value: f64,
}

#[derive(Serialize)]
pub struct TrialAttribute {
    pub trial_id: usize,
    /// Exactly one key.
    pub user_attr: Map<String, Json>,
}

macro_rules! operations {
    ($($record:ty => $code:ident),* $(,)?) => {
        $(impl Operation for $record { const CODE: u64 = operation::$code; })*
    };
}

operations! {
    CreateStudy<'_> => CREATE_STUDY,
    StudyAttribute => STUDY_ATTRIBUTE,
    CreateTrial => CREATE_TRIAL,
    TrialState<'_> => TRIAL_STATE,
    IntermediateValue => INTERMEDIATE_VALUE,
    TrialAttribute => TRIAL_ATTRIBUTE,
}

/// A group of lines to append.
#[derive(Debug, Default)]
pub struct Lines(Vec<u8>);

impl Lines {
    /// Adds one line.
    pub fn push<T: Operation>(&mut self, record: &T) -> Result<()> {
        #[derive(Serialize)]
        struct Line<'a, T> {
            op_code: u64,
            worker_id: &'a str,
            #[serde(flatten)]
            record: &'a T,
        }
        let line = Line { op_code: T::CODE, worker_id: WORKER, record };
        let mut serializer = serde_json::Serializer::with_formatter(&mut self.0, Ascii);
        line.serialize(&mut serializer).map_err(|error| StudyError::Unrecordable {
            what: format!("a record of operation {}", T::CODE),
            reason: error.to_string(),
        })?;
        self.0.push(b'\n');
        Ok(())
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// A JSON object of one key, as attributes are set.
pub fn single(key: &str, value: Json) -> Map<String, Json> {
    Map::from_iter([(key.to_owned(), value)])
}

/// A number that JSON may not have a word for: what is not finite is written as a text, which
/// Python's `float` reads too.
pub fn number(value: f64) -> Json {
    match value {
        _ if value.is_finite() => value.into(),
        _ if value.is_nan() => "NaN".into(),
        _ if value > 0.0 => "Infinity".into(),
        _ => "-Infinity".into(),
    }
}

/// This instant as Optuna writes it: UTC, microseconds, `+00:00`.
pub fn now() -> String {
    let zulu = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    zulu.replace('Z', "+00:00")
}

/// Compact JSON with every character outside printable ASCII escaped.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        if fragment.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return writer.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            match character {
                ' '..='~' => write!(writer, "{character}")?,
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(writer, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_python_would_write() {
        let mut lines = Lines::default();
        let text = "\"é\u{2028}😀/\u{7f}\n\u{1}\\";
        let user_attr = single("ключ", text.into());
        lines.push(&StudyAttribute { study_id: 0, user_attr }).unwrap();
        // json.dumps({...}, separators=(",", ":")) of Python 3.
        let python = r#"{"op_code":2,"worker_id":"warpsweep","study_id":0,"user_attr":{"\u043a\u043b\u044e\u0447":"\"\u00e9\u2028\ud83d\ude00/\u007f\n\u0001\\"}}"#;
        assert_eq!(String::from_utf8(lines.into_bytes()).unwrap(), format!("{python}\n"));
    }

    #[test]
    fn a_number_that_is_not_finite_is_a_text() {
        let numbers = [1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(number);
        let text = serde_json::to_string(&numbers).unwrap();
        assert_eq!(text, r#"[1.0,"NaN","Infinity","-Infinity"]"#);
    }

    #[test]
    fn a_time_is_utc_with_microseconds() {
        let now = now();
        assert_eq!(now.len(), "2026-01-02T03:04:05.678901+00:00".len(), "{now}");
        assert!(now.ends_with("+00:00") && now.as_bytes()[19] == b'.', "{now}");
    }
}
