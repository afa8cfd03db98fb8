//! What is wrong with a file: every mistake with its place, its message and what to do about it, for
//! people (`Display`) and for programs (`to_json`).

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use super::objects::Fields;

use crate::model::error::{Error, ErrorDetail, ErrorKind};
pub use crate::model::rules::Severity;
use crate::model::sentence::itself;

/// Code of what is wrong with a text before any rule is asked.
const INVALID: &str = "InvalidDocument";

/// How many problems a report lists; a binary file taken for TOML would otherwise have thousands.
const LISTED: usize = 100;

/// How much of a source line is quoted, in characters.
const QUOTED: usize = 160;

/// One mistake of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as the caller named it.
    pub file: String,
    /// Line, counted from 1; `None`: the file as a whole.
    pub line: Option<usize>,
    /// Column in characters, counted from 1.
    pub column: Option<usize>,
    /// Field path in a document that is no text, such as `vnet[0].subnets[1].prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Whether the file is refused for it.
    pub severity: Severity,
    /// Names the rule that is broken, where it is one about the model; stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
    #[serde(skip)]
    quote: Option<Quote>,
}

/// The source line with the place underlined.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Quote {
    text: String,
    indent: usize,
    length: usize,
}

/// Why a file was refused: all of its errors and warnings in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// At most a hundred; at least one is an error.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub omitted: usize,
}

impl Report {
    /// A report of one problem that concerns the file as a whole.
    pub(super) fn whole_file(file: &str, message: String, remedy: String) -> Self {
        Self {
            problems: vec![Problem {
                file: file.to_owned(),
                line: None,
                column: None,
                field: None,
                severity: Severity::Error,
                code: None,
                message,
                remedy,
                quote: None,
            }],
            omitted: 0,
        }
    }

    /// The report as `privlink check -o json` prints it.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "apiVersion": "privlink/v1",
            "items": self.problems,
            "omitted": self.omitted,
        })
    }

    /// How many listed problems are errors.
    pub fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error).count()
    }
}

impl std::error::Error for Report {}

impl Problem {
    /// The file with line and column, or with the field path.
    fn place(&self) -> String {
        let Self { file, line, column, field, .. } = self;
        match (line, column, field) {
            (Some(line), Some(column), _) => format!("{file}:{line}:{column}"),
            (_, _, Some(field)) if !field.is_empty() => format!("{file}: {field}"),
            _ => file.clone(),
        }
    }

    /// For a list of sentences: place, what is wrong, and what to do.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let (place, message) = (self.place(), &self.message);
        let remedy = if self.remedy.is_empty() { String::new() } else { format!("; {}", self.remedy) };
        format!("{place}: {message}{remedy}")
    }
}

/// A document refused: the whole report, and every error in it by itself.
impl From<&Report> for Error {
    fn from(report: &Report) -> Self {
        let errors = report.problems.iter().filter(|problem| problem.severity == Severity::Error);
        let details = errors.map(|problem| {
            let (place, Problem { code, message, remedy, .. }) = (problem.place(), problem);
            ErrorDetail::new(code.unwrap_or(INVALID), itself(format!("{message}; {remedy}"))).at(itself(place))
        });
        Self::new(ErrorKind::Invalid, INVALID, itself(report.to_string().trim_end()), "")
            .with_details(details.collect())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        if self.omitted > 0 {
            writeln!(f, "... and {} more", self.omitted)?;
        }
        let errors = self.errors();
        let warnings = self.problems.len() - errors;
        write!(f, "{errors} error{}", if errors == 1 { "" } else { "s" })?;
        if warnings > 0 {
            write!(f, ", {warnings} warning{}", if warnings == 1 { "" } else { "s" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, message, .. } = self;
        write!(f, "{}: {severity}: {message}", self.place())?;
        if let (Some(quote), Some(line)) = (&self.quote, self.line) {
            let number = line.to_string();
            let Quote { text, indent, length } = quote;
            let blank = number.len();
            write!(f, "\n  {number} | {text}\n  {:blank$} | {:indent$}{:^<length$}", "", "", "")?;
        }
        if !self.remedy.is_empty() {
            write!(f, "\n  remedy: {}", self.remedy)?;
        }
        Ok(())
    }
}

/// A mistake by its place in the text, before lines and columns are counted.
#[derive(Clone, Debug)]
pub(super) struct Mistake {
    /// Bytes of the text.
    pub(super) span: Range<usize>,
    /// Whether the file is refused for it.
    pub(super) severity: Severity,
    /// See [`Problem::code`].
    pub(super) code: Option<&'static str>,
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) remedy: String,
}

impl Mistake {
    /// A mistake that refuses the file.
    pub(super) fn error(span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { span, severity: Severity::Error, code: None, message: message.into(), remedy: remedy.into() }
    }

