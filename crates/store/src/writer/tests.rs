use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::{open, schema};

/// A writer over a fresh file, and the directory that holds it.
fn writer() -> (Writer, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.db");
    let opened = open::open(&path, std::time::Duration::ZERO).unwrap();
    let db = Db::new(opened.conn).unwrap();
    (Writer::new(db, path.into(), opened.lock, Retention::default()).unwrap(), dir)
}

fn synchronous(db: &mut Db) -> rusqlite::Result<i64> {
    db.conn.query_row("PRAGMA synchronous", [], |row| row.get(0))
}

fn set_epoch(value: i64) -> impl FnMut(&mut Db) -> rusqlite::Result<()> {
    move |db| crate::db::set_meta(&db.conn, "epoch", value)
}

fn epoch(db: &Db) -> i64 {
    crate::db::meta(&db.conn, "epoch").unwrap()
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn only_what_must_survive_a_power_cut_is_synced() {
    let (mut writer, _dir) = writer();
    let (normal, full) = (1, 2);
    for (class, wanted) in [(Class::STATE, normal), (Class::LASTING, full), (Class::logs(1), normal)] {
        let (job, answer) = job(class, synchronous);
        writer.write(vec![job]);
        assert_eq!(answer.blocking_recv().unwrap().unwrap(), wanted, "{class:?}");
    }
    let (lasting, answer) = job(Class::LASTING, synchronous);
    writer.write(vec![job(Class::logs(1), synchronous).0, lasting]);
    assert_eq!(answer.blocking_recv().unwrap().unwrap(), full, "one such job makes its whole group lasting");
}

#[test]
fn in_a_group_only_the_job_that_fails_fails() {
    let (mut writer, _dir) = writer();
    let (good, good_answer) = job(Class::STATE, set_epoch(7));
    let (bad, bad_answer) = job(Class::STATE, |db: &mut Db| {
        crate::db::set_meta(&db.conn, "epoch", 99)?;
        db.conn.execute("INSERT INTO no_such_table VALUES (1)", []).map(drop)
    });
    writer.write(vec![good, bad]);
    assert!(good_answer.blocking_recv().unwrap().is_ok());
    assert!(matches!(bad_answer.blocking_recv().unwrap(), Err(WriteError::Engine { .. })));
    assert_eq!(epoch(&writer.db), 7, "what the failed job wrote is undone");
}

#[test]
fn counters_follow_a_rollback() {
    let (mut writer, _dir) = writer();
    let (bad, answer) = job(Class::STATE, |db: &mut Db| {
        crate::event::insert(db, None, &crate::Event::new(crate::EventKind::Swept, "x"))?;
        Err::<(), _>(rusqlite::Error::InvalidQuery)
    });
    writer.write(vec![bad]);
    assert!(answer.blocking_recv().unwrap().is_err());
    assert_eq!((writer.db.committed().event_head, writer.heads.borrow().event), (0, 0));
    let (good, _answer) = job(Class::STATE, |db: &mut Db| {
        crate::event::insert(db, None, &crate::Event::new(crate::EventKind::Swept, "x"))
    });
    writer.write(vec![good]);
    assert_eq!((writer.db.committed().event_rows, writer.heads.borrow().event), (1, 1));
}

#[test]
fn a_full_lane_makes_callers_wait_and_state_goes_before_logs() {
    let (writer, _dir) = writer();
    let (lanes, waiting) = Lanes::new(2);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let note = |word: &'static str| {
        let order = Arc::clone(&order);
        move |_: &mut Db| {
            order.lock().unwrap().push(word);
            Ok(())
        }
    };
    let mut ends = Vec::new();
    for _ in 0..2 {
        let (log, end) = job(Class::logs(1), note("log"));
        assert!(matches!(poll(pin!(lanes.send(log))), Poll::Ready(Ok(()))));
        ends.push(end);
    }
    assert_eq!(lanes.lane(Lane::Logs).capacity(), 0);
    let (third, end) = job(Class::logs(1), note("late log"));
    ends.push(end);
    let mut third = Box::pin(lanes.send(third));
    assert!(poll(third.as_mut()).is_pending(), "a third must wait outside");
    let (state, end) = job(Class::STATE, note("state"));
    ends.push(end);
    assert!(matches!(poll(pin!(lanes.send(state))), Poll::Ready(Ok(()))), "the other lane has room");

    let rt = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let thread = std::thread::spawn(move || writer.run(waiting, &rt));
    rt_block_on(third).unwrap();
    drop(lanes);
    ends.into_iter().for_each(|end| end.blocking_recv().unwrap().unwrap());
    thread.join().unwrap().unwrap();
    assert_eq!(*order.lock().unwrap(), ["state", "log", "log", "late log"]);
}

fn rt_block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_group_is_bounded_by_its_cost() {
    let (lanes, mut waiting) = Lanes::new(8);
    for _ in 0..4 {
        let (log, _end) = job(Class::logs(GROUP_COST / 2), |_: &mut Db| Ok(()));
        assert!(matches!(poll(pin!(lanes.send(log))), Poll::Ready(Ok(()))));
    }
    let first = waiting.ready().unwrap();
    assert_eq!(collect(first, &mut waiting).len(), 2);
    assert!(waiting.any());
}

#[test]
fn lines_do_not_pile_up_in_the_write_ahead_log() {
    let (mut writer, dir) = writer();
    assert_eq!(schema::version(&writer.db.conn).unwrap(), schema::VERSION);
    let (lanes, waiting) = Lanes::new(1);
    let wal = dir.path().join("test.db-wal");
    let rounds = 40_u64;
    writer.unfolded = 0;
    let rt = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let thread = std::thread::spawn(move || writer.run(waiting, &rt));
    for _ in 0..rounds {
        let (log, end) = job(Class::logs(GROUP_COST), |db: &mut Db| {
            let line = vec![0_u8; usize::try_from(GROUP_COST).unwrap()];
            let sql = "INSERT INTO log (instance, seq, time, output, line) VALUES (1, 1, 1, 0, ?1)";
            db.conn.execute(sql, [line]).map(drop)
        });
        rt_block_on(lanes.send(log)).unwrap();
        end.blocking_recv().unwrap().unwrap();
    }
    let size = std::fs::metadata(&wal).unwrap().len();
    assert!(size < 3 * CHECKPOINT_COST, "{size} bytes after {rounds} MiB");
    drop(lanes);
    thread.join().unwrap().unwrap();
    assert!(!wal.exists(), "closing folds it in and removes it");
}
