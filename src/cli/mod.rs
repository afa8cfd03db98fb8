//! The command line: one file per command group. Commands ask the daemon over its socket; `run` and
//! `clean` are lent by `main`, which alone knows the daemon's parts.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod access;
mod client;
mod complete;
mod config;
mod connection;
mod create;
mod drops;
mod endpoint;
mod exit;

/// Documents.
mod document;

/// Private names.
mod dns;

/// Private DNS zones.
mod dns_zone;

/// Private names for other programs.
mod dns_export;

/// Why a name does not lead through its endpoint.
mod doctor;

/// What becomes of a name.
mod dns_explain;

/// Interfaces and groups.
mod inventory;

/// The way to a daemon elsewhere.
mod login;

/// Daemons elsewhere.
mod remote;

/// Audit, quotas.
mod records;

mod explain;
mod flows;
mod generate;
mod local;
/// What is done with objects of any kind.
mod noun;
mod output;
/// The daemon's own file, read anew.
mod reload;
mod resource;
/// Backups that are brought back.
mod restore;

/// A yes before much is changed.
mod confirm;
mod security_group;
mod status;
/// What reaches a terminal.
mod terminal;
mod values;
mod vnet;
mod wait;
mod who;

pub use exit::{Error, Exit};
pub use terminal::shows_colours;

use client::Client;
use output::{Format, Output};
use terminal::Escaping;

use crate::types::{Assignment, Interface, Resource, Role, SecurityGroup, Vnet};

/// Where the daemon listens unless told otherwise.
pub const SOCKET: &str = "/run/privlink/privlink.sock";

/// What the daemon is started with.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct RunOptions {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", env = "PRIVLINK_CONFIG", default_value = "/etc/privlink/privlink.toml")]
    pub config: PathBuf,
    /// Print every link, route, rule and sysctl that would be set, and set none
    #[arg(long)]
    pub dry_run: bool,
    /// Delete what the file no longer names
    #[arg(long)]
    pub prune: bool,
}

/// What `main` lends to the command line.
#[derive(Clone, Copy)]
pub struct Daemon<'a> {
    /// Runs the daemon until it is told to stop.
    pub run: &'a dyn Fn(&RunOptions) -> Result<(), Error>,
    /// What a start would do.
    pub plan: &'a dyn Fn(&RunOptions) -> Result<crate::types::Plan, Error>,
    /// Removes what a dead daemon left on this host, as its run directory tells.
    pub clean: &'a dyn Fn(&Path) -> anyhow::Result<Cleaned>,
    /// Replaces a state by a backup, once the second argument agrees to what that undoes; says what it did.
    pub restore: &'a Restore,
}

/// See [`Daemon::restore`].
pub type Restore = dyn Fn(
    &RestoreOptions,
    &mut dyn FnMut(&crate::types::Restored) -> Result<(), Error>,
) -> Result<crate::types::Restored, Error>;

/// Which backup is brought back, and how.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct RestoreOptions {
    /// The backup
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub file: PathBuf,
    /// The state directory, as the daemon's file names it
    #[arg(long, value_name = "DIRECTORY", default_value = "/var/lib/privlink")]
    pub state: PathBuf,
    /// Undo later rejections, revocations, deletions and narrowings, too, which are kept otherwise
    #[arg(long)]
    pub exactly: bool,
    /// Say what it would undo and keep, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask; needed where nobody can be asked
    #[arg(short, long)]
    pub yes: bool,
}

/// What a clean-up did, one line per thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Gone.
    pub removed: Vec<String>,
    /// Still there, with the reason.
    pub failed: Vec<String>,
}

impl std::fmt::Debug for Daemon<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").finish_non_exhaustive()
    }
}

