//! The binary: everything is in the library, so that tests and benches see the same.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// A publish takes some thirty allocations on three nodes, made by one thread and given back by another: with the C library's
/// allocator that was a quarter of its cost, and the pieces left behind doubled the process.
#[global_allocator]
static MEMORY: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    campanile::cli::run(std::env::args_os())
}
