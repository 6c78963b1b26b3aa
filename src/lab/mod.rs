//! # Lab
