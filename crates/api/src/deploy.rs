//! Deploys and weights on the wire.

use std::collections::BTreeMap;

use insula_spec::{InstanceId, InstanceName, ServiceName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Status, Timestamp};

/// What becomes of the other versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// They lose their weight, and stay as they are.
    Replace,
    /// They lose their weight in steps; the newest `keep` of them sleep, the rest is stopped and forgotten.
    Rolling,
}

/// Body of `POST /v1/instances/{service:id}/deploy`. May be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// Its weight once it is healthy, 0 to 100; not together with `strategy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub weight: Option<u8>,
    /// What becomes of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Versions without weight that a rolling deploy keeps; 1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<usize>,
    /// Shares in percent that a rolling deploy gives it one after the other: growing, the last one 100, at most
    /// 20 of them; 25, 50, 75, 100 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), inner(range(min = 1, max = 100)))]
    pub steps: Option<Vec<u8>>,
    /// How long each step of a rolling deploy is watched, in milliseconds, at most an hour; 5 s if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 3_600_000))]
    pub pause_ms: Option<u64>,
    /// How long it may take to be healthy, in milliseconds; a minute if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// Answer to a deploy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deployed {
    /// What was deployed.
    pub name: InstanceName,
    /// Whether it is a tenant that was replaced in place, without any weight.
    pub tenant: bool,
    /// How it is now.
    pub status: Status,
    /// Its URL.
    pub url: String,
    /// The versions of its service afterwards; empty for a tenant.
    pub versions: Vec<Version>,
    /// Versions that were put to sleep.
    pub slept: Vec<InstanceName>,
    /// Versions that were stopped and are not known any more.
    pub forgotten: Vec<InstanceName>,
}

/// Answer of `GET /v1/services/{service}/route`, and to every change of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Routes {
    /// Which service.
    pub service: ServiceName,
    /// Its URL.
    pub url: String,
    /// Its versions, in the order of their deploys.
    pub versions: Vec<Version>,
}

/// One version of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Its id.
    pub id: InstanceId,
    /// Its weight, 0 to 100.
    pub weight: u8,
    /// The share of requests that follows from all weights, in percent.
    pub share: f64,
    /// When it was deployed last; `None` for one that was only spawned.
    pub deployed: Option<Timestamp>,
    /// How it is.
    pub status: Status,
    /// Where it alone is reached.
    pub url: String,
}

/// Body of `POST /v1/services/{service}/route`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteRequest {
    /// The version that gives all of its weight.
    pub from: InstanceId,
    /// The version that gets it.
    pub to: InstanceId,
    /// How long it may take to be up and healthy, in milliseconds; a minute if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// Body of `POST /v1/services/{service}/weight`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightRequest {
    /// New weights, 0 to 100; versions that are not named keep theirs.
    pub weights: BTreeMap<InstanceId, u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_refuse_what_they_do_not_know() {
        let deploy = |text| serde_json::from_str::<DeployRequest>(text);
        assert_eq!(deploy("{}").unwrap(), DeployRequest::default());
        assert_eq!(deploy(r#"{"strategy":"rolling"}"#).unwrap().strategy, Some(Strategy::Rolling));
        for bad in [r#"{"weight":256}"#, r#"{"weight":-1}"#, r#"{"strategy":"swift"}"#, r#"{"force":true}"#] {
            assert!(deploy(bad).is_err(), "{bad} was let in");
        }
        assert!(serde_json::from_str::<RouteRequest>(r#"{"from":"v1"}"#).is_err());
        assert!(serde_json::from_str::<RouteRequest>(r#"{"from":"v1","to":"V2"}"#).is_err());
        assert!(serde_json::from_str::<WeightRequest>(r#"{"weights":{"v1":90,"v2":10}}"#).is_ok());
    }
}
