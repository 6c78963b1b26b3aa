//! # Control
//!
//! What: what is looked after beside delivery: the clocks of the zones that the directory names (by the leader), and how many
//! threads write to subscribers (by each node for itself); sessions spread over the nodes; what is wrong, and whether a publish would
//! work.
//! Why: the log must not depend on the zone database of whichever node applies it, so somebody has to read it out beforehand.
//! Never: a socket, a request, or a change of the cluster that does not go through the log.
//! Start: [`zones`], [`autoscaler`], [`alerter`].

pub mod alerter;
pub mod autoscaler;
pub mod balancer;
pub mod cores;
pub mod measuring;
pub mod meter;
pub mod prober;
pub mod today;
pub mod zones;

#[cfg(test)]
mod tests;
