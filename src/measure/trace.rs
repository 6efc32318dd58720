//! Spans as a trace that Perfetto and chrome://tracing open: Chrome's trace event format, as JSON.
//!
//! Of the format two events are used: `X`, a span with its beginning and duration in microseconds, and
//! `M`, the names of tracks. A viewer draws spans of a track that lie within each other as a stack,
//! so those of a track are made to nest or to follow each other: clocks of a GPU are read in steps of
//! half a microsecond, and a span may seem to begin a little before the last has ended.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value as Json, json};

use crate::engine::profile::Span;

/// The one process of a trace.
const PROCESS: u32 = 1;

/// Writes spans as a trace; `about` (conditions, units) goes along as its metadata.
pub fn write(spans: &[Span], about: &Json, out: &mut dyn Write) -> io::Result<()> {
    let mut tracks: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        tracks.entry(&span.track).or_default().push(span);
    }
    write!(out, "{{\"displayTimeUnit\":\"ns\",\"otherData\":{about},\"traceEvents\":[")?;
    write!(out, "\n{}", name("process_name", 0, "warpsweep"))?;
    for (index, (track, spans)) in tracks.into_iter().enumerate() {
        let number = index + 1;
        write!(out, ",\n{}", name("thread_name", number, track))?;
        for (name, start, end) in nested(spans) {
            let event = json!({
                "ph": "X", "name": name, "cat": category(track), "pid": PROCESS, "tid": number,
                "ts": microseconds(start), "dur": microseconds(end - start),
            });
            write!(out, ",\n{event}")?;
        }
    }
    writeln!(out, "\n]}}")
}

fn name(kind: &str, track: usize, name: &str) -> Json {
    json!({ "ph": "M", "name": kind, "pid": PROCESS, "tid": track, "args": { "name": name } })
}

/// What a viewer may filter by: the first word of a track's name.
fn category(track: &str) -> &str {
    track.split([' ', ':']).next().unwrap_or(track)
}

/// Microseconds of whole nanoseconds, as the format has them.
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

/// The spans of a track in the order of their beginnings, in nanoseconds from and to: an outer one
/// before those in it. One that begins in another and ends after it begins at that one's end.
fn nested(mut spans: Vec<&Span>) -> Vec<(&str, u64, u64)> {
    let nanoseconds = |seconds: f64| (seconds.max(0.0) * 1e9).round() as u64;
    let ends = |span: &Span| nanoseconds(span.start) + nanoseconds(span.seconds);
    spans.sort_by_key(|span| (nanoseconds(span.start), std::cmp::Reverse(ends(span))));
    // The ends of the spans that are open, the innermost last.
    let (mut open, mut last) = (Vec::<u64>::new(), 0);
    let place = |span: &&'_ Span| {
        let (mut start, end) = (nanoseconds(span.start).max(last), ends(span));
        while let Some(outer) = open.pop_if(|outer| *outer <= start || *outer < end) {
            start = start.max(outer);
        }
        last = start;
        open.push(end.max(start));
        (start, end.max(start))
    };
    let places: Vec<(u64, u64)> = spans.iter().map(place).collect();
    spans.iter().zip(places).map(|(span, (start, end))| (&*span.name, start, end)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(track: &str, name: &str, start: f64, seconds: f64) -> Span {
        Span { track: track.to_owned(), name: name.to_owned(), start, seconds }
    }

    #[test]
    fn an_outer_span_comes_before_those_in_it() {
        let spans =
            [span("a", "in", 1.0, 1.0), span("a", "out", 1.0, 3.0), span("a", "on", 2.0, 1.0)];
        let names: Vec<_> = nested(spans.iter().collect()).into_iter().map(|(n, ..)| n).collect();
        assert_eq!(names, ["out", "in", "on"]);
    }

    #[test]
    fn a_span_that_leaves_the_one_it_began_in_begins_at_that_ones_end() {
        let nano = |name, start: u32, length: u32| {
            span("a", name, f64::from(start) * 1e-9, f64::from(length) * 1e-9)
        };
        let spans = [nano("one", 0, 20), nano("two", 19, 40), nano("in two", 30, 5)];
        let expected = [("one", 0, 20), ("two", 20, 59), ("in two", 30, 35)];
        assert_eq!(nested(spans.iter().collect()), expected);
        let spans = [nano("out", 0, 100), nano("one", 10, 20), nano("two", 29, 20)];
        let expected = [("out", 0, 100), ("one", 10, 30), ("two", 30, 49)];
        assert_eq!(nested(spans.iter().collect()), expected);
    }

    #[test]
    fn a_trace_is_json_with_a_named_track_for_every_track() {
        let spans = [span("cpu thread 0", "forward \"1\"", 0.5, 0.25), span("b", "x", 0.0, 0.1)];
        let mut text = Vec::new();
        write(&spans, &json!({ "device": "none" }), &mut text).expect("memory takes all");
        let trace: Json = serde_json::from_slice(&text).expect("JSON");
        let events = trace["traceEvents"].as_array().expect("a list");
        assert_eq!(events.len(), 5);
        let first = events.iter().find(|event| event["ph"] == "X" && event["name"] != "x");
        let expected = json!({
            "ph": "X", "name": "forward \"1\"", "cat": "cpu", "pid": 1, "tid": 2, "ts": 500_000.0,
            "dur": 250_000.0,
        });
        assert_eq!(first, Some(&expected));
        assert_eq!(trace["otherData"]["device"], "none");
    }
}
