//! A workload behind walls, as the contract's [`Sandbox`].

mod ending;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use insula_egress::Member;
use insula_frames::{Ended, ToAgent};
use insula_linux::identity::Identity;
use insula_spec::{Launch, Level, Network, Outside, Placement};

use super::body::Body;
use super::connect::{Connector, NoCommands};
use super::egress;
use super::launch::execute;
use super::prepare::{Around, prepare_again};
use super::shell::Shell;
use super::wakes::Wake;
use super::{Kind, guest, routed};
use crate::contract::{BoxFuture, Connect, Event, Exit, Gone, LaunchError, Record, Sandbox, Usage};
use crate::fault;
use crate::link::{Answer, Link, News, Streams};
use crate::logs::LogStream;

/// How long an agent may take to confirm something that costs it nothing.
const CONFIRM: Duration = Duration::from_secs(10);
/// A driver tells the signal that ended a container as its own status, added to this.
const SIGNALLED: i32 = 128;
/// The last signal that there is (signal(7)).
const LAST_SIGNAL: i32 = 64;
/// How long freezing may take.
const FREEZE: Duration = Duration::from_secs(5);

/// A workload behind walls.
#[derive(Debug)]
pub(crate) struct Walled {
    kind: Kind,
    body: Body,
    link: Link,
    streams: Streams,
    logs: Option<LogStream>,
    connector: Arc<Connector>,
    placement: Placement,
    app: Identity,
    oom_kills: u64,
    exit: Option<Exit>,
    paused: bool,
    /// The operator's system call filter, for people.
    filter: Option<String>,
    /// What the walls were built around, where this process built them.
    built_around: Option<Around>,
    /// Line after the last one that the workload wrote, once it ended.
    last_line: u64,
    /// Somebody waits for it to listen.
    wake: Option<Wake>,
    /// What it reaches outside is judged by this.
    member: Option<Member>,
}

impl Walled {
    /// The workload `app` that already runs in a shell.
    pub(crate) fn over(shell: Shell, placement: &Placement, app: Identity) -> Self {
        let Shell { kind, link, mut streams, body, .. } = shell;
        let app_dir = match placement.socket.parent() {
            Some(dir) if kind.level == Level::Process => dir.to_owned(),
            _ => body.dir().app(),
        };
        let connector = Connector::new(link.clone(), network(kind), placement.port, app_dir)
            .commands(body.shared.epoch << 32, no_commands(kind));
        let logs = streams.take_logs();
        let oom_kills = oom_kills(&body);
        Self {
            kind,
            body,
            link,
            streams,
            logs,
            connector: Arc::new(connector),
            placement: placement.clone(),
            app,
            oom_kills,
            exit: None,
            paused: false,
            filter: None,
            built_around: None,
            last_line: 0,
            wake: None,
            member: None,
        }
    }

    /// Remembers which of the operator's filters it is behind.
    pub(crate) fn behind(mut self, filter: Option<String>) -> Self {
        self.filter = filter;
        self
    }

    /// Remembers what the walls were built around; with the commit it is noted for others, too.
    pub(crate) fn built_around(mut self, around: Around) -> Self {
        self.built_around = Some(around);
        self
    }

    /// Judges what it reaches outside by this policy from now on.
    pub(crate) fn judge_by(&mut self, outside: &Outside) {
        match &self.member {
            _ if self.kind.is_routed() => routed::judge(&self.body, outside),
            Some(member) => member.set(outside.clone()),
            None => self.member = egress::admit(self.kind, &self.body, &self.link, outside),
        }
    }

    /// Somebody waits until this listens, or ends.
    pub(crate) fn awaited(mut self, wake: Wake) -> Self {
        self.wake = Some(wake);
        self
    }

    /// Finds out whether the workload is frozen, after an adoption.
    pub(crate) fn look_if_paused(&mut self) -> bool {
        self.paused = match self.body.leaves() {
            Some(leaves) => leaves.app().is_frozen().unwrap_or(false),
            None => is_stopped(self.app.pid),
        };
        self.paused
    }

    /// The workload ended while nobody watched: a memory kill that was counted until now was its own.
    pub(crate) fn count_oom_from_start(&mut self) {
        self.oom_kills = 0;
    }

    pub(crate) fn keep(&mut self) {
        self.body.keep();
    }

    /// Takes in what the agent tells; `None` is its end.
    fn take_in(&mut self, news: Option<News>) -> Event {
        self.wake = None;
        match news {
            Some(News::Listening { v6, unix, first }) => {
                self.connector.found(v6, unix, first);
                Event::Listening
            }
            Some(News::Exited { ended, next_line }) => {
                self.last_line = next_line;
                self.ended(self.judge(ended))
            }
            None => self.ended(Exit::Lost),
        }
    }

    fn ended(&mut self, exit: Exit) -> Event {
        self.exit = Some(exit);
        self.connector.forget();
        Event::Exited(exit)
    }

    /// A workload that was killed while the kernel counted a memory kill was killed for its memory.
    fn judge(&self, ended: Ended) -> Exit {
        let counted = || oom_kills(&self.body) > self.oom_kills;
        match ended {
            Ended::Signal(libc::SIGKILL) if counted() => Exit::Oom,
            Ended::Code(0) => Exit::Code(0),
            // The kernel kills what stands there for the workload; how that ends, nobody says.
            _ if guest::is_guest(self.kind.level) && counted() => Exit::Oom,
            Ended::Code(code) if self.kind.driver().is_some() && told_as_signal(code) => match counted() {
                true => Exit::Oom,
                false => Exit::Signal(code - SIGNALLED),
            },
            Ended::Signal(signal) => Exit::Signal(signal),
            Ended::Code(code) => Exit::Code(code),
        }
    }

