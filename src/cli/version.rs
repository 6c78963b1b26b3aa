//! `campanile version`: which program this is, and which data it reads.

use super::failure::Failure;
use super::output;
use crate::lab::machine::COMMIT;
use crate::storage::identity::FORMAT;
use serde_json::json;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub fn run(as_json: bool) -> Result<(), Failure> {
    if as_json {
        return output::say(&json!({"version": VERSION, "commit": COMMIT, "data_format": FORMAT}).to_string());
    }
    let commit = COMMIT.unwrap_or("unknown (build with CAMPANILE_COMMIT set to name it)");
    output::say(&format!("campanile {VERSION}\ncommit {commit}\ndata format {FORMAT}"))
}
