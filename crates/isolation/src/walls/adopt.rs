//! Finding a committed sandbox again after a restart of this process.
//!
//! ```text
//! Record ─► same boot? ─► agent: same pid and start time? ─► its socket, its listener ─► Hello
//!               │ no           │ no                              │ no                      │
//!               ▼              ▼                                 ▼              Welcome: version, key
//!            Rebooted       NoAnswer      NotTheSame ◄───────────┴──────────────── no ─────┤
//!                                                                                          ▼
//!                                                                                       Adopted
//! ```
//! Whatever cannot be adopted is gone when that is answered: two runs of one tenant must not meet.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use insula_frames::{Phase, ToAgent, VERSION};
use insula_linux::cgroup::Leaves;
use insula_linux::identity::Identity;

use super::body::Body;
use super::sandbox::Walled;
use super::shell::{Shell, peer_is};
use super::{Kind, List, Shared};
use crate::contract::{Adopted, Event, Gone, Record, Sandbox};
use crate::fault;
use crate::link::{Answer, Link, Streams};

/// How long a living agent may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Adopts the recorded sandbox, after checking boot, agent, key and protocol.
pub(crate) async fn adopt(shared: &Arc<Shared>, record: &Record, logs_from: u64) -> Result<Adopted, Gone> {
    if record.boot_id != shared.boot_id {
        return Err(Gone::Rebooted);
    }
    let mut body = Body::new(Arc::clone(shared), record.key.clone());
    let list = match (record.driver, &record.filter) {
        (Some(driver), _) => List::By(driver),
        (None, Some(_)) => List::Opened,
        (None, None) => List::Own,
    };
    let kind = Kind { level: record.level, network: record.network, list };
    body.settle(kind, &record.instance, &record.placement);
    let met = match hold(&mut body, record) {
        Ok(()) => meet(&body, record, logs_from).await,
        Err(gone) => Err(gone),
    };
    let (link, streams, phase) = match met {
        Ok(met) => met,
        Err(gone) => {
            body.take_down().await;
            return Err(gone);
        }
    };
    let app = Identity { pid: record.app_pid, start: record.app_start };
    let shell = Shell { kind, link, streams, body, spill: None, raised: false, borrowed: None, wire: None };
    let sandbox = Walled::over(shell, &record.placement, app).behind(record.filter.clone());
    take_over(sandbox, phase).await
}

/// Takes hold of process and control groups, making sure that they are the recorded ones.
fn hold(body: &mut Body, record: &Record) -> Result<(), Gone> {
    let gone = |e: io::Error| Gone::NoAnswer(format!("pid {} has ended: {e}", record.agent_pid));
    if !record.cgroups.is_empty() {
        let leaves = Leaves::open(&body.shared.layout, &record.cgroups);
        body.add_leaves(leaves.map_err(|e| Gone::NoAnswer(e.to_string()))?);
    }
    let expected = Identity { pid: record.agent_pid, start: record.agent_start };
    body.add_agent(record.agent_pid, Some(expected)).map_err(gone)
}

/// Connects to the agent and makes sure that it is the recorded one.
async fn meet(body: &Body, record: &Record, logs_from: u64) -> Result<(Link, Streams, Phase), Gone> {
    let no_answer = |e: &dyn std::error::Error| Gone::NoAnswer(e.to_string());
    let socket = body.dir().connect_agent().map_err(|e| no_answer(&e))?;
    let agent = body.agent().ok_or_else(|| Gone::NoAnswer("it has ended".to_owned()))?;
    if !peer_is(&socket, agent).map_err(|e| no_answer(&e))? {
        return Err(Gone::NotTheSame("another process listens on its socket".to_owned()));
    }
    fault::point("adopt.connected");
    let (link, mut streams) = Link::open(UnixStream::from(socket), logs_from).map_err(|e| no_answer(&e))?;
    let hello = ToAgent::Hello { version: VERSION, epoch: body.shared.epoch, logs_from };
    link.send(&hello, Vec::new()).await.map_err(|e| no_answer(&e))?;
    let answer = tokio::time::timeout(ANSWER, streams.answers.recv()).await;
    let phase = check(record, answer.ok().flatten())?;
    fault::point("adopt.welcomed");
    Ok((link, streams, phase))
}

fn check(record: &Record, answer: Option<Answer>) -> Result<Phase, Gone> {
    match answer {
        Some(Answer::Welcome { version: VERSION, phase: Phase::Blank, .. }) => {
            Err(Gone::NotTheSame("it has no workload".to_owned()))
        }
        Some(Answer::Welcome { version: VERSION, key, phase }) if key == record.key => Ok(phase),
        Some(Answer::Welcome { version: VERSION, key, .. }) => {
            Err(Gone::NotTheSame(format!("its key is `{key}`")))
        }
        Some(Answer::Welcome { version, .. }) => {
            Err(Gone::NotTheSame(format!("it speaks version {version} of the protocol, not {VERSION}")))
        }
        other => Err(Gone::NoAnswer(format!("expected a welcome, got {other:?}"))),
    }
}

/// An agent whose workload listens says where right after its welcome; one whose workload ended, how.
async fn take_over(mut sandbox: Walled, phase: Phase) -> Result<Adopted, Gone> {
    let listening = match phase {
        Phase::Running { listening: true } => match tokio::time::timeout(ANSWER, sandbox.event()).await {
            Ok(Event::Listening) => true,
            Ok(Event::Exited(_)) | Err(_) => {
                Box::new(sandbox).stop(Duration::ZERO).await;
                return Err(Gone::NoAnswer("it ended while it was adopted".to_owned()));
            }
        },
        Phase::Exited(_) => {
            sandbox.count_oom_from_start();
            false
        }
        Phase::Running { listening: false } | Phase::Blank => false,
    };
    let paused = sandbox.look_if_paused();
    sandbox.keep();
    fault::point("adopt.done");
    Ok(Adopted { sandbox: Box::new(sandbox), listening, paused })
}
