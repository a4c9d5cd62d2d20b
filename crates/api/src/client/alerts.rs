//! Receivers of alerts, asked for.

use http::Method;

use crate::{Alerts, Client, ClientError, PREFIX};

impl Client {
    /// How far each receiver of alerts is.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses.
    pub async fn alerts(&self) -> Result<Alerts, ClientError> {
        self.ask(Method::GET, format!("{PREFIX}/alerts"), String::new()).await
    }
}
