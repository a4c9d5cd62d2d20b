//! Waits until an instance is healthy.
//!
//! ```text
//! start ──► accepts connections ──► `health` answers well ──► healthy ──► who waits is let in
//!   │                │                 │ not yet: again after a moment
//!   └────────────────┴── it ended ─────┴──► failed
//! ```
//! The keeper checks health too, but only every `interval`, and restarts what is ill. Who deploys wants to
//! know as soon as can be, and does not want to wait for a restart: the end of the run is the end here.

use std::sync::Arc;

use insula_spec::InstanceName;
use insula_spec::config::HealthCheck;
use tokio::time::{Instant, sleep, timeout_at};

use crate::control::ControlError;
use crate::health;
use crate::keeper::PAUSE;
use crate::lease::{Lease, LeaseError};
use crate::services::Services;
use crate::status::Observed;

/// Why an instance is not healthy.
#[derive(Debug)]
pub(super) enum Sick {
    /// It failed.
    Failed { why: String, hint: Option<String> },
    /// Time is up.
    TimedOut { why: String },
    /// It could not be asked for.
    Control(ControlError),
}

impl Sick {
    /// The same, as it happened at one step of a rolling deploy.
    pub(super) fn at(self, share: u8) -> Self {
        let with = |why: String| format!("with {share} % of the requests: {why}");
        match self {
            Self::Failed { why, hint } => Self::Failed { why: with(why), hint },
            Self::TimedOut { why } => Self::TimedOut { why: with(why) },
            other @ Self::Control(_) => other,
        }
    }
}

impl From<ControlError> for Sick {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Failed { why, hint } => Self::Failed { why, hint },
            ControlError::Stopped => Self::Failed {
                why: "somebody stopped it".to_owned(),
                hint: Some("deploy it again".to_owned()),
            },
            other => Self::Control(other),
        }
    }
}

/// How an instance is brought up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// What is up stays up.
    IfDown,
    /// What is up is started anew; requests wait until it is healthy.
    Anew,
}

impl Services {
    /// Brings an instance up and waits until it is healthy.
    pub(super) async fn bring_up(
        &self,
        name: &InstanceName,
        start: Start,
        deadline: Instant,
    ) -> Result<(), Sick> {
        let started = async {
            match start {
                Start::Anew => self.replace_program(name, deadline).await,
                Start::IfDown => self.spawn(name).await,
            }
        };
        match timeout_at(deadline, started).await {
            Err(_) => return Err(self.late(name)),
            // Its keeper knows the same deadline.
            Ok(Err(ControlError::Failed { why, .. })) if Instant::now() >= deadline => {
                return Err(Sick::TimedOut { why });
            }
            Ok(started) => started?,
        };
        let plan = self.shared.plan();
        let rule = plan.specs.get(&name.service).and_then(|spec| spec.health.as_ref());
        match rule {
            Some(rule) => self.checked(name, rule, deadline).await,
            None => Ok(()),
        }
    }

    /// It is not up in time.
    fn late(&self, name: &InstanceName) -> Sick {
        // Its keeper may have given it up at the same moment.
        let tried = |observed| matches!(observed, Observed::Starting | Observed::Stopping);
        let why = self.status(name).filter(|status| tried(status.observed)).and_then(|status| status.why);
        Sick::TimedOut { why: why.unwrap_or_else(|| "it did not accept connections".to_owned()) }
    }

    /// Checks until one check succeeds.
    async fn checked(&self, name: &InstanceName, rule: &HealthCheck, deadline: Instant) -> Result<(), Sick> {
        let lease = self.lease(name, deadline).await.map_err(|e| lost(&e))?;
        let Some(ended) = lease.again().map(Lease::ended) else {
            return Err(self.ended(name, deadline).await);
        };
        let mut ended = std::pin::pin!(ended);
        loop {
            let why = tokio::select! {
                biased;
                () = &mut ended => return Err(self.ended(name, deadline).await),
                checked = self.check_once(&lease, rule, deadline) => match checked {
                    Ok(()) => return Ok(()),
                    Err(why) => why,
                },
            };
            let next = Instant::now() + rule.interval.min(PAUSE);
            if next >= deadline {
                return Err(Sick::TimedOut { why });
            }
            tokio::select! {
                () = &mut ended => return Err(self.ended(name, deadline).await),
                () = sleep(next.saturating_duration_since(Instant::now())) => {}
            }
        }
    }

    async fn check_once(&self, lease: &Lease, rule: &HealthCheck, deadline: Instant) -> Result<(), String> {
        let host = health::host(lease.instance(), &self.shared.plan().config.settings.domain);
        let limit = deadline.min(Instant::now() + rule.timeout);
        match timeout_at(limit, health::check(Arc::clone(lease.run()), host, rule.path.clone())).await {
            Ok(checked) => checked.map_err(|e| e.to_string()),
            Err(_) => Err(format!("`GET {}` was not answered in time", rule.path)),
        }
    }

    /// Its run is over: why, as soon as its keeper says so.
    async fn ended(&self, name: &InstanceName, deadline: Instant) -> Sick {
        let mut changes = self.changes();
        let said = async {
            loop {
                changes.borrow_and_update();
                let status = self.status(name).filter(|status| !status.observed.is_open());
                if let Some(status) = status {
                    return status.why;
                }
                // The sender lives as long as the services do.
                if changes.changed().await.is_err() {
                    return None;
                }
            }
        };
        let why = timeout_at(deadline, said).await.ok().flatten();
        Sick::Failed { why: why.unwrap_or_else(|| "it ended before it was healthy".to_owned()), hint: None }
    }
}

/// It was up a moment ago and is not to be had now.
fn lost(error: &LeaseError) -> Sick {
    match error {
        LeaseError::TimedOut { .. } => Sick::TimedOut { why: error.to_string() },
        LeaseError::ShuttingDown => Sick::Control(ControlError::ShuttingDown),
        other => Sick::Failed { why: other.to_string(), hint: Some(other.hint().to_owned()) },
    }
}
