//! # Cli
