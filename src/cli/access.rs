//! `privlink role`, `assignment`, `token` and `access`: who may do what.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::Value;

use super::client::Client;
use super::exit::{Error, Exit};
use super::noun::{self, Made, Noun};
use super::output::{Column, Output, done, properties, yes_or_no};
use crate::types::{Assignment, Done, List, Listed as _, NewToken, Role, Token, Whoami, segment};

/// A role of one's own.
#[derive(Debug, clap::Args)]
pub(super) struct NewRole {
    /// Its name
    role: String,
    /// An action it gives, such as `Microsoft.Network/*/read`; repeatable
    #[arg(long = "action", value_name = "ACTION", required = true)]
    actions: Vec<String>,
    /// An action it takes out of those again; repeatable
    #[arg(long = "not-action", value_name = "ACTION")]
    not_actions: Vec<String>,
    /// Where it may be assigned, there and below; repeatable; left out: everywhere
    #[arg(long = "assignable-scope", value_name = "SCOPE")]
    assignable_scopes: Vec<String>,
    /// For people
    #[arg(long, default_value = "")]
    description: String,
}

/// A role that is given to somebody.
#[derive(Debug, clap::Args)]
pub(super) struct NewAssignment {
    /// `uid:1000`, `gid:20`, `token:ci`, or `token-id:UUID` as `privlink whoami` says it
    #[arg(long)]
    principal: String,
    /// Name of the role
    #[arg(long, add = super::noun::named::<Role>())]
    role: String,
    /// Where: `/`, /subscriptions/S, /subscriptions/S/resourceGroups/G, or the id of a resource
    #[arg(long)]
    scope: String,
}

/// Bearer tokens.
#[derive(Debug, clap::Subcommand)]
pub(super) enum TokenCommand {
    #[command(about = Token::LIST)]
    List,
    /// Make a token; its secret is shown once
    Create {
        /// Roles are assigned to `token:NAME`, or to its `token-id:UUID`
        name: String,
        /// How long it is good: `90d`, `12h`
        #[arg(long, default_value = "90d", value_parser = super::values::lifetime)]
        expires: u64,
        /// Write the secret to this new file (mode 0600) instead of the terminal
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Give a token another secret, which is shown once; the old one is refused at once
    Rotate {
        /// Its name
        #[arg(add = super::noun::named::<Token>())]
        name: String,
        /// Write the secret to this new file (mode 0600) instead of the terminal
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// End a token at once, with what is assigned to it
    Revoke {
        /// Its name
        #[arg(add = super::noun::named::<Token>())]
        name: String,
    },
}

/// Explanations of rights.
#[derive(Debug, clap::Subcommand)]
pub(super) enum AccessCommand {
    /// Say why somebody may do something, or what would allow it; exits with 6 where it is denied
    Why {
        /// `uid:1000`, `gid:20` or `token:ci`
        principal: String,
        /// Such as `Microsoft.Network/privateEndpoints/write`
        action: String,
        /// `/`, or an ARM id
        scope: String,
    },
}

impl Noun for Role {
    const ID: &'static str = "name";
    const ARGUMENT: &'static str = "ROLE";
    const NAMED: &'static str = "Its name";
    const LIST: &'static str = "List every role, the built-in ones too";
    const SHOW: &'static str = "Show what a role gives";
    const COLUMNS: &'static [Column<Self>] = &[
        ("ROLE", |role| role.name.clone()),
        ("BUILT IN", |role| yes_or_no(role.built_in)),
        ("DESCRIPTION", |role| role.description.clone()),
    ];

    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        properties(
            out,
            &[
                ("role", self.name.clone()),
                ("description", self.description.clone()),
                ("built in", yes_or_no(self.built_in)),
                ("actions", self.actions.join(" ")),
                ("not actions", self.not_actions.join(" ")),
                ("assignable at", self.assignable_scopes.join(" ")),
            ],
        )
    }
}

