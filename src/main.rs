//! `privlink`: arguments → command.

use std::process::ExitCode;

use privlink::{cli, daemon};

fn main() -> ExitCode {
    cli::main(cli::Daemon { run: &daemon::run, plan: &daemon::plan, clean: &daemon::clean, restore: &daemon::restore })
}
