//! `privlink ca`: who vouches for the daemon over HTTPS.

use super::client::Client;
use super::exit::Failure;
use super::output::Output;
use crate::interface::Authority;

/// The daemon's authority.
#[derive(Debug, clap::Subcommand)]
pub(super) enum CaCommand {
    /// Show the certificate that clients are to trust; its fingerprint goes to standard error
    Show,
}

/// `privlink ca show`
pub(super) fn ca(command: &CaCommand, client: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    match command {
        CaCommand::Show => {
            let shown = client.get::<Authority>("/ca")?;
            output.list(&shown, |items, out| {
                items.iter().try_for_each(|authority| write!(out, "{}", authority.certificate))
            })?;
            let fingerprints = shown.items.iter().map(|one| &one.fingerprint);
            fingerprints
                .into_iter()
                .try_for_each(|one| writeln!(output.talk, "fingerprint: {one}"))
                .map_err(Failure::from)
        }
    }
}
