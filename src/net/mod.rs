//! # Net
