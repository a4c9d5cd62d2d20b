//! Gathers what the page of metrics is made of.

use std::collections::HashMap;

use insula_api::Summary;

use super::{ControlError, Live, Operations};
use crate::observe::metrics::{self, Sources};

impl Live {
    pub(super) async fn metrics_page(&self) -> Result<String, ControlError> {
        let each_instance = self.config.observability.instance_metrics;
        // What instances use is asked of each of them, so only if somebody wants it.
        let summaries = if each_instance { self.list().await? } else { Vec::new() };
        let mut usage: HashMap<_, _> =
            summaries.into_iter().map(|Summary { name, usage, .. }| (name, usage)).collect();
        let instances = self.services.list().into_iter().map(|overview| {
            let usage = usage.remove(&overview.name);
            (overview, usage)
        });
        Ok(metrics::page(&Sources {
            version: &self.place.version,
            epoch: self.place.epoch,
            since: self.place.since,
            tally: self.observe.tally(),
            losses: self.observe.losses(),
            held: self.observe.held(),
            counts: self.services.counts(),
            instances: instances.collect(),
            each_instance,
            refused: self.services.refused_by_limit(),
            store_queue: self.store.queued(),
            footprint: self.footprint().await,
        }))
    }
}
