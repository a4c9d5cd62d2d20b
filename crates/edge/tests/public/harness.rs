//! Clients, workloads and a proxy between them, all on loopback.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use insula_edge::public::{Exchange, Observer, Proxy, Settings, Tenants};
use insula_isolation::{BoxFuture, Connect, Stream};
use insula_services::{Lease, LeaseError, NoVersion};
use insula_spec::{InstanceName, Protocol, ServiceName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How long anything may take before the test is called hung. Never part of what is claimed.
const HUNG: Duration = Duration::from_secs(60);

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    timeout(HUNG, future).await.expect("the test hangs")
}

/// A connection of either side, read message by message.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    held: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, held: Vec::new() }
    }

    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Reads more; `false` at the end, by close or by reset.
    async fn more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        match within(self.stream.read(&mut piece)).await {
            Ok(n) => {
                self.held.extend_from_slice(&piece[..n]);
                n > 0
            }
            Err(_) => false,
        }
    }

    async fn until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.held.windows(mark.len()).position(|w| w == mark) {
                return Some(self.held.drain(..at + mark.len()).collect());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The next head, as text; `None` at the end.
    pub(crate) async fn head(&mut self) -> Option<String> {
        self.until(b"\r\n\r\n").await.map(|head| String::from_utf8(head).unwrap())
    }

    /// Exactly `n` bytes, or fewer at the end.
    pub(crate) async fn take(&mut self, n: usize) -> String {
        while self.held.len() < n && self.more().await {}
        let n = n.min(self.held.len());
        String::from_utf8(self.held.drain(..n).collect()).unwrap()
    }

    /// Throws away what was read ahead; how many bytes that was.
    pub(crate) fn discard(&mut self) -> u64 {
        std::mem::take(&mut self.held).len() as u64
    }

    /// Everything up to the end.
    pub(crate) async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8(std::mem::take(&mut self.held)).unwrap()
    }

    /// A chunked body and its trailer section; `None` if it is cut short.
    pub(crate) async fn chunked(&mut self) -> Option<(String, String)> {
        let mut body = String::new();
        loop {
            let line = String::from_utf8(self.until(b"\r\n").await?).unwrap();
            let size = usize::from_str_radix(line.trim_end().split(';').next().unwrap(), 16).unwrap();
            if size == 0 {
                break;
            }
            body += &self.take(size).await;
            self.until(b"\r\n").await?;
        }
        let mut trailers = String::new();
        loop {
            let line = String::from_utf8(self.until(b"\r\n").await?).unwrap();
            if line == "\r\n" {
                return Some((body, trailers));
            }
            trailers += &line;
        }
    }

    /// The body that the head announces.
    pub(crate) async fn body(&mut self, head: &str) -> Option<String> {
        if header(head, "transfer-encoding").is_some() {
            return self.chunked().await.map(|(body, _)| body);
        }
        let length = header(head, "content-length").map_or(0, |l| l.parse().unwrap());
        let body = self.take(length).await;
        (body.len() == length).then_some(body)
    }

    /// One whole response: head and body.
    pub(crate) async fn response(&mut self) -> (String, String) {
        let head = self.head().await.expect("the connection ended instead of a response");
        let body = self.body(&head).await.expect("the response was cut short");
        (head, body)
    }
}

/// The value of a header field; `None` if there is none.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

pub(crate) fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A GET of the one instance that is there.
pub(crate) fn get(path: &str) -> String {
    request("GET", path, "", "")
}

pub(crate) fn request(method: &str, path: &str, fields: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: alice.notes.localhost\r\n{fields}\r\n{body}")
}

/// A workload: a script that serves each connection.
#[derive(Debug)]
pub(crate) struct App {
    address: SocketAddr,
    protocol: Protocol,
    connections: Arc<AtomicUsize>,
    accepting: Option<JoinHandle<()>>,
}

