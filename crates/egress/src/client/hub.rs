//! The owner of the connection to the egress process.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::{ANSWER, EgressConfig, Request, Visits};
use crate::denial::Denial;
use crate::wire::{self, FromEgress, Line, ToEgress, VERSION};

/// The owner of the connection.
pub(super) struct Hub {
    pub(super) config: EgressConfig,
    pub(super) grow: watch::Sender<u64>,
    pub(super) deny: mpsc::Sender<(Denial, u64)>,
    pub(super) visits: Visits,
    pub(super) line: Option<Arc<Line>>,
    /// Who waits for an answer about which key.
    pub(super) waiting: HashMap<String, oneshot::Sender<io::Result<bool>>>,
}

impl Hub {
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        loop {
            tokio::select! {
                request = inbox.recv() => match request {
                    Some(Request::Join { message, fds, reply }) => self.join(message, fds, reply).await,
                    Some(Request::Leave { key }) => self.say(&ToEgress::Leave { key }).await,
                    Some(Request::End { reply }) => {
                        self.end().await;
                        if reply.send(()).is_err() {
                            tracing::debug!("nobody waits for the end of the egress process any more");
                        }
                        return;
                    }
                    None => return,
                },
                (message, socket) = self.visits.next() => self.say_with(&message, socket).await,
                heard = hear(self.line.clone()) => match heard {
                    Ok(Some(message)) => self.hear(message),
                    Ok(None) | Err(_) => self.lose(),
                },
            }
        }
    }

    async fn join(&mut self, message: ToEgress, fds: Vec<OwnedFd>, reply: oneshot::Sender<io::Result<bool>>) {
        if let Err(error) = self.connect().await {
            // Whoever asked may have given up waiting.
            return drop(reply.send(Err(error)));
        }
        let ToEgress::Join { key, .. } = &message else { return };
        self.waiting.insert(key.clone(), reply);
        let Some(line) = self.line.clone() else { return };
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        if line.send(&message, &fds).await.is_err() {
            self.lose();
        }
    }

    /// Tells the process something that it need not answer.
    async fn say(&mut self, message: &ToEgress) {
        self.say_with(message, None).await;
    }

    async fn say_with(&mut self, message: &ToEgress, beside: Option<OwnedFd>) {
        let Some(line) = self.line.clone() else { return };
        let fds: Vec<_> = beside.iter().map(AsFd::as_fd).collect();
        if line.send(message, &fds).await.is_err() {
            self.lose();
        }
    }

    fn hear(&mut self, message: FromEgress) {
        match message {
            FromEgress::Welcome { .. } => {}
            FromEgress::Joined { key } => self.reply(&key, true),
            FromEgress::Unknown { key } => self.reply(&key, false),
            FromEgress::Reach { call, from, to, open } => self.visits.begin(call, from, to, open),
            FromEgress::Over { call } => self.visits.over(call),
            FromEgress::Denied { denial, times } => {
                tracing::debug!(instance = %denial.instance, times, "{denial}");
                if self.deny.try_send((denial, times)).is_err() {
                    tracing::debug!("a refusal goes unrecorded");
                }
            }
        }
    }

    fn reply(&mut self, key: &str, known: bool) {
        if let Some(reply) = self.waiting.remove(key) {
            // Whoever asked may have given up waiting.
            drop(reply.send(Ok(known)));
        }
    }

    fn lose(&mut self) {
        tracing::info!("the connection to the egress process has ended");
        self.line = None;
        // Whoever waits sees the end of the channel.
        self.waiting.clear();
        self.visits.clear();
        self.grow.send_modify(|generation| *generation += 1);
    }

    async fn connect(&mut self) -> io::Result<()> {
        if self.line.is_none() {
            let line = match self.find().await? {
                Some(line) => line,
                None => self.start().await?,
            };
            self.line = Some(Arc::new(line));
        }
        Ok(())
    }

    /// One that runs already, of the same version. One that obeys a newer worker is an error.
    async fn find(&self) -> io::Result<Option<Line>> {
        let address = SocketAddrUnix::new(&self.config.socket)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        if rustix::net::connect(&socket, &address).is_err() {
            return Ok(None);
        }
        let line = Line::new(socket)?;
        let hello = ToEgress::Hello { version: VERSION, epoch: self.config.epoch };
        line.send(&hello, &[]).await?;
        match timeout(ANSWER, line.recv::<FromEgress>()).await.map_err(|_| io::ErrorKind::TimedOut)?? {
            Some((FromEgress::Welcome { version: VERSION }, _)) => Ok(Some(line)),
            Some(_) => Ok(None),
            None => Err(io::Error::other("it obeys a newer worker")),
        }
    }

    /// A new one. It takes the socket, so that later workers find it.
    async fn start(&self) -> io::Result<Line> {
        match std::fs::remove_file(&self.config.socket) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(&self.config.socket)?)?;
        let (ours, theirs) = wire::pair()?;
        let (program, arguments) = &self.config.program;
        let mut child = Command::new(program)
            .arg0("insula")
            .args(arguments)
            .env_clear()
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        tokio::spawn(async move {
            match child.wait().await {
                Ok(status) => tracing::debug!(%status, "the egress process ended"),
                Err(error) => tracing::warn!(%error, "cannot wait for the egress process"),
            }
        });
        let line = Line::new(ours)?;
        line.send(&ToEgress::Boot, &[socket.as_fd()]).await?;
        line.send(&ToEgress::Hello { version: VERSION, epoch: self.config.epoch }, &[]).await?;
        match timeout(ANSWER, line.recv::<FromEgress>()).await.map_err(|_| io::ErrorKind::TimedOut)?? {
            Some((FromEgress::Welcome { version: VERSION }, _)) => Ok(line),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the egress process did not begin")),
        }
    }

    /// Ends the process and waits for it: its end of the connection closes.
    async fn end(&mut self) {
        if self.line.is_none() {
            // An earlier worker may have started one that this one never needed.
            match self.find().await {
                Ok(found) => self.line = found.map(Arc::new),
                Err(error) => {
                    tracing::debug!(%error, "an egress process that is not this worker's is left alone")
                }
            }
        }
        self.say(&ToEgress::Bye).await;
        if let Some(line) = self.line.take() {
            while let Ok(Ok(Some(_))) = timeout(ANSWER, line.recv::<FromEgress>()).await {}
        }
        match std::fs::remove_file(&self.config.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the socket of the egress process is left behind");
            }
            _ => {}
        }
    }
}

async fn hear(line: Option<Arc<Line>>) -> io::Result<Option<FromEgress>> {
    match line {
        Some(line) => Ok(line.recv().await?.map(|(message, _)| message)),
        None => std::future::pending().await,
    }
}
