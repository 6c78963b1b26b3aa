//! How often random checks are repeated.

/// `CAMPANILE_CHECKS=N`, or what an ordinary run can afford.
#[allow(clippy::disallowed_methods)] // a test's own size, no setting
pub fn checks(ordinary: u32) -> u32 {
    let asked = std::env::var("CAMPANILE_CHECKS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(ordinary)
}
