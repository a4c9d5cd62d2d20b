//! An agent that says something wrong about commands, and one that does all right.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use insula_frames::{Decoder, EXEC_CHUNK, EXEC_OUTPUT_WINDOW, ExecPlan, ExecWhat, FromAgent};

use super::*;
use crate::Exit;
use crate::exec::ExecPiece;
use crate::link::{News, Streams};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

struct Agent {
    socket: UnixStream,
    decoder: Decoder,
}

impl Agent {
    fn say(&mut self, news: ExecNews) {
        self.socket.write_all(&FromAgent::Exec(news).encode()).unwrap();
    }

    /// The same to a host that may have let go of the link.
    fn try_say(&mut self, news: &ExecNews) {
        drop(self.socket.write_all(&FromAgent::Exec(news.clone()).encode()));
    }

    /// What the host asks next. Waits on a thread where that is allowed.
    async fn hears(self) -> (Self, ExecAsk) {
        tokio::task::spawn_blocking(move || self.next()).await.unwrap()
    }

    fn next(mut self) -> (Self, ExecAsk) {
        loop {
            let frame =
                self.decoder.next_frame().unwrap().map(|(kind, fields)| ToAgent::decode(kind, fields));
            match frame {
                Some(Ok(ToAgent::Exec(ask))) => return (self, ask),
                Some(other) => panic!("{other:?}"),
                None => {
                    let mut buffer = [0; 4096];
                    let n = self.socket.read(&mut buffer).unwrap();
                    assert!(n > 0, "the host let go of the link");
                    self.decoder.push(&buffer[..n]);
                }
            }
        }
    }
}

fn pair() -> (Link, Streams, Agent) {
    let (ours, socket) = UnixStream::pair().unwrap();
    let (link, streams) = Link::open(ours, 0).unwrap();
    (link, streams, Agent { socket, decoder: Decoder::new(MAX_TO_AGENT) })
}

fn order() -> ExecOrder {
    let what = ExecWhat::Program(vec!["cat".into()]);
    ExecOrder { what, env: vec![("A".to_owned(), "b".into())], cwd: None, input: true }
}

/// A command of this number that runs.
async fn running(link: &Link, agent: Agent, id: u64) -> (ExecSession, Agent) {
    let asking = link.clone();
    let session = tokio::spawn(async move { asking.exec(id, order()).await });
    let (mut agent, asked) = agent.hears().await;
    let plan = ExecPlan {
        id,
        what: ExecWhat::Program(vec!["cat".into()]),
        env: vec!["A=b".into()],
        cwd: None,
        input: true,
    };
    assert_eq!(asked, ExecAsk::Start(plan));
    agent.say(ExecNews::Started { id });
    (timeout(LONG, session).await.unwrap().unwrap().unwrap(), agent)
}

async fn next(session: &mut ExecSession) -> ExecPiece {
    timeout(LONG, session.next()).await.unwrap()
}

#[tokio::test]
async fn what_is_read_is_told_and_the_end_comes_last() {
    let (link, _streams, agent) = pair();
    let (mut session, mut agent) = running(&link, agent, 7).await;
    let chunk = vec![b'x'; EXEC_CHUNK];
    let quarter = EXEC_OUTPUT_WINDOW / 4;
    for _ in 0..quarter / EXEC_CHUNK {
        agent.say(ExecNews::Output { id: 7, stderr: false, bytes: chunk.clone() });
    }
    let mut read = 0;
    while read < quarter {
        match next(&mut session).await {
            ExecPiece::Stdout(bytes) => read += bytes.len(),
            other => panic!("{other:?}"),
        }
    }
    agent.say(ExecNews::Output { id: 7, stderr: true, bytes: b"err".to_vec() });
    assert_eq!(next(&mut session).await, ExecPiece::Stderr(b"err".to_vec()));
    let (mut agent, asked) = agent.hears().await;
    assert_eq!(asked, ExecAsk::Read { id: 7, bytes: u32::try_from(quarter).unwrap() });
    session.input(b"in", true).await.unwrap();
    let (next_agent, asked) = agent.hears().await;
    agent = next_agent;
    assert_eq!(asked, ExecAsk::Input { id: 7, bytes: b"in".to_vec(), last: true });
    agent.say(ExecNews::Taken { id: 7, bytes: 2 });
    assert_eq!(next(&mut session).await, ExecPiece::Taken(2));
    agent.say(ExecNews::Ended { id: 7, ended: Ended::Code(3) });
    assert_eq!(next(&mut session).await, ExecPiece::Ended(Exit::Code(3)));
}

#[tokio::test]
async fn whoever_lets_go_of_a_command_kills_it() {
    let (link, _streams, agent) = pair();
    let (session, agent) = running(&link, agent, 7).await;
    drop(session);
    assert_eq!(agent.hears().await.1, ExecAsk::Kill { id: 7 });
}

