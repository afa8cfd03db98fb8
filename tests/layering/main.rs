//! The layers hold: which module may name which, where tokio and `unsafe` may stand, and
//! how long a file may be. Works on the text of `src/`, so it sees what every build leaves out, too.

mod circles;
mod names;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use source::{blank_comments_and_strings, expand, line_of, word_starts, words};

/// Longest file, in lines.
const MAX_LINES: usize = 500;

/// Files that may be longer. Empty, and meant to stay so.
const LONG_FILES: [&str; 0] = [];

/// Where `unsafe` may stand, each block with its reason.
const UNSAFE_PLACES: [&str; 3] = ["dataplane/io/", "dataplane/session/arena.rs", "host/"];

/// What a module may name. A path is `module` or `module::part`.
const ARROWS: [(&str, &[&str]); 19] = [
    ("wire", &[]),
    ("store", &[]),
    ("types", &["model"]),
    ("snapshot", &["wire"]),
    ("dataplane", &["wire", "snapshot"]),
    ("model", &["snapshot"]),
    ("access", &["model"]),
    ("compile", &["model", "snapshot"]),
    ("control", &["model", "access", "compile", "snapshot", "store", "types"]),
    ("health", &["model", "compile", "snapshot", "control"]),
    ("dns", &["snapshot"]),
    ("host", &["snapshot"]),
    ("observe", &["snapshot", "types", "dataplane::counters", "dataplane::queries", "dataplane::record"]),
    ("config", &["model", "access::rights", "control::apply", "control::seen"]),
    ("api", &["model", "access", "compile", "snapshot::dns", "control", "observe", "dns", "types"]),
    ("cli", &["types", "model", "config", "snapshot::drop_reason"]),
    ("testing", &["*"]),
    ("main", &["*"]),
    ("daemon", &["*"]),
];

/// One broken rule, as `file:line: what`.
type Finding = String;

#[test]
fn every_file_keeps_to_the_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 10, "only {} files below {}", files.len(), root.display());
    let findings: Vec<Finding> = files
        .iter()
        .flat_map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            check(&name, &fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// Every rule, on one file; `name` is its path below `src/`.
fn check(name: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES && !LONG_FILES.contains(&name) {
        findings.push(format!("{name}: {lines} lines, at most {MAX_LINES}"));
    }
    let code = blank_comments_and_strings(text);
    findings.extend(foreign_paths(name, &code));
    if name.starts_with("dataplane") {
        findings.extend(words(&code, "tokio").map(|line| format!("{name}:{line}: tokio in the packet path")));
    }
    if !UNSAFE_PLACES.iter().any(|place| name.starts_with(place)) {
        for word in ["unsafe", "unsafe_code"] {
            findings.extend(words(&code, word).map(|line| format!("{name}:{line}: {word} outside its places")));
        }
    }
    findings.extend(sources_in_texts(name, text));
    findings
}

/// Errors whose own text holds their source: whoever prints the chain of causes prints that twice.
fn sources_in_texts(name: &str, text: &str) -> Vec<Finding> {
    let lines = text.lines().zip(1..);
    let twice = lines.filter(|(line, _)| line.trim_start().starts_with("#[error(") && line.contains("{source"));
    twice
        .map(|(_, line)| format!("{name}:{line}: the text of an error holds its source, which is printed twice"))
        .collect()
}

#[test]
fn an_error_that_prints_its_source_is_found() {
    let found =
        sources_in_texts("store/mod.rs", "    #[error(\"{place}: {source}\")]\n    #[error(\"{place}: {error}\")]");
    assert_eq!(found.len(), 1, "{found:?}");
}

/// The `crate::` paths of a file that its module may not name.
fn foreign_paths(name: &str, code: &str) -> Vec<Finding> {
    let module = name.split('/').next().unwrap_or(name).trim_end_matches(".rs");
    if module == "lib" {
        return Vec::new();
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == module) else {
        return vec![format!("{name}: no layer is called `{module}`")];
    };
    let permitted = |path: &str| {
        path == module
            // Built for tests only.
            || path.starts_with("testing")
            || path.starts_with(&format!("{module}::"))
            || allowed.iter().any(|to| *to == "*" || path == *to || path.starts_with(&format!("{to}::")))
    };
    let depth = name.matches('/').count() + usize::from(!name.ends_with("mod.rs"));
    let mut findings = Vec::new();
    for (line, path) in crate_paths(code).into_iter().chain(escapes(code, depth)) {
        if !permitted(&path) {
            findings.push(format!("{name}:{line}: `{module}` may not name `{path}`"));
        }
    }
    findings
}

/// Every path after `crate::` or `privlink::`, groups in braces taken apart, to its second segment.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut paths = BTreeSet::new();
    for root in ["crate", "privlink"] {
        for at in word_starts(code, root) {
            let rest = code[at + root.len()..].trim_start();
            if let Some(rest) = rest.strip_prefix("::") {
                for path in expand(rest, 2) {
                    paths.insert((line_of(code, at), path));
                }
            }
        }
    }
    paths.into_iter().collect()
}

