//! `privlink reload`: has the daemon read its file anew, and says what became of it.

use super::client::Client;
use super::exit::Error;
use super::output::Output;
use crate::types::Reload;

pub(super) fn reload(client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let done = client.post::<Reload>("/reload", &serde_json::json!({}))?;
    output
        .list(&done, |items, out| items.iter().flat_map(|one| &one.notes).try_for_each(|note| writeln!(out, "{note}")))
}
