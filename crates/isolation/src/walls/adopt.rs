//! Finding a committed sandbox again after a restart of this process.

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
use super::{Kind, Shared};
use crate::contract::{Adopted, Event, Gone, Record, Sandbox};
use crate::fault;
use crate::link::{Answer, Link};

/// How long a living agent may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Adopts the recorded sandbox, after checking boot, agent, key and protocol.
pub(crate) async fn adopt(shared: &Arc<Shared>, record: &Record, logs_from: u64) -> Result<Adopted, Gone> {
    if record.boot_id != shared.boot_id {
        return Err(Gone::Rebooted);
    }
    let mut body = hold(shared, record)?;
    // Until it is adopted the guard takes it down: what cannot be adopted must not stay.
    let socket = body.dir().connect_agent().map_err(|e| Gone::NoAnswer(e.to_string()))?;
    let agent = body.agent().ok_or_else(|| Gone::NoAnswer("it has ended".to_owned()))?;
    if !peer_is(&socket, agent).map_err(|e| Gone::NoAnswer(e.to_string()))? {
        return Err(Gone::NotTheSame("another process listens on its socket".to_owned()));
    }
    fault::point("adopt.connected");
    let (link, mut streams) =
        Link::open(UnixStream::from(socket)).map_err(|e| Gone::NoAnswer(e.to_string()))?;
    let hello = ToAgent::Hello { version: VERSION, epoch: shared.epoch, logs_from };
    link.send(&hello, Vec::new()).await.map_err(|e| Gone::NoAnswer(e.to_string()))?;
    let answer = tokio::time::timeout(ANSWER, streams.answers.recv()).await;
    let phase = check(record, answer.ok().flatten())?;
    fault::point("adopt.welcomed");
    body.instance = Some(record.instance.clone());
    shared.ports.hold(&record.instance, record.placement.port);
    let kind = Kind { level: record.level, network: record.network };
    let app = Identity { pid: record.app_pid, start: record.app_start };
    let mut sandbox = Walled::over(Shell { kind, link, streams, body }, &record.placement, app);
    let listening = match phase {
        Phase::Running { listening: true } => listens(&mut sandbox).await?,
        Phase::Running { listening: false } | Phase::Exited(_) => false,
        Phase::Blank => return Err(Gone::NotTheSame("it has no workload".to_owned())),
    };
    let paused = sandbox.look_if_paused();
    sandbox.keep();
    fault::point("adopt.done");
    Ok(Adopted { sandbox: Box::new(sandbox), listening, paused })
}

/// Takes hold of process and control groups, making sure that they are the recorded ones.
fn hold(shared: &Arc<Shared>, record: &Record) -> Result<Body, Gone> {
    let mut body = Body::new(Arc::clone(shared), record.key.clone());
    let expected = Identity { pid: record.agent_pid, start: record.agent_start };
    let gone = |e: io::Error| Gone::NoAnswer(format!("pid {} has ended: {e}", record.agent_pid));
    if !record.cgroups.is_empty() {
        let leaves =
            Leaves::open(&shared.layout, &record.cgroups).map_err(|e| Gone::NoAnswer(e.to_string()))?;
        body.add_leaves(leaves);
    }
    body.add_agent(record.agent_pid, Some(expected)).map_err(gone)?;
    Ok(body)
}

fn check(record: &Record, answer: Option<Answer>) -> Result<Phase, Gone> {
    match answer {
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

/// An agent whose workload listens says where right after its welcome.
async fn listens(sandbox: &mut Walled) -> Result<bool, Gone> {
    match tokio::time::timeout(ANSWER, sandbox.event()).await {
        Ok(Event::Listening) => Ok(true),
        Ok(Event::Exited(_)) | Err(_) => Err(Gone::NoAnswer("it ended while it was adopted".to_owned())),
    }
}
