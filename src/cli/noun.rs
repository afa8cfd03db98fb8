//! What is done with objects of any kind: list them, show one, make one, delete one. A noun says where its objects are
//! and how they are shown; the words of its help stand with it.

use std::io::{self, Write};
use std::marker::PhantomData;

use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::Client;
use super::complete;
use super::exit::Error;
use super::output::{Column, Output, Table};
use crate::types::{Done, Listed, segment};

/// A kind of object that the daemon shows.
pub(super) trait Noun: Listed + Serialize + DeserializeOwned + 'static {
    /// The field that names one.
    const ID: &'static str = "id";
    /// What a usage line calls one.
    const ARGUMENT: &'static str;
    /// What names one, for the help.
    const NAMED: &'static str = "`name` or `group/name`";
    /// For the help of `list`.
    const LIST: &'static str;
    /// For the help of `show`.
    const SHOW: &'static str;
    /// The columns of a list.
    const COLUMNS: &'static [Column<Self>];

    /// A list, for people.
    fn table(items: &[Self]) -> Table {
        Table::of(items, Self::COLUMNS)
    }

    /// One object, for people.
    ///
    /// # Errors
    /// It cannot be written.
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        Self::table(std::slice::from_ref(self)).write(out)
    }
}

/// A kind of object that is made and deleted by itself.
pub(super) trait Made: Noun {
    /// The arguments of `create`.
    type New: clap::Args;
    /// For the help of `create`.
    const CREATE: &'static str = "Make one";
    /// For the help of `delete`.
    const DELETE: &'static str = "Delete it";

    /// Makes one, and shows it.
    ///
    /// # Errors
    /// The refusal.
    fn create(new: Self::New, client: &Client, output: &mut Output<'_>) -> Result<(), Error>;
}

/// What only looks.
#[derive(clap::Subcommand)]
pub(super) enum Look<N: Noun> {
    #[command(about = N::LIST)]
    List,
    #[command(about = N::SHOW)]
    Show(Named<N>),
}

/// What is done with objects that are made and deleted by themselves.
#[derive(clap::Subcommand)]
pub(super) enum Command<N: Made> {
    #[command(flatten)]
    Look(Look<N>),
    #[command(about = N::CREATE)]
    Create(Box<N::New>),
    #[command(about = N::DELETE)]
    Delete(Named<N>),
}

/// One object.
#[derive(clap::Args)]
pub(super) struct Named<N: Noun> {
    #[arg(value_name = N::ARGUMENT, help = N::NAMED, add = named::<N>())]
    name: String,
    #[arg(skip)]
    noun: PhantomData<fn() -> N>,
}

impl<N: Noun> Named<N> {
    pub(super) fn path(&self) -> String {
        path::<N>(&self.name)
    }
}

/// Completes names of objects.
pub(super) fn named<N: Noun>() -> ArgValueCandidates {
    complete::named(N::PATH, N::ID)
}

/// Where the object `name` is.
pub(super) fn path<N: Noun>(name: &str) -> String {
    format!("{}/{}", N::PATH, segment(name))
}

pub(super) fn look<N: Noun>(command: &Look<N>, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    match command {
        Look::List => output.list(&client.get::<N>(N::PATH)?, |items, out| N::table(items).write(out)),
        Look::Show(named) => show::<N>(&named.name, client, output),
    }
}

/// The object `name`; an empty line between several of that name.
pub(super) fn show<N: Noun>(name: &str, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    output.list(&client.get::<N>(&path::<N>(name))?, |items, out| {
        items.iter().enumerate().try_for_each(|(index, one)| {
            if index > 0 {
                writeln!(out)?;
            }
            one.show(out)
        })
    })
}

pub(super) fn execute<N: Made>(command: Command<N>, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    match command {
        Command::Look(command) => look(&command, client, output),
        Command::Create(new) => N::create(*new, client, output),
        Command::Delete(named) => output.list(&client.delete::<Done>(&named.path())?, super::output::done),
    }
}
