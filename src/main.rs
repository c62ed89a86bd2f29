//! The binary: everything is in the library.

// `main` is where the wall clock comes from; everybody else is told the time.
#![allow(clippy::disallowed_methods)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

fn main() -> ExitCode {
    tandem::cli::main(std::env::args_os(), Arc::new(SystemTime::now), tandem::app::start)
}
