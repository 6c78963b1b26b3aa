//! # Cache
//!
//! What: the two tiers as a reader sees them: a local one in memory, of what was read lately, over the replicated one, which every
//! node has in its state and on its disk; and, for namespaces that have one, the upstream that owns what neither has.
//! Why: the values that a venue needs all day stay at hand when the uplink is gone, and one question is asked once, however many
//! ask it.
//! Never: what is kept and what has to go, which is the state's to decide; a status code.
//! Start: [`Cache::get`], then [`local`] for why it never serves what was replaced.

mod changes;
mod counts;
mod fetch;
pub mod local;
mod lookup;
pub mod memory;
pub mod preload;
pub mod pressure;
pub mod settings;
mod source;
pub mod upstream;

pub use changes::{NamespaceStatus, UpstreamStatus};
pub use counts::{Counted, Tier};
pub use local::{Held, Kept, Local};
pub use lookup::{Cache, CacheError, Found};
pub use settings::{Config, Namespace, Preload};
pub use source::{Readers, SourceOf};
pub use upstream::SetUpError;

/// A value's body.
pub const VALUE_BYTES_MAX: usize = 64 << 10;
/// Characters of a key.
pub const KEY_LETTERS_MAX: usize = 256;
