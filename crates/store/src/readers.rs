//! Read-only connections, as many as reads may run at once, opened when first needed.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::error::ReadError;
use crate::open;

/// The pool. Closing it waits for reads under way.
#[derive(Debug)]
pub(crate) struct Readers {
    path: Arc<Path>,
    wait: Duration,
    permits: Arc<Semaphore>,
    size: u32,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(path: Arc<Path>, wait: Duration, size: usize) -> Self {
        let size = u32::try_from(size.clamp(1, 64)).unwrap_or(1);
        let permits = Arc::new(Semaphore::new(size as usize));
        Self { path, wait, permits, size, idle: Mutex::default() }
    }

    /// Runs a query in one read transaction: it sees one state of the file.
    pub(crate) async fn read<T, F>(self: &Arc<Self>, query: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let permits = Arc::clone(&self.permits);
        let permit = permits.acquire_owned().await.map_err(|_| ReadError::Closed)?;
        let this = Arc::clone(self);
        let work = move || {
            let answer = this.run(query);
            drop(permit);
            answer
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| ReadError::Closed)?
    }

    /// Waits for reads under way, refuses later ones and closes the connections.
    pub(crate) async fn close(&self) {
        if let Ok(all) = self.permits.acquire_many(self.size).await {
            self.permits.close();
            drop(all);
            self.idle().clear();
        }
    }

    fn run<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, ReadError> {
        let fail = |e| ReadError::new(&self.path, e);
        let kept = self.idle().pop();
        let mut conn = match kept {
            Some(conn) => conn,
            None => open::reader(&self.path, self.wait).map_err(fail)?,
        };
        let answer = conn.transaction().and_then(|tx| query(&tx)).map_err(fail)?;
        // After a failure the connection is not kept: the next read starts from a fresh one.
        self.idle().push(conn);
        Ok(answer)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
