//! What documents and comments refer to is there: links and anchors of the pages, paths in pages and comments. Works on
//! the text alone.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest README, in lines: it is the front door, all else is a page below `docs`.
const README_LINES: usize = 150;

/// Folders whose comments are read.
const FOLDERS: [&str; 4] = ["src", "tests", "scripts", "benches"];

/// How a path in a text begins.
const TOPS: [&str; 8] = ["src/", "tests/", "scripts/", "docs/", "benches/", "examples/", "fuzz/", ".ci/"];

/// Words that name documents which are not in the repository.
const ABSENT: [&str; 8] =
    ["DESIGN", "nat-requirements", "founders'", "(features", "the seed's", "(seed,", "; seed,", "of the seed)"];

/// Pages that are written by a script, and not in the repository.
const WRITTEN: [&str; 2] = ["target/bench/dns.md", "report.md"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below `folder` with one of these endings.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().and_then(|ending| ending.to_str()).is_some_and(|one| endings.contains(&one)) {
                found.push(entry);
            }
        }
    }
    found.sort();
    found
}

fn pages() -> Vec<PathBuf> {
    let mut pages = files("docs", &["md"]);
    pages.extend(
        ["README.md", "CHANGELOG.md", "tests/README.md", "tests/states/README.md"].map(|page| root().join(page)),
    );
    pages
}

/// Lines of a page outside its blocks of code, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut code = false;
    let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    numbered
        .filter(|(_, line)| {
            let fence = line.trim_start().starts_with("```");
            code ^= fence;
            !code && !fence
        })
        .collect()
}

/// How a heading is called in a link: small letters, hyphens for blanks, nothing else that is no letter or digit.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).into_iter().filter_map(|(_, line)| line.strip_prefix('#'));
    headings.map(|heading| anchor(heading.trim_start_matches('#'))).collect()
}

/// What is wrong with the links of a page.
fn broken_links(page: &Path, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for (number, line) in prose(text) {
        for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("https://") || target.starts_with("http://") {
                continue;
            }
            let (file, heading) =
                target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
            let to = if file.is_empty() { page.to_owned() } else { page.with_file_name(file) };
            if !to.exists() {
                broken.push(format!("{}:{number}: there is no {target}", page.display()));
            } else if heading.is_some_and(|heading| !anchors(&read(&to)).contains(heading)) {
                broken.push(format!("{}:{number}: there is no heading for {target}", page.display()));
            }
        }
    }
    broken
}

/// Whether a part of a path stands for any name, such as `TARGET`.
fn is_placeholder(part: &str) -> bool {
    let part = part.split('.').next().unwrap_or(part);
    part.len() > 2 && part.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// Paths of this repository that a line names.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| c.is_whitespace() || "`\"'()[],;|".contains(c));
    words
        .filter(|word| TOPS.iter().any(|top| word.starts_with(top)))
        .filter(|word| !word.contains(['*', '<', '{', '$', '…']) && !word.split('/').any(is_placeholder))
        .map(|word| word.split("::").next().unwrap_or(word))
        .map(|word| word.split(':').next().unwrap_or(word).trim_end_matches(['.', '?', '!']))
}

/// Pages that a line names by their file's name.
fn named_pages(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| c.is_whitespace() || "`\"'()[],;:|".contains(c));
    words
        .map(|word| word.split('#').next().unwrap_or(word))
        .filter(|word| word.strip_suffix(".md").is_some_and(|name| !name.is_empty()))
}

/// The lines of a source file that a person reads: comments, and texts of Python that stand by themselves.
fn comments<'a>(path: &Path, text: &'a str) -> Vec<(usize, &'a str)> {
    let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    if path.extension().is_some_and(|ending| ending == "rs") {
        let comment = |line: &'a str| line.find("//").filter(|at| !line[..*at].ends_with(':')).map(|at| &line[at..]);
        return numbered.filter_map(|(number, line)| Some((number, comment(line)?))).collect();
    }
    let mut quoted = false;
    numbered
        .filter(|(_, line)| {
            let marks = line.matches("\"\"\"").count();
            let read = quoted || marks > 0 || line.trim_start().starts_with('#');
            quoted ^= marks % 2 == 1;
            read
        })
        .collect()
}