    /// A mistake that does not.
    pub(super) fn warning(span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { span, severity: Severity::Warning, code: None, message: message.into(), remedy: remedy.into() }
    }
}

/// What the places of mistakes mean.
#[derive(Clone, Copy, Debug)]
pub(super) enum Places<'t> {
    /// Bytes of a text.
    Text(&'t str),
    /// Numbers of fields.
    Fields(&'t Fields<'t>),
}

/// Turns mistakes into a report in the order of the file. Where two say the same about the same place, one stays.
pub(super) fn report(places: &Places<'_>, file: &str, mut mistakes: Vec<Mistake>) -> Report {
    mistakes.sort_by(|a, b| (a.span.start, a.severity, &a.message).cmp(&(b.span.start, b.severity, &b.message)));
    mistakes.dedup_by(|a, b| a.span.start == b.span.start && a.message == b.message);
    // Errors are never crowded out by warnings.
    let mut omitted = 0;
    if mistakes.len() > LISTED {
        omitted = mistakes.len() - LISTED;
        mistakes.sort_by_key(|mistake| mistake.severity);
        mistakes.truncate(LISTED);
        mistakes.sort_by_key(|mistake| mistake.span.start);
    }
    let problems = match places {
        Places::Text(text) => {
            let lines = Lines::new(text);
            mistakes.iter().map(|mistake| lines.problem(file, mistake)).collect()
        }
        Places::Fields(fields) => mistakes.iter().map(|mistake| in_field(fields, file, mistake)).collect(),
    };
    Report { problems, omitted }
}

fn in_field(fields: &Fields<'_>, file: &str, mistake: &Mistake) -> Problem {
    Problem {
        file: file.to_owned(),
        line: None,
        column: None,
        field: Some(printable(&fields.path(mistake.span.start))),
        severity: mistake.severity,
        code: mistake.code,
        message: printable(&mistake.message),
        remedy: printable(&mistake.remedy),
        quote: None,
    }
}

/// Where each line of a text starts.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let after = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(after).collect() }
    }

    fn problem(&self, file: &str, mistake: &Mistake) -> Problem {
        let at = self.floor(mistake.span.start);
        let line = self.starts.partition_point(|&start| start <= at).max(1);
        let start = self.starts[line - 1];
        let column = self.text[start..at].chars().count() + 1;
        let full = self.text[start..].split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let length = self.text[at..self.floor(mistake.span.end.max(at))].split('\n').next().unwrap_or_default();
        Problem {
            file: file.to_owned(),
            line: Some(line),
            column: Some(column),
            field: None,
            severity: mistake.severity,
            code: mistake.code,
            message: printable(&mistake.message),
            remedy: printable(&mistake.remedy),
            quote: quote(full, column - 1, length.trim_end_matches('\r').chars().count()),
        }
    }

    /// The start of the character at byte `at`.
    fn floor(&self, at: usize) -> usize {
        self.text.floor_char_boundary(at.min(self.text.len()))
    }
}

/// The line, or the part of a very long one around the place.
fn quote(line: &str, column: usize, length: usize) -> Option<Quote> {
    if line.trim().is_empty() {
        return None;
    }
    let skipped = if column >= QUOTED { column - QUOTED / 2 } else { 0 };
    let text: String = line.chars().skip(skipped).take(QUOTED).collect();
    let indent = column - skipped;
    let room = text.chars().count().saturating_sub(indent);
    Some(Quote { text: printable(&text), indent, length: length.clamp(1, room.max(1)) })
}

/// Terminal control sequences of a hostile file must not reach the terminal; a tab stands for one space, so that
/// the underline stays under its place.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\t' => ' ',
            character if character.is_control() => '\u{fffd}',
            character => character,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_place_line_and_remedy() {
        let text = "a = 1\n\tname = \"bö\"\n";
        let at = text.find("\"b").expect("in the text");
        let report =
            report(&Places::Text(text), "x.toml", vec![Mistake::error(at..at + 5, "bad name", "choose another")]);
        assert_eq!(
            report.to_string(),
            "x.toml:2:9: error: bad name\n  2 |  name = \"bö\"\n    |         ^^^^\n  remedy: choose another\n1 error"
        );
    }

    #[test]
    fn a_problem_in_one_line_is_a_sentence_with_its_place() {
        let text = "a = 1\nname = \"b\"\n";
        let problems = report(
            &Places::Text(text),
            "x.toml",
            vec![Mistake::warning(6..10, "odd name", "choose another"), Mistake::warning(0..1, "odd", "")],
        );
        let lines: Vec<String> = problems.problems.iter().map(Problem::in_one_line).collect();
        assert_eq!(lines, ["x.toml:1:1: odd", "x.toml:2:1: odd name; choose another"]);
        let whole = Report::whole_file("x.toml", "no such file".to_owned(), String::new());
        assert_eq!(whole.problems[0].in_one_line(), "x.toml: no such file");
    }

    #[test]
    fn places_outside_the_text_do_not_matter() {
        #[allow(clippy::reversed_empty_ranges, reason = "a wrong place is what is tried")]
        for span in [0..0, 5..900, 900..901, 3..1] {
            let report = report(&Places::Text("ä\nö"), "x", vec![Mistake::warning(span, "m", "")]);
            assert_eq!(report.problems.len(), 1);
        }
    }

    #[test]
    fn long_lists_keep_their_errors() {
        let mut mistakes: Vec<_> = (0..200).map(|at| Mistake::warning(at..at, "w", "")).collect();
        mistakes.push(Mistake::error(300..300, "e", ""));
        let report = report(&Places::Text(&"x".repeat(400)), "x", mistakes);
        assert_eq!((report.problems.len(), report.omitted, report.errors()), (100, 101, 1));
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let report = report(&Places::Text("a = \u{1b}[2J"), "x", vec![Mistake::error(4..5, "stray \u{1b}", "")]);
        assert!(!report.to_string().contains('\u{1b}'), "{report}");
    }
}
