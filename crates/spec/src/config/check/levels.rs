//! `[levels]`: settings of single levels.

use super::super::levels::{GvisorSettings, Levels};
use super::super::raw::RawLevels;
use super::super::read::Given;
use super::Check;

const PLATFORMS: (&[&str], &[&str]) = (&GvisorSettings::PLATFORMS, &GvisorSettings::PLATFORMS);

impl Check<'_> {
    /// Settings of single levels.
    pub(super) fn levels(&mut self, given: Option<Given<RawLevels>>) -> Levels {
        let raw = given.and_then(|given| given.value.gvisor).map(|given| given.value).unwrap_or_default();
        let default = GvisorSettings::default();
        Levels {
            gvisor: GvisorSettings {
                path: raw.path.and_then(|given| self.path(&given)),
                platform: self.word(raw.platform.as_ref(), PLATFORMS).unwrap_or(default.platform),
            },
        }
    }
}
