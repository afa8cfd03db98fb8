//! `privlink audit`, `usage` and `wait`.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::client::Client;
use super::exit::{Exit, Failure};
use super::output::{Output, Table};
use crate::interface::{AuditRecord, Connection, Usage, Verified, segment};

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

/// Something to wait for.
#[derive(Debug, clap::Args)]
pub(super) struct Wait {
    /// The endpoint: `name` or `group/name`
    endpoint: String,
    /// `state=Approved`, `state=Rejected`, …, or `deleted`
    #[arg(long = "for", value_name = "WHAT", value_parser = awaited)]
    what: Awaited,
    /// Seconds to wait at most
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Awaited {
    State(String),
    Deleted,
}

fn awaited(text: &str) -> Result<Awaited, String> {
    let states = ["Pending", "Approved", "Rejected", "Disconnected"];
    let known =
        text.strip_prefix("state=").and_then(|state| states.into_iter().find(|s| s.eq_ignore_ascii_case(state)));
    match known {
        Some(state) => Ok(Awaited::State(state.to_owned())),
        None if text.eq_ignore_ascii_case("deleted") => Ok(Awaited::Deleted),
        None => Err("write state=Approved, state=Pending, state=Rejected, state=Disconnected or deleted".to_owned()),
    }
}

/// Waits until an endpoint's connection is in a state; ends with 8 when the time is up.
#[allow(clippy::disallowed_methods, reason = "how long a person waits is measured in real time")]
pub(super) fn wait(wanted: &Wait, client: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let path = format!("/connections/{}", segment(&wanted.endpoint));
    let began = Instant::now();
    loop {
        let state = match client.get::<Connection>(&path) {
            Ok(list) => list.items.into_iter().next().map(|connection| connection.state),
            Err(failure) if failure.exit == Exit::NotFound && wanted.what == Awaited::Deleted => None,
            Err(failure) => return Err(failure),
        };
        let reached = match (&wanted.what, &state) {
            (Awaited::State(wanted), Some(state)) => wanted == state,
            (Awaited::Deleted, None) => true,
            (Awaited::State(_), None) | (Awaited::Deleted, Some(_)) => false,
        };
        if reached {
            let state = state.unwrap_or_else(|| "deleted".to_owned());
            return Ok(writeln!(output.data, "{}: {state}", wanted.endpoint)?);
        }
        if began.elapsed() > Duration::from_secs(wanted.timeout) {
            let state = state.unwrap_or_default();
            let message = format!("{} is still {state} after {} s", wanted.endpoint, wanted.timeout);
            return Err(
                Failure::new(Exit::TimedOut, message).with_remedy("`privlink connection show` says who must act")
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
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
