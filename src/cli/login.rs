//! `privlink login`, `logout`, `context` and `ca`: the way to a daemon elsewhere.

use std::io::{self, Read as _};
use std::path::PathBuf;

use super::client::Client;
use super::exit::{Error, Exit};
use super::output::{Output, Table};
use super::remote::{self, Context};
use crate::types::{Authority, Group, List};

/// The daemon's authority.
#[derive(Debug, clap::Subcommand)]
pub(super) enum CaCommand {
    /// Show the certificate that clients are to trust; its fingerprint goes to standard error
    Show,
}

/// Whom to ask from now on.
#[derive(Debug, clap::Args)]
pub(super) struct Login {
    /// Such as <https://privlink.example:8480>
    url: String,
    /// What `privlink ca show` says on the daemon's host: `sha256:` and 64 hexadecimal digits
    #[arg(long, value_name = "FINGERPRINT", value_parser = fingerprint)]
    ca_fingerprint: [u8; 32],
    /// File with a bearer token; `-`: standard input
    #[arg(long, value_name = "FILE", env = "PRIVLINK_TOKEN_FILE")]
    token_file: PathBuf,
    /// What to call it
    #[arg(long, default_value = "default")]
    name: String,
}

/// Daemons elsewhere.
#[derive(Debug, clap::Subcommand)]
pub(super) enum ContextCommand {
    /// List them
    List,
}

fn fingerprint(text: &str) -> Result<[u8; 32], String> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text).replace(':', "");
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.ok_or_else(|| "write `sha256:` and 64 hexadecimal digits, as `privlink ca show` does".to_owned())
}

/// `privlink ca show`
pub(super) fn ca(command: &CaCommand, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    match command {
        CaCommand::Show => {
            let shown = client.get::<Authority>("/ca")?;
            output.list(&shown, |items, out| {
                items.iter().try_for_each(|authority| write!(out, "{}", authority.certificate))
            })?;
            let mut fingerprints = shown.items.iter().map(|one| &one.fingerprint);
            fingerprints.try_for_each(|one| writeln!(output.talk, "fingerprint: {one}")).map_err(Error::from)
        }
    }
}

/// `privlink login`: nothing is kept unless the authority and the token are good.
pub(super) fn login(options: &Login, output: &mut Output<'_>) -> Result<(), Error> {
    let host = host(&options.url)?;
    let token = token(&options.token_file)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from)?;
    let authority = runtime.block_on(remote::authority(&host, &options.ca_fingerprint));
    let authority = authority.map_err(|error| untrusted(&host, &error))?;
    let context = Context { url: format!("https://{host}"), authority, token };
    let _: List<Group> = Client::remote(context.clone()).get("/groups")?;
    let path = context.save(&options.name)?;
    let name = &options.name;
    writeln!(output.talk, "context {name}: https://{host}, kept in {}", path.display())?;
    writeln!(output.talk, "use it with `--context {name}` or PRIVLINK_CONTEXT={name}")?;
    Ok(())
}

/// Why a host is not believed: it shows the wrong certificate, or it is not reached at all.
fn untrusted(host: &str, error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::InvalidData {
        let message = format!("https://{host} does not prove to be whom the fingerprint names: {error}");
        return Error::new(Exit::Unreachable, message)
            .with_remedy("compare with `privlink ca show` on the daemon's host, and see that it is served there");
    }
    Error::new(Exit::Unreachable, format!("https://{host} does not answer: {error}"))
        .with_remedy("see that the daemon listens there (`api` under [daemon]) and that nothing blocks the way")
}

/// `privlink logout`
pub(super) fn logout(name: &str, output: &mut Output<'_>) -> Result<(), Error> {
    Context::forget(name)?;
    Ok(writeln!(output.talk, "context {name}: forgotten")?)
}

/// `privlink context`
pub(super) fn context(command: &ContextCommand, output: &mut Output<'_>) -> Result<(), Error> {
    match command {
        ContextCommand::List => {
            let rows = Context::all()?.into_iter();
            let rows = rows.map(|(name, url)| serde_json::json!({ "name": name, "url": url })).collect();
            output.list(&List::new(rows), |items, out| {
                let mut table = Table::new(["CONTEXT", "URL"]);
                let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
                for one in items {
                    table.row([text(&one["name"]), text(&one["url"])]);
                }
                table.write(out)
            })
        }
    }
}

/// Host and port of an `https` URL; 443 where it names no port.
fn host(url: &str) -> Result<String, Error> {
    let wrong = |why: &str| {
        Error::new(Exit::Usage, format!("`{url}` {why}"))
            .with_remedy("write a URL such as https://privlink.example:8480")
    };
    let rest = url.strip_prefix("https://").ok_or_else(|| wrong("is no https URL: a token goes over HTTPS only"))?;
    let host = rest.trim_end_matches('/');
    if host.is_empty() || host.contains(['/', '?', '@', ' ']) {
        return Err(wrong("has more than a host and a port, or less"));
    }
    let with_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(if with_port { host.to_owned() } else { format!("{host}:443") })
}

fn token(file: &PathBuf) -> Result<String, Error> {
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|read| text = read)
    };
    read.map_err(|error| Error::new(Exit::Denied, format!("the token cannot be read: {}: {error}", file.display())))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_from_an_https_url_only() {
        assert_eq!(host("https://a.example:8480/").ok().as_deref(), Some("a.example:8480"));
        assert_eq!(host("https://[::1]:8480").ok().as_deref(), Some("[::1]:8480"));
        assert_eq!(host("https://a.example").ok().as_deref(), Some("a.example:443"));
        for url in ["http://a:1", "a:1", "https://", "https://a/b", "https://u@a:1"] {
            assert!(host(url).is_err(), "{url}");
        }
    }

    #[test]
    fn who_is_not_reached_is_not_said_to_prove_nothing() {
        for (kind, said) in [
            (io::ErrorKind::ConnectionRefused, "does not answer"),
            (io::ErrorKind::TimedOut, "does not answer"),
            (io::ErrorKind::InvalidData, "does not prove"),
        ] {
            assert!(untrusted("lab:8480", &kind.into()).message.contains(said), "{kind}");
        }
    }

    #[test]
    fn a_fingerprint_has_sixty_four_digits() {
        let digits = "ab".repeat(32);
        assert_eq!(fingerprint(&format!("sha256:{digits}")), Ok([0xab; 32]));
        assert_eq!(fingerprint(&digits.to_uppercase()), Ok([0xab; 32]));
        for text in ["", "sha256:", "sha256:ab", &digits[1..], &digits.replace('a', "g"), &digits.replace("ab", "ü")] {
            assert!(fingerprint(text).is_err(), "{text}");
        }
    }
}
