//! The `[observability]` table.

use std::time::Duration;

use super::super::kind::ProblemKind;
use super::super::observability::{AccessLog, LineFormat, MetricsAccess, Observability};
use super::super::raw::RawObservability;
use super::super::read::Given;
use super::Check;

/// Most old access logs that are kept.
const FILES_MAX: u32 = 1000;

const FORMATS: (&[&str], &[LineFormat]) = (&["text", "json"], &[LineFormat::Text, LineFormat::Json]);
const METRICS: (&[&str], &[MetricsAccess]) =
    (&["public", "token", "off"], &[MetricsAccess::Public, MetricsAccess::Token, MetricsAccess::Off]);
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

impl Check<'_> {
    /// The whole table.
    pub(super) fn observability(&mut self, given: Option<Given<RawObservability>>) -> Observability {
        let raw = given.map(|table| table.value).unwrap_or_default();
        if let Some(given) = &raw.otlp_endpoint {
            self.endpoint(given);
            self.note(&given.at, "no effect yet: this version sends no traces");
        }
        let least = Duration::from_millis(1);
        Observability {
            otlp_endpoint: raw.otlp_endpoint.map(|given| given.value),
            access_log: raw.access_log.map_or_else(AccessLog::default, |given| self.access_log(&given)),
            access_log_format: self.word(raw.access_log_format.as_ref(), FORMATS).unwrap_or_default(),
            access_log_query: raw.access_log_query.is_some_and(|given| given.value),
            access_log_size: self
                .size(raw.access_log_size.as_ref(), None, "access_log_size")
                .unwrap_or(Observability::DEFAULT_SIZE),
            access_log_files: raw
                .access_log_files
                .and_then(|given| self.number(&given, 0..=FILES_MAX))
                .unwrap_or(Observability::DEFAULT_FILES),
            slow_request: self.duration_or(raw.slow_request.as_ref(), least, Observability::DEFAULT_SLOW),
            metrics: self.word(raw.metrics.as_ref(), METRICS).unwrap_or_default(),
            instance_metrics: raw.instance_metrics.is_some_and(|given| given.value),
            log_format: self.word(raw.log_format.as_ref(), FORMATS).unwrap_or_default(),
            log_level: raw.log_level.and_then(|given| self.log_level(given)),
        }
    }

    /// `on`, `off`, or a path.
    fn access_log(&mut self, given: &Given<String>) -> AccessLog {
        match given.value.as_str() {
            "on" => AccessLog::Home,
            "off" => AccessLog::Off,
            _ => self.path(given).map_or_else(AccessLog::default, AccessLog::File),
        }
    }

    /// A level, or a list of `part=level`.
    fn log_level(&mut self, given: Given<String>) -> Option<String> {
        let level = |item: &str| {
            let (part, level) = item.rsplit_once('=').unwrap_or(("insula", item));
            let named = part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':');
            named && !part.is_empty() && LEVELS.contains(&level)
        };
        if given.value.split(',').all(|item| level(item.trim())) {
            return Some(given.value);
        }
        self.problem(&given.at, ProblemKind::LogLevel(given.value.clone()));
        None
    }
}