    async fn confirm_commit(&mut self) -> Result<(), Gone> {
        if let Some(around) = &mut self.built_around {
            around.noted(&self.body.key).await;
        }
        let no_answer = |why: &str| Gone::NoAnswer(why.to_owned());
        fault::point("commit.before");
        self.link.send(&ToAgent::Commit, Vec::new()).await.map_err(|e| no_answer(&e.to_string()))?;
        fault::point("commit.sent");
        match tokio::time::timeout(CONFIRM, self.streams.answers.recv()).await {
            Ok(Some(Answer::Committed)) => {
                self.body.keep();
                Ok(())
            }
            Ok(other) => Err(Gone::NoAnswer(format!("expected its commit, got {other:?}"))),
            Err(_) => Err(no_answer("it did not confirm its commit in time")),
        }
    }

    async fn freeze(&mut self, freeze: bool) -> io::Result<()> {
        match self.body.leaves() {
            Some(leaves) => {
                let done = self
                    .body
                    .blocking(move || if freeze { leaves.app().freeze(FREEZE) } else { leaves.app().thaw() });
                done.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
            }
            None => {
                let frame = if freeze { ToAgent::Pause } else { ToAgent::Resume };
                self.link.send(&frame, Vec::new()).await.map_err(io::Error::other)?;
                match tokio::time::timeout(CONFIRM, self.streams.answers.recv()).await {
                    Ok(Some(Answer::Done)) => {}
                    Ok(other) => return Err(io::Error::other(format!("the agent answered {other:?}"))),
                    Err(_) => return Err(io::ErrorKind::TimedOut.into()),
                }
            }
        }
        self.paused = freeze;
        Ok(())
    }

    async fn run_again(&mut self, launch: &Launch) -> Result<(), LaunchError> {
        if self.exit.is_none() {
            return Err(LaunchError::Agent("its workload still runs".to_owned()));
        }
        if self.exit == Some(Exit::Lost) {
            return Err(LaunchError::Agent("it is gone".to_owned()));
        }
        self.judge_by(&Outside::of(launch));
        let plan = prepare_again(&self.body, self.kind, &mut self.built_around, launch).await?;
        self.oom_kills = oom_kills(&self.body);
        self.app = execute(&self.link, &mut self.streams, &self.body, plan).await?;
        self.exit = None;
        self.last_line = 0;
        Ok(())
    }
}

impl Sandbox for Walled {
    fn record(&self) -> Record {
        let agent = self.body.agent().unwrap_or(Identity { pid: 0, start: 0 });
        Record {
            instance: self.body.instance.clone().unwrap_or_else(|| unreachable!("set before the launch")),
            level: self.kind.level,
            key: self.body.key.clone(),
            boot_id: self.body.shared.boot_id.clone(),
            agent_pid: agent.pid,
            agent_start: agent.start,
            app_pid: self.app.pid,
            app_start: self.app.start,
            placement: self.placement.clone(),
            network: self.kind.network,
            cgroups: self.body.leaves().map(|l| l.paths()).unwrap_or_default(),
            filter: self.filter.clone(),
            driver: self.kind.driver(),
        }
    }

    fn connector(&self) -> Arc<dyn Connect> {
        Arc::clone(&self.connector) as Arc<dyn Connect>
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<(), Gone>> {
        Box::pin(self.confirm_commit())
    }

    fn event(&mut self) -> BoxFuture<'_, Event> {
        Box::pin(async {
            if self.exit.is_some() {
                return std::future::pending().await;
            }
            let news = self.streams.news.recv().await;
            self.take_in(news)
        })
    }

    fn logs(&mut self) -> Option<LogStream> {
        self.logs.take()
    }

    fn pause(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.freeze(true))
    }

    fn resume(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.freeze(false))
    }

    fn usage(&self) -> Usage {
        let Some(Ok(usage)) = self.body.leaves().map(|l| l.app().usage()) else { return Usage::default() };
        Usage { memory_bytes: usage.memory_bytes, cpu_micros: usage.cpu_micros, pids: usage.pids }
    }

    fn relaunch<'a>(&'a mut self, launch: &'a Launch) -> BoxFuture<'a, Result<(), LaunchError>> {
        Box::pin(self.run_again(launch))
    }

    fn stop(self: Box<Self>, grace: Duration) -> BoxFuture<'static, Exit> {
        Box::pin(self.end(grace))
    }

    fn set_net(&mut self, outside: &Outside) {
        self.judge_by(outside);
    }

    fn detach(mut self: Box<Self>) {
        self.body.keep();
    }
}

fn no_commands(kind: Kind) -> Option<NoCommands> {
    let why = "another program makes its container";
    kind.driver()
        .map(|_| (why, "leave `driver` out under `[levels.container]`, so that Insula makes the containers"))
}

/// Whether a driver tells a signal by this status. A program that ends with such a one by itself cannot be told apart.
fn told_as_signal(code: i32) -> bool {
    (SIGNALLED + 1..=SIGNALLED + LAST_SIGNAL).contains(&code)
}

fn oom_kills(body: &Body) -> u64 {
    body.leaves().and_then(|l| l.app().oom_kills().ok()).unwrap_or(0)
}

/// Whether a process is stopped by a signal (`/proc/PID/stat`, field 3).
fn is_stopped(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

fn network(kind: Kind) -> Network {
    if kind.needs_host_port() { Network::Host } else { Network::Isolated }
}