/// Private endpoints for any Linux network: one private IP address reaches exactly one approved service.
#[derive(Parser)]
#[command(name = "privlink", version, propagate_version = true, after_help = exit::TABLE, arg_required_else_help = true)]
struct Cli {
    /// Control socket of the daemon
    #[arg(long, global = true, value_name = "PATH", env = "PRIVLINK_SOCKET", default_value = SOCKET)]
    socket: PathBuf,
    /// A daemon elsewhere, as `privlink login` called it; in place of the socket
    #[arg(long, global = true, value_name = "NAME", env = "PRIVLINK_CONTEXT")]
    context: Option<String>,
    /// Form of the result
    #[arg(short, long, global = true, value_enum, value_name = "FORM", default_value_t)]
    output: Format,
    /// The same as `-o json`
    #[arg(long, global = true, conflicts_with = "output")]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon
    Run(RunOptions),
    /// Read a configuration file and say what is wrong with it
    Check {
        /// Configuration file
        file: PathBuf,
    },
    /// Write a commented configuration that works
    Init {
        /// A file to create; omitted: standard output
        #[arg(default_value = "-", hide_default_value = true)]
        file: PathBuf,
    },
    /// Show what is wrong, every endpoint, and what happened to packets
    Status,
    /// Have the daemon read its file anew, and wait for what becomes of it
    Reload,
    /// Remove what a daemon that died left on this host
    Clean,
    /// Private endpoints: the consumer's side
    #[command(subcommand)]
    Endpoint(endpoint::Command),
    /// Connections to your resources: approve, reject, remove
    #[command(subcommand)]
    Connection(connection::Command),
    /// Show live sessions
    Flows(flows::Options),
    /// Link resources: what may be reached
    #[command(subcommand)]
    Resource(noun::Command<Resource>),
    /// Networks
    #[command(subcommand)]
    Vnet(noun::Command<Vnet>),
    /// Private names: what a VNet's resolver answers, and what other name servers need
    #[command(subcommand)]
    Dns(dns::Command),
    /// Say why a name does not lead through its endpoint, looking from this host
    Doctor(doctor::Options),
    /// Interfaces of endpoints: addresses and names
    #[command(subcommand)]
    Nic(noun::Look<Interface>),
    /// Resource groups
    #[command(subcommand)]
    Group(inventory::GroupCommand),
    /// Rule sets for endpoints
    #[command(subcommand)]
    SecurityGroup(noun::Command<SecurityGroup>),
    /// Say what would become of a packet, and which check decides
    Explain(explain::Options),
    /// Say why packets are dropped: every reason, what it means and what to do about it
    #[command(after_help = drops::text())]
    Drops,
    /// Say what the configuration file may hold: every table, its keys and what they mean
    #[command(after_help = config::text(&crate::config::reference::reference()))]
    Config(config::Options),
    /// Say who is behind the NAT address and port that a server sees
    Who(who::Options),
    /// Write manual pages, shell completions or the configuration's schema
    #[command(subcommand)]
    Gen(generate::Command),
    /// Apply a document of yours: create and change what it names
    Apply(document::Apply),
    /// Write the live state as a document: what a check accepts and an apply finds unchanged, without secrets
    Export {
        /// A file to create; omitted: standard output
        #[arg(default_value = "-", hide_default_value = true)]
        file: PathBuf,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
    },
    /// Wait until an object is in a state, is there, or is gone
    Wait(wait::Wait),
    /// Show quotas and what counts against them
    Usage,
    /// Read and check the audit log
    #[command(subcommand)]
    Audit(records::AuditCommand),
    /// Copy the daemon's state to a file, which is written as you
    Backup {
        /// Where to; `-` is standard output
        file: PathBuf,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
    },
    /// Bring a backup back, but for what was taken away since; the daemon must be stopped
    Restore(RestoreOptions),
    /// Roles: what may be done
    #[command(subcommand)]
    Role(noun::Command<Role>),
    /// Assignments: who has which role where
    #[command(subcommand)]
    Assignment(noun::Command<Assignment>),
    /// Bearer tokens, for callers that are no local user
    #[command(subcommand)]
    Token(access::TokenCommand),
    /// Remember a daemon elsewhere, who vouches for it, and the token it is asked with
    Login(login::Login),
    /// Forget a daemon elsewhere
    Logout {
        /// What `login` called it
        #[arg(default_value = "default")]
        name: String,
    },
    /// Daemons elsewhere
    #[command(subcommand)]
    Context(login::ContextCommand),
    /// Who vouches for the daemon over HTTPS
    #[command(subcommand)]
    Ca(login::CaCommand),
    /// Explain why somebody may do something
    #[command(subcommand)]
    Access(access::AccessCommand),
    /// Say who the daemon takes you for: every principal by which roles are assigned to you
    Whoami,
}

/// Does what the command line asks for.
pub fn main(daemon: Daemon<'_>) -> ExitCode {
    // A shell that asks for completions is answered here, and nothing else is done.
    clap_complete::CompleteEnv::with_factory(definition).complete();
    let stdout = io::stdout();
    let width = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten();
    let width = width.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    // Not locked: the daemon runs in here, and its other threads write to standard error too.
    execute_within(width, std::env::args_os(), daemon, &mut io::stdout(), &mut io::stderr()).into()
}

/// [`main`] with its surroundings as arguments: `data` is standard output, `talk` standard error.
pub fn execute(
    arguments: impl IntoIterator<Item = OsString>,
    daemon: Daemon<'_>,
    data: &mut dyn Write,
    talk: &mut dyn Write,
) -> Exit {
    execute_within(None, arguments, daemon, data, talk)
}

