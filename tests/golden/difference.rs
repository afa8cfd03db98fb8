//! Two files of sections, and where they differ: a unified diff of each section that is in both.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::transcript::HEADING;

/// Lines of a diff that are shown.
const SHOWN: usize = 150;

/// Lines around a difference.
const CONTEXT: usize = 3;

/// A heading, and which of its kind it is.
type Name<'t> = (&'t str, usize);

/// The first differences between what was `recorded` and what is `seen`; empty where there are none.
pub(crate) fn unified(recorded: &str, seen: &str) -> String {
    let (old, new) = (sections(recorded), sections(seen));
    let before: BTreeMap<Name<'_>, &[&str]> = old.iter().map(|(name, lines)| (*name, &**lines)).collect();
    let after: BTreeMap<Name<'_>, &[&str]> = new.iter().map(|(name, lines)| (*name, &**lines)).collect();
    let mut out = String::new();
    for (name, lines) in &new {
        match before.get(name) {
            Some(before) if before == lines => {}
            Some(before) => within(name.0, before, lines, &mut out),
            None => write_lines(&mut out, '+', &[&[name.0], &**lines].concat()),
        }
    }
    for (name, lines) in old.iter().filter(|(name, _)| !after.contains_key(name)) {
        write_lines(&mut out, '-', &[&[name.0], &**lines].concat());
    }
    let all = out.lines().count();
    if all > SHOWN {
        let first: Vec<&str> = out.lines().take(SHOWN).collect();
        return format!("{}\n… and {} lines more\n", first.join("\n"), all - SHOWN);
    }
    out
}

/// The sections of `text`, without their headings; all before the first has none.
fn sections(text: &str) -> Vec<(Name<'_>, Vec<&str>)> {
    let mut found: Vec<(Name<'_>, Vec<&str>)> = vec![(("", 0), Vec::new())];
    for line in text.lines() {
        if line.starts_with(HEADING) {
            let number = found.iter().filter(|((heading, _), _)| *heading == line).count();
            found.push(((line, number), Vec::new()));
        } else if let Some((_, lines)) = found.last_mut() {
            lines.push(line);
        }
    }
    found
}

/// Differences within one section.
fn within(heading: &str, old: &[&str], new: &[&str], out: &mut String) {
    let (mut i, mut j, mut shown) = (0, 0, 0);
    let _ = writeln!(out, "@@ {heading}");
    while i < old.len() || j < new.len() {
        if old.get(i) == new.get(j) {
            (i, j) = (i + 1, j + 1);
            continue;
        }
        let from = i.saturating_sub(CONTEXT).max(shown);
        if from > shown && shown > 0 {
            out.push_str(" …\n");
        }
        write_lines(out, ' ', &old[from..i]);
        let (to_i, to_j) = agreement(&old[i..], &new[j..]);
        write_lines(out, '-', &old[i..i + to_i]);
        write_lines(out, '+', &new[j..j + to_j]);
        (i, j) = (i + to_i, j + to_j);
        let common = old[i..].iter().zip(&new[j..]).take_while(|(old, new)| old == new).count();
        write_lines(out, ' ', &old[i..i + common.min(CONTEXT)]);
        shown = i + common.min(CONTEXT);
    }
}

fn write_lines(out: &mut String, sign: char, lines: &[&str]) {
    for line in lines {
        let _ = writeln!(out, "{sign}{line}");
    }
}

/// How many lines of each are skipped until two lines in a row are the same, as few as possible.
fn agreement(old: &[&str], new: &[&str]) -> (usize, usize) {
    let same =
        |i: usize, j: usize| old.get(i).is_some() && old.get(i) == new.get(j) && old.get(i + 1) == new.get(j + 1);
    let all = (old.len(), new.len());
    (1..all.0 + all.1)
        .find_map(|skipped| (0..=skipped).map(|i| (i, skipped - i)).find(|(i, j)| same(*i, *j)))
        .unwrap_or(all)
}

#[test]
fn a_diff_says_where_and_what() {
    assert_eq!(unified("a\nb\n", "a\nb\n"), "");
    let old = "=== GET /one\n200\na\nb\nc\nd\ne\n\n=== GET /two\n200\n";
    let found = unified(old, &old.replace("c\n", "C\nnew\n"));
    assert_eq!(found, "@@ === GET /one\n 200\n a\n b\n-c\n+C\n+new\n d\n e\n \n");
    assert_eq!(unified(old, "=== GET /two\n200\n"), "-=== GET /one\n-200\n-a\n-b\n-c\n-d\n-e\n-\n");
    assert_eq!(unified("=== GET /two\n200\n", &old[..21]), "+=== GET /one\n+200\n+a\n+b\n-=== GET /two\n-200\n");
    assert_eq!(unified("a\nb\nc\n", "b\nc\nd\n"), "@@ \n-a\n b\n c\n+d\n");
}
