//! An agent at the other end that does everything wrong, one thing at a time.

use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;

use insula_frames::{FromAgent, Line, MAX_FROM_AGENT};
use insula_linux::scm;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::*;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

struct Pair {
    link: Link,
    streams: Streams,
    agent: UnixStream,
}

fn pair() -> Pair {
    let (ours, agent) = UnixStream::pair().unwrap();
    let (link, streams) = Link::open(ours, 0).unwrap();
    Pair { link, streams, agent }
}

impl Pair {
    fn say(&mut self, frame: &FromAgent) {
        self.agent.write_all(&frame.encode()).unwrap();
    }

    fn say_with(&self, frame: &FromAgent, fds: &[BorrowedFd<'_>]) {
        scm::send(&self.agent, &frame.encode(), fds).unwrap();
    }

    /// The host has let go of the connection: every stream ends, no request is answered.
    async fn lost(&mut self, why: &str) {
        let ended = async {
            while self.streams.news.recv().await.is_some() {}
            while self.streams.answers.recv().await.is_some() {}
        };
        timeout(LONG, ended).await.unwrap_or_else(|_| panic!("the link lives on after: {why}"));
        assert!(self.link.sockets(1, false).await.is_err(), "{why}");
    }

    /// The host still listens and still takes what is in order.
    async fn lives(&mut self) {
        self.say(&FromAgent::Listening { v6: false, unix: false, passed: false });
        let news = timeout(LONG, self.streams.news.recv()).await.unwrap();
        assert!(matches!(news, Some(News::Listening { first: None, .. })), "{news:?}");
    }
}

fn fresh(family: AddressFamily, kind: SocketType) -> OwnedFd {
    socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap()
}

fn log(lines: u64) -> FromAgent {
    let line = |seq| Line { seq, micros: u64::MAX, stderr: false, bytes: vec![b'x'] };
    FromAgent::Log { gap: None, lines: (0..lines).map(line).collect() }
}

fn exited() -> FromAgent {
    FromAgent::Exited { ended: Ended::Code(0), next_line: u64::MAX }
}

#[tokio::test]
async fn malformed_frames_end_the_link() {
    let huge = u32::try_from(MAX_FROM_AGENT + 1).unwrap().to_le_bytes().to_vec();
    let mut trailing = FromAgent::Started.encode();
    trailing[0] += 1;
    trailing.push(7);
    let bad: [(&str, Vec<u8>); 7] = [
        ("no length", vec![0; 4]),
        ("a length beyond the bound", huge),
        ("the longest length", vec![0xff; 4]),
        ("an unknown kind", vec![1, 0, 0, 0, 200]),
        ("a frame that ends inside a field", vec![2, 0, 0, 0, 6, 0]),
        ("a frame that goes on", trailing),
        ("a truth value of 7", vec![4, 0, 0, 0, 5, 7, 0, 0]),
    ];
    for (what, bytes) in bad {
        let mut pair = pair();
        pair.lives().await;
        pair.agent.write_all(&bytes).unwrap();
        pair.lost(what).await;
    }
}

#[tokio::test]
async fn an_agent_that_goes_away_inside_a_frame_is_lost() {
    for cut in 0..FromAgent::Committed.encode().len() {
        let mut pair = pair();
        pair.agent.write_all(&FromAgent::Committed.encode()[..cut]).unwrap();
        pair.agent.shutdown(std::net::Shutdown::Both).unwrap();
        pair.lost(&format!("{cut} bytes")).await;
    }
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_ends_the_link() {
    let welcome = FromAgent::Welcome { version: 1, key: "k".into(), phase: Phase::Blank, next_line: 0 };
    let unasked = [
        welcome,
        FromAgent::ShellReady { pid: 1 },
        FromAgent::Started,
        FromAgent::Committed,
        FromAgent::Done,
    ];
    for frame in unasked {
        let mut pair = pair();
        pair.say(&frame);
        pair.lost(&format!("{frame:?}")).await;
    }
    // Asked for, one is taken, and the second is not.
    let mut pair = pair();
    pair.link.send(&ToAgent::Commit, Vec::new()).await.unwrap();
    wait_for_request(&mut pair).await;
    pair.say(&FromAgent::Committed);
    assert!(matches!(timeout(LONG, pair.streams.answers.recv()).await.unwrap(), Some(Answer::Committed)));
    pair.lives().await;
    pair.say(&FromAgent::Committed);
    pair.lost("a second answer").await;
}

/// A request is under way once its bytes can be read.
async fn wait_for_request(pair: &mut Pair) {
    let agent = pair.agent.try_clone().unwrap();
    let read = move || std::io::Read::read(&mut { agent }, &mut [0; 64]);
    assert!(tokio::task::spawn_blocking(read).await.unwrap().unwrap() > 0);
}

#[tokio::test]
async fn a_failure_may_come_unasked_but_not_again_and_again() {
    let failed = FromAgent::Failed { step: Step::View, errno: -1, detail: "x".repeat(1000) };
    let mut pair = pair();
    pair.say(&failed);
    pair.lives().await;
    for _ in 0..ANSWERS {
        pair.say(&failed);
    }
    pair.lost("a flood of failures").await;
}

#[tokio::test]
async fn floods_end_the_link_and_are_not_stored() {
    for flood in [exited(), FromAgent::Listening { v6: true, unix: true, passed: false }] {
        let mut pair = pair();
        for _ in 0..2 {
            pair.say(&flood);
        }
        pair.lost(&format!("{flood:?}")).await;
    }
    let mut pair = pair();
    let _unread = pair.streams.take_logs();
    for _ in 0..=LOG_WINDOW {
        pair.say(&log(1));
    }
    pair.lost("more log frames than the window").await;
}

#[tokio::test]
async fn a_whole_window_of_log_frames_is_in_order() {
    let mut pair = pair();
    let mut logs = pair.streams.take_logs().unwrap();
    for _ in 0..LOG_WINDOW {
        pair.say(&log(3));
    }
    pair.lives().await;
    for _ in 0..LOG_WINDOW {
        assert_eq!(logs.next().await.unwrap().lines.len(), 3);
    }
}

#[tokio::test]
async fn acknowledgements_to_an_agent_that_reads_nothing_do_not_pile_up() {
    const LAST: u64 = 20_000;
    let mut pair = pair();
    let mut logs = pair.streams.take_logs().unwrap();
    for round in 0..=LAST {
        pair.say(&log(1));
        timeout(LONG, logs.next()).await.expect("the link still reads").unwrap();
        logs.ack(round);
    }
    let mut agent = pair.agent.try_clone().unwrap();
    let last = ToAgent::LogAck { next: LAST }.encode();
    let count = tokio::task::spawn_blocking(move || {
        let (mut count, mut frame) = (0, vec![0; last.len()]);
        while frame != last {
            std::io::Read::read_exact(&mut agent, &mut frame).unwrap();
            count += 1;
        }
        count
    });
    let count = timeout(LONG, count).await.unwrap().unwrap();
    assert!(count < LAST / 4, "{count} acknowledgements had been kept");
}

#[tokio::test]
async fn an_agent_that_reads_nothing_counts_as_lost_after_a_while() {
    let pair = pair();
    tokio::time::pause();
    let mut sent = 0;
    // The socket takes some, the queues take some; then the answer must come, and not hang.
    while pair.link.send(&ToAgent::Signal(15), Vec::new()).await.is_ok() {
        sent += 1;
        assert!(sent < 1_000_000, "there is no bound");
    }
    pair.link.send_if_there(&ToAgent::KillAll);
    assert_eq!(pair.link.sockets(1, false).await.unwrap_err(), LinkLost);
}

#[tokio::test]
async fn what_an_agent_said_before_it_stopped_reading_is_heard() {
    let mut pair = pair();
    pair.say(&exited());
    pair.agent.shutdown(std::net::Shutdown::Both).unwrap();
    // The host finds out by writing, before it reads.
    pair.link.send(&ToAgent::Signal(15), Vec::new()).await.unwrap();
    let news = timeout(LONG, pair.streams.news.recv()).await.unwrap();
    assert!(matches!(news, Some(News::Exited { .. })), "{news:?}");
    pair.lost("its end").await;
}

#[tokio::test]
async fn descriptors_that_are_not_what_was_asked_for_end_the_link() {
    let tcp = || fresh(AddressFamily::INET, SocketType::STREAM);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bad: [(&str, OwnedFd); 8] = [
        ("a file", tempfile::tempfile().unwrap().into()),
        ("a directory", File::open(dir.path()).unwrap().into()),
        ("a connected socket", TcpStream::connect(address).unwrap().into()),
        ("a listening socket", listener.into()),
        ("a datagram socket", UdpSocket::bind("127.0.0.1:0").unwrap().into()),
        ("a Unix socket", fresh(AddressFamily::UNIX, SocketType::STREAM)),
        ("a listening Unix socket", UnixListener::bind(dir.path().join("s")).unwrap().into()),
        ("a socket of the other family", fresh(AddressFamily::INET6, SocketType::STREAM)),
    ];
    for (what, fd) in bad {
        let mut pair = pair();
        let good = tcp();
        let answer = asked_for_sockets(&mut pair, &[good.as_fd(), fd.as_fd()]).await;
        assert_eq!(answer.map(|fds| fds.len()), Err(LinkLost), "{what}");
        pair.lost(what).await;
    }
    let (a, b) = (tcp(), tcp());
    let mut pair = pair();
    let answer = asked_for_sockets(&mut pair, &[a.as_fd(), b.as_fd()]).await;
    assert_eq!(answer.unwrap().len(), 2, "good sockets were refused");
    pair.lives().await;
}

/// The host asks for two sockets and gets these.
async fn asked_for_sockets(pair: &mut Pair, fds: &[BorrowedFd<'_>]) -> Result<Vec<OwnedFd>, LinkLost> {
    let link = pair.link.clone();
    let asked = tokio::spawn(async move { link.sockets(2, false).await });
    wait_for_request(pair).await;
    pair.say_with(&FromAgent::Sockets { count: u8::try_from(fds.len()).unwrap() }, fds);
    timeout(LONG, asked).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_count_of_sockets_that_lies_ends_the_link() {
    let sockets: Vec<OwnedFd> = (0..3).map(|_| fresh(AddressFamily::INET, SocketType::STREAM)).collect();
    let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    for (what, count, sent) in [("too few", 2, 1), ("none", 2, 0), ("an unannounced one", 1, 2)] {
        let mut pair = pair();
        let link = pair.link.clone();
        let asked = tokio::spawn(async move { link.sockets(2, false).await });
        wait_for_request(&mut pair).await;
        pair.say_with(&FromAgent::Sockets { count }, &borrowed[..sent]);
        pair.lost(what).await;
        drop(asked.await.unwrap());
    }
    let mut pair = pair();
    assert!(asked_for_sockets(&mut pair, &borrowed).await.is_err(), "three for two were taken");
    pair.lost("more than were asked for").await;
    let mut pair = self::pair();
    pair.say_with(&FromAgent::Sockets { count: 1 }, &borrowed[..1]);
    pair.lost("sockets that nobody asked for").await;
}

#[tokio::test]
async fn a_first_connection_must_be_one() {
    let unconnected = fresh(AddressFamily::INET, SocketType::STREAM);
    let file = tempfile::tempfile().unwrap();
    for fd in [unconnected.as_fd(), file.as_fd()] {
        let mut pair = pair();
        pair.say_with(&FromAgent::Listening { v6: false, unix: false, passed: true }, &[fd]);
        pair.lost("a first connection that is none").await;
    }
    let mut pair = pair();
    let (end, _other) = UnixStream::pair().unwrap();
    pair.say_with(&FromAgent::Listening { v6: false, unix: true, passed: true }, &[end.as_fd()]);
    let news = timeout(LONG, pair.streams.news.recv()).await.unwrap();
    assert!(matches!(news, Some(News::Listening { first: Some(_), .. })), "{news:?}");
}

#[tokio::test]
async fn descriptors_without_a_frame_are_closed_and_end_the_link() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let many: Vec<_> = (0..scm::MAX_FDS).map(|_| file.as_file().as_fd()).collect();
    let cases: [(&str, &[u8], usize); 3] = [
        (
            "beside a frame that has none",
            &FromAgent::Failed { step: Step::View, errno: 0, detail: String::new() }.encode(),
            1,
        ),
        ("beside half a frame, twice", &[9], scm::MAX_FDS),
        ("beside a frame that ends the link", &[1, 0, 0, 0, 200], scm::MAX_FDS),
    ];
    for (what, bytes, count) in cases {
        let mut pair = pair();
        for _ in 0..2 {
            drop(scm::send(&pair.agent, bytes, &many[..count]));
        }
        pair.lost(what).await;
    }
    let open =
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fd.unwrap().path().read_link().ok());
    assert_eq!(open.filter(|path| path == file.path()).count(), 1, "descriptors were leaked");
}
