//! What was acknowledged survives `kill -9`, in the middle of writing.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use insula_store::{LogQuery, Store};

use crate::{Home, lines, name, remember};

/// Names the database into which this test, run again as a child, writes until it is killed.
const CHILD: &str = "INSULA_STORE_TEST_CRASH";
const ROUNDS: u64 = 5;

#[test]
fn a_killed_daemon_loses_nothing_it_acknowledged() {
    if let Some(path) = std::env::var_os(CHILD) {
        run(write_for_ever(Path::new(&path)));
        return;
    }
    let home = Home::new();
    let mut acked = 0;
    for round in 0..ROUNDS {
        acked = killed_after(home.path().as_os_str(), 40 + 37 * round);
        let (stored, epoch) = run(check(&home, acked));
        assert!(stored >= acked, "{stored} stored, {acked} acknowledged");
        assert!(epoch > round, "epoch {epoch} in round {round}");
    }
    assert!(acked > 0);
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

/// Starts the child, kills it after so many acknowledgements, and answers the last one.
fn killed_after(path: &OsStr, answers: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::a_killed_daemon_loses_nothing_it_acknowledged", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap()).lines();
    // Ends with a full stop, so that words cut short by the signal are told apart.
    let number = |line: String| line.strip_prefix("acked ")?.strip_suffix('.')?.parse::<u64>().ok();
    let mut heard = out.map_while(Result::ok).filter_map(number);
    let last = heard.by_ref().take(usize::try_from(answers).unwrap()).last().unwrap();
    child.kill().unwrap();
    // What it said before the signal reached it counts too.
    let last = heard.last().unwrap_or(last);
    child.wait().unwrap();
    last
}

async fn write_for_ever(path: &Path) {
    let store = Store::open(path).await.unwrap();
    store.next_epoch().await.unwrap();
    let alice = remember(&store, "notes:alice").await;
    let mut next = store.next_log_seq(&alice, "k").await.unwrap();
    let mut out = std::io::stdout();
    loop {
        // Deliver the last line again each time, as after a lost answer.
        next = store.append_logs(&alice, "k", lines(next.saturating_sub(1)..next + 20)).await.unwrap();
        writeln!(out, "acked {next}.").unwrap();
    }
}

/// Reads everything back; answers how many lines there are and the next epoch.
async fn check(home: &Home, acked: u64) -> (u64, u64) {
    let store = home.open().await;
    let (mut after, mut wanted) = (None, 0);
    loop {
        let page = store.logs(LogQuery { after, ..LogQuery::of(name("notes:alice")) }).await.unwrap();
        if page.rows.is_empty() {
            break;
        }
        after = Some(page.next);
        for row in page.rows {
            assert_eq!(row.seq, wanted, "a line is missing or double ({acked} acknowledged)");
            assert_eq!(row.bytes, format!("line {wanted}").into_bytes());
            wanted += 1;
        }
    }
    assert_eq!(store.next_log_seq(&name("notes:alice"), "k").await.unwrap(), wanted);
    let epoch = store.next_epoch().await.unwrap();
    store.close().await.unwrap();
    (wanted, epoch)
}
