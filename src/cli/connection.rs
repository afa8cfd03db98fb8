//! `privlink connection`: the owner's side. A connection has its endpoint's name.

use std::io::{self, Write};

use jiff::Timestamp;

use super::client::Client;
use super::exit::Error;
use super::noun::{self, Noun};
use super::output::{Column, Output, bound, elapsed, left, or_dash, properties, seconds, short};
use crate::types::{Connection, Decide, Ending, Endpoint, Listed as _, Resource, Transition};

/// Several connections of one resource.
mod several;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List connections
    List {
        /// Only those that wait for a decision
        #[arg(long)]
        pending: bool,
    },
    /// Show one connection
    Show {
        /// Endpoint: `name` or `group/name`
        #[arg(add = super::noun::named::<Endpoint>())]
        endpoint: String,
    },
    /// Let it pass, for good or for a time; with --resource alone, all connections of a resource that are chosen
    Approve {
        #[command(flatten)]
        chosen: Chosen,
        /// For how long, such as 8h, 30m or 7d: then it ends by itself (Rejected), also after restarts
        #[arg(long = "for", value_name = "TIME", value_parser = super::values::lifetime)]
        lasts: Option<u64>,
    },
    /// Stop it: returns when no packet passes any more; it may be approved again. With --resource alone, all connections
    /// of a resource that are chosen
    Reject(Chosen),
    /// End it for good: the endpoint can only be deleted then
    Remove {
        /// Endpoint: `name` or `group/name`
        #[arg(add = super::noun::named::<Endpoint>())]
        endpoint: String,
        #[command(flatten)]
        decision: Decision,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Decision {
    /// Why, for the consumer and the records
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// Refuse unless the endpoint is bound to this resource; without an endpoint: all connections of this resource
    #[arg(long, value_name = "RESOURCE", add = super::noun::named::<Resource>())]
    resource: Option<String>,
    /// Refuse unless the connection is in this state: the one you saw; without an endpoint: only those in this state
    #[arg(long, value_name = "STATE", value_parser = ["Pending", "Approved", "Rejected"])]
    if_state: Option<String>,
}

/// One connection, or all of a resource that are chosen.
#[derive(Debug, clap::Args)]
pub(super) struct Chosen {
    /// Endpoint: `name` or `group/name`
    #[arg(add = super::noun::named::<Endpoint>(), required_unless_present = "resource")]
    endpoint: Option<String>,
    #[command(flatten)]
    decision: Decision,
    /// Without an endpoint: only endpoints of this subscription
    #[arg(long, value_name = "SUBSCRIPTION", requires = "resource", conflicts_with = "endpoint")]
    subscription: Option<String>,
    /// Without an endpoint: only endpoints in this VNet
    #[arg(long, value_name = "VNET", requires = "resource", conflicts_with = "endpoint")]
    vnet: Option<String>,
    /// Do not ask before several connections are decided
    #[arg(long, short)]
    yes: bool,
    /// List what would be decided, and decide nothing
    #[arg(long, conflicts_with_all = ["endpoint", "yes"])]
    dry_run: bool,
}

pub(super) fn execute(command: Command, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    match command {
        Command::List { pending } => {
            let path = format!("{}{}", Connection::PATH, if pending { "?pending=true" } else { "" });
            let width = output.width;
            output
                .list(&client.get::<Connection>(&path)?, |items, out| Connection::table(items).within(width).write(out))
        }
        Command::Show { endpoint } => noun::show::<Connection>(&endpoint, client, output),
        Command::Approve { chosen, lasts } => several::choose("approve", chosen, lasts, client, output),
        Command::Reject(chosen) => several::choose("reject", chosen, None, client, output),
        Command::Remove { endpoint, decision } => decide("remove", &endpoint, decision, None, client, output),
    }
}

impl Noun for Connection {
    const ID: &'static str = "endpoint";
    const ARGUMENT: &'static str = "ENDPOINT";
    const LIST: &'static str = "List connections";
    const SHOW: &'static str = "Show one connection";
    const COLUMNS: &'static [Column<Self>] = &[
        ("ENDPOINT", |connection| short(&connection.endpoint).to_owned()),
        ("RESOURCE", |connection| bound(&connection.resource, &connection.subresource)),
        ("STATE", |connection| state(&connection.state, connection.ending.as_ref())),
        ("REQUESTER", |connection| or_dash(&connection.requester)),
        ("AGE", |connection| age(&connection.requested_at, Timestamp::now())),
        ("REQUEST", |connection| or_dash(&connection.request_message)),
        ("REASON", |connection| or_dash(&connection.reason)),
    ];

    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let decision = self.decision.as_ref().map(|decision| format!("by {} at {}", decision.by, decision.at));
        properties(
            out,
            &[
                ("endpoint", self.endpoint.clone()),
                ("resource", bound(&self.resource, &self.subresource)),
                ("state", format!("{}{}", self.state, until(self.ending.as_ref()))),
                ("reason", self.reason.clone()),
                ("decided", decision.unwrap_or_default()),
                ("request", self.request_message.clone()),
                ("requester", self.requester.clone()),
                ("requested", self.requested_at.clone()),
                ("subscription", self.subscription.clone()),
                ("vnet", self.vnet.clone()),
                ("region", self.region.clone()),
                ("addresses", self.addresses.join(" ")),
                ("link identifier", self.link_identifier.to_string()),
                ("sessions", self.traffic.sessions.to_string()),
                ("to service", super::output::bytes(self.traffic.bytes_to_service)),
                ("to consumer", super::output::bytes(self.traffic.bytes_to_consumer)),
                ("history", history(&self.history)),
                ("to do", self.actions_required.clone()),
            ],
        )
    }
}

