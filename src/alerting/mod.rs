//! # Alerting
//!
//! What: rules about what a node measures: when one is broken for long enough, and when that is over; and the share of probes
//! that were answered.
//! Why: a rule that is a pure function can be tried with a table of cases, and says its reason.
//! Never: measuring, a clock, telling anybody.
//! Start: [`evaluate()`], then [`rule`].

pub mod evaluate;
pub mod measure;
pub mod rule;
#[cfg(test)]
mod tests;
pub mod uptime;

pub use evaluate::{Day, Finding, History, Moment, Phase, evaluate};
pub use measure::{Measure, Sample, Samples};
pub use rule::{Rule, RuleFile};
pub use uptime::{Probed, Uptime};