/// Paths that climb with `super::` to the crate's root and down into another module.
fn escapes(code: &str, depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in word_starts(code, "super") {
        if code[..at].trim_end().ends_with("super::") {
            continue;
        }
        let mut rest = &code[at..];
        let mut climbs = 0;
        while let Some(next) = rest.strip_prefix("super::") {
            climbs += 1;
            rest = next;
        }
        // `mod tests` inside the file adds a level, so one climb more than the file's depth is needed there.
        if climbs >= depth && climbs > 0 && depth > 0 && climbs > inline_depth(&code[..at]) + depth - 1 {
            found.extend(expand(rest, 2).into_iter().map(|path| (line_of(code, at), path)));
        }
    }
    found
}

/// How many inline `mod name { … }` are open at the end of `code`.
fn inline_depth(code: &str) -> usize {
    let (mut open, mut level) = (Vec::new(), 0_usize);
    for (at, character) in code.char_indices() {
        match character {
            '{' => {
                let statement = code[..at].rsplit([';', '{', '}']).next().unwrap_or("");
                if word_starts(statement, "mod").next().is_some() {
                    open.push(level);
                }
                level += 1;
            }
            '}' => {
                level = level.saturating_sub(1);
                if open.last() == Some(&level) {
                    open.pop();
                }
            }
            _ => {}
        }
    }
    open.len()
}

/// The checker itself, on planted text: each rule broken once, and each thing that only looks broken.
mod checker {
    use super::*;

    #[test]
    fn an_arrow_against_the_layers_is_found() {
        for (name, text, path) in [
            ("wire/mod.rs", "use crate::snapshot::Snapshot;", "snapshot::Snapshot"),
            ("dataplane/path.rs", "use crate::model;", "model"),
            ("snapshot/mod.rs", "fn f() { crate::dataplane::verdict::x() }", "dataplane::verdict"),
            ("observe/mod.rs", "use crate::dataplane::session::Table;", "dataplane::session"),
            ("api/mod.rs", "use crate::{control, store::Store};", "store::Store"),
            ("cli/mod.rs", "use crate::{\n    types::A,\n    api,\n};", "api"),
            ("host/mod.rs", "pub(in crate::control) fn f() {}", "control"),
            ("wire/tcp.rs", "use super::super::control::command;", "control::command"),
            ("wire/mod.rs", "use super::control;", "control"),
            ("store/mod.rs", "use privlink::wire::Packet;", "wire::Packet"),
        ] {
            let findings = check(name, text);
            assert!(
                findings.iter().any(|finding| finding.ends_with(&format!("may not name `{path}`"))),
                "{name}: {text}: {findings:?}"
            );
        }
    }

    #[test]
    fn an_arrow_along_the_layers_passes() {
        for (name, text) in [
            ("dataplane/mod.rs", "use crate::{snapshot::{Snapshot, judge}, wire, dataplane::verdict};"),
            ("observe/metrics.rs", "use crate::dataplane::counters::WorkerCounters;"),
            ("main.rs", "use privlink::{api, host, dataplane};"),
            ("lib.rs", "pub mod api; use crate::host;"),
            ("wire/tcp.rs", "use super::checksum; mod tests { use super::*; use super::super::ip; }"),
            ("snapshot/mod.rs", "// crate::control is above\n/// [`crate::api`]\nconst A: &str = \"crate::cli\";"),
            ("wire/mod.rs", "const A: &str = r#\"use crate::cli;\"#; const B: char = '\"'; const C: char = '\\'';"),
        ] {
            assert_eq!(check(name, text), Vec::<Finding>::new(), "{name}: {text}");
        }
    }

    #[test]
    fn a_module_outside_the_tree_is_found() {
        assert_eq!(check("utils/mod.rs", ""), ["utils/mod.rs: no layer is called `utils`"]);
    }

    #[test]
    fn tokio_in_the_packet_path_is_found() {
        assert_eq!(check("dataplane/mod.rs", "\nuse tokio::sync;"), ["dataplane/mod.rs:2: tokio in the packet path"]);
        assert!(check("dataplane/mod.rs", "// no tokio here\nfn tokio_free() {}").is_empty());
        assert!(check("api/mod.rs", "use tokio::sync;").is_empty());
    }

    #[test]
    fn unsafe_outside_its_places_is_found() {
        let block = "fn f() { unsafe { g() } }";
        assert_eq!(check("dataplane/session/table.rs", block).len(), 1);
        assert_eq!(check("control/mod.rs", "#[allow(unsafe_code, reason = \"\")] fn f() {}").len(), 1);
        for place in ["dataplane/io/tun.rs", "dataplane/session/arena.rs", "host/bpf.rs"] {
            assert!(check(place, block).is_empty(), "{place}");
        }
    }

    #[test]
    fn a_file_over_the_limit_is_found() {
        assert_eq!(check("wire/ip.rs", &"\n".repeat(MAX_LINES + 1)), ["wire/ip.rs: 501 lines, at most 500"]);
        assert!(check("wire/ip.rs", &"\n".repeat(MAX_LINES)).is_empty());
    }
}
