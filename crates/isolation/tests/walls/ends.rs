//! How workloads end, and that all of them does.

use std::time::Duration;

use insula_isolation::{Event, Exit, Sandbox};
use insula_spec::Level;

use crate::support::*;

/// A child, a grandchild in a session of its own, and a daemon that nobody is parent of any more; then it
/// sleeps. Each carries the marker in its command line, and says so once it has it.
const FAMILY: &str = r#"
import os, subprocess, sys
read, write = os.pipe()
os.set_inheritable(write, True)
def sleeper(n): os.execvp("sh", ["sh", "-c", f"echo >&{write}; sleep 1000; : {sys.argv[1]}"])
if os.fork() == 0: sleeper(1)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: sleeper(2)
    os.waitpid(-1, 0)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        sleeper(3)
    os._exit(0)
born = 0
while born < 3: born += len(os.read(read, 3))
print("born", flush=True)
import time
while True: time.sleep(1000)
"#;

struct Family {
    sandbox: Box<dyn Sandbox>,
    marker: String,
    home: Home,
}

async fn family(level: Level, tag: &str) -> Family {
    let home = Home::new();
    let marker = format!("family-{tag}-{level}-{}", home.dir().display());
    let engine = home.engine(1);
    let launch = home.launch(&engine, level, &["python3", "-c", FAMILY, &marker]);
    let mut sandbox = start(&engine, &launch, level).await;
    let mut lines = Lines::of(&mut *sandbox);
    assert_eq!(lines.next().await, "born");
    assert!(processes_with(&marker).len() >= 4, "the family is not complete");
    Family { sandbox, marker, home }
}

impl Family {
    fn gone(&self) {
        assert_eq!(processes_with(&self.marker), Vec::<i32>::new(), "some of it live on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_everything_inside() {
    for level in BOTH {
        let Family { mut sandbox, marker, home } = family(level, "stop").await;
        sandbox.commit().await.unwrap();
        let record = sandbox.record();
        assert_eq!(in_time(sandbox.stop(Duration::from_secs(5))).await, Exit::Signal(15), "level {level}");
        assert_eq!(processes_with(&marker), Vec::<i32>::new(), "some live on at level {level}");
        home.nothing_left(&record);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_main_process_ends_the_rest() {
    for level in BOTH {
        let mut family = family(level, "main").await;
        let app = family.sandbox.record().app_pid;
        kill(app);
        // That the event comes means that the rest is gone.
        assert_eq!(event(&mut *family.sandbox).await, Event::Exited(Exit::Signal(9)), "level {level}");
        family.gone();
        in_time(family.sandbox.stop(Duration::ZERO)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_agent_a_workload_is_lost_and_nothing_of_it_stays() {
    for level in BOTH {
        let Family { mut sandbox, marker, home } = family(level, "agent").await;
        sandbox.commit().await.unwrap();
        let record = sandbox.record();
        kill(record.agent_pid);
        assert_eq!(event(&mut *sandbox).await, Event::Exited(Exit::Lost), "level {level}");
        assert_eq!(in_time(sandbox.stop(Duration::from_secs(5))).await, Exit::Lost);
        assert_eq!(processes_with(&marker), Vec::<i32>::new(), "some live on at level {level}");
        home.nothing_left(&record);
    }
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_listen_to_sigterm_is_killed_after_the_grace() {
    let home = Home::new();
    let engine = home.engine(1);
    // It waits for the signal itself: one that comes between a look and a sleep would not end the sleep.
    let waits = "
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print('ready', flush=True)
while signal.sigwait({signal.SIGTERM}): ";
    for level in BOTH {
        for (answer, end) in [("os.write(1, b'heard\\n')", Exit::Signal(9)), ("exit(3)", Exit::Code(3))] {
            let launch = home.launch(&engine, level, &["python3", "-c", &format!("{waits}{answer}")]);
            let mut sandbox = start(&engine, &launch, level).await;
            let mut lines = Lines::of(&mut *sandbox);
            assert_eq!(lines.next().await, "ready");
            // The deaf one is asked and given its grace; with the other, the grace is not waited for.
            let grace = if end == Exit::Code(3) { LONG * 10 } else { Duration::from_millis(300) };
            let ended = in_time(sandbox.stop(grace)).await;
            assert_eq!(ended, end, "level {level}");
            if end == Exit::Signal(9) {
                assert_eq!(lines.next().await, "heard", "it was not asked first");
            }
        }
    }
}

/// Counts, and answers with the count.
const COUNTER: &str = r#"
import os, socket, threading
n = 0
def count():
    global n
    while True: n += 1
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(os.environ["PORT"])))
s.listen()
threading.Thread(target=count, daemon=True).start()
while True:
    c, _ = s.accept()
    c.recv(100)
    c.sendall(b"%d" % n)
"#;

/// CPU time of a process, in clock ticks (`/proc/PID/stat`, fields 14 and 15).
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = stat.rsplit_once(") ").unwrap().1;
    rest.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum()
}

/// Spins until the processes of this machine have used `more` ticks, here or elsewhere.
async fn while_others_work(more: u64) {
    let own = i32::try_from(std::process::id()).unwrap();
    let until = ticks(own) + more;
    while ticks(own) < until {
        std::hint::black_box((0..100_000).fold(0_u64, |a, b| a ^ b));
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_workload_does_not_run_at_all() {
    let home = Home::new();
    let engine = home.engine(1);
    for level in BOTH {
        let launch = home.launch(&engine, level, &["python3", "-c", COUNTER]);
        let mut sandbox = listening(&engine, &launch, level).await;
        let count = async |sandbox: &dyn Sandbox| ask(sandbox, "?").await.parse::<u64>().unwrap();
        let pid = sandbox.record().app_pid;
        let first = count(&*sandbox).await;
        while_others_work(20).await;
        assert!(count(&*sandbox).await > first, "the counter does not count");

        in_time(sandbox.pause()).await.unwrap();
        let frozen = ticks(pid);
        while_others_work(50).await;
        assert_eq!(ticks(pid), frozen, "it ran while it was frozen, at level {level}");
        in_time(sandbox.resume()).await.unwrap();
        count(&*sandbox).await;
        while_others_work(20).await;
        assert!(ticks(pid) > frozen, "it does not run again");

        // A frozen one can be stopped, and hears no SIGTERM before its end.
        in_time(sandbox.pause()).await.unwrap();
        assert_eq!(in_time(sandbox.stop(LONG * 10)).await, Exit::Signal(9), "level {level}");
    }
}
