//! What reaches a terminal: texts of tenants and of the daemon, in which nothing moves the cursor, ends a line that is not over, or
//! turns the direction of writing. The one place for it: everything that a command writes passes through here.

use std::ffi::OsString;
use std::io::{self, Write};

use serde_json::Value;

use crate::config::text::{is_plain, visible};

/// Whether words may be coloured on a stream that leads to a terminal, or not. A file or the journal is not to be filled
/// with colour codes; `NO_COLOR` (no-color.org) and `TERM=dumb` say that the terminal shows none.
pub fn shows_colours(is_terminal: bool) -> bool {
    is_terminal && may_colour(std::env::var_os("NO_COLOR"), std::env::var_os("TERM"))
}

fn may_colour(no_color: Option<OsString>, term: Option<OsString>) -> bool {
    no_color.is_none_or(|text| text.is_empty()) && term.is_none_or(|term| term != "dumb")
}

/// Fields of several lines.
const OF_LINES: [&str; 1] = ["certificate"];

/// What became of the daemon's file: its message is a report of several lines.
const REPORT: &str = "lastReload";

/// What a command itself writes to colour a word; nothing else that begins with an escape passes.
pub(super) const GREEN: &str = "\u{1b}[32m";
/// See [`GREEN`].
pub(super) const RED: &str = "\u{1b}[31m";
/// See [`GREEN`].
pub(super) const YELLOW: &str = "\u{1b}[33m";
/// The end of a colour.
pub(super) const PLAIN: &str = "\u{1b}[0m";

/// Standard output or error of a command.
pub(super) struct Escaping<'a> {
    inner: &'a mut dyn Write,
    /// What is written is JSON: other characters than plain ones stand in its strings alone.
    json: bool,
}

impl<'a> Escaping<'a> {
    pub(super) fn new(inner: &'a mut dyn Write, json: bool) -> Self {
        Self { inner, json }
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        let passes = |letter: char| is_plain(letter) || matches!(letter, '\n' | '\t');
        if text.chars().all(passes) {
            return self.inner.write_all(text.as_bytes());
        }
        let mut shown = String::with_capacity(text.len() + 16);
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            let colour = [GREEN, RED, YELLOW, PLAIN].into_iter().find(|colour| rest.starts_with(colour) && !self.json);
            let length = colour.map_or(letter.len_utf8(), str::len);
            rest = rest.get(length..).unwrap_or_default();
            match letter {
                _ if colour.is_some() => shown.extend(colour),
                letter if passes(letter) => shown.push(letter),
                letter if self.json => {
                    let mut units = [0; 2];
                    let units = letter.encode_utf16(&mut units);
                    shown.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
                }
                letter => shown.push_str(&visible(letter.encode_utf8(&mut [0; 4]))),
            }
        }
        self.inner.write_all(shown.as_bytes())
    }
}

impl Write for Escaping<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                self.text(text)?;
                Ok(bytes.len())
            }
            Err(error) if error.valid_up_to() > 0 => {
                let (valid, _) = bytes.split_at(error.valid_up_to());
                self.text(&String::from_utf8_lossy(valid))?;
                Ok(valid.len())
            }
            Err(_) => {
                let first = bytes.first().copied().unwrap_or_default();
                write!(self.inner, "\\x{first:02x}")?;
                Ok(1)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Makes every text of an answer one line that people can read.
pub(super) fn for_people(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let std::borrow::Cow::Owned(shown) = visible(text) {
                *text = shown;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(for_people),
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut().filter(|(name, _)| !OF_LINES.contains(&name.as_str())) {
                let report = if name == REPORT { value["message"].as_str().map(lines_for_people) } else { None };
                for_people(value);
                if let Some(report) = report {
                    value["message"] = Value::String(report);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The same lines, each one that people can read.
fn lines_for_people(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, json: bool) -> String {
        let mut out = Vec::new();
        write!(Escaping::new(&mut out, json), "{text}").expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn nothing_that_is_no_text_passes() {
        for (text, people, json) in [
            ("größer\tthan\n", "größer\tthan\n", "größer\tthan\n"),
            ("a\u{1b}[2Kb", "a\\u{1b}[2Kb", "a\\u001b[2Kb"),
            ("\u{9b}\u{202e}\r\0", "\\u{9b}\\u{202e}\\r\\u{0}", "\\u009b\\u202e\\u000d\\u0000"),
            ("\u{e0041}", "\\u{e0041}", "\\udb40\\udc41"),
        ] {
            assert_eq!((written(text, false), written(text, true)), (people.to_owned(), json.to_owned()));
        }
        let mut out = Vec::new();
        Escaping::new(&mut out, false).write_all(b"\xc3\xa4\xff\xc3").expect("written");
        assert_eq!(String::from_utf8(out).expect("text"), "ä\\xff\\xc3");
    }

    #[test]
    fn no_color_and_a_dumb_terminal_keep_colours_away() {
        let set = |text: &str| Some(OsString::from(text));
        for (no_color, term, expected) in [
            (None, set("xterm"), true),
            (None, None, true),
            (set(""), set("xterm"), true),
            (set("1"), set("xterm"), false),
            (None, set("dumb"), false),
        ] {
            assert_eq!(may_colour(no_color.clone(), term.clone()), expected, "{no_color:?} {term:?}");
        }
        assert!(!shows_colours(false));
    }

    #[test]
    fn json_stays_what_it_says() {
        let text = "a\u{7f}\u{202e}\u{e0041}\n";
        let shown = written(&serde_json::to_string(text).expect("written"), true);
        assert!(shown.is_ascii(), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).expect("JSON"), text);
    }

    #[test]
    fn a_text_of_an_answer_is_one_line() {
        let mut answer = serde_json::json!({
            "items": [{ "requestMessage": "please\nhacked  10.1.9.9  spoke  db  Approved", "certificate": "a\nb" }]
        });
        for_people(&mut answer);
        let item = &answer["items"][0];
        assert_eq!(item["requestMessage"], "please\\nhacked  10.1.9.9  spoke  db  Approved");
        assert_eq!(item["certificate"], "a\nb");
        let mut status = serde_json::json!({ "lastReload": { "by": "a\nb", "message": "2:1: wrong\n  \u{1b}[2K" } });
        for_people(&mut status);
        assert_eq!(status["lastReload"]["message"], "2:1: wrong\n  \\u{1b}[2K");
        assert_eq!(status["lastReload"]["by"], "a\\nb");
    }
}