#[tokio::test]
async fn more_input_than_there_is_room_for_is_refused() {
    let (link, _streams, agent) = pair();
    let (mut session, _agent) = running(&link, agent, 7).await;
    session.input(&[0; EXEC_INPUT_WINDOW], false).await.unwrap();
    assert_eq!(session.input(&[0], false).await, Err(TooMuchInput));
}

#[tokio::test]
async fn a_failed_start_is_told_as_what_it_was() {
    for (step, errno, expected) in [
        (Step::Exec, libc::ENOENT, "cannot execute `cat`"),
        (Step::Cwd, libc::ENOENT, "cannot enter"),
        (Step::Exec, libc::ESRCH, "the instance ended"),
        (Step::Limits, libc::ENOMEM, "behind the walls"),
    ] {
        let (link, _streams, agent) = pair();
        let started = tokio::spawn(async move { link.exec(7, order()).await });
        let (mut agent, _) = agent.hears().await;
        agent.say(ExecNews::Failed { id: 7, step, errno });
        let error = timeout(LONG, started).await.unwrap().unwrap().unwrap_err();
        assert!(error.to_string().contains(expected) && !error.hint().is_empty(), "{error}");
    }
}

#[tokio::test]
async fn the_end_of_the_workload_or_of_the_link_ends_every_command() {
    let (link, _streams, agent) = pair();
    let (mut one, agent) = running(&link, agent, 7).await;
    let (mut other, mut agent) = running(&link, agent, 8).await;
    let exited = FromAgent::Exited { ended: Ended::Code(0), next_line: 0 };
    agent.socket.write_all(&exited.encode()).unwrap();
    assert_eq!((next(&mut one).await, next(&mut other).await), (ExecPiece::Cut, ExecPiece::Cut));
    let (link, _streams, agent) = pair();
    let (mut session, agent) = running(&link, agent, 7).await;
    drop(agent);
    assert_eq!(next(&mut session).await, ExecPiece::Cut);
}

#[tokio::test]
async fn a_command_asked_for_as_the_workload_ended_is_refused_late() {
    let refused = ExecNews::Failed { id: 7, step: Step::Exec, errno: libc::ESRCH };
    let exited = FromAgent::Exited { ended: Ended::Code(0), next_line: 0 };
    let (link, mut streams, agent) = pair();
    let asking = link.clone();
    let asked = tokio::spawn(async move { asking.exec(7, order()).await });
    let (mut agent, _) = agent.hears().await;
    agent.socket.write_all(&exited.encode()).unwrap();
    agent.say(refused.clone());
    assert!(matches!(timeout(LONG, asked).await.unwrap().unwrap(), Err(ExecError::Gone)));
    assert!(matches!(timeout(LONG, streams.news.recv()).await.unwrap(), Some(News::Exited { .. })));
    // The link holds: what it is asked next arrives.
    let next = tokio::spawn(async move { link.exec(8, order()).await });
    let (mut agent, asked) = agent.hears().await;
    assert!(matches!(asked, ExecAsk::Start(ExecPlan { id: 8, .. })), "{asked:?}");
    // Refused once, it is known no more.
    agent.say(refused);
    assert!(matches!(timeout(LONG, next).await.unwrap().unwrap(), Err(ExecError::Gone)));
    assert!(timeout(LONG, streams.news.recv()).await.unwrap().is_none(), "the link lives on");
}

#[tokio::test]
async fn what_cannot_be_said_of_a_command_ends_the_link() {
    let output = |n: usize| ExecNews::Output { id: 7, stderr: false, bytes: vec![0; n] };
    let beyond = (0..=EXEC_OUTPUT_WINDOW / EXEC_CHUNK).map(|_| output(EXEC_CHUNK)).collect::<Vec<_>>();
    let cases: [(&str, Vec<ExecNews>); 5] = [
        ("of one nobody asked for", vec![ExecNews::Started { id: 99 }]),
        ("it started twice", vec![ExecNews::Started { id: 7 }]),
        ("it failed to start and runs", vec![ExecNews::Failed { id: 7, step: Step::Exec, errno: 2 }]),
        ("it took what it was not given", vec![ExecNews::Taken { id: 7, bytes: 1 }]),
        ("more output than may be under way", beyond),
    ];
    for (what, news) in cases {
        let (link, mut streams, agent) = pair();
        let (session, mut agent) = running(&link, agent, 7).await;
        // It blocks once nobody reads any more.
        let said =
            tokio::task::spawn_blocking(move || news.into_iter().for_each(|news| agent.try_say(&news)));
        let ended = timeout(LONG, streams.news.recv()).await;
        assert!(matches!(ended, Ok(None)), "the link lives on: {what}");
        said.await.unwrap();
        drop(session);
    }
}
