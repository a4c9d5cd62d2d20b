//! What tenants use, told by services.

use insula_api::{DiskBound, DiskUsage, TenantUsage, Usages};
use insula_services::DiskHold;
use insula_spec::Tenant;

use super::Live;
use crate::control::error::ControlError;

impl Live {
    pub(super) async fn usages(&self, of: Option<Tenant>) -> Result<Usages, ControlError> {
        match &of {
            Some(Tenant::Instance(name)) => self.known(name)?,
            Some(Tenant::Service(name)) if !self.config.services.contains_key(name) => {
                return Err(ControlError::NoService(name.clone()));
            }
            _ => {}
        }
        let all = self.services.usages(of.as_ref()).await;
        Ok(Usages { since: self.services.since().into(), tenants: all.into_iter().map(tenant).collect() })
    }
}

fn tenant(usage: insula_services::TenantUsage) -> TenantUsage {
    let disk = match usage.disk {
        None => DiskUsage { limit_bytes: usage.disk_limit, ..DiskUsage::default() },
        Some(reading) => DiskUsage {
            used_bytes: (reading.complete || reading.used > 0).then_some(reading.used),
            complete: reading.complete,
            limit_bytes: reading.limit.or(usage.disk_limit),
            bound: reading.hold.as_ref().map(bound),
            counted: Some(reading.at.into()),
        },
    };
    TenantUsage {
        name: usage.name,
        disk,
        memory_bytes: usage.memory_bytes,
        cpu_micros: usage.cpu_micros,
        restarts: usage.restarts,
        wakes: usage.wakes,
        requests: usage.requests,
        open_requests: usage.leases,
    }
}

pub(super) fn bound(hold: &DiskHold) -> DiskBound {
    DiskBound { mechanism: hold.mechanism.to_string(), why: hold.why.clone() }
}
