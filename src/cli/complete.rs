//! Completion of names: the running daemon is asked, briefly. Where none answers, nothing is offered and nothing said.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use serde_json::Value;

use super::client::Client;
use super::output::short;

/// A person waits for it with a finger on the key.
const COMPLETION_TIMEOUT: Duration = Duration::from_millis(500);

/// `field` of the objects at `path`.
pub(super) fn named(path: &'static str, field: &'static str) -> ArgValueCandidates {
    ArgValueCandidates::new(move || names(path, field))
}

/// Names of whatever can be waited for.
pub(super) fn any() -> ArgValueCandidates {
    let paths = ["/endpoints", "/resources", "/vnets", "/security-groups"];
    ArgValueCandidates::new(move || paths.iter().flat_map(|path| names(path, "id")).collect())
}

/// `field` of every object at `path`.
fn names(path: &str, field: &str) -> Vec<CompletionCandidate> {
    let client = Client::new(&socket(std::env::args_os())).with_patience(COMPLETION_TIMEOUT);
    let items = client.get::<Value>(path).map(|list| list.items).unwrap_or_default();
    items.iter().filter_map(|item| item[field].as_str()).map(|name| CompletionCandidate::new(short(name))).collect()
}

/// The socket that the unfinished command line names, or that the environment does.
fn socket(mut arguments: impl Iterator<Item = OsString>) -> PathBuf {
    while let Some(argument) = arguments.next() {
        if argument == OsStr::new("--socket") {
            return arguments.next().unwrap_or_default().into();
        }
        if let Some(path) = argument.to_str().and_then(|argument| argument.strip_prefix("--socket=")) {
            return path.into();
        }
    }
    std::env::var_os("PRIVLINK_SOCKET").unwrap_or_else(|| super::SOCKET.into()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_that_of_the_unfinished_line() {
        let of = |line: &str| socket(line.split(' ').map(OsString::from));
        assert_eq!(of("privlink --socket /a endpoint show x"), PathBuf::from("/a"));
        assert_eq!(of("privlink endpoint show --socket=/b"), PathBuf::from("/b"));
    }
}
