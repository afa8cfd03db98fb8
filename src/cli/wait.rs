//! `privlink wait`: until an object is as it should be.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::client::Client;
use super::exit::{Error, Exit};
use super::output::Output;
use super::values::duration;
use crate::types::{Connection, Endpoint, Epoch, List, Listed as _, Resource, SecurityGroup, Vnet, segment};

/// Something to wait for.
#[derive(Debug, clap::Args)]
pub(super) struct Wait {
    /// What it is
    #[arg(value_enum)]
    kind: Kind,
    /// Which one: `name` or `group/name`
    #[arg(value_name = "REF", add = super::complete::any())]
    reference: String,
    /// `state=Approved`, `state=Rejected`, …, `created` or `deleted`
    #[arg(long = "for", value_name = "WHAT", value_parser = awaited)]
    what: Awaited,
    /// How long at most: `30s`, `2m`; a number alone means seconds
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = duration)]
    timeout: u64,
}

/// What can be waited for; connection and endpoint have a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Connection,
    Endpoint,
    Resource,
    Vnet,
    SecurityGroup,
}

impl Kind {
    fn path(self) -> &'static str {
        match self {
            Self::Connection => Connection::PATH,
            Self::Endpoint => Endpoint::PATH,
            Self::Resource => Resource::PATH,
            Self::Vnet => Vnet::PATH,
            Self::SecurityGroup => SecurityGroup::PATH,
        }
    }
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Awaited {
    State(String),
    Created,
    Deleted,
}

fn awaited(text: &str) -> Result<Awaited, String> {
    let states = ["Pending", "Approved", "Rejected", "Disconnected"];
    let state = text.strip_prefix("state=");
    match state.and_then(|state| states.into_iter().find(|known| known.eq_ignore_ascii_case(state))) {
        Some(state) => Ok(Awaited::State(state.to_owned())),
        None if text.eq_ignore_ascii_case("deleted") => Ok(Awaited::Deleted),
        None if text.eq_ignore_ascii_case("created") => Ok(Awaited::Created),
        None => {
            Err("write state=Approved, state=Pending, state=Rejected, state=Disconnected, created or deleted".into())
        }
    }
}

/// Where it stands.
#[derive(Debug, Serialize)]
struct Reached<'a> {
    name: &'a str,
    state: String,
}

/// Waits until an object is as asked; ends with 8 when the time is up.
#[allow(clippy::disallowed_methods, reason = "how long a person waits is measured in real time")]
pub(super) fn wait(wanted: &Wait, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let Wait { kind, reference, what, timeout } = wanted;
    if matches!((kind, what), (Kind::Resource | Kind::Vnet | Kind::SecurityGroup, Awaited::State(_))) {
        return Err(Error::new(Exit::Usage, "only connections and endpoints have a state")
            .with_remedy("wait for `created` or `deleted`"));
    }
    let path = format!("{}/{}", kind.path(), segment(reference));
    let began = Instant::now();
    let limit = Duration::from_secs(*timeout);
    // A daemon that never answered is none that restarts.
    let mut answered = false;
    loop {
        let left = limit.saturating_sub(began.elapsed());
        // Before the object is read: what changes after that ends the wait.
        let looked = epoch(client, "/epoch").and_then(|epoch| {
            answered = true;
            match client.get::<Value>(&path) {
                Ok(list) => Ok((epoch, list.items.into_iter().next())),
                Err(failure) if failure.exit == Exit::NotFound && !matches!(what, Awaited::State(_)) => {
                    Ok((epoch, None))
                }
                Err(failure) => Err(failure),
            }
        });
        let (epoch, found) = match looked {
            Ok(seen) => seen,
            Err(failure) if answered && is_restart(&failure) && !left.is_zero() => {
                std::thread::sleep(RETRY.min(left));
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let state = found.as_ref().map(|object| object["state"].as_str().unwrap_or("there").to_owned());
        let reached = match (what, &state) {
            (Awaited::State(wanted), Some(state)) => wanted == state,
            (Awaited::Created, found) => found.is_some(),
            (Awaited::Deleted, found) => found.is_none(),
            (Awaited::State(_), None) => false,
        };
        let state = state.unwrap_or_else(|| if reached { "deleted".into() } else { "not there".into() });
        if reached {
            let reached = List::one(Reached { name: reference, state });
            return output.list(&reached, |items, out| {
                items.iter().try_for_each(|Reached { name, state }| writeln!(out, "{name}: {state}"))
            });
        }
        if left.is_zero() {
            let message = format!("{reference} is still {state} after {timeout} s");
            let remedy = match what {
                Awaited::State(_) => "`privlink connection show` says who must act; `--timeout` sets how long to wait",
                Awaited::Created | Awaited::Deleted => "`--timeout` sets how long to wait",
            };
            return Err(Error::new(Exit::TimedOut, message).with_remedy(remedy));
        }
        let seconds = left.as_secs().clamp(1, 15);
        let asked = Instant::now();
        let changed = match self::epoch(client, &format!("/epoch?after={epoch}&wait={seconds}")) {
            Ok(next) => next != epoch,
            Err(failure) if is_restart(&failure) => true,
            Err(failure) => return Err(failure),
        };
        if !changed && asked.elapsed() < Duration::from_secs(1) {
            // The daemon holds as many questions back as it can.
            std::thread::sleep(Duration::from_secs(1).min(left));
        }
    }
}

/// Between two questions to a daemon that restarts.
const RETRY: Duration = Duration::from_millis(100);

/// Whether the daemon may be back in a moment.
fn is_restart(failure: &Error) -> bool {
    matches!(failure.exit, Exit::Unreachable | Exit::NotReady)
}

fn epoch(client: &Client, path: &str) -> Result<u64, Error> {
    Ok(client.get::<Epoch>(path)?.items.first().map_or(0, |one| one.epoch))
}
