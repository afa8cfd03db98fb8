//! `privlink drops`: why packets are dropped.

use serde::Serialize;

use super::exit::Error;
use super::output::Output;
use crate::snapshot::drop_reason::DropReason;
use crate::types::List;

#[derive(Debug, Serialize)]
struct Row {
    reason: &'static str,
    meaning: &'static str,
    remedy: &'static str,
}

fn rows() -> impl Iterator<Item = Row> {
    DropReason::ALL.into_iter().map(|reason| Row {
        reason: reason.name(),
        meaning: reason.meaning(),
        remedy: reason.remedy(),
    })
}

/// Every reason, what it means and what to do about it.
pub(super) fn text() -> String {
    let lines = rows().map(|Row { reason, meaning, remedy }| [reason, "\n  ", meaning, "\n  ", remedy, "\n"].concat());
    lines.collect()
}

pub(super) fn show(output: &mut Output<'_>) -> Result<(), Error> {
    output.list(&List::new(rows().collect()), |_, out| write!(out, "{}", text()))
}