/// What a line names that is not there.
fn absent(line: &str) -> Vec<String> {
    let root = root();
    let mut absent: Vec<String> =
        paths(line).filter(|path| !root.join(path).exists()).map(|path| format!("there is no {path}")).collect();
    for page in named_pages(line).filter(|page| !WRITTEN.contains(page)) {
        if !["", "docs", "tests/states"].iter().any(|folder| root.join(folder).join(page).exists()) {
            absent.push(format!("there is no {page}"));
        }
    }
    let cited = ABSENT.iter().filter(|word| line.contains(**word));
    absent.extend(cited.map(|word| format!("`{word}` is not in the repository: say what is needed here")));
    absent
}

fn fail(findings: &[String]) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn the_readme_is_a_front_door() {
    let lines = read(&root().join("README.md")).lines().count();
    assert!(
        lines <= README_LINES,
        "README.md has {lines} lines, more than {README_LINES}: give a page below docs to it"
    );
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let pages = pages();
    assert!(pages.len() > 10, "only {} pages", pages.len());
    fail(&pages.iter().flat_map(|page| broken_links(page, &read(page))).collect::<Vec<_>>());
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    let readme = read(&root().join("README.md"));
    let unnamed = files("docs", &["md"]).into_iter().filter_map(|page| {
        let name = format!("docs/{}", page.file_name()?.to_str()?);
        (!readme.contains(&format!("({name})"))).then(|| format!("README.md does not link to {name}"))
    });
    fail(&unnamed.collect::<Vec<_>>());
}

#[test]
fn what_a_page_names_is_there() {
    let mut findings = Vec::new();
    for page in pages() {
        for (number, line) in prose(&read(&page)) {
            findings.extend(absent(line).into_iter().map(|what| format!("{}:{number}: {what}", page.display())));
        }
    }
    fail(&findings);
}

#[test]
fn what_a_comment_names_is_there() {
    let (mut findings, mut read_lines) = (Vec::new(), 0);
    for path in FOLDERS.iter().flat_map(|folder| files(folder, &["rs", "py", "sh", "toml"])) {
        // This file names what is not there, on purpose.
        if path.ends_with(file!()) {
            continue;
        }
        let text = read(&path);
        let comments = comments(&path, &text);
        read_lines += comments.len();
        for (at, &(number, line)) in comments.iter().enumerate() {
            let mut whats = absent(line);
            // A section is one of an RFC, or of another standard that is named with it.
            let before = if at > 0 { comments[at - 1].1 } else { "" };
            let named = |text: &str| text.contains("RFC") || text.contains("virtio");
            if line.contains('§') && !named(line) && !named(before) {
                whats.push("a section of what?".to_owned());
            }
            findings.extend(whats.into_iter().map(|what| format!("{}:{number}: {what}", path.display())));
        }
    }
    assert!(read_lines > 10_000, "only {read_lines} lines of comments");
    fail(&findings);
}

#[test]
fn these_tests_see_what_is_not_there() {
    let page = root().join("docs/guide.md");
    assert_eq!(broken_links(&page, "[a](dns.md) [b](#delete) [c](dns.md#lint)"), [] as [&str; 0]);
    for text in ["[a](nowhere.md)", "[a](#nowhere)", "[a](dns.md#nowhere)", "[a](../nowhere.md)"] {
        assert_eq!(broken_links(&page, text).len(), 1, "{text}");
    }
    for line in
        ["`src/nowhere.rs`", "see tests/nowhere.", "(nowhere.md, section 2)", "law 5 of DESIGN", "the seed's table"]
    {
        assert_eq!(absent(line).len(), 1, "{line}");
    }
    for line in
        ["`src/lib.rs`", "tests/netns", "`scripts/bench.sh --quick`", "`docs/azure.md`", "RFC 791, a random seed"]
    {
        assert_eq!(absent(line), [] as [&str; 0], "{line}");
    }
}
