//! Tokens and the audit log, asked for.

use http::Method;
use serde_json::Value;

use crate::find::to_query;
use crate::{Audit, AuditQuery, Client, ClientError, PREFIX, TokenInfo, TokenMade, TokenRequest, Tokens};

impl Client {
    /// Makes a token. It is shown this once.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses.
    pub async fn create_token(&self, request: &TokenRequest) -> Result<TokenMade, ClientError> {
        let body = serde_json::to_string(request).map_err(ClientError::Decode)?;
        self.ask(Method::POST, format!("{PREFIX}/tokens"), body).await
    }

    /// Every token that is live, or was until lately.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses.
    pub async fn tokens(&self) -> Result<Tokens, ClientError> {
        self.ask(Method::GET, format!("{PREFIX}/tokens"), String::new()).await
    }

    /// Ends a token, for good.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses, or there is no such token.
    pub async fn revoke_token(&self, id: &str) -> Result<TokenInfo, ClientError> {
        self.ask(Method::DELETE, format!("{PREFIX}/tokens/{id}"), String::new()).await
    }

    /// What was changed, by whom.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses.
    pub async fn audit(&self, query: AuditQuery) -> Result<Audit, ClientError> {
        let query = to_query(&query).map_err(ClientError::Decode)?;
        self.ask(Method::GET, format!("{PREFIX}/audit?{query}"), String::new()).await
    }

    /// The description of the API (OpenAPI 3.1).
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses.
    pub async fn openapi(&self) -> Result<Value, ClientError> {
        self.ask(Method::GET, "/openapi.json".to_owned(), String::new()).await
    }
}