impl App {
    /// Runs the script for each connection, with the number of connections before it.
    pub(crate) async fn new<F, Fut>(script: F) -> Self
    where
        F: Fn(usize, Wire) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let before = counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(before, Wire::new(stream)));
            }
        });
        Self { address, protocol: Protocol::Http1, connections, accepting: Some(accepting) }
    }

    /// Reads each request whole and answers 200 with its path and body; tells of every head.
    pub(crate) async fn echo() -> (Self, mpsc::UnboundedReceiver<String>) {
        let (heads, seen) = mpsc::unbounded_channel();
        let app = Self::new(move |_, mut wire| {
            let heads = heads.clone();
            async move {
                while let Some(head) = wire.head().await {
                    let path = head.split(' ').nth(1).unwrap().to_owned();
                    let Some(body) = wire.body(&head).await else { return };
                    heads.send(head).unwrap();
                    let answer = format!("{path} {body}");
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
                    wire.send(head + &answer).await;
                }
            }
        })
        .await;
        (app, seen)
    }

    /// Something at a known address, perhaps nothing.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address, protocol: Protocol::Http1, connections: Arc::default(), accepting: None }
    }

    /// One that nobody is at any more.
    pub(crate) fn gone() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self::at(listener.local_addr().unwrap())
    }

    /// The same, of a service that says it speaks HTTP/2.
    pub(crate) fn speaking_h2c(self) -> Self {
        Self { protocol: Protocol::H2c, ..self }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// Refuses connections from now on.
    pub(crate) async fn close(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            assert!(accepting.await.unwrap_err().is_cancelled());
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct Dial(SocketAddr, Arc<watch::Sender<usize>>);

impl Connect for Dial {
    fn connect(&self) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async {
            let connected = TcpStream::connect(self.0).await.map(Stream::Tcp);
            self.1.send_modify(|refused| *refused += usize::from(connected.is_err()));
            connected
        })
    }
}

/// The runs of `notes:alice`, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Runs {
    current: Arc<watch::Sender<Lease>>,
    refused: Arc<watch::Sender<usize>>,
    request_timeout: Duration,
}

impl Runs {
    fn new(app: &App, request_timeout: Duration) -> Self {
        let refused = Arc::default();
        let lease = lease(app, &refused, request_timeout);
        Self { current: Arc::new(watch::Sender::new(lease)), refused, request_timeout }
    }

    /// The run is over: whoever wants a lease waits for the next one.
    pub(crate) fn end(&self) {
        self.current.borrow().end_detached();
    }

    /// The next run begins.
    pub(crate) fn begin(&self, app: &App) {
        self.current.send_replace(lease(app, &self.refused, self.request_timeout));
    }

    /// Waits until so many connections were refused.
    pub(crate) async fn refused(&self, n: usize) {
        within(self.refused.subscribe().wait_for(|refused| *refused >= n)).await.unwrap();
    }

    /// How many connections were refused.
    pub(crate) fn refusals(&self) -> usize {
        *self.refused.borrow()
    }

    async fn lease(&self) -> Lease {
        let mut current = self.current.subscribe();
        let open = within(current.wait_for(|run| run.again().is_some())).await.unwrap();
        open.again().unwrap()
    }
}

fn lease(app: &App, refused: &Arc<watch::Sender<usize>>, request_timeout: Duration) -> Lease {
    let name = "notes:alice".parse().unwrap();
    let dial = Arc::new(Dial(app.address, Arc::clone(refused)));
    Lease::detached_as(name, dial, request_timeout, app.protocol)
}

/// `notes:alice` runs; every other instance fails as its id says.
#[derive(Debug)]
pub(crate) struct Town {
    alice: Runs,
    /// Whoever asks it is hung up on.
    mute: Runs,
}

impl Tenants for Town {
    async fn lease(&self, name: &InstanceName, _: Instant) -> Result<Lease, LeaseError> {
        let retry_after = Duration::from_secs(7);
        Err(match name.id.as_str() {
            "alice" => return Ok(self.alice.lease().await),
            "gone" => return Ok(lease(&App::gone(), &Arc::default(), HUNG)),
            "mute" => return Ok(self.mute.lease().await),
            "full" => LeaseError::QueueFull { retry_after },
            "broken" => LeaseError::Failed { why: "exec of /secret/app failed".to_owned(), retry_after },
            "slow" => LeaseError::TimedOut { retry_after },
            "stopped" => LeaseError::Stopped,
            "down" => LeaseError::ShuttingDown,
            "never" => std::future::pending().await,
            _ if name.service.as_str() == "notes" => LeaseError::UnknownInstance,
            _ => LeaseError::UnknownService,
        })
    }

