//! What each room is told of the configuration and the home.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use insula_api::Timestamp;
use insula_edge::control::Place;
use insula_edge::observe;
use insula_edge::public::RequestIds;
use insula_images::Images;
use insula_isolation::EngineConfig;
use insula_spec::Config;
use insula_spec::config::AccessLog;
use insula_store::{Options, Retention};

use crate::home::Home;

/// Blank shells kept ready.
const SHELLS: usize = 2;

/// How the store is opened.
pub(super) fn store_options(config: &Config) -> Options {
    let logs = config.logs;
    let retention = Retention {
        log_bytes_per_instance: logs.max_size_per_instance.0,
        log_bytes: logs.max_size.0,
        log_age: logs.keep,
        ..Retention::default()
    };
    Options { retention, ..Options::default() }
}

/// What the engine needs to know.
pub(super) fn engine_config(
    home: &Home,
    config: &Config,
    agent: OwnedFd,
    epoch: u64,
) -> anyhow::Result<EngineConfig> {
    Ok(EngineConfig {
        home_id: home.id()?,
        run_dir: walls_dir(home)?,
        hidden: hidden(home, config),
        agent,
        epoch,
        images: Some(Images::open(&home.images()).context("cannot open the images")?),
        levels: config.levels.clone(),
        routed_range: config.settings.routed_range,
        shells: SHELLS,
        egress: None,
    })
}

/// What no workload sees, wherever it is mounted.
fn hidden(home: &Home, config: &Config) -> Vec<PathBuf> {
    let mut hidden = vec![home.path().to_owned(), config.path.clone(), config.settings.data_dir.clone()];
    hidden.extend(config.alerts.iter().map(|webhook| webhook.secret_file.clone()));
    hidden
}

/// What is kept of exchanges, as the configuration asks.
pub(super) fn watched(
    home: &Home,
    config: &Config,
    ids: Arc<RequestIds>,
) -> anyhow::Result<observe::Settings> {
    let wanted = &config.observability;
    let path = match &wanted.access_log {
        AccessLog::Off => None,
        AccessLog::File(path) => Some(path.clone()),
        AccessLog::Home => Some(home.log_dir()?.join("access.log")),
    };
    let access = path.map(|path| observe::access::Settings {
        path,
        format: wanted.access_log_format,
        query: wanted.access_log_query,
        size: wanted.access_log_size.0,
        files: wanted.access_log_files,
    });
    Ok(observe::Settings { access, slow: wanted.slow_request, ids })
}

/// Run directories of walls, apart from the control socket.
fn walls_dir(home: &Home) -> anyhow::Result<PathBuf> {
    let dir = home.run_dir().join("walls");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .with_context(|| format!("cannot make `{}`", dir.display()))?;
    Ok(dir)
}

/// What the control API says of this daemon.
pub(super) fn place(config: &Config, epoch: u64) -> Place {
    Place {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch,
        since: Timestamp::now(),
        domain: config.settings.domain.clone(),
        port: config.settings.port,
    }
}
