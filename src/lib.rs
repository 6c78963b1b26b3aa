//! # Campanile
//!
//! A broadcast server for venues. This page is the map: floors from the ground up; imports go down only.
//!
//! | floor | parts |
//! |---|---|
//! | 9 | [`cli`] |
//! | 8 | [`node`], [`lab`] |
//! | 7 | [`config`] |
//! | 6 | [`api`] |
//! | 5 | [`delivery`], [`cache`], [`control`], [`outputs`], [`telemetry`] |
//! | 4 | [`consensus`], [`gateway`] |
//! | 3 | [`storage`], [`net`], [`security`], [`workers`] |
//! | 2 | [`state`], [`queue`], [`scaling`], [`alerting`] |
//! | 1 | [`model`], [`metrics`] |
//! | 0 | [`base`] |
//!
//! Start reading at [`state`] for what the cluster decides, at [`node`] for how a node is put together.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod alerting;
pub mod api;
pub mod base;
pub mod cache;
pub mod cli;
pub mod config;
pub mod consensus;
pub mod control;
pub mod delivery;
pub mod gateway;
pub mod lab;
pub mod metrics;
pub mod model;
pub mod net;
pub mod node;
pub mod outputs;
pub mod queue;
pub mod scaling;
pub mod security;
pub mod state;
pub mod storage;
pub mod telemetry;
pub mod workers;
