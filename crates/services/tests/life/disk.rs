//! What a tenant's directory holds: counted when it ends and while it runs, told once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use insula_services::{DiskEvent, Fill, Mechanism};
use insula_store::{EventKind, EventQuery};

use super::{World, alice};

const MIB: usize = 1 << 20;
/// The pause between two rounds over what runs.
const ROUND: Duration = Duration::from_secs(60);

/// A world whose tenants keep their files below a directory of this test's.
async fn world(keys: &str) -> (World, tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display();
    let config = format!("[settings]\ndata_dir = \"{root}\"\n[service.notes]\ncommand = \"app\"\n{keys}\n");
    let world = World::with(&config, &["notes:alice"]).await;
    let own = dir.path().join("notes/alice");
    std::fs::create_dir_all(&own).unwrap();
    (world, dir, own)
}

fn hold(own: &Path, mib: usize) {
    std::fs::write(own.join("file"), vec![7; mib * MIB]).unwrap();
    std::fs::File::open(own.join("file")).unwrap().sync_all().unwrap();
}

async fn told(world: &World, n: usize) -> Vec<(Fill, bool)> {
    world.events(EventKind::Disk, n).await;
    so_far(world).await
}

/// Lets rounds pass until so many have been told. A round begins its pause when it is over, and counting takes time of
/// the real world.
async fn told_in_rounds(world: &World, n: usize) -> Vec<(Fill, bool)> {
    loop {
        world.pass(ROUND).await;
        world.settle().await;
        let told = so_far(world).await;
        if told.len() >= n {
            return told;
        }
    }
}

async fn so_far(world: &World) -> Vec<(Fill, bool)> {
    let query = EventQuery { instance: Some(alice()), kinds: vec![EventKind::Disk], ..EventQuery::default() };
    let rows = world.store.events(query).await.unwrap();
    rows.iter().filter_map(|row| DiskEvent::of(&row.event)).map(|e| (e.disk, e.started)).collect()
}

#[tokio::test]
async fn what_runs_is_counted_again_and_again_and_each_crossing_is_told_once() {
    let (world, _dir, own) = world("disk_limit = \"10MiB\"\ndisk_limit_mode = \"soft\"").await;
    world.services.spawn(&alice()).await.unwrap();
    hold(&own, 9);
    assert_eq!(told_in_rounds(&world, 1).await, [(Fill::Near, false)]);
    hold(&own, 11);
    assert_eq!(told_in_rounds(&world, 2).await, [(Fill::Near, false), (Fill::Full, false)]);
    for _ in 0..3 {
        let usage = world.services.usages(None).await;
        let disk = usage[0].disk.as_ref().unwrap();
        assert!(disk.complete && disk.used >= 11 << 20 && disk.limit == Some(10 << 20), "{disk:?}");
        assert_eq!(disk.hold.as_ref().unwrap().mechanism, Mechanism::Soft);
    }
    assert_eq!(told(&world, 2).await.len(), 2, "it was told again");
}

#[tokio::test]
async fn a_start_while_it_is_full_is_told_by_the_next_process_too() {
    let (mut world, _dir, own) = world("disk_limit = \"10MiB\"\ndisk_limit_mode = \"soft\"").await;
    hold(&own, 11);
    world.services.spawn(&alice()).await.unwrap();
    world.services.stop(&alice()).await.unwrap();
    assert_eq!(told(&world, 1).await, [(Fill::Full, false)], "counted when it ended");
    world.services.spawn(&alice()).await.unwrap();
    assert_eq!(told(&world, 2).await, [(Fill::Full, false), (Fill::Full, true)]);
    world.services.detach().await;
    world.take_over().await;
    world.services.usages(None).await;
    assert_eq!(told(&world, 2).await.len(), 2, "another process told the same again");
    std::fs::remove_file(own.join("file")).unwrap();
    world.services.usages(None).await;
    assert_eq!(told(&world, 3).await.pop(), Some((Fill::Room, false)));
}

#[tokio::test]
async fn without_a_limit_it_is_counted_when_somebody_asks_and_nothing_is_told() {
    let (world, _dir, own) = world("").await;
    hold(&own, 3);
    world.services.spawn(&alice()).await.unwrap();
    world.services.stop(&alice()).await.unwrap();
    world.pass(ROUND).await;
    world.settle().await;
    assert_eq!(world.services.list()[0].disk_bytes, None, "nobody asked");
    let of = "notes:alice".parse().unwrap();
    let usage = world.services.usages(Some(&of)).await;
    let disk = usage[0].disk.as_ref().unwrap();
    assert!(disk.used >= 3 << 20 && disk.limit.is_none() && disk.hold.is_none(), "{disk:?}");
    assert!(world.services.list()[0].disk_bytes.is_some());
    assert!(world.services.usages(Some(&"chat".parse().unwrap())).await.is_empty());
    assert_eq!(told(&world, 0).await, []);
}

#[tokio::test]
async fn cpu_time_of_walls_that_are_gone_still_counts() {
    let (world, _dir, _own) = world("").await;
    world.services.spawn(&alice()).await.unwrap();
    let first = world.services.usages(None).await[0].cpu_micros;
    world.services.stop(&alice()).await.unwrap();
    assert_eq!(world.services.usages(None).await[0].cpu_micros, first);
    world.services.spawn(&alice()).await.unwrap();
    assert_eq!(
        world.services.usages(None).await[0].cpu_micros,
        2 * first,
        "the fake uses the same each time"
    );
    assert!(first > 0, "the fake uses nothing");
}