impl Made for Role {
    type New = NewRole;
    const CREATE: &'static str = "Define a role of your own";
    const DELETE: &'static str = "Delete a role of your own";

    fn create(new: Self::New, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
        let NewRole { role, actions, not_actions, assignable_scopes, description } = new;
        let wanted = Self { name: role, description, actions, not_actions, assignable_scopes, built_in: false };
        output.list(&client.post::<Done>(Self::PATH, &wanted)?, done)
    }
}

impl Noun for Assignment {
    const ARGUMENT: &'static str = "ID";
    const NAMED: &'static str = "Its id";
    const LIST: &'static str = "List who has which role where";
    const SHOW: &'static str = "Show one assignment";
    const COLUMNS: &'static [Column<Self>] = &[
        ("PRINCIPAL", |one| one.principal.clone()),
        ("ROLE", |one| one.role.clone()),
        ("SCOPE", |one| one.scope.clone()),
        ("ID", |one| if one.built_in { "(the daemon's settings)".to_owned() } else { one.id.clone() }),
    ];
}

impl Made for Assignment {
    type New = NewAssignment;
    const CREATE: &'static str = "Give a role to somebody";
    const DELETE: &'static str = "Take a role away";

    fn create(new: Self::New, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
        let NewAssignment { principal, role, scope } = new;
        let wanted = Self { principal, role, scope, ..Self::default() };
        output.list(&client.post::<Done>(Self::PATH, &wanted)?, done)
    }
}

impl Noun for Token {
    const ID: &'static str = "name";
    const ARGUMENT: &'static str = "NAME";
    const NAMED: &'static str = "Its name";
    const LIST: &'static str = "List tokens, without their secrets";
    const SHOW: &'static str = "Show one token";
    const COLUMNS: &'static [Column<Self>] = &[
        ("TOKEN", |token| token.name.clone()),
        ("CREATED", |token| token.created_at.clone()),
        ("BY", |token| token.created_by.clone()),
        ("EXPIRES", |token| expiry(&token.expires_at, jiff::Timestamp::now())),
        ("ID", |token| token.id.clone()),
    ];
}

pub(super) fn tokens(command: TokenCommand, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    match command {
        TokenCommand::List => noun::look::<Token>(&noun::Look::List, client, output),
        TokenCommand::Create { name, expires, out } => {
            refuse_existing(out.as_deref())?;
            let made = client.post::<Token>(Token::PATH, &NewToken { name, lifetime_seconds: expires })?;
            hand_out(made, out.as_deref(), output)
        }
        TokenCommand::Rotate { name, out } => {
            refuse_existing(out.as_deref())?;
            let made =
                client.post::<Token>(&format!("{}/rotate", noun::path::<Token>(&name)), &serde_json::json!({}))?;
            hand_out(made, out.as_deref(), output)
        }
        TokenCommand::Revoke { name } => output.list(&client.delete::<Done>(&noun::path::<Token>(&name))?, done),
    }
}

/// Before a secret is made that could not be kept.
fn refuse_existing(out: Option<&std::path::Path>) -> Result<(), Error> {
    let Some(path) = out.filter(|path| path.symlink_metadata().is_ok()) else { return Ok(()) };
    let message = format!("{} exists, and is left as it is; no secret was made", path.display());
    Err(Error::new(Exit::Conflict, message).with_remedy("name another file"))
}

/// Shows a secret once, or writes it to the new file `out`.
fn hand_out(mut made: List<Token>, out: Option<&std::path::Path>, output: &mut Output<'_>) -> Result<(), Error> {
    let warnings: Vec<String> = made.items.iter().flat_map(|token| token.warnings.clone()).collect();
    if let Some(path) = out {
        for token in &mut made.items {
            keep(path, &token.secret.take().unwrap_or_default())?;
        }
    }
    output.list(&made, minted)?;
    output.warn(&warnings)
}

