//! What is written down about requests and about the daemon itself.

use std::path::PathBuf;
use std::time::Duration;

use crate::ByteSize;

/// The `[observability]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observability {
    /// Collector that traces are to be sent to: an `http` or `https` URL. Nothing is sent yet.
    pub otlp_endpoint: Option<String>,
    /// Where access lines go.
    pub access_log: AccessLog,
    /// How they are written.
    pub access_log_format: LineFormat,
    /// Whether they hold the query of a target, which may carry secrets.
    pub access_log_query: bool,
    /// Size at which the file is put aside and a new one begun.
    pub access_log_size: ByteSize,
    /// How many files put aside are kept.
    pub access_log_files: u32,
    /// A request that takes longer is remembered.
    pub slow_request: Duration,
    /// Who may read `/metrics`.
    pub metrics: MetricsAccess,
    /// Whether there are gauges for each instance.
    pub instance_metrics: bool,
    /// How the daemon writes about itself.
    pub log_format: LineFormat,
    /// What it writes, as in `INSULA_LOG`, which stands above it.
    pub log_level: Option<String>,
}

/// Where access lines go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// To `logs/access.log` in the home.
    #[default]
    Home,
    /// To this file (absolute).
    File(PathBuf),
}

/// How lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LineFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Who may read `/metrics` at the public listener. The owner of the daemon always may, on its socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MetricsAccess {
    /// Everybody.
    Public,
    /// Whoever has a token.
    #[default]
    Token,
    /// Nobody.
    Off,
}

impl Observability {
    /// Size of the access log, where the file names none.
    pub const DEFAULT_SIZE: ByteSize = ByteSize::mib(64);
    /// Old access logs kept, where the file names no number.
    pub const DEFAULT_FILES: u32 = 4;
    /// What counts as slow, where the file does not say.
    pub const DEFAULT_SLOW: Duration = Duration::from_secs(1);
}

impl Default for Observability {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            access_log: AccessLog::default(),
            access_log_format: LineFormat::default(),
            access_log_query: false,
            access_log_size: Self::DEFAULT_SIZE,
            access_log_files: Self::DEFAULT_FILES,
            slow_request: Self::DEFAULT_SLOW,
            metrics: MetricsAccess::default(),
            instance_metrics: false,
            log_format: LineFormat::default(),
            log_level: None,
        }
    }
}
