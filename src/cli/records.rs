//! `privlink audit` and `usage`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use jiff::Timestamp;

use super::client::Client;
use super::document::exists;
use super::exit::{Error, Exit};
use super::output::{Output, Table, count};
use crate::types::{AuditRecord, ExportedRecord, Usage, Verified, segment};

/// The audit log.
#[derive(Debug, clap::Subcommand)]
pub(super) enum AuditCommand {
    /// List who did what to what, the newest last
    List {
        /// Only at this time (RFC 3339) or later
        #[arg(long, value_name = "TIME")]
        since: Option<Timestamp>,
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
    /// Write the records as they are stored, a line of JSON each, so that they can be kept and their chain checked
    Export {
        /// A new file (mode 0600), or `-` for standard output
        file: PathBuf,
        /// From the first one at this time (RFC 3339) or later on
        #[arg(long, value_name = "TIME")]
        since: Option<Timestamp>,
        /// Up to the last one before the first later than this time
        #[arg(long, value_name = "TIME")]
        until: Option<Timestamp>,
    },
    /// Check that no record was deleted, edited, moved or cut off
    Verify,
}

pub(super) fn audit(command: &AuditCommand, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    match command {
        AuditCommand::List { since, limit, object, by } => {
            let mut path = format!("/audit?limit={limit}");
            let since = since.map(|since| since.to_string());
            for (name, value) in [("since", &since), ("object", object), ("by", by)] {
                path.extend(value.iter().map(|value| format!("&{name}={}", segment(value))));
            }
            let width = output.width;
            output.list(&client.get::<AuditRecord>(&path)?, |items, out| audit_table(items, width, out))
        }
        AuditCommand::Export { file, since, until } if file.as_os_str() == "-" => {
            export(client, (*since, *until), output.data).map(drop)
        }
        AuditCommand::Export { file, since, until } => {
            let kept = OpenOptions::new().create_new(true).write(true).mode(0o600).open(file);
            let failed = |error: io::Error| {
                if error.kind() == io::ErrorKind::AlreadyExists {
                    return exists(file).with_remedy("name another file");
                }
                Error::new(Exit::Failed, format!("{}: {error}", file.display()))
            };
            let mut kept = kept.map_err(failed)?;
            let count = export(client, (*since, *until), &mut kept)?;
            kept.sync_all().map_err(failed)?;
            Ok(writeln!(output.talk, "{count} records in {}", file.display())?)
        }
        AuditCommand::Verify => output.list(&client.get::<Verified>("/audit/verify")?, |items, out| {
            items.iter().try_for_each(|Verified { count, last_hash, pruned, anchor }| {
                writeln!(out, "{count} records, each as it was written; the last hash is {last_hash}")?;
                if *pruned == 0 {
                    return Ok(());
                }
                writeln!(out, "the {pruned} before them were removed, as `audit` under [daemon] says; the last hash of those is {anchor}")
            })
        }),
    }
}

/// Writes records until there are no more, or one is too late; how many.
fn export(
    client: &Client,
    (since, until): (Option<Timestamp>, Option<Timestamp>),
    out: &mut dyn Write,
) -> Result<u64, Error> {
    let since = since.map(|since| format!("&since={}", segment(&since.to_string()))).unwrap_or_default();
    let (mut path, mut count) = (format!("/audit/export?from=1{since}"), 0);
    loop {
        let records = client.get::<ExportedRecord>(&path)?.items;
        let Some(last) = records.last() else { return Ok(count) };
        path = format!("/audit/export?from={}", last.seq + 1);
        for record in &records {
            if until.is_some_and(|until| record.at_microseconds > until.as_microsecond()) {
                return Ok(count);
            }
            writeln!(out, "{}", serde_json::to_string(record)?)?;
            count += 1;
        }
    }
}

fn audit_table(items: &[AuditRecord], width: Option<usize>, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["SEQ", "AT", "BY", "ACTION", "OBJECT", "LINK", "FROM", "TO", "DETAIL"]);
    for AuditRecord { seq, record, .. } in items {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        table.row([
            or_dash(&seq.map(|seq| seq.to_string())),
            record.at.split('.').next().unwrap_or_default().trim_end_matches('Z').to_owned() + "Z",
            format!("{} ({})", record.by.name, record.by.principal),
            record.action.clone(),
            record.object.clone(),
            record.link.map_or_else(|| "-".to_owned(), |link| link.to_string()),
            or_dash(&record.from),
            or_dash(&record.to),
            if record.detail.is_empty() { "-".to_owned() } else { record.detail.clone() },
        ]);
        record.changes.iter().for_each(|change| table.note(change.to_string()));
        record.changes_left_out.iter().for_each(|more| table.note(format!("and {}", count(*more, "more field"))));
    }
    table.within(width).write(out)
}

/// Quotas, and what counts against them.
pub(super) fn usage(client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    output.list(&client.get::<Usage>("/usage")?, |items, out| {
        let mut table = Table::new(["QUOTA", "SCOPE", "USED", "LIMIT"]);
        for Usage { quota, scope, used, limit } in items {
            let limit = limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
            let used = used.map_or_else(|| "-".to_owned(), |used| used.to_string());
            table.row([quota.clone(), scope.clone(), used, limit]);
        }
        table.write(out)
    })
}
