//! Deploys, routes and weights, done by services.

use std::time::Duration;

use insula_api::{DeployRequest, Deployed, RouteRequest, Routes, Strategy, Version, WeightRequest};
use insula_services::{Order, Share, Steps};
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
    let DeployRequest { weight, strategy, keep, steps, pause_ms, timeout_ms } = request;
    let malformed = |why: &str| Err(ControlError::Malformed { part: "body", why: why.to_owned() });
    let rolling = strategy == Some(Strategy::Rolling);
    for (key, given) in
        [("keep", keep.is_some()), ("steps", steps.is_some()), ("pause_ms", pause_ms.is_some())]
    {
        if given && !rolling {
            return malformed(&format!("`{key}` needs `strategy` to be `rolling`"));
        }
    }
    let share = match (strategy, weight) {
        (Some(_), Some(_)) => return malformed("`weight` and `strategy` exclude each other"),
        (Some(Strategy::Rolling), None) => {
            let shares = steps.unwrap_or_else(|| Steps::SHARES.to_vec());
            let steps = Steps::new(shares, pause_ms.map_or(Steps::PAUSE, Duration::from_millis));
            let steps = steps.map_err(|e| ControlError::Malformed { part: "body", why: e.to_string() })?;
            Share::Rolling { keep: keep.unwrap_or(Order::KEEP), steps }
        }
        (Some(Strategy::Replace), None) => Share::Replace,
        (None, Some(weight)) => Share::Weight(weight),
        (None, None) => Share::First,
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
        let rolling = |keep, steps| Share::Rolling { keep, steps };
        assert_eq!(of(r#"{"strategy":"rolling"}"#).unwrap(), rolling(1, Steps::default()));
        let at_once = Steps::new(vec![100], Duration::from_millis(7)).unwrap();
        let text = r#"{"strategy":"rolling","keep":0,"steps":[100],"pause_ms":7}"#;
        assert_eq!(of(text).unwrap(), rolling(0, at_once));
        for bad in [
            r#"{"keep":1}"#,
            r#"{"weight":1,"strategy":"replace"}"#,
            r#"{"keep":1,"weight":1}"#,
            r#"{"steps":[100]}"#,
            r#"{"strategy":"replace","pause_ms":1}"#,
            r#"{"strategy":"rolling","steps":[50]}"#,
            r#"{"strategy":"rolling","pause_ms":3600001}"#,
        ] {
            assert!(matches!(of(bad), Err(ControlError::Malformed { part: "body", .. })), "{bad}");
        }
        let short = order(serde_json::from_str(r#"{"timeout_ms":5}"#).unwrap()).unwrap();
        assert_eq!(short.timeout, Duration::from_millis(5));
    }
}
