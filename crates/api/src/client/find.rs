//! Looking for lines and events.

use http::Method;

use super::follow::Followed;
use crate::find::to_query;
use crate::{
    Client, ClientError, EventEntry, EventsQuery, FindQuery, FoundEvents, FoundLogs, FoundRequests, LogEntry,
    PREFIX, RequestsQuery,
};

impl Client {
    /// One page of the captured lines that fit.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses, or the query cannot be meant.
    pub async fn find_logs(&self, query: &FindQuery) -> Result<FoundLogs, ClientError> {
        self.ask(Method::GET, path("logs", to_query(query))?, String::new()).await
    }

    /// The captured lines that fit, as they come, from behind the cursor `after` on.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses, or the query cannot be meant.
    pub async fn follow_logs(
        &self,
        query: &FindQuery,
        after: u64,
    ) -> Result<Followed<LogEntry>, ClientError> {
        let query = FindQuery { after: None, ..query.clone() };
        Followed::open(self.clone(), path("logs", to_query(&query))?, after).await
    }

    /// The events that fit.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses, or the query cannot be meant.
    pub async fn find_events(&self, query: &EventsQuery) -> Result<FoundEvents, ClientError> {
        self.ask(Method::GET, path("events", to_query(query))?, String::new()).await
    }

    /// The events that fit, as they come, from behind the id `after` on.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses, or the query cannot be meant.
    pub async fn follow_events(
        &self,
        query: &EventsQuery,
        after: u64,
    ) -> Result<Followed<EventEntry>, ClientError> {
        let query = EventsQuery { after: None, ..query.clone() };
        Followed::open(self.clone(), path("events", to_query(&query))?, after).await
    }

    /// The requests that are remembered, newest first.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses.
    pub async fn find_requests(&self, query: &RequestsQuery) -> Result<FoundRequests, ClientError> {
        self.ask(Method::GET, path("requests", to_query(query))?, String::new()).await
    }
}

fn path(what: &str, query: serde_json::Result<String>) -> Result<String, ClientError> {
    Ok(format!("{PREFIX}/{what}?{}", query.map_err(ClientError::Decode)?))
}
