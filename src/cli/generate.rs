//! `privlink gen`: manual pages, shell completions, the schema of the configuration.

use std::path::PathBuf;

use clap_complete::env::{self, EnvCompleter};

use super::exit::{Error, Exit};
use super::output::Output;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Manual pages: `privlink(1)` to standard output, or a page per command into a directory
    Man {
        /// Directory for all pages
        directory: Option<PathBuf>,
    },
    /// Completions for a shell, to standard output
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// JSON schema of the configuration file, to standard output
    Schema,
}

/// Shells that completions are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Shell {
    /// GNU Bourne-again shell.
    Bash,
    /// Z shell.
    Zsh,
    /// Friendly interactive shell.
    Fish,
}

pub(super) fn execute(command: &Command, output: &mut Output<'_>) -> Result<(), Error> {
    match command {
        Command::Man { directory: None } => {
            clap_mangen::Man::new(super::definition()).render(&mut output.data)?;
        }
        Command::Man { directory: Some(directory) } => {
            let place = |error: std::io::Error| Error::new(Exit::Failed, format!("{}: {error}", directory.display()));
            std::fs::create_dir_all(directory).map_err(place)?;
            clap_mangen::generate_to(super::definition(), directory).map_err(place)?;
            writeln!(output.talk, "manual pages written to {}", directory.display())?;
        }
        Command::Completions { shell } => {
            let shell: &dyn EnvCompleter = match shell {
                Shell::Bash => &env::Bash,
                Shell::Zsh => &env::Zsh,
                Shell::Fish => &env::Fish,
            };
            // The script asks `privlink` itself, which knows the names of what the daemon holds.
            shell.write_registration("COMPLETE", "privlink", "privlink", "privlink", &mut output.data)?;
        }
        Command::Schema => {
            serde_json::to_writer_pretty(&mut *output.data, &crate::config::schema())?;
            writeln!(output.data)?;
        }
    }
    Ok(output.data.flush()?)
}
