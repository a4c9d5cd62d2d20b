//! Deploys, routes and weights, done by services.

use std::time::Duration;

use insula_api::{DeployRequest, Deployed, RouteRequest, Routes, Strategy, Version, WeightRequest};
use insula_services::{Order, Share};
use insula_spec::{InstanceName, ServiceName};

use super::Versions;
use crate::control::error::ControlError;
use crate::control::live::{Live, convert};
use crate::control::url::service_url;

impl Versions for Live {
    async fn deploy(&self, name: &InstanceName, request: DeployRequest) -> Result<Deployed, ControlError> {
        let done = self.services.deploy(name, order(request)?).await?;
        let status = self.services.status(name).ok_or_else(|| ControlError::UnknownInstance(name.clone()))?;
        let versions = if done.tenant { Vec::new() } else { self.versions_of(&name.service).await? };
        Ok(Deployed {
            name: name.clone(),
            tenant: done.tenant,
            status: convert::status(&status),
            url: self.url(name),
            versions,
            slept: done.slept,
            forgotten: done.forgotten,
        })
    }

    async fn routes(&self, service: &ServiceName) -> Result<Routes, ControlError> {
        let versions = self.versions_of(service).await?;
        let url = service_url(&self.place.domain, self.place.port, service);
        Ok(Routes { service: service.clone(), url, versions })
    }

    async fn route(&self, service: &ServiceName, request: RouteRequest) -> Result<Routes, ControlError> {
        let RouteRequest { from, to, timeout_ms } = request;
        let timeout = timeout_ms.map_or(Order::TIMEOUT, Duration::from_millis);
        self.services.reroute(service, (from, to), timeout).await?;
        self.routes(service).await
    }

    async fn weight(&self, service: &ServiceName, request: WeightRequest) -> Result<Routes, ControlError> {
        self.services.set_weights(service, request.weights).await?;
        self.routes(service).await
    }
}

impl Live {
    async fn versions_of(&self, service: &ServiceName) -> Result<Vec<Version>, ControlError> {
        let versions = self.services.versions(service).await?;
        let sum: u32 = versions.iter().map(|version| u32::from(version.weight)).sum();
        let share = |weight: u8| if sum == 0 { 0.0 } else { f64::from(weight) * 100.0 / f64::from(sum) };
        let version = |v: insula_services::Version| Version {
            weight: v.weight,
            share: share(v.weight),
            deployed: v.deployed.map(Into::into),
            status: convert::status(&v.status),
            url: self.url(&v.name),
            id: v.name.id,
        };
        Ok(versions.into_iter().map(version).collect())
    }
}

/// What the request means.
fn order(request: DeployRequest) -> Result<Order, ControlError> {
    let DeployRequest { weight, strategy, keep, timeout_ms } = request;
    let malformed = |why: &str| Err(ControlError::Malformed { part: "body", why: why.to_owned() });
    let share = match (strategy, weight, keep) {
        (Some(_), Some(_), _) => return malformed("`weight` and `strategy` exclude each other"),
        (Some(Strategy::Rolling), None, keep) => Share::Rolling { keep: keep.unwrap_or(Order::KEEP) },
        (_, _, Some(_)) => return malformed("`keep` needs `strategy` to be `rolling`"),
        (Some(Strategy::Replace), None, None) => Share::Replace,
        (None, Some(weight), None) => Share::Weight(weight),
        (None, None, None) => Share::First,
    };
    Ok(Order { share, timeout: timeout_ms.map_or(Order::TIMEOUT, Duration::from_millis) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_means_one_thing_or_is_refused() {
        let of = |text| order(serde_json::from_str(text).unwrap()).map(|order| order.share);
        assert_eq!(of("{}").unwrap(), Share::First);
        assert_eq!(of(r#"{"weight":0}"#).unwrap(), Share::Weight(0));
        assert_eq!(of(r#"{"strategy":"replace"}"#).unwrap(), Share::Replace);
        assert_eq!(of(r#"{"strategy":"rolling"}"#).unwrap(), Share::Rolling { keep: 1 });
        assert_eq!(of(r#"{"strategy":"rolling","keep":0}"#).unwrap(), Share::Rolling { keep: 0 });
        for bad in [r#"{"keep":1}"#, r#"{"weight":1,"strategy":"replace"}"#, r#"{"keep":1,"weight":1}"#] {
            assert!(matches!(of(bad), Err(ControlError::Malformed { part: "body", .. })), "{bad}");
        }
        let short = order(serde_json::from_str(r#"{"timeout_ms":5}"#).unwrap()).unwrap();
        assert_eq!(short.timeout, Duration::from_millis(5));
    }
}
