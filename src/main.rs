//! `privlink`: arguments → command. The daemon's assembly stands in `daemon`, which alone knows every
//! part of it.

use std::process::ExitCode;

/// The daemon, assembled.
mod daemon;

fn main() -> ExitCode {
    privlink::cli::main(privlink::cli::Daemon {
        run: &daemon::run,
        plan: &daemon::plan,
        clean: &daemon::clean,
        restore: &daemon::restore,
    })
}
