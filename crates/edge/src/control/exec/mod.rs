//! Commands beside a workload: `POST /v1/instances/{name}/exec`, upgraded to a stream of frames.
//!
//! ```text
//! handler ──101──► session: Begin ──► audit ──► lease (wakes) ──► command ──► frames both ways ──► End ──► audit
//!                     │ client gone, daemon stops, instance ends, out of time
//!                     └──► the command is dropped, which kills it
//! ```
//! The guard writes down that somebody asked; the session writes down what was run and how it ended.

mod order;
mod session;

use std::future::Future;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use insula_api::EXEC_PROTOCOL;
use insula_services::{Lease, LeaseError};
use insula_spec::InstanceName;
use insula_store::AuditEntry;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::action::Action;
use super::caller::{Address, Caller};
use super::error::ControlError;
use super::extract::Named;
use super::guard::Id;
use super::handlers::App;
use super::live::Live;
use super::operations::Operations;
use session::Session;

/// Commands of all instances at once.
const SESSIONS_MAX: usize = 256;

/// What the control API can ask about commands.
pub trait Commands: Send + Sync + 'static {
    /// Whether a command may be run beside this instance, as far as that is known without waking it.
    ///
    /// # Errors
    /// Why not.
    fn may_run(&self, name: &InstanceName) -> Result<(), ControlError>;

    /// A lease on it; one that sleeps is woken.
    fn enter(&self, name: &InstanceName) -> impl Future<Output = Result<Lease, ControlError>> + Send;
}

/// Sessions that go on, and how many there may be.
#[derive(Debug, Clone)]
pub(super) struct Sessions {
    room: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self { room: Arc::new(Semaphore::new(SESSIONS_MAX)), tasks: TaskTracker::new() }
    }

    /// Waits until all have ended.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

pub(super) async fn exec<O: Operations>(
    State(app): App<O>,
    Named(name): Named,
    Extension(caller): Extension<Caller>,
    Extension(id): Extension<Id>,
    mut request: Request,
) -> Result<Response, ControlError> {
    let asked = request.headers().get(header::UPGRADE);
    if !asked.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(EXEC_PROTOCOL.as_bytes())) {
        return Err(ControlError::NoUpgrade);
    }
    app.operations.may_run(&name)?;
    let sessions = &app.sessions;
    let busy = |_| ControlError::Busy { name: name.clone() };
    let permit = Arc::clone(&sessions.room).try_acquire_owned().map_err(busy)?;
    let entry = AuditEntry {
        actor: caller.actor().ok_or(ControlError::OutOfScope)?,
        address: request.extensions().get::<Address>().map(|address| address.0.to_string()),
        method: "EXEC".to_owned(),
        path: format!("{}/instances/{{name}}/exec", insula_api::PREFIX),
        target: None,
        request: id.0,
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let session = Session { app: Arc::clone(&app), name, entry };
    sessions.tasks.spawn(async move {
        match upgrade.await {
            Ok(stream) => session.serve(stream).await,
            Err(error) => tracing::debug!(%error, "a client left before its command"),
        }
        drop(permit);
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(EXEC_PROTOCOL));
    Ok(response)
}

impl Commands for Live {
    fn may_run(&self, name: &InstanceName) -> Result<(), ControlError> {
        self.known(name)?;
        if self.services.has_runner(name) {
            return Err(ControlError::Runner { name: name.clone() });
        }
        Ok(())
    }

    async fn enter(&self, name: &InstanceName) -> Result<Lease, ControlError> {
        self.services.lease_for_command(name).await.map_err(|error| self.not_entered(name.clone(), error))
    }
}

impl Live {
    fn not_entered(&self, name: InstanceName, error: LeaseError) -> ControlError {
        match error {
            LeaseError::UnknownService => ControlError::UnknownService(name),
            LeaseError::UnknownInstance => ControlError::UnknownInstance(name),
            LeaseError::QueueFull { .. } => ControlError::Busy { name },
            LeaseError::TooMany { key, limit, .. } => ControlError::TooMany { name, key, limit },
            LeaseError::Failed { why, .. } => {
                let hint = format!("run `insula why {name}` for the whole story");
                ControlError::NotStarted { name, why, hint }
            }
            LeaseError::TimedOut { .. } => match self.config.services.get(&name.service) {
                Some(spec) => {
                    let timeout = spec.startup_timeout;
                    ControlError::TimedOut { name, action: Action::Spawn, timeout }
                }
                None => ControlError::UnknownService(name),
            },
            LeaseError::Stopped => ControlError::Stopped { name },
            LeaseError::ShuttingDown => ControlError::ShuttingDown,
        }
    }
}
