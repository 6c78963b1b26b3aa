//! # Config
