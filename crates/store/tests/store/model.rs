//! Against a model: host ids, and lines delivered in any way.

use std::collections::{BTreeMap, BTreeSet};

use insula_spec::IdRange;
use insula_store::{EventKind, EventQuery};
use proptest::prelude::*;

use crate::{Home, event, lines, name, read_seqs, remember};

#[derive(Debug, Clone)]
enum Step {
    Range(u8),
    Remember(u8),
    Forget(u8),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..6).prop_map(Step::Range),
        1 => (0_u8..6).prop_map(Step::Remember),
        1 => (0_u8..6).prop_map(Step::Forget),
        1 => Just(Step::Restart),
    ]
}

/// Batches as a shaky agent delivers them: from anywhere near the place reached, with jumps.
#[derive(Debug, Clone)]
struct Delivery {
    key: u8,
    back: u64,
    jump: u64,
    len: u64,
}

fn delivery() -> impl Strategy<Value = Delivery> {
    (0_u8..2, 0_u64..30, prop_oneof![5 => Just(0), 1 => 1_u64..5], 0_u64..20)
        .prop_map(|(key, back, jump, len)| Delivery { key, back, jump, len })
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn ranges(steps: Vec<Step>) {
    let home = Home::new();
    let mut store = home.open().await;
    let mut given: BTreeMap<u8, IdRange> = BTreeMap::new();
    let who = |n: u8| name(&format!("notes:t{n}"));
    for step in steps {
        match step {
            Step::Range(n) => {
                let range = store.id_range(&who(n)).await.unwrap();
                assert_eq!(*given.entry(n).or_insert(range), range, "the range of t{n} changed");
            }
            Step::Remember(n) => drop(store.remember(&who(n), event(EventKind::Remembered)).await.unwrap()),
            Step::Forget(n) => drop(store.forget(&who(n), event(EventKind::Forgotten)).await.unwrap()),
            Step::Restart => {
                store.close().await.unwrap();
                store = home.open().await;
            }
        }
        let bases: BTreeSet<u32> = given.values().map(|range| range.base).collect();
        assert_eq!(bases.len(), given.len(), "two names share a range");
        assert!(
            bases.iter().all(|base| base % IdRange::LEN == 0 && *base >= 0x1000_0000 && *base < 0x7FFE_0000)
        );
    }
}

async fn deliveries(deliveries: Vec<Delivery>) {
    let home = Home::new();
    let store = home.open().await;
    let alice = remember(&store, "notes:alice").await;
    let (mut next, mut stored, mut lost) = ([0_u64; 2], Vec::new(), 0);
    for Delivery { key, back, jump, len } in deliveries {
        let reached = &mut next[usize::from(key)];
        let start = reached.saturating_sub(back) + if back == 0 { jump } else { 0 };
        let batch = start..start + len;
        let fresh: Vec<u64> = batch.clone().filter(|seq| seq >= reached).collect();
        if let (Some(first), Some(last)) = (fresh.first(), fresh.last()) {
            lost += first - *reached;
            *reached = last + 1;
        }
        stored.extend(fresh);
        assert_eq!(store.append_logs(&alice, &format!("k{key}"), lines(batch)).await.unwrap(), *reached);
    }
    assert_eq!(read_seqs(&store, &alice).await, stored);
    let query = EventQuery { kinds: vec![EventKind::LogGap], ..EventQuery::default() };
    let told = store.events(query).await.unwrap();
    assert_eq!(told.iter().map(|row| row.event.detail["lost"].as_u64().unwrap()).sum::<u64>(), lost);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ranges_are_unique_and_for_ever(steps in prop::collection::vec(step(), 1..40)) {
        run(ranges(steps));
    }

    #[test]
    fn each_line_is_stored_once_and_each_loss_is_told(all in prop::collection::vec(delivery(), 1..40)) {
        run(deliveries(all));
    }
}
