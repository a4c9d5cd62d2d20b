//! Output that nobody reads is kept, within its bounds.

use insula_isolation::{LogGap, LogStream};
use insula_spec::Level;

use crate::support::*;

/// Everything up to the end of a stream: the numbers that the lines begin with, and what is said to be lost.
async fn read_all(mut logs: LogStream, last: u64) -> (Vec<u64>, Vec<LogGap>) {
    let (mut numbers, mut gaps) = (Vec::new(), Vec::new());
    while numbers.last() != Some(&last) {
        let batch = in_time(logs.next()).await.expect("more lines");
        gaps.extend(batch.gap);
        for line in &batch.lines {
            let text = std::str::from_utf8(&line.bytes).unwrap();
            let number: u64 = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(number, line.seq, "a line has another's number");
            numbers.push(number);
        }
        if let Some(line) = batch.lines.last() {
            logs.ack(line.seq + 1);
        }
    }
    (numbers, gaps)
}

/// Writes `count` numbered lines of `size` bytes and one more, then waits at a gate.
fn writer(count: u64, size: usize, gate: &std::path::Path) -> String {
    format!(
        "import sys, time\n\
         for n in range({count}): sys.stdout.write(str(n) + ' ' + 'x' * {size} + '\\n')\n\
         print({count}, flush=True)\n\
         open('{}').read()\n\
         time.sleep(1000)",
        gate.display()
    )
}

struct Unread {
    home: Home,
    record: insula_isolation::Record,
}

/// A workload that has written all of it while nobody read, and whose worker is gone.
async fn unread(level: Level, count: u64, size: usize) -> Unread {
    let home = Home::new();
    let engine = home.engine(1);
    let mut launch = home.launch(&engine, level, &["python3", "-c"]);
    let gate = crate::adoption::fifo(&launch);
    launch.argv.push(writer(count, size, &gate));
    let mut sandbox = start(&engine, &launch, level).await;
    sandbox.commit().await.unwrap();
    let record = sandbox.record();
    drop((sandbox, engine));
    // It comes to the gate when it has written everything: a full pipe would have held it back.
    crate::adoption::open_gate(gate).await;
    Unread { home, record }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_lines_that_nobody_read_are_all_there_after_an_adoption() {
    const COUNT: u64 = 20_000;
    for level in BOTH {
        let unread = unread(level, COUNT, 60).await;
        let engine = unread.home.engine(2);
        let mut adopted = adopt(&engine, &unread.record, 0).await.unwrap();
        let (numbers, gaps) = read_all(adopted.sandbox.logs().unwrap(), COUNT).await;
        assert_eq!(gaps, [], "level {level}");
        assert!(numbers.into_iter().eq(0..=COUNT), "lines are missing or out of order at level {level}");
        in_time(adopted.sandbox.stop(std::time::Duration::ZERO)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_come_again_from_where_the_reader_had_stored_them() {
    const COUNT: u64 = 20_000;
    let unread = unread(Level::Namespace, COUNT, 60).await;
    let engine = unread.home.engine(2);
    let mut first = adopt(&engine, &unread.record, 0).await.unwrap();
    let mut logs = first.sandbox.logs().unwrap();
    let mut stored = 0;
    for _ in 0..7 {
        stored = in_time(logs.next()).await.unwrap().lines.last().unwrap().seq + 1;
        logs.ack(stored);
    }
    // Read, but not stored, when the worker dies.
    in_time(logs.next()).await.unwrap();
    drop((first, logs, engine));
    let engine = unread.home.engine(3);
    let mut adopted = adopt(&engine, &unread.record, stored).await.unwrap();
    let (numbers, gaps) = read_all(adopted.sandbox.logs().unwrap(), COUNT).await;
    assert_eq!(gaps, []);
    assert!(numbers.into_iter().eq(stored..=COUNT));
    in_time(adopted.sandbox.stop(std::time::Duration::ZERO)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_segment_the_oldest_lines_go_and_are_counted() {
    const COUNT: u64 = 40_000;
    let unread = unread(Level::Namespace, COUNT, 1_000).await;
    let engine = unread.home.engine(2);
    let mut adopted = adopt(&engine, &unread.record, 0).await.unwrap();
    let (numbers, gaps) = read_all(adopted.sandbox.logs().unwrap(), COUNT).await;
    let [LogGap { from: 0, to }] = gaps[..] else { panic!("the gaps are {gaps:?}") };
    assert!(numbers.iter().copied().eq(to..=COUNT), "what is left is not in one piece");
    // At least half of 16 MiB is kept, at most all of it and the ring in memory.
    let kept = numbers.len() * 1_000;
    assert!(((8 << 20)..=(17 << 20)).contains(&kept), "{kept} bytes were kept");
    in_time(adopted.sandbox.stop(std::time::Duration::ZERO)).await;
}
