//! What is kept of captured output.

use super::super::kind::ProblemKind;
use super::super::logs::LogSettings;
use super::super::raw::{RawLogs, RawSize};
use super::super::read::Given;
use super::Check;
use crate::{ByteSize, parse_bytes};

impl Check<'_> {
    /// The `[logs]` table.
    pub(super) fn logs(&mut self, raw: &RawLogs) -> LogSettings {
        let default = LogSettings::default();
        let mut size = |given: Option<&Given<RawSize>>, default| {
            given.and_then(|given| self.log_size(given)).unwrap_or(default)
        };
        let per_instance = size(raw.max_size_per_instance.as_ref(), default.max_size_per_instance);
        let all = size(raw.max_size.as_ref(), default.max_size);
        if let Some(given) = raw.max_size.as_ref().filter(|_| all < per_instance) {
            self.note(
                &given.at,
                "it is less than what one instance may have, so one can push out all others",
            );
        }
        let keep = raw.keep.as_ref().and_then(|given| self.duration(given, LogSettings::KEEP_MIN));
        LogSettings { keep, max_size_per_instance: per_instance, max_size: all }
    }

    fn log_size(&mut self, given: &Given<RawSize>) -> Option<ByteSize> {
        let RawSize(text) = &given.value;
        match parse_bytes(text) {
            Ok(size) if (LogSettings::SIZE_MIN..=LogSettings::SIZE_MAX).contains(&size) => return Some(size),
            Ok(_) => {
                let (min, max) = (LogSettings::SIZE_MIN.to_string(), LogSettings::SIZE_MAX.to_string());
                self.problem(&given.at, ProblemKind::OutOfRange { value: format!("`{text}`"), min, max });
            }
            Err(e) => self.problem(&given.at, ProblemKind::Unit(e)),
        }
        None
    }
}