    /// The name of the service says which versions it has, in order: `stopped-alice` has two.
    fn pick(
        &self,
        service: &ServiceName,
        tried: &[Arc<InstanceName>],
    ) -> Result<Arc<InstanceName>, NoVersion> {
        if service.as_str() == "notes" {
            return Err(NoVersion::Tenants(service.clone()));
        }
        let id = service.as_str().split('-').find(|id| tried.iter().all(|other| other.id.as_str() != *id));
        let id = id.ok_or_else(|| NoVersion::NoneWeighed(service.clone()))?;
        Ok(Arc::new(InstanceName::new(service.clone(), id.parse().unwrap())))
    }
}

/// What an observer was told, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) instance: Option<String>,
    pub(crate) line: String,
    pub(crate) status: u16,
    pub(crate) bytes: (u64, u64),
    pub(crate) error: Option<&'static str>,
}

#[derive(Debug)]
struct Diary(Mutex<mpsc::UnboundedSender<Told>>);

impl Observer for Diary {
    fn exchange(&self, e: &Exchange<'_>) {
        let told = Told {
            instance: e.instance.map(ToString::to_string),
            line: format!("{} {}", e.method, e.target),
            status: e.status,
            bytes: (e.bytes_in, e.bytes_out),
            error: e.error,
        };
        // A test that does not look has dropped the receiver.
        self.0.lock().unwrap().send(told).unwrap_or_default();
    }
}

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) drain: CancellationToken,
    pub(crate) served: JoinHandle<()>,
    pub(crate) runs: Runs,
    pub(crate) told: mpsc::UnboundedReceiver<Told>,
}

impl Front {
    pub(crate) async fn before(app: &App) -> Self {
        Self::with(app, Settings::new("localhost"), HUNG).await
    }

    pub(crate) async fn with(app: &App, settings: Settings, request_timeout: Duration) -> Self {
        let (proxy, told, runs) = proxy(app, settings, request_timeout);
        Self::start(
            (told, runs),
            |listener, drain| async move { proxy.serve(listener, drain).await.unwrap() },
        )
    }

    pub(crate) async fn tcp(app: &App, instance: &str) -> Self {
        Self::tcp_with(app, instance, Settings::new("localhost")).await
    }

    pub(crate) async fn tcp_with(app: &App, instance: &str, settings: Settings) -> Self {
        let (proxy, told, runs) = proxy(app, settings, HUNG);
        let instance = instance.parse().unwrap();
        Self::start((told, runs), |listener, drain| async move {
            proxy.serve_tcp(listener, instance, drain).await.unwrap();
        })
    }

    fn start<F, Fut>((told, runs): (mpsc::UnboundedReceiver<Told>, Runs), serve: F) -> Self
    where
        F: FnOnce(std::net::TcpListener, CancellationToken) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, drain) = (listener.local_addr().unwrap(), CancellationToken::new());
        let served = tokio::spawn(serve(listener, drain.clone()));
        Self { address, drain, served, runs, told }
    }

    pub(crate) async fn client(&self) -> Wire {
        Wire::to(self.address).await
    }

    /// Connects without letting any other task run.
    pub(crate) fn connect(&self) -> Wire {
        let stream = std::net::TcpStream::connect(self.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        Wire::new(TcpStream::from_std(stream).unwrap())
    }

    /// One request on a connection of its own, answered whole.
    pub(crate) async fn ask(&self, request: impl AsRef<[u8]>) -> (String, String) {
        let mut client = self.client().await;
        client.send(request).await;
        client.response().await
    }
}

/// Where every request is read and none answered.
fn hung_up() -> App {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move { drop(Wire::new(stream).head().await) });
        }
    });
    App::at(address)
}

fn proxy(
    app: &App,
    settings: Settings,
    request_timeout: Duration,
) -> (Proxy<Town>, mpsc::UnboundedReceiver<Told>, Runs) {
    let (tell, told) = mpsc::unbounded_channel();
    let runs = Runs::new(app, request_timeout);
    let mute = Runs::new(&hung_up(), request_timeout);
    let town = Town { alice: runs.clone(), mute };
    (Proxy::new(town, settings, Arc::new(Diary(Mutex::new(tell)))), told, runs)
}
