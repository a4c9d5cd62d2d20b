//! The handle.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use insula_spec::{IdRange, InstanceName, NetPolicy};
use tokio::sync::watch;

use crate::db::{Db, meta, set_meta};
use crate::error::{CloseError, ReadError, WriteError};
use crate::event::{self, Event, EventQuery, EventRow};
use crate::instance::{self, Change, ChangeError, InstanceRow};
use crate::log::{self, AppendError, FoundPage, LogBatch, LogFilter, LogPage, LogQuery, LogUsage};
use crate::net_policy;
use crate::open::{self, OpenError};
use crate::options::Options;
use crate::range::{self, IdRangeError};
use crate::readers::Readers;
use crate::request::{self, RequestQuery, RequestRecord};
use crate::version::{self, VersionRow, Weighing};
use crate::writer::{Class, Heads, Lanes, Writer, job};

/// The store of one home. Cheap to clone; all clones share one file, one writer and a few readers.
///
/// A write that was answered survives the death of this process. A future dropped while it waits may or may
/// not have been written.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: Arc<Path>,
    /// `None` once closed. Every caller that waits holds a clone, so that the writer ends after the last.
    lanes: Mutex<Option<Lanes>>,
    thread: Mutex<Option<JoinHandle<Result<(), CloseError>>>>,
    readers: Arc<Readers>,
    heads: watch::Receiver<Heads>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database at `path`, or creates it (mode 0600) in a directory that exists.
    ///
    /// # Errors
    /// When another process uses it, it is damaged or too new, or the file system refuses. The file is left
    /// as it is then.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, Options::default()).await
    }

    /// Opens it with other limits than the default ones.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_with(path: &Path, options: Options) -> Result<Self, OpenError> {
        let path: Arc<Path> = path.into();
        let task = Arc::clone(&path);
        let opened = tokio::task::spawn_blocking(move || open_now(task, &options)).await;
        opened.unwrap_or_else(|e| Err(OpenError::io(&path, std::io::Error::other(e))))
    }

    /// Waits for everything under way, folds the write-ahead log into the file and gives the lock back.
    /// Other clones answer `Closed` from then on.
    ///
    /// # Errors
    /// When the last checkpoint fails. Nothing acknowledged is lost even then.
    pub async fn close(self) -> Result<(), CloseError> {
        self.inner.readers.close().await;
        drop(lock(&self.inner.lanes).take());
        let Some(thread) = lock(&self.inner.thread).take() else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        match joined {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(CloseError::Panicked { path: Arc::clone(&self.inner.path) }),
        }
    }

    /// A number that no earlier call ever answered, greater than all of them.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn next_epoch(&self) -> Result<u64, WriteError> {
        self.write(Class::LASTING, |db| {
            let epoch = meta(&db.conn, "epoch")? + 1;
            set_meta(&db.conn, "epoch", epoch)?;
            Ok(u64::try_from(epoch).unwrap_or(0))
        })
        .await
    }

    /// The host ids of this name: given at the first call, the same for ever after, never given to another.
    ///
    /// # Errors
    /// When all ranges are taken, or the write fails.
    pub async fn id_range(&self, name: &InstanceName) -> Result<IdRange, IdRangeError> {
        let owned = name.clone();
        let range = self.write(Class::LASTING, move |db| range::of(db, &owned)).await?;
        range.ok_or_else(|| IdRangeError::Exhausted(name.clone()))
    }

    /// Makes an instance known, wanted `up`. One that is known stays as it is, and the event is not written.
    ///
    /// # Errors
    /// When the write fails.
    pub async fn remember(&self, name: &InstanceName, event: Event) -> Result<InstanceRow, WriteError> {
        let name = name.clone();
        self.write(Class::LASTING, move |db| instance::remember(db, &name, &event)).await
    }

    /// Makes an instance unknown and removes its captured output, in steps. Its events stay until they are
    /// trimmed, its host ids for ever. `false`, and no event, when it was not known.
    ///
    /// # Errors
    /// When the write fails.
    pub async fn forget(&self, name: &InstanceName, event: Event) -> Result<bool, WriteError> {
        let name = name.clone();
        self.write(Class::LASTING, move |db| instance::forget(db, &name, &event)).await
    }

    /// Changes what is known of an instance and writes why, in one transaction.
    ///
    /// # Errors
    /// When the instance is not known, or the write fails.
    pub async fn transition(
        &self,
        name: &InstanceName,
        change: Change,
        event: Event,
    ) -> Result<(), ChangeError> {
        let owned = name.clone();
        let known =
            self.write(change.class(), move |db| instance::change(db, &owned, &change, &event)).await?;
        if known { Ok(()) } else { Err(ChangeError::Unknown(name.clone())) }
    }

    /// Counts requests that an instance took, for who leaves it running and has nothing else to write about it.
    ///
    /// # Errors
    /// When the write fails.
    pub async fn count_requests(&self, name: &InstanceName, requests: u64) -> Result<(), WriteError> {
        let name = name.clone();
        self.write(Class::STATE, move |db| instance::count_requests(db, &name, requests)).await
    }

    /// Changes weights of versions and writes why, to the history of the instance given, in one transaction.
    /// It is on the disk before the answer.
    ///
    /// # Errors
    /// When an instance is not known, a weight is above 100, or the write fails; then nothing is written.
    pub async fn weigh(&self, weighing: Weighing, event: (&InstanceName, Event)) -> Result<(), ChangeError> {
        let (about, event) = (event.0.clone(), event.1);
        let stranger =
            self.write(Class::LASTING, move |db| version::weigh(db, &weighing, (&about, &event))).await?;
        stranger.map_or(Ok(()), |name| Err(ChangeError::Unknown(name)))
    }

    /// Sets what an instance may reach outside; `None` gives it what the configuration says. It is on the disk
    /// before the answer.
    ///
    /// # Errors
    /// When the instance is not known, or the write fails; then nothing is written.
    pub async fn set_net_policy(
        &self,
        name: &InstanceName,
        policy: Option<NetPolicy>,
        event: Event,
    ) -> Result<(), ChangeError> {
        let owned = name.clone();
        let set = move |db: &mut Db| net_policy::set(db, &owned, policy.as_ref(), &event);
        let known = self.write(Class::LASTING, set).await?;
        if known { Ok(()) } else { Err(ChangeError::Unknown(name.clone())) }
    }

    /// What instances may reach outside, where the operator set it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn net_policies(&self) -> Result<Vec<(InstanceName, NetPolicy)>, ReadError> {
        self.read(net_policy::all).await
    }

    /// Every version of every service, by name.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn versions(&self) -> Result<Vec<VersionRow>, ReadError> {
        self.inner.readers.read(version::all).await
    }

    /// Writes an event that changes nothing; the instance need not be known.
    ///
    /// # Errors
    /// When the write fails.
    pub async fn note(&self, instance: Option<&InstanceName>, event: Event) -> Result<(), WriteError> {
        let instance = instance.cloned();
        self.write(Class::STATE, move |db| event::insert(db, instance.as_ref(), &event)).await
    }

    /// Writes requests worth remembering. The oldest go when there are more than 20,000.
    ///
    /// # Errors
    /// When the write fails.
    pub async fn record_requests(&self, records: Vec<RequestRecord>) -> Result<(), WriteError> {
        let insert = move |db: &mut Db| records.iter().try_for_each(|record| request::insert(db, record));
        self.write(Class::STATE, insert).await
    }

    /// A random number of this home, the same at every call.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn request_key(&self) -> Result<u64, WriteError> {
        self.write(Class::LASTING, |db| Ok(request::key(db)?.cast_unsigned())).await
    }

    /// Writes that wait at this moment.
    #[must_use]
    pub fn queued(&self) -> usize {
        lock(&self.inner.lanes).as_ref().map_or(0, Lanes::queued)
    }

    /// Stores captured lines, each once however often it is delivered, and answers the number of the next
    /// line to deliver: everything before it may be forgotten by who delivers. A jump in the numbers becomes
    /// a `log_gap` event in the same transaction.
    ///
    /// # Errors
    /// When the instance is not known, a number is absurd, or the write fails.
    pub async fn append_logs(
        &self,
        name: &InstanceName,
        key: &str,
        batch: impl Into<Arc<LogBatch>>,
    ) -> Result<u64, AppendError> {
        let batch = batch.into();
        if let Some(seq) = log::beyond(&batch) {
            return Err(AppendError::Sequence { name: name.clone(), seq });
        }
        let (owned, key) = (name.clone(), key.to_owned());
        let class = Class::logs(log::cost(&batch));
        let next = self.write(class, move |db| log::append(db, &owned, &key, &batch)).await?;
        next.ok_or_else(|| AppendError::Unknown(name.clone()))
    }

    /// The number of the first line that is not stored yet; 0 when nothing is known of this set of walls.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn next_log_seq(&self, name: &InstanceName, key: &str) -> Result<u64, ReadError> {
        let (name, key) = (name.clone(), key.to_owned());
        self.inner.readers.read(move |conn| log::next_seq(conn, &name, &key)).await
    }

    /// Every known instance, by name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn known(&self) -> Result<Vec<InstanceRow>, ReadError> {
        self.inner.readers.read(instance::all).await
    }

    /// What is known of one instance.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn instance(&self, name: &InstanceName) -> Result<Option<InstanceRow>, ReadError> {
        let name = name.clone();
        self.inner.readers.read(move |conn| instance::one(conn, &name)).await
    }

    /// Events, as the query asks.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn events(&self, query: EventQuery) -> Result<Vec<EventRow>, ReadError> {
        self.inner.readers.read(move |conn| event::select(conn, &query)).await
    }

    /// A request worth remembering, by its id.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn request(&self, id: &str) -> Result<Option<RequestRecord>, ReadError> {
        let id = id.to_owned();
        self.inner.readers.read(move |conn| request::one(conn, &id)).await
    }

    /// Requests worth remembering, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn requests(&self, query: RequestQuery) -> Result<Vec<RequestRecord>, ReadError> {
        self.inner.readers.read(move |conn| request::newest(conn, &query)).await
    }

    /// One page of captured output.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn logs(&self, query: LogQuery) -> Result<LogPage, ReadError> {
        self.inner.readers.read(move |conn| log::select(conn, &query)).await
    }

    /// One page of the lines of any instances that fit a filter.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn find_logs(&self, filter: LogFilter) -> Result<FoundPage, ReadError> {
        self.inner.readers.read(move |conn| log::find(conn, &filter)).await
    }

    /// How much captured output is stored, and how much of it retention has removed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn log_usage(&self) -> Result<LogUsage, ReadError> {
        self.inner.readers.read(log::usage).await
    }

    /// Changes whenever something was committed: wait on it, then read what is new. Its end means that the
    /// store is closed.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Heads> {
        self.inner.heads.clone()
    }

    /// Bounds the size of the file, in bytes; `None` leaves it to the disk. Writes beyond it answer `Full`,
    /// and go on when the bound is raised. It does not outlive this process, and never cuts the file.
    ///
    /// # Errors
    /// When the writer is gone.
    pub async fn limit_size(&self, bytes: Option<u64>) -> Result<(), WriteError> {
        self.write(Class::STATE, move |db| {
            let size: u64 = db.conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
            // 2^32 - 2 pages is SQLite's own bound.
            let pages = bytes.map_or(u64::from(u32::MAX) - 1, |bytes| (bytes / size).max(1));
            db.conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
        })
        .await
    }

    /// Runs a query on a connection that only reads.
    pub(crate) async fn read<T, F>(&self, query: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.inner.readers.read(query).await
    }

    pub(crate) async fn write<T, F>(&self, class: Class, op: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnMut(&mut Db) -> rusqlite::Result<T> + Send + 'static,
    {
        let lanes = lock(&self.inner.lanes).clone().ok_or(WriteError::Closed)?;
        let (job, answer) = job(class, op);
        lanes.send(job).await?;
        drop(lanes);
        answer.await.map_err(|_| WriteError::Closed)?
    }
}

fn open_now(path: Arc<Path>, options: &Options) -> Result<Store, OpenError> {
    let opened = open::open(&path, options.busy_timeout)?;
    let sql = |e| OpenError::sql(&path, e);
    let db = Db::new(opened.conn).map_err(sql)?;
    let writer = Writer::new(db, Arc::clone(&path), opened.lock, options.retention).map_err(sql)?;
    let heads = writer.heads.subscribe();
    let (lanes, waiting) = Lanes::new(options.queue.max(1));
    let io = |e| OpenError::io(&path, e);
    let rt = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(io)?;
    let thread = std::thread::Builder::new()
        .name("store-writer".into())
        .spawn(move || writer.run(waiting, &rt))
        .map_err(io)?;
    let readers = Arc::new(Readers::new(Arc::clone(&path), options.busy_timeout, options.readers));
    let inner = Inner {
        path: Arc::clone(&path),
        lanes: Mutex::new(Some(lanes)),
        thread: Mutex::new(Some(thread)),
        readers,
        heads,
    };
    Ok(Store { inner: Arc::new(inner) })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
