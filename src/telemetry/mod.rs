//! # Telemetry
//!
//! What: pushing metrics and spans to a collector over OTLP: HTTP, in JSON.
//! Why: where nobody scrapes, as with a cloud's monitoring, figures have to be brought; and a trace that begins outside goes on here.
//! Never: a wait on the road of a publish; what people wrote in a broadcast, or who they are.
//! Start: [`span`] for what is recorded, [`push`] for how it leaves, [`settings`].
//!
//! Off unless `otlp.url` is set. What does not fit the queue of spans, or is not taken, is dropped and counted.

pub mod encode;
pub mod push;
mod set_up;
pub mod settings;
pub mod span;

pub use push::Pusher;
pub use set_up::{SetUpError, start};
pub use settings::Config;
pub use span::{Began, Outcome, Span, Tracer};
