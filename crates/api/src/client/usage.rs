//! What tenants use, asked for.

use http::Method;

use crate::find::to_query;
use crate::{Client, ClientError, PREFIX, UsageQuery, Usages};

impl Client {
    /// What tenants use.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses, or does not know who is asked about.
    pub async fn usage(&self, query: &UsageQuery) -> Result<Usages, ClientError> {
        let query = to_query(query).map_err(ClientError::Decode)?;
        self.ask(Method::GET, format!("{PREFIX}/usage?{query}"), String::new()).await
    }
}
