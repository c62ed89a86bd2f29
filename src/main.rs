//! The binary: everything is in the library.

// `main` is where the wall clock comes from; everybody else is told the time.
#![allow(clippy::disallowed_methods)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

/// A call is some thousand small allocations that threads hand to one another: the C library's allocator spends an eighth of a
/// call's time on them, and keeps what is freed in pieces that a process of years cannot use again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tandem::cli::main(std::env::args_os(), Arc::new(SystemTime::now), tandem::app::start)
}
