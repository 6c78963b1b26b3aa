//! # Queue
