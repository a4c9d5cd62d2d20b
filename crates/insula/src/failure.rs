//! A failure of the program itself, with what to do about it and the code to exit with.

use std::fmt;

use insula_api::ClientError;
use insula_spec::ConfigError;
use insula_spec::InvalidName;

use crate::exit::Exit;
use crate::home::HomeError;
use crate::parent::{ActivationError, ListenError, LockError};
use crate::remote::RemoteError;

/// What failed, what to do, and how the program ends.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// What failed, on what.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: String,
}

impl Failure {
    /// A failure that ends the program with `exit`.
    pub(crate) fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: hint.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What to do about any error that a command can end with.
pub(crate) fn hint(error: &anyhow::Error) -> Option<String> {
    /// The hint of the first of these types that the error is.
    macro_rules! first {
        ($($kind:ty),* $(,)?) => {
            None $(.or_else(|| error.downcast_ref::<$kind>().map(|e| e.hint().to_string())))*
        };
    }
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return Some(failure.hint.clone());
    }
    first!(
        ClientError,
        ConfigError,
        HomeError,
        LockError,
        ListenError,
        RemoteError,
        crate::alerts::SecretError,
        crate::alerts::PostError,
        crate::named::UnfitFilter,
        ActivationError,
        InvalidName,
        insula_store::OpenError,
        insula_store::WriteError,
        insula_store::ReadError,
        insula_services::StartError,
        insula_isolation::EngineError,
        insula_edge::observe::access::OpenLogError,
        insula_edge::public::ListenError,
        insula_edge::public::InvalidBlock,
        insula_images::StoreError,
        insula_images::LoadError,
        insula_images::PullError,
    )
}

/// The stable word of an error.
pub(crate) fn code(error: &anyhow::Error) -> String {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Problem(problem)) => problem.code.clone().into_owned(),
        _ => Exit::of(error).word().to_owned(),
    }
}
