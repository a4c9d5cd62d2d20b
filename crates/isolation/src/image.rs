//! The program inside the walls, carried by whoever starts them.

/// The agent as a static executable, built from the same sources as this crate. It is meant for a memory
/// file, from where [`crate::EngineConfig::agent`] executes it.
#[must_use]
pub fn agent_image() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/insula-agent"))
}
