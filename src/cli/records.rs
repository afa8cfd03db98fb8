//! `privlink audit` and `usage`.

use std::io::{self, Write};

use super::client::Client;
use super::exit::Failure;
use super::output::{Output, Table};
use crate::interface::{AuditRecord, Usage, Verified, segment};

/// The audit log.
#[derive(Debug, clap::Subcommand)]
pub(super) enum AuditCommand {
    /// List who did what to what, the newest last
    List {
        /// Only at this time (RFC 3339) or later
        #[arg(long)]
        since: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Only what concerns this object, such as `connection default/orders`
        #[arg(long)]
        object: Option<String>,
        /// Only by this principal or name
        #[arg(long)]
        by: Option<String>,
    },
    /// Check that no record was deleted, edited, moved or cut off
    Verify,
}

pub(super) fn audit(command: &AuditCommand, client: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    match command {
        AuditCommand::List { since, limit, object, by } => {
            let mut path = format!("/audit?limit={limit}");
            for (name, value) in [("since", since), ("object", object), ("by", by)] {
                path.extend(value.iter().map(|value| format!("&{name}={}", segment(value))));
            }
            output.list(&client.get::<AuditRecord>(&path)?, audit_table)
        }
        AuditCommand::Verify => output.list(&client.get::<Verified>("/audit/verify")?, |items, out| {
            items.iter().try_for_each(|Verified { count, last_hash }| {
                writeln!(out, "{count} records, each as it was written; the last hash is {last_hash}")
            })
        }),
    }
}

fn audit_table(items: &[AuditRecord], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["SEQ", "AT", "BY", "ACTION", "OBJECT", "LINK", "FROM", "TO", "DETAIL"]);
    for AuditRecord { seq, record, .. } in items {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        table.row([
            seq.to_string(),
            record.at.split('.').next().unwrap_or_default().trim_end_matches('Z').to_owned() + "Z",
            format!("{} ({})", record.by.name, record.by.principal),
            record.action.clone(),
            record.object.clone(),
            record.link.map_or_else(|| "-".to_owned(), |link| link.to_string()),
            or_dash(&record.from),
            or_dash(&record.to),
            if record.detail.is_empty() { "-".to_owned() } else { record.detail.clone() },
        ]);
    }
    table.write(out)
}

/// Quotas, and what counts against them.
pub(super) fn usage(client: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    output.list(&client.get::<Usage>("/usage")?, |items, out| {
        let mut table = Table::new(["QUOTA", "SCOPE", "USED", "LIMIT"]);
        for Usage { quota, scope, used, limit } in items {
            let limit = limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
            table.row([quota.clone(), scope.clone(), used.to_string(), limit]);
        }
        table.write(out)
    })
}
