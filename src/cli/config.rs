//! `privlink config`: what the configuration file may hold.

use std::fmt::Write as _;

use super::exit::{Error, Exit};
use super::output::Output;
use crate::config::reference::{Table, reference};
use crate::types::List;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// One table, such as `endpoint` or `Endpoint`; every one unless set
    table: Option<String>,
}

pub(super) fn show(options: &Options, output: &mut Output<'_>) -> Result<(), Error> {
    let mut tables = reference();
    if let Some(wanted) = &options.table {
        let names: Vec<String> = tables.iter().map(|table| table.table.clone()).collect();
        let plain = |name: &str| name.replace(['_', '.', '[', ']'], "").to_lowercase();
        tables.retain(|table| plain(&table.table) == plain(wanted));
        if tables.is_empty() {
            let failure = Error::new(Exit::NotFound, format!("there is no table `{wanted}`"));
            return Err(failure.with_remedy(format!("tables: {}", names.join(", "))));
        }
    }
    output.list(&List::new(tables), |tables, out| write!(out, "{}", text(tables)))
}

/// Every table with its keys.
pub(super) fn text(tables: &[Table]) -> String {
    let mut text = String::new();
    for Table { table, about, keys } in tables {
        // Writing to a text does not fail.
        let _ = writeln!(text, "{}{table}: {about}", if text.is_empty() { "" } else { "\n" });
        for key in keys {
            let required = if key.required { ", required" } else { "" };
            let _ = writeln!(text, "  {}: {}{required}\n      {}", key.key, key.value, key.meaning);
        }
    }
    text
}