/// [`execute`] on a terminal of `width` columns.
fn execute_within(
    width: Option<usize>,
    arguments: impl IntoIterator<Item = OsString>,
    daemon: Daemon<'_>,
    data: &mut dyn Write,
    talk: &mut dyn Write,
) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(help_or_error) => return explained(&help_or_error, data, talk),
    };
    let format = if cli.json { Format::Json } else { cli.output };
    let json = format == Format::Json;
    let (data, talk) = (&mut Escaping::new(data, json), &mut Escaping::new(talk, json));
    let Err(failure) = dispatch(cli, daemon, &mut Output { format, width, data, talk }) else {
        return Exit::Done;
    };
    if !failure.message.is_empty() {
        // With standard error gone there is nobody left to tell.
        let _ = match failure.to_json().ok().filter(|_| format == Format::Json) {
            Some(json) => writeln!(talk, "{json}"),
            None => writeln!(talk, "{failure}"),
        };
    }
    failure.exit
}

fn dispatch(cli: Cli, daemon: Daemon<'_>, output: &mut Output<'_>) -> Result<(), Error> {
    let for_people = output.format != Format::Json;
    let client = match cli.context.as_deref().filter(|name| !name.is_empty()) {
        // These are about contexts, and ask none.
        Some(_) if matches!(cli.command, Command::Login(_) | Command::Logout { .. } | Command::Context(_)) => {
            Client::new(&cli.socket)
        }
        Some(name) => Client::remote(remote::Context::load(name)?),
        None => Client::new(&cli.socket),
    };
    let client = client.for_people(for_people);
    match cli.command {
        Command::Run(options) if options.dry_run => local::plan(&(daemon.plan)(&options)?, output),
        Command::Run(options) => (daemon.run)(&options),
        Command::Check { file } => local::check(&file, output),
        Command::Init { file } => local::init(&file, output),
        Command::Status => status::show(&client, output),
        Command::Reload => reload::reload(&client, output),
        Command::Clean => local::clean(&client, &cli.socket, daemon, output),
        Command::Endpoint(command) => endpoint::execute(command, &client, output),
        Command::Connection(command) => connection::execute(command, &client, output),
        Command::Flows(options) => flows::show(&options, &client, output),
        Command::Resource(command) => noun::execute(command, &client, output),
        Command::Dns(command) => dns::execute(&command, &client, output),
        Command::Doctor(options) => doctor::examine(&options, &client, output),
        Command::Nic(command) => noun::look(&command, &client, output),
        Command::Group(command) => inventory::group(&command, &client, output),
        Command::Vnet(command) => noun::execute(command, &client, output),
        Command::SecurityGroup(command) => noun::execute(command, &client, output),
        Command::Explain(options) => explain::show(&options, &client, output),
        Command::Config(options) => config::show(&options, output),
        Command::Drops => drops::show(output),
        Command::Who(options) => who::show(&options, &client, output),
        Command::Gen(command) => generate::execute(&command, output),
        Command::Apply(options) => document::apply(&options, &client, output),
        Command::Export { file, force } => document::export(&file, force, &client, output),
        Command::Wait(wanted) => wait::wait(&wanted, &client, output),
        Command::Usage => records::usage(&client, output),
        Command::Audit(command) => records::audit(&command, &client, output),
        Command::Backup { file, force } => document::backup(&file, force, &client, output),
        Command::Restore(options) => restore::restore(&options, daemon, output),
        Command::Role(command) => noun::execute(command, &client, output),
        Command::Assignment(command) => noun::execute(command, &client, output),
        Command::Token(command) => access::tokens(command, &client, output),
        Command::Login(options) => login::login(&options, output),
        Command::Logout { name } => login::logout(&name, output),
        Command::Context(command) => login::context(&command, output),
        Command::Ca(command) => login::ca(&command, &client, output),
        Command::Access(command) => access::access(&command, &client, output),
        Command::Whoami => access::whoami(&client, output),
    }
}

/// Help and version are results; everything else that clap says is wrong usage.
fn explained(said: &clap::Error, data: &mut dyn Write, talk: &mut dyn Write) -> Exit {
    let text = said.render();
    if said.use_stderr() {
        let _ = write!(talk, "{text}");
        return Exit::Usage;
    }
    // A reader that has seen enough of the help has what it wants.
    let _ = write!(data, "{text}");
    Exit::Done
}

/// The whole command line, for manual pages and completions.
fn definition() -> clap::Command {
    use clap::CommandFactory as _;
    Cli::command()
}

#[cfg(test)]
mod tests;
