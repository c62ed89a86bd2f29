//! The command line: `tandem` serves; the other commands look at the configuration or the store beside a running switch.
//!
//! What it is not: it knows no adapter. What it starts is handed in by `main` as a [`Start`].

mod credentials;
mod serve;
mod signals;
mod subscriber;
mod token;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tandem_actors::model::ids::{SubscriberId, UserId};

use crate::config::{self, Config};
use crate::http::tokens::WallClock;
use crate::store::StoreError;
pub use serve::{Start, StartError, Started, Switch};

/// EX_CONFIG of sysexits(3): the configuration is wrong, and starting again will not mend it.
pub const EXIT_CONFIG: u8 = 78;
/// EX_SOFTWARE of sysexits(3): something of ours failed, and the init system should start us again.
pub const EXIT_INTERNAL: u8 = 70;

/// An always-on switch between telephones and browsers.
#[derive(Debug, Parser)]
#[command(name = "tandem", version, about)]
struct Args {
    /// The configuration file.
    #[arg(
        long,
        short,
        global = true,
        env = "TANDEM_CONFIG",
        default_value = "config/tandem.toml",
        value_name = "FILE"
    )]
    config: PathBuf,
    /// Check the configuration, say what is wrong or OK, and end.
    #[arg(long)]
    check_config: bool,
    /// Print the credentials of a first start even where the output is no terminal (it may end in a log).
    #[arg(long)]
    show_credentials: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the switch (what `tandem` does without a command).
    Serve,
    /// Check the configuration, say what is wrong or OK, and end.
    CheckConfig,
    /// Print a login token for an app user.
    Token {
        /// Who logs in with it.
        #[arg(long)]
        user: UserId,
        /// How long it is good, seconds.
        #[arg(long, default_value_t = 86_400, value_name = "SECONDS")]
        ttl: u64,
    },
    /// Add, remove or list the phones that may register. A running switch sees a change within 2 s.
    Subscriber {
        #[command(subcommand)]
        change: SubscriberChange,
    },
}

#[derive(Debug, Subcommand)]
enum SubscriberChange {
    /// Add one and print its password, this once.
    Add {
        /// The number or name it registers as.
        name: SubscriberId,
    },
    /// Remove one.
    Remove {
        /// The number or name it registers as.
        name: SubscriberId,
    },
    /// List them.
    List,
}

/// Why a command failed, and with which exit code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] config::Problems),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Telemetry(#[from] crate::telemetry::TelemetryError),
    #[error("no threads to run on")]
    Runtime(#[source] std::io::Error),
    #[error("{0}")]
    Start(StartError),
    #[error("{0}")]
    Refused(String),
    #[error("the switch gave up: {0}")]
    GaveUp(String),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Config(_) => EXIT_CONFIG,
            Failure::Refused(_) => 1,
            Failure::Store(_)
            | Failure::Telemetry(_)
            | Failure::Runtime(_)
            | Failure::Start(_)
            | Failure::GaveUp(_) => EXIT_INTERNAL,
        }
    }
}

/// Everything `main` does: reads the arguments, runs the command, returns the exit code (0, [`EXIT_CONFIG`],
/// [`EXIT_INTERNAL`]; 1 for a command that was refused, 2 for arguments that are none).
pub fn main(args: impl IntoIterator<Item = OsString>, wall: WallClock, start: Start) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            // Printing to a closed pipe is nobody's loss.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(&args, wall, start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            let mut cause = std::error::Error::source(&failure);
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(args: &Args, wall: WallClock, start: Start) -> Result<(), Failure> {
    let config = load(&args.config)?;
    let show = args.show_credentials || std::io::stdout().is_terminal();
    match &args.command {
        _ if args.check_config => check_config(&config),
        None | Some(Command::Serve) => serve::serve(config, wall, start, show)?,
        Some(Command::CheckConfig) => check_config(&config),
        Some(Command::Token { user, ttl }) => {
            println!("{}", runtime()?.block_on(token::issue(&config, user, Duration::from_secs(*ttl), wall()))?);
        }
        Some(Command::Subscriber { change }) => runtime()?.block_on(subscriber::change(&config, change))?,
    }
    Ok(())
}

fn load(file: &Path) -> Result<Config, config::Problems> {
    // Variables that are no UTF-8 are none of ours.
    let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    config::load(file, environment)
}

fn check_config(config: &Config) {
    if let Some(warnings) = &config.warnings {
        eprintln!("warning:\n{warnings}");
    }
    println!("{}: OK", config.file.display());
}

/// For a command that does its work and ends.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn a_wrong_configuration_is_78_and_our_own_failure_70() {
        let problems = config::parse("t.toml".as_ref(), "x = 1", []).expect_err("a mistake");
        assert_eq!(Failure::from(problems).exit_code(), 78);
        assert_eq!(Failure::GaveUp("media".into()).exit_code(), 70);
    }
}
