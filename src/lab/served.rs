//! Which program the nodes of a run are: nodes of its own are this one, others say it.

use super::machine;
use crate::base::version;
use serde_json::Value;
use std::collections::BTreeSet;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Served {
    #[default]
    Own,
    /// What nodes that ran already say they are, each once; empty when nobody answers.
    Told(Vec<String>),
}

impl Served {
    /// From what a node answers to `GET /v1/cluster`.
    pub fn of(cluster: &Value) -> Self {
        let nodes = cluster["nodes"].as_array().map_or(&[][..], Vec::as_slice);
        let told = nodes.iter().map(|node| node["version"].as_str().unwrap_or("unknown"));
        let told: BTreeSet<&str> = told.collect();
        Self::Told(told.into_iter().map(str::to_owned).collect())
    }

    pub const fn is_own(&self) -> bool {
        matches!(self, Self::Own)
    }

    /// Empty when their builds do not know it, or are not all of one.
    pub fn commit(&self) -> &str {
        let told = match self {
            Self::Own => machine::COMMIT,
            Self::Told(versions) => match versions.as_slice() {
                [one] => version::commit_of(one),
                _ => None,
            },
        };
        told.unwrap_or_default()
    }

    /// What a report must say of nodes that are not its own.
    pub fn note(&self) -> Option<String> {
        let Self::Told(versions) = self else { return None };
        let told = match versions.as_slice() {
            [] => "do not say which program they are".to_owned(),
            told => format!("say that they are {}", told.join(" and ")),
        };
        Some(format!(
            "The nodes ran already, and {told}. The machine and the build that are named here are the generator's."
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::Served;
    use serde_json::{Value, json};

    fn check(cluster: &Value, commit: &str, note: &str) {
        let served = Served::of(cluster);
        assert_eq!(served.commit(), commit, "{cluster}");
        assert!(served.note().unwrap().contains(note), "{:?}", served.note());
    }

    #[test]
    fn the_commit_is_that_of_the_nodes_and_not_of_the_generator() {
        let nodes = |versions: &[&str]| {
            let each: Vec<Value> = versions.iter().map(|version| json!({"version": version})).collect();
            json!({"nodes": each})
        };
        check(
            &nodes(&["0.1.0+abc", "0.1.0+abc"]),
            "abc",
            "say that they are 0.1.0+abc.",
        );
        check(&nodes(&["0.1.0+abc", "0.1.0+def"]), "", "0.1.0+abc and 0.1.0+def");
        check(&nodes(&["0.1.0"]), "", "say that they are 0.1.0.");
        check(&json!({"nodes": [{"node": 1}]}), "", "say that they are unknown.");
        check(&Value::Null, "", "do not say which program they are");
    }

    #[test]
    fn nodes_of_its_own_are_this_program() {
        assert_eq!(Served::Own.commit(), crate::lab::machine::COMMIT.unwrap_or_default());
        assert_eq!(Served::Own.note(), None);
    }
}
