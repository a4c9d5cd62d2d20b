//! A program that does what a test tells it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use insula_isolation::{Event, Exit, LogBatch, LogLine, LogStream, Output, Record};
use insula_spec::{InstanceName, Level, Network, Placement};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

/// One running program.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(super) name: InstanceName,
    pub(super) key: String,
    /// Its life number and address while it listens.
    pub(super) address: watch::Sender<Option<SocketAddr>>,
    pub(super) alive: watch::Sender<bool>,
    pub(super) frozen: watch::Sender<bool>,
    pub(super) committed: watch::Sender<bool>,
    pub(super) events: watch::Sender<VecDeque<Event>>,
    pub(super) ill: watch::Sender<bool>,
    /// Requests that came.
    pub(super) asked: watch::Sender<usize>,
    pub(super) lines: mpsc::Sender<LogBatch>,
    pub(super) logs: Mutex<Option<LogStream>>,
    pub(super) acked: watch::Receiver<u64>,
}

impl Workload {
    /// One that does not run yet.
    pub(super) fn new(name: &InstanceName, key: &str) -> Arc<Self> {
        let (lines, rx) = mpsc::channel(4);
        let (ack, acked) = watch::channel(0);
        Arc::new(Self {
            name: name.clone(),
            key: key.to_owned(),
            address: watch::Sender::new(None),
            alive: watch::Sender::new(false),
            frozen: watch::Sender::new(false),
            committed: watch::Sender::new(false),
            events: watch::Sender::new(VecDeque::new()),
            ill: watch::Sender::new(false),
            asked: watch::Sender::new(0),
            lines,
            logs: Mutex::new(Some(LogStream::new(rx, ack))),
            acked,
        })
    }

    pub(super) async fn listen(self: &Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.address.send_replace(Some(listener.local_addr().unwrap()));
        self.tell(Event::Listening);
        let (me, mut alive) = (Arc::clone(self), self.alive.subscribe());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        if let Ok((stream, _)) = accepted {
                            tokio::spawn(Arc::clone(&me).serve(stream));
                        }
                    }
                    _ = alive.wait_for(|alive| !alive) => return,
                }
            }
        });
    }

    /// Answers requests, one after the other, while it lives and is not frozen.
    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let (mut frozen, mut alive) = (self.frozen.subscribe(), self.alive.subscribe());
        let mut buffer = Vec::new();
        let talk = async {
            loop {
                buffer.clear();
                while !buffer.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                self.asked.send_modify(|n| *n += 1);
                frozen.wait_for(|frozen| !frozen).await.unwrap();
                let status = if *self.ill.borrow() { "500 Ill" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nhi");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = talk => {}
            _ = alive.wait_for(|alive| !alive) => {}
        }
    }

    fn tell(&self, event: Event) {
        self.events.send_modify(|events| events.push_back(event));
    }

    /// Its main process ends.
    pub(crate) fn end(&self, exit: Exit) {
        let was = self.alive.send_replace(false);
        self.address.send_replace(None);
        self.events.send_modify(|events| events.retain(|e| *e != Event::Listening));
        if was {
            self.tell(Event::Exited(exit));
        }
    }

    /// It begins to listen, late.
    pub(crate) async fn listen_now(self: &Arc<Self>) {
        self.listen().await;
    }

    pub(crate) fn fall_ill(&self, ill: bool) {
        self.ill.send_replace(ill);
    }

    pub(crate) fn is_frozen(&self) -> bool {
        *self.frozen.borrow()
    }

    pub(crate) fn is_alive(&self) -> bool {
        *self.alive.borrow()
    }

    /// It takes requests and does not answer.
    pub(crate) fn hang(&self) {
        self.frozen.send_replace(true);
    }

    /// How many requests came.
    pub(crate) fn asked(&self) -> watch::Receiver<usize> {
        self.asked.subscribe()
    }

    /// It writes lines, delivered as one batch. `false` when nobody takes them.
    pub(crate) fn write(&self, seqs: std::ops::Range<u64>, text: &str) -> bool {
        let line = |seq| {
            let bytes = text.as_bytes().to_vec();
            LogLine { seq, time: SystemTime::now(), output: Output::Stdout, bytes }
        };
        self.lines.try_send(LogBatch { gap: None, lines: seqs.map(line).collect() }).is_ok()
    }

    /// How far its lines are acknowledged.
    pub(crate) fn acked(&self) -> watch::Receiver<u64> {
        self.acked.clone()
    }

    pub(super) fn record(&self) -> Record {
        Record {
            instance: self.name.clone(),
            level: Level::Namespace,
            key: self.key.clone(),
            boot_id: "boot".to_owned(),
            agent_pid: 1,
            agent_start: 1,
            app_pid: 2,
            app_start: 2,
            filter: None,
            driver: None,
            placement: placement(),
            network: Network::Isolated,
            cgroups: Vec::new(),
        }
    }
}

pub(super) fn placement() -> Placement {
    Placement { port: 80, socket: "/run/app.sock".into() }
}
