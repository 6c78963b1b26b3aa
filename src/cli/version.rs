//! `campanile version`: which program this is, and which data it reads.

use super::failure::Failure;
use super::output;
use crate::base::version::{COMMIT, VERSION};
use crate::storage::identity::FORMAT;
use serde_json::json;

pub fn run(as_json: bool) -> Result<(), Failure> {
    if as_json {
        return output::say(&json!({"version": VERSION, "commit": COMMIT, "data_format": FORMAT}).to_string());
    }
    let commit = COMMIT.unwrap_or("unknown (build with CAMPANILE_COMMIT set to name it)");
    output::say(&format!("campanile {VERSION}\ncommit {commit}\ndata format {FORMAT}"))
}
