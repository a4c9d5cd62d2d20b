//! How many instances are up, and whether one more may be.
//!
//! Whoever runs, is on its way up or down, or is frozen has a seat. Its keeper holds it, and gives it back as
//! soon as nothing runs any more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use insula_spec::{Config, ServiceName};

/// What is counted.
#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_service: HashMap<ServiceName, usize>,
}

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Census {
    counts: Mutex<Counts>,
    refused: AtomicU64,
}

/// A bound that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Full {
    /// The key of the configuration that sets it.
    pub(crate) key: String,
    /// What it allows.
    pub(crate) limit: usize,
}

impl Census {
    /// One more, if the bounds allow it.
    pub(crate) fn admit(self: &Arc<Self>, service: &ServiceName, config: &Config) -> Result<Seat, Full> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let own = config.services.get(service).and_then(|spec| spec.max_instances);
        let up = counts.by_service.get(service).copied().unwrap_or(0);
        let full = match (own, config.settings.max_instances) {
            (Some(limit), _) if up >= limit => {
                Full { key: format!("service.{service}.max_instances"), limit }
            }
            (_, Some(limit)) if counts.all >= limit => {
                Full { key: "settings.max_instances".to_owned(), limit }
            }
            _ => return Ok(self.seat(&mut counts, service)),
        };
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(full)
    }

    /// One more, whatever the bounds say: for what runs already, and for what shall end.
    pub(crate) fn count(self: &Arc<Self>, service: &ServiceName) -> Seat {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        self.seat(&mut counts, service)
    }

    fn seat(self: &Arc<Self>, counts: &mut Counts, service: &ServiceName) -> Seat {
        counts.all += 1;
        *counts.by_service.entry(service.clone()).or_default() += 1;
        Seat { census: Arc::clone(self), service: service.clone() }
    }

    /// How often a bound was reached.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// One instance that counts.
#[derive(Debug)]
pub(crate) struct Seat {
    census: Arc<Census>,
    service: ServiceName,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.census.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(up) = counts.by_service.get_mut(&self.service) {
            *up -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(limits: (&str, &str)) -> Config {
        let (all, own) = limits;
        let text =
            format!("[settings]\n{all}\n[service.a]\ncommand = \"a\"\n{own}\n[service.b]\ncommand = \"b\"\n");
        Config::parse(&text, Path::new("/tmp/i.toml")).unwrap()
    }

    #[test]
    fn a_seat_is_given_back_when_it_is_dropped() {
        let (census, config) = (Arc::new(Census::default()), config(("", "max_instances = 1")));
        let a: ServiceName = "a".parse().unwrap();
        let first = census.admit(&a, &config).unwrap();
        let full = census.admit(&a, &config).unwrap_err();
        assert_eq!((full.key.as_str(), full.limit), ("service.a.max_instances", 1));
        assert_eq!(census.refused(), 1);
        drop(first);
        census.admit(&a, &config).unwrap();
    }

    #[test]
    fn all_services_share_the_bound_of_the_settings() {
        let (census, config) = (Arc::new(Census::default()), config(("max_instances = 2", "")));
        let (a, b): (ServiceName, ServiceName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let (one, _two) = (census.admit(&a, &config).unwrap(), census.count(&b));
        assert_eq!(census.admit(&b, &config).unwrap_err().key, "settings.max_instances");
        drop(one);
        census.admit(&b, &config).unwrap();
    }
}
