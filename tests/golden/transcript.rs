//! Files of sections. A section begins with its heading:
//!
//! ```text
//! === PUT /subscriptions/…            a request; or `=== privlink …`, a command, `VARIABLE=value` before it;
//! > if-none-match: *                  or `=== file NAME`, a file that commands read
//! > { "location": "westeurope" }
//! ```
//!
//! Lines with `> ` are sent: headers, then the body, or the file's text. The answer follows. What is another in every
//! run has a name in the heading as in the answer, such as `«address»`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::difference::unified;
use super::json::by_lines;
use super::lab::Lab;
use super::stable::Names;

/// What a heading begins with.
pub(crate) const HEADING: &str = "=== ";

/// Everything stands below this folder.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

/// A variable that is set where answers are to be written anew.
const BLESS: &str = "PRIVLINK_BLESS";

/// A question of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    /// Without [`HEADING`].
    pub(crate) heading: String,
    /// The lines that are sent.
    pub(crate) sent: Vec<String>,
    /// First line of the recorded answer.
    pub(crate) answered: String,
}

impl Section {
    /// A question that sends nothing.
    pub(crate) fn of(heading: &str) -> Self {
        Self { heading: heading.to_owned(), ..Self::default() }
    }
}

/// What stands in `file`: all before its first section, and its sections without the rest of their answers.
pub(crate) fn read(file: &str) -> (String, Vec<Section>) {
    let text = std::fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let (mut preamble, mut sections) = (String::new(), Vec::<Section>::new());
    let mut sending = false;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix(HEADING) {
            sections.push(Section::of(heading));
            sending = true;
            continue;
        }
        let Some(section) = sections.last_mut() else {
            let _ = writeln!(preamble, "{line}");
            continue;
        };
        if let Some(sent) = line.strip_prefix('>').filter(|_| sending) {
            section.sent.push(sent.strip_prefix(' ').unwrap_or(sent).to_owned());
        } else if std::mem::take(&mut sending) {
            line.clone_into(&mut section.answered);
        }
    }
    (preamble, sections)
}

/// Asks what the sections of `file` ask, and compares the answers with its own; writes them, if that is wanted.
pub(crate) fn hold(file: &str) {
    let lab = Lab::new(file);
    if file != "setup.txt" {
        set_up(&lab);
    }
    let (preamble, sections) = read(file);
    let mut names = Names::default();
    let answers = sections.into_iter().map(|section| {
        let answer = section.answer(&lab);
        lab.token_ids().iter().for_each(|id| names.know("token-id", id));
        let answer = by_lines(&names.replace(&answer, &lab.own()));
        (section, answer)
    });
    compare(file, &preamble, answers);
}

/// Does to `lab` what `setup.txt` says.
pub(crate) fn set_up(lab: &Lab) {
    for section in read("setup.txt").1 {
        let answer = section.answer(lab);
        assert!(answer.starts_with('2') || answer.is_empty(), "setup.txt: {}: {answer}", section.heading);
    }
}

/// Compares what `file` records with `answers`; writes them, if that is wanted.
pub(crate) fn compare(file: &str, preamble: &str, answers: impl Iterator<Item = (Section, String)>) {
    let mut seen = preamble.to_owned();
    for (section, answer) in answers {
        let _ = writeln!(seen, "{HEADING}{}", section.heading);
        for line in &section.sent {
            seen += format!("> {line}").trim_end();
            seen += "\n";
        }
        assert!(!answer.contains(&format!("\n{HEADING}")), "{file}: an answer that reads like a heading:\n{answer}");
        seen += answer.trim_end_matches('\n');
        seen += "\n\n";
    }
    let path = path(file);
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, seen).expect("written");
        return;
    }
    let found = unified(&recorded, &seen);
    assert!(
        found.is_empty() && recorded == seen,
        "tests/golden/{file} (-) is not what is answered (+):\n{found}\nIf this is meant, write it anew: {BLESS}=1 \
         cargo test --test golden"
    );
}

impl Section {
    /// What it is answered.
    pub(crate) fn answer(&self, lab: &Lab) -> String {
        let own = lab.own();
        let heading = own.iter().fold(self.heading.clone(), |heading, (value, name)| heading.replace(name, value));
        let words = words(&heading);
        let first = words.first().map_or("", String::as_str);
        if first == "file" {
            lab.write(&words[1], &(self.sent.join("\n") + "\n"));
            return String::new();
        }
        if first.chars().all(|c| c.is_ascii_uppercase()) {
            let header = |line: &String| {
                let (name, value) = line.split_once(": ").filter(|_| !line.starts_with(['{', '[', '"']))?;
                Some((name.to_owned(), value.to_owned()))
            };
            let headers: Vec<(String, String)> = self.sent.iter().map_while(header).collect();
            let body = self.sent[headers.len()..].join("\n");
            return lab.request(first, &words[1], &headers, &body);
        }
        let named = |word: &&String| word.contains('=') && word.starts_with(|c: char| c.is_ascii_uppercase());
        let variables: Vec<&String> = words.iter().take_while(named).collect();
        let (program, arguments) = words[variables.len()..].split_first().expect("a command");
        assert_eq!(program, "privlink", "a heading: {}", self.heading);
        let variables: Vec<(&str, &str)> = variables.iter().filter_map(|variable| variable.split_once('=')).collect();
        lab.command(&variables, arguments)
    }
}

/// The words of a heading; blanks within `'…'` belong to their word.
pub(crate) fn words(heading: &str) -> Vec<String> {
    let (mut words, mut within) = (vec![String::new()], false);
    for c in heading.chars() {
        match c {
            '\'' => within = !within,
            ' ' if !within => words.push(String::new()),
            _ => words.last_mut().expect("one").push(c),
        }
    }
    words
}

/// Where `file` is.
pub(crate) fn path(file: &str) -> PathBuf {
    Path::new(FOLDER).join(file)
}

#[test]
fn words_end_at_blanks_that_are_not_within_quotes() {
    assert_eq!(words("privlink explain 'two words' '' --x='a b'"), ["privlink", "explain", "two words", "", "--x=a b"]);
}
