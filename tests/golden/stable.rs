//! What differs between two runs, under names that do not: the same value has the same name wherever it stands in a
//! file, so that what was the same stays the same. Whatever is not named here is compared as it is.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// Values and their names, of one file.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: BTreeMap<(&'static str, String), usize>,
}

/// A text, what belongs to the value that follows it, and the value's name.
type Volatile = (&'static str, fn(char) -> bool, &'static str);

/// Values of which each has the same name as all others.
const VOLATILE: [Volatile; 5] = [
    ("x-ms-request-id: ", is_id, "«request-id»"),
    // How long a change took until no packet passed.
    (r#""inForceMicroseconds": "#, is_digit, "«microseconds»"),
    (", in force after ", is_duration, "«duration»"),
    (r#""pid": "#, is_digit, "«pid»"),
    // How long a token is good from now on. What was decided has the date of the world.
    ("Z (in ", is_duration, "«time left»"),
];

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

fn is_id(c: char) -> bool {
    c.is_ascii_hexdigit() || c == '-'
}

fn is_duration(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, 'µ' | ' ' | '.')
}

impl Names {
    /// `text` with names in place of what differs: what is of this run's daemon alone is its `own`.
    pub(crate) fn replace(&mut self, text: &str, own: &[(String, &str)]) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let text = own.iter().fold(text.to_owned(), |text, (value, name)| text.replace(value, name));
        let mut text = dates(&text, Timestamp::now()).replace(&format!("privlink {version}"), "privlink «version»");
        text = text.replace(&format!(r#""version": "{version}""#), r#""version": "«version»""#);
        for (before, belongs, name) in VOLATILE {
            text = after(&text, before, belongs, name);
        }
        let is_secret = |word: &str| word.starts_with("plk_") && word.len() > 64;
        text = self.words(&text, |c| c.is_ascii_alphanumeric() || c == '_' || c == '-', is_secret, "secret");
        text = self.words(&text, |c| c.is_ascii_hexdigit(), |word| word.len() == 64, "hash");
        for ((kind, value), number) in &self.known {
            if *kind == "token-id" {
                text = text.replace(value, &format!("«{kind} {number}»"));
            }
        }
        self.tags(&text)
    }

    /// Gives `value` a name wherever it stands from now on.
    pub(crate) fn know(&mut self, kind: &'static str, value: &str) {
        self.of(kind, value);
    }

    /// The name of `value`, which is a `kind`.
    fn of(&mut self, kind: &'static str, value: &str) -> String {
        let next = self.known.keys().filter(|(of, _)| *of == kind).count() + 1;
        let number = self.known.entry((kind, value.to_owned())).or_insert(next);
        format!("«{kind} {number}»")
    }

    /// Names for those words, made of what `belongs` to them, that are a `kind`.
    fn words(
        &mut self,
        text: &str,
        belongs: fn(char) -> bool,
        is_one: impl Fn(&str) -> bool,
        kind: &'static str,
    ) -> String {
        let (mut out, mut rest) = (String::new(), text);
        while !rest.is_empty() {
            let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            out += &if is_one(word) { self.of(kind, word) } else { word.to_owned() };
            let gap = after.find(belongs).unwrap_or(after.len());
            out.push_str(&after[..gap]);
            rest = &after[gap..];
        }
        out
    }

    /// Names for entity tags: `W/"…"`, also within JSON.
    fn tags(&mut self, text: &str) -> String {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(at) = rest.find("W/") {
            let (before, found) = rest.split_at(at + 2);
            out.push_str(before);
            let digits = found.trim_start_matches(['\\', '"']);
            let quotes = found.len() - digits.len();
            let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
            if quotes > 0 && end == 24 {
                out.push_str(&found[..quotes]);
                out.push_str(&self.of("etag", &digits[..end]));
                rest = &digits[end..];
            } else {
                rest = found;
            }
        }
        out + rest
    }
}

/// `text` with a name for times within an hour of `now`; those of the world are in another century.
fn dates(text: &str, now: Timestamp) -> String {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | ':' | '.' | 'T' | 'Z');
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(is_part) {
        let (before, found) = rest.split_at(at);
        let (word, after) = found.split_at(found.find(|c| !is_part(c)).unwrap_or(found.len()));
        let is_now = |time: Timestamp| time.duration_since(now).abs() < SignedDuration::from_hours(1);
        out.push_str(before);
        out.push_str(if word.parse().is_ok_and(is_now) { "«time of the run»" } else { word });
        rest = after;
    }
    out + rest
}

/// `text` with `name` for what follows each `before`, as far as it `belongs` to it.
fn after(text: &str, before: &str, belongs: fn(char) -> bool, name: &str) -> String {
    let mut parts = text.split(before);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let value = part.find(|c| !belongs(c)).unwrap_or(part.len());
        out.push_str(before);
        out.push_str(if value > 0 { name } else { "" });
        out.push_str(&part[value..]);
    }
    out
}

#[test]
fn what_differs_is_named_and_nothing_else() {
    let mut names = Names::default();
    let (one, other) = ("0".repeat(64), "f".repeat(64));
    let text =
        format!(r#"{one} {other} {one} W/\"{}\" W/"{}" 10.1.9.4 in /tmp/x/y 1234"#, "a".repeat(24), "a".repeat(24));
    assert_eq!(
        names.replace(&text, &[("/tmp/x".to_owned(), "«directory»")]),
        r#"«hash 1» «hash 2» «hash 1» W/\"«etag 1»\" W/"«etag 1»" 10.1.9.4 in «directory»/y 1234"#
    );
    assert_eq!(
        names.replace(&other, &[("/tmp/x".to_owned(), "«directory»")]),
        "«hash 2»",
        "as before, in the next section"
    );
    let text = "orders: Approved → Rejected, in force after 1.2 ms\n\"pid\": 17, \"inForceMicroseconds\": 5}";
    assert_eq!(
        names.replace(text, &[("/tmp/x".to_owned(), "«directory»")]),
        "orders: Approved → Rejected, in force after «duration»\n\"pid\": «pid», \"inForceMicroseconds\": «microseconds»}"
    );
    let now: Timestamp = "2026-11-29T10:00:00Z".parse().expect("a time");
    let text = "at 2026-11-29T09:50:00Z, 2026-11-29T10:00:00.1Z and 2026-11-29T08:00:00Z; 10.20.0.2, 2026-11-29, T: Z";
    let expected = "at «time of the run», «time of the run» and 2026-11-29T08:00:00Z; 10.20.0.2, 2026-11-29, T: Z";
    assert_eq!(dates(text, now), expected);
    assert_eq!(names.replace("f00 W/\"abc\" W/", &[("/tmp/x".to_owned(), "«directory»")]), "f00 W/\"abc\" W/");
}
