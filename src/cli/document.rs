//! `privlink apply`, `backup`, `restore` and whatever makes objects: documents in TOML.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use toml::{Table, Value};

use super::client::Client;
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::interface::{Document, Done};

/// A document to apply.
#[derive(Debug, clap::Args)]
pub(super) struct Apply {
    /// The document; `-` reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Delete what your last document named and this one does not
    #[arg(long)]
    prune: bool,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// A new endpoint.
#[derive(Debug, clap::Args)]
pub(super) struct NewEndpoint {
    /// Its name
    name: String,
    /// The consumer's VNet
    #[arg(long)]
    vnet: String,
    /// Subnet that gives the address
    #[arg(long)]
    subnet: String,
    /// What it is bound to: name, group/name, an alias or an ARM id
    #[arg(long)]
    resource: String,
    /// Which part of it, for a typed resource
    #[arg(long)]
    subresource: Option<String>,
    /// Resource group of the endpoint
    #[arg(long)]
    group: Option<String>,
    /// Subscription of the endpoint
    #[arg(long)]
    subscription: Option<String>,
    /// Its address; omitted: the lowest free one
    #[arg(long)]
    ip: Option<String>,
    /// Ask the resource's owner: the connection starts Pending
    #[arg(long)]
    manual: bool,
    /// What the owner reads, at most 140 characters
    #[arg(long, value_name = "TEXT")]
    request_message: Option<String>,
    /// Only these prefixes may use it; repeatable
    #[arg(long = "source", value_name = "PREFIX")]
    sources: Vec<String>,
    /// Live sessions at once
    #[arg(long)]
    max_sessions: Option<u32>,
}

/// Applies a document as its author's file.
pub(super) fn apply(options: &Apply, client: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let (name, document) = if options.file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        ("standard input".to_owned(), text)
    } else {
        let name = options.file.display().to_string();
        let text = std::fs::read_to_string(&options.file).map_err(|error| {
            Failure::new(Exit::BadConfig, format!("{name}: cannot be read: {error}")).with_remedy("check the path")
        })?;
        (name, text)
    };
    let (prune, dry_run) = (options.prune, options.dry_run);
    send(client, output, &Document { name, document, prune, dry_run, create_only: false })
}

/// Makes one endpoint.
pub(super) fn endpoint(new: NewEndpoint, client: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut table = Table::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            table.insert(key.to_owned(), value);
        }
    };
    put("name", Some(new.name.into()));
    put("vnet", Some(new.vnet.into()));
    put("subnet", Some(new.subnet.into()));
    put("resource", Some(new.resource.into()));
    put("subresource", new.subresource.map(Into::into));
    put("resource_group", new.group.map(Into::into));
    put("subscription", new.subscription.map(Into::into));
    put("ip", new.ip.map(Into::into));
    put("manual", new.manual.then_some(true.into()));
    put("request_message", new.request_message.map(Into::into));
    put("sources", (!new.sources.is_empty()).then(|| new.sources.into()));
    put("max_sessions", new.max_sessions.map(|limit| i64::from(limit).into()));
    let mut whole = Table::new();
    whole.insert("endpoint".to_owned(), Value::Array(vec![Value::Table(table)]));
    let document = toml::to_string(&whole).map_err(anyhow::Error::from)?;
    let name = "the command line".to_owned();
    send(client, output, &Document { name, document, create_only: true, ..Document::default() })
}

fn send(client: &Client, output: &mut Output<'_>, document: &Document) -> Result<(), Failure> {
    output.list(&client.post::<Done>("/apply", document)?, super::access::done)
}

/// Copies the daemon's state to a new file.
pub(super) fn backup(file: &Path, client: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let file = std::path::absolute(file)?;
    output.list(&client.post::<Done>("/backup", &json!({ "file": file }))?, super::access::done)
}

/// Says what became of a restored state.
pub(super) fn restored(lines: &[String], output: &mut Output<'_>) -> Result<(), Failure> {
    Ok(lines.iter().try_for_each(|line| writeln!(output.data, "{line}"))?)
}
