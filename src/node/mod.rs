//! # Node
