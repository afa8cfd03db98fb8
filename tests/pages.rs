//! Parts of the pages below `docs` that are made from the code: drop reasons, metrics, keys of the configuration. A page
//! that is not what the code says fails; `PRIVLINK_BLESS=1 cargo test --test pages` writes these parts anew.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use privlink::config;
use privlink::config::reference::{Table, TableKey};
use privlink::dataplane::counters::{EndpointTotals, NatPortUse, Probes, VerdictCounts};
use privlink::observe::{BackendFacts, EndpointFacts, Sample, hooks::HookCounts, metrics, names::NameCounts};
use privlink::snapshot::DropReason;
use privlink::snapshot::{EndpointId, Rates};

/// Everything behind this line of a page is made from the code.
const MARK: &str = "<!-- From here on this page is made from the code: PRIVLINK_BLESS=1 cargo test --test pages -->\n";

/// Compares the part of `docs/<page>` behind the mark with `made`, or writes it.
fn hold(page: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = fs::read_to_string(&path).expect(page);
    let head = text.split(MARK).next().expect("the first part");
    let wanted = [head.trim_end(), "\n\n", MARK, "\n", made].concat();
    if std::env::var_os("PRIVLINK_BLESS").is_some() {
        fs::write(&path, wanted).expect(page);
        return;
    }
    let differs = text.lines().zip(wanted.lines()).find(|(is, should)| is != should);
    assert!(
        text == wanted,
        "docs/{page} is not what the code says (is, should be): {differs:#?}\n\
         If the code is right, write the page anew: PRIVLINK_BLESS=1 cargo test --test pages"
    );
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[test]
fn the_page_of_drop_reasons_is_that_of_the_code() {
    let mut made = "| reason | meaning | remedy |\n|---|---|---|\n".to_owned();
    for reason in DropReason::ALL {
        for text in [reason.meaning(), reason.remedy()] {
            assert!(text.ends_with('.') && !text.contains("  "), "{}: {text:?}", reason.name());
        }
        let _ = writeln!(made, "| `{}` | {} | {} |", reason.name(), cell(reason.meaning()), cell(reason.remedy()));
    }
    hold("drop-reasons.md", &made);
}

/// One of everything that is counted.
fn sample() -> Sample {
    let rates = || vec![(Arc::from("e"), Rates { bits_per_second: Some(1), new_sessions_per_second: Some(1) })];
    let totals = || BTreeMap::from([("e".to_owned(), EndpointTotals::default())]);
    let address = "10.20.0.2".parse().expect("an address");
    let counted =
        NameCounts { vnet: "v".to_owned(), answers: vec![("private", "NOERROR", 1)], drops: vec![("malformed", 1)] };
    let facts = EndpointFacts { id: EndpointId(1), name: "e".to_owned(), resource: "r".to_owned(), link: 1 };
    Sample {
        workers: vec![VerdictCounts::default()],
        probes: vec![Probes::default()],
        endpoints: totals(),
        resources: totals(),
        rates: [rates(), rates()],
        nat_ports: vec![NatPortUse { nat_ip: address, used: 0, quarantined: 0, free: 0 }],
        links: BTreeMap::from([("e".to_owned(), facts)]),
        backends: vec![BackendFacts { resource: "r".to_owned(), target: String::new(), address, up: true }],
        flow_log: Some((0, 0)),
        hooks: Some(HookCounts::default().read()),
        names: vec![counted],
        ..Sample::default()
    }
}

/// Labels whose values are words of the program; all others name objects or have a page of their own.
const CLOSED: [&str; 4] = ["verdict", "direction", "state", "outcome"];

/// `name="value"` pairs of a series.
fn labels(series: &str) -> impl Iterator<Item = (&str, &str)> {
    let inside = series.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
    inside.split(',').filter_map(|pair| pair.split_once("=\"")).map(|(name, value)| (name, value.trim_end_matches('"')))
}

#[test]
fn the_page_of_metrics_is_that_of_the_code() {
    let text = metrics::render_sample(sample()).expect("renders");
    let mut made = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    let mut seen = 0;
    for family in text.split("# HELP ").skip(1) {
        let (head, rest) = family.split_once('\n').expect("a line of help");
        let (name, help) = head.split_once(' ').expect("a name and help");
        let kind = rest.lines().next().and_then(|line| line.rsplit(' ').next()).expect("a type");
        let series: Vec<&str> = rest
            .lines()
            .skip(1)
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.split(' ').next())
            .collect();
        let shown = series.first().unwrap_or_else(|| panic!("{name}: nothing of it is in the sample"));
        let written = shown.split('{').next().expect("a name");
        let cells: Vec<String> = labels(shown)
            .map(|(label, _)| {
                let values: Vec<&str> =
                    series.iter().flat_map(|one| labels(one)).filter(|(l, _)| *l == label).map(|(_, v)| v).collect();
                let mut known = BTreeSet::new();
                let values: Vec<&str> = values.into_iter().filter(|value| known.insert(*value)).collect();
                if CLOSED.contains(&label) { format!("`{label}`: {}", values.join(", ")) } else { format!("`{label}`") }
            })
            .collect();
        let _ =
            writeln!(made, "| `{written}` | {kind} | {} | {} |", cells.join("; "), cell(help.trim_end_matches('.')));
        seen += 1;
    }
    assert!(seen > 20, "{seen} families only:\n{text}");
    hold("metrics.md", &made);
}

/// The keys of one table as a table of the page.
fn keys(table: &Table, into: &mut String) {
    into.push_str("| key | value | meaning |\n|---|---|---|\n");
    for TableKey { key, value, required, meaning } in &table.keys {
        assert!(!meaning.is_empty(), "{key} of {} has no description", table.table);
        let needed = if *required { ", required" } else { "" };
        let _ = writeln!(into, "| `{key}` | {}{needed} | {} |", cell(&linked(value)), cell(meaning));
    }
    into.push('\n');
}

/// The names of tables as links to where they stand.
fn linked(value: &str) -> String {
    let mut text = String::new();
    let mut parts = value.split('[');
    text += parts.next().unwrap_or_default();
    for part in parts {
        let (table, rest) = part.split_once(']').expect("the name of a table in brackets");
        let _ = write!(text, "[{table}](#{}){rest}", table.to_lowercase());
    }
    text
}

#[test]
fn the_page_of_the_configuration_names_every_key() {
    let tables = config::reference::reference();
    let (file, tables) = tables.split_first().expect("the file");
    let mut made = "## Every key\n\nThe tables of a file:\n\n".to_owned();
    keys(file, &mut made);
    for table in tables {
        assert!(!table.about.is_empty(), "{} has no description", table.table);
        let _ = write!(made, "### {}\n\n{}\n\n", table.table, table.about);
        keys(table, &mut made);
    }
    let count: usize = tables.iter().map(|table| table.keys.len()).sum();
    assert!(count > 100, "the schema is not read right: {count} keys");
    hold("configuration.md", &format!("{}\n", made.trim_end()));
}
