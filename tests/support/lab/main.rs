//! Builds the networks that standard input describes (`tests/support/networks.rs` says how), below this process's
//! `/run/netns`. Scripts and the tests in Python make theirs with it, inside namespaces of their own (`scripts/lab.sh`).

use std::process::ExitCode;

#[path = "../networks.rs"]
mod networks;

#[allow(clippy::print_stderr, reason = "a command line program")]
fn main() -> ExitCode {
    let text = std::io::read_to_string(std::io::stdin()).map_err(|error| error.to_string());
    match text.and_then(|text| networks::build(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}
