//! The binary: everything is in the library, so that tests and benches see the same.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    campanile::cli::run(std::env::args_os())
}
