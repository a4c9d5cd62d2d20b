//! What an instance may reach outside.

use http::Method;
use insula_spec::{InstanceName, NetPolicy};

use super::{Client, ClientError};
use crate::{Net, NetRequest, PREFIX};

impl Client {
    /// What an instance may reach outside, and what it was refused.
    ///
    /// # Errors
    /// When the daemon does not answer, or the instance is not known.
    pub async fn net(&self, name: &InstanceName) -> Result<Net, ClientError> {
        self.ask(Method::GET, format!("{PREFIX}/instances/{name}/net"), String::new()).await
    }

    /// Sets what an instance may reach outside; `None` gives it what the configuration says.
    ///
    /// # Errors
    /// When the daemon does not answer, or the instance is not known.
    pub async fn set_net(&self, name: &InstanceName, rules: Option<NetPolicy>) -> Result<Net, ClientError> {
        let body = serde_json::to_string(&NetRequest { rules }).map_err(ClientError::Decode)?;
        self.ask(Method::POST, format!("{PREFIX}/instances/{name}/net"), body).await
    }
}