fn decide(
    action: &str,
    endpoint: &str,
    decision: Decision,
    for_seconds: Option<u64>,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<(), Error> {
    let path = format!("{}/{action}", noun::path::<Connection>(endpoint));
    let Decision { reason, resource, if_state } = decision;
    let list = client.post::<Transition>(&path, &Decide { reason, resource, if_state, for_seconds })?;
    output.list(&list, |items, out| items.iter().try_for_each(|one| writeln!(out, "{}", in_words(one))))?;
    output.warn(list.items.iter().flat_map(|transition| &transition.warnings))
}

/// `orders: Pending → Approved`; what revokes says how long it took until no packet passed.
fn in_words(transition: &Transition) -> String {
    let Transition { endpoint, from, to, changed, ending, in_force_microseconds, .. } = transition;
    let (endpoint, until) = (short(endpoint), until(ending.as_ref()));
    match to.as_str() {
        _ if !changed => format!("{endpoint}: {to} already{until}"),
        _ if from == to && until.is_empty() => format!("{endpoint}: {to}, for good"),
        _ if from == to => format!("{endpoint}: {to}{until}"),
        "Approved" => format!("{endpoint}: {from} → {to}{until}"),
        _ => format!("{endpoint}: {from} → {to}, in force after {}", elapsed(*in_force_microseconds)),
    }
}

/// `, until 2026-12-01T08:00:00Z (7 h 59 min left)`; nothing where there is no end.
pub(super) fn until(ending: Option<&Ending>) -> String {
    let said = |end: &Ending| format!(", until {} ({} left)", end.approval_ends_at, left(end.approval_seconds_left));
    ending.map(said).unwrap_or_default()
}

/// `Approved`, or `Approved, 7 h 59 min left`: a state in a list.
pub(super) fn state(state: &str, ending: Option<&Ending>) -> String {
    ending.map_or_else(|| state.to_owned(), |end| format!("{state}, {} left", left(end.approval_seconds_left)))
}

/// How long ago `since` (RFC 3339) was.
fn age(since: &str, now: Timestamp) -> String {
    let Ok(since) = since.parse::<Timestamp>() else { return or_dash(since) };
    // A clock that was set back makes nothing younger than new.
    seconds(u64::try_from(now.as_second() - since.as_second()).unwrap_or(0))
}

/// `Pending by nobody at …; Approved by …`
fn history(steps: &[crate::types::Step]) -> String {
    let step = |step: &crate::types::Step| format!("{} by {} at {}", step.state, step.by, step.at);
    steps.iter().map(step).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_list_tells_ages_and_keeps_to_the_terminal() {
        let now = Timestamp::now();
        let one = |endpoint: &str, seconds: i64| Connection {
            endpoint: format!("default/{endpoint}"),
            resource: "default/db".to_owned(),
            state: "Pending".to_owned(),
            requested_at: (now - SignedDuration::from_secs(seconds)).to_string(),
            request_message: "an order system, ticket 4711, until the end of next year".to_owned(),
            ..Connection::default()
        };
        let items = [one("a", 2 * 86_400), one("b", 190), one("c", -86_400)];
        let shown = |width| {
            let mut out = Vec::new();
            Connection::table(&items).within(width).write(&mut out).expect("writes");
            String::from_utf8(out).expect("text")
        };
        let piped = shown(None);
        let ages: Vec<_> = piped
            .lines()
            .skip(1)
            .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).nth(4))
            .collect();
        assert_eq!(ages, [Some("2 d"), Some("3 min"), Some("0 s")], "{piped}");
        assert!(piped.contains("until the end of next year"), "nothing is cut where a program reads: {piped}");
        let narrow = shown(Some(70));
        assert!(narrow.lines().all(|line| line.chars().count() <= 70), "{narrow}");
        assert!(narrow.contains('…') && narrow.contains("Pending") && !narrow.contains("until the end"), "{narrow}");
        assert_eq!(shown(Some(400)), piped);
    }

    #[test]
    fn an_age_is_counted_from_a_time_and_is_never_negative() {
        let now = "2026-01-03T10:00:00Z".parse().expect("a time");
        for (since, shown) in [
            ("2026-01-01T10:00:00Z", "2 d"),
            ("2026-01-03T09:59:00Z", "60 s"),
            ("2027-01-01T00:00:00Z", "0 s"),
            ("", "-"),
        ] {
            assert_eq!(age(since, now), shown, "{since}");
        }
    }

    #[test]
    fn a_decision_is_told_in_one_line() {
        let end = |approval_seconds_left| {
            Some(Ending { approval_ends_at: "2026-12-01T08:00:00Z".to_owned(), approval_seconds_left })
        };
        for (from, to, changed, ending, text) in [
            ("Pending", "Approved", true, None, "orders: Pending → Approved"),
            ("Approved", "Approved", false, None, "orders: Approved already"),
            ("Approved", "Approved", true, None, "orders: Approved, for good"),
            ("Approved", "Approved", true, end(5), "orders: Approved, until 2026-12-01T08:00:00Z (5 s left)"),
            (
                "Pending",
                "Approved",
                true,
                end(60),
                "orders: Pending → Approved, until 2026-12-01T08:00:00Z (1 min left)",
            ),
            ("Approved", "Rejected", true, None, "orders: Approved → Rejected, in force after 1.2 ms"),
            ("Rejected", "Disconnected", true, None, "orders: Rejected → Disconnected, in force after 1.2 ms"),
        ] {
            let transition = Transition {
                endpoint: "default/orders".to_owned(),
                from: from.to_owned(),
                to: to.to_owned(),
                changed,
                ending,
                in_force_microseconds: 1_234,
                warnings: Vec::new(),
            };
            assert_eq!(in_words(&transition), text);
        }
    }
}