pub(super) fn access(command: &AccessCommand, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let AccessCommand::Why { principal, action, scope } = command;
    let path =
        format!("/access/why?principal={}&action={}&scope={}", segment(principal), segment(action), segment(scope));
    let answer: List<Value> = client.get(&path)?;
    output.list(&answer, |items, out| items.iter().try_for_each(|one| explain(one, out)))?;
    let allowed = answer.items.iter().all(|one| one["allowed"] == true);
    if allowed { Ok(()) } else { Err(Error::new(Exit::Denied, String::new())) }
}

/// `privlink whoami`
pub(super) fn whoami(client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    output.list(&client.get::<Whoami>("/whoami")?, |items, out| {
        items.iter().flat_map(|who| &who.principals).try_for_each(|principal| writeln!(out, "{principal}"))
    })
}

/// A new file that nobody else reads.
fn keep(path: &std::path::Path, secret: &str) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| writeln!(file, "{secret}"));
    written.map_err(|error| {
        Error::new(Exit::Failed, format!("the token was made, and {} cannot be written: {error}", path.display()))
            .with_remedy("`privlink token rotate` with another `--out` makes another secret")
    })
}

/// `2027-02-26T20:29:07Z (in 89 d)`.
fn expiry(at: &str, now: jiff::Timestamp) -> String {
    let Ok(time) = at.parse::<jiff::Timestamp>() else { return at.to_owned() };
    match u64::try_from((time.as_second()).saturating_sub(now.as_second())) {
        Ok(0) | Err(_) => format!("{at} (expired)"),
        Ok(left) => format!("{at} (in {})", super::output::seconds(left)),
    }
}

/// The secret alone on a line, so that it can be piped into a file.
fn minted(items: &[Token], out: &mut dyn Write) -> io::Result<()> {
    items.iter().try_for_each(|token| match &token.secret {
        Some(secret) => writeln!(out, "{secret}"),
        None => writeln!(
            out,
            "token {}: its secret is in the file, good until {}",
            token.name,
            expiry(&token.expires_at, jiff::Timestamp::now())
        ),
    })
}

fn explain(one: &Value, out: &mut dyn Write) -> io::Result<()> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let verdict = if one["allowed"] == true { "may" } else { "may not" };
    writeln!(out, "{} {verdict} {} at {}", text(&one["principal"]), text(&one["action"]), text(&one["scope"]))?;
    for considered in one["considered"].as_array().into_iter().flatten() {
        let finding = &considered["finding"];
        writeln!(
            out,
            "  {} is {} at {}: {}",
            text(&considered["principal"]),
            text(&considered["role"]),
            text(&considered["scope"]),
            text(finding)
        )?;
    }
    match one["smallestGrant"]["command"].as_str() {
        Some(command) => writeln!(out, "  this would allow it: {command}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_exists_is_a_conflict_before_a_secret_is_made() {
        let refused = refuse_existing(Some(std::path::Path::new("/proc/self/exe"))).expect_err("it exists");
        assert_eq!(refused.exit, Exit::Conflict, "{refused}");
        assert!(refuse_existing(Some(std::path::Path::new("/proc/self/no-such-file"))).is_ok());
        assert!(refuse_existing(None).is_ok());
    }

    #[test]
    fn an_expiry_says_how_long_it_is_until_then() {
        let now = "2026-11-28T20:29:07Z".parse().expect("a time");
        for (at, shown) in [
            ("2027-02-26T20:29:07Z", "2027-02-26T20:29:07Z (in 90 d)"),
            ("2026-11-28T22:29:06Z", "2026-11-28T22:29:06Z (in 119 min)"),
            ("2026-11-28T20:29:07Z", "2026-11-28T20:29:07Z (expired)"),
            ("2025-01-01T00:00:00Z", "2025-01-01T00:00:00Z (expired)"),
            ("some day", "some day"),
        ] {
            assert_eq!(expiry(at, now), shown);
        }
    }
}
