//! What the configuration names and does not hold: looked at where a configuration is judged, so that it is not found
//! only when an instance starts.

use std::path::PathBuf;

use insula_isolation::{FilterError, check_filter, missing_driver};
use insula_spec::config::{Note, Origin};
use insula_spec::{Config, ServiceName};

/// Why the system call filter of a service cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`service.{service}.seccomp`: `{}` is no system call filter", file.display())]
pub(crate) struct UnfitFilter {
    service: ServiceName,
    file: PathBuf,
    #[source]
    source: FilterError,
}

impl UnfitFilter {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        self.source.hint()
    }
}

/// Whether every system call filter can be read and compiled.
///
/// # Errors
/// The first one that cannot.
pub(crate) fn check_filters(config: &Config) -> Result<(), UnfitFilter> {
    let named = config.services.values().filter_map(|spec| Some((spec, spec.seccomp.as_ref()?)));
    for (spec, file) in named {
        check_filter(file).map_err(|source| UnfitFilter {
            service: spec.name.clone(),
            file: file.clone(),
            source,
        })?;
    }
    Ok(())
}

/// What an operator should know about programs that are not there. They may be installed later.
pub(crate) fn notes(config: &Config) -> Option<Note> {
    let missing = missing_driver(&config.levels.container)?;
    let key = "levels.container.driver";
    let shown = config.show(false).into_iter().find(|shown| shown.key == key);
    let line = match shown.map(|shown| shown.origin) {
        Some(Origin::File(line)) => line,
        _ => 1,
    };
    let text = format!("{missing}: level `container` cannot be used until it is");
    Some(Note { key: key.to_owned(), line, text })
}
