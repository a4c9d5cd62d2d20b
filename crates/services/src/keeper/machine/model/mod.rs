//! Checks the machine against the world it believes in, for any order of events, and checks the checker.

mod world;

use std::time::Duration;

use insula_isolation::Exit;
use insula_spec::ServiceSpec;
use insula_spec::config::{HealthCheck, RestartMode, SleepMode};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::time::Instant;

use self::world::{Checked, Choice, Next, World, spec};
use super::{Action, Answer, Event, Machine, State, next};

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    let exit = prop_oneof![Just(Exit::Code(0)), Just(Exit::Code(1)), Just(Exit::Oom), Just(Exit::Lost)];
    let choice = prop_oneof![
        6 => Just(Choice::Request),
        2 => Just(Choice::Spawn),
        2 => Just(Choice::Stop),
        1 => Just(Choice::Restart),
        2 => (0_u64..6_000).prop_map(Choice::Replace),
        1 => Just(Choice::Sleep),
        1 => Just(Choice::Down),
        1 => Just(Choice::GiveUp),
        12 => Just(Choice::Works),
        2 => any::<bool>().prop_map(Choice::Fails),
        6 => Just(Choice::Listening),
        3 => exit.prop_map(Choice::Exit),
        3 => Just(Choice::Idle),
        1 => Just(Choice::Busy),
        2 => Just(Choice::Quiet),
        2 => Just(Choice::Healthy),
        3 => Just(Choice::Ill),
        6 => (0_u64..8_000).prop_map(Choice::Wait),
    ];
    prop::collection::vec(choice, 1..150)
}

fn specs() -> impl Strategy<Value = ServiceSpec> {
    let mode = prop_oneof![Just(RestartMode::Always), Just(RestartMode::OnFailure), Just(RestartMode::Never)];
    (mode, 0_u32..4, any::<bool>(), any::<bool>()).prop_map(|(mode, max_restarts, freeze, health)| {
        let mut spec = spec();
        spec.restart.mode = mode;
        spec.restart.max_restarts = max_restarts;
        spec.sleep = if freeze { SleepMode::Freeze } else { SleepMode::Stop };
        spec.health = health.then(|| HealthCheck {
            path: "/".to_owned(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            failures: 2,
        });
        spec
    })
}

fn check(next: Next, cases: u32) -> Checked {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&(specs(), choices()), |(spec, choices)| {
            let mut world = World::new(next, spec);
            for choice in choices {
                world.play(choice).map_err(TestCaseError::fail)?;
            }
            Ok(())
        })
        .map_err(|e| e.to_string())
}

#[test]
fn the_machine_keeps_its_promises_for_any_order_of_events() {
    check(next, 4_000).unwrap();
}

/// Machines with one fault each; the model must see every one of them.
#[test]
fn the_model_catches_broken_machines() {
    fn without(
        m: Machine,
        spec: &ServiceSpec,
        now: Instant,
        event: Event,
        drop: fn(&Action) -> bool,
    ) -> (Machine, Vec<Action>) {
        let (m, mut actions) = next(m, spec, now, event);
        actions.retain(|action| !drop(action));
        (m, actions)
    }
    let broken: [(&str, Next); 6] = [
        ("requests are let in before it is healthy", |mut m, s, n, e| {
            if let (State::Starting { prove, .. }, Event::Listening) = (&mut m.state, &e) {
                *prove = None;
            }
            next(m, s, n, e)
        }),
        ("failed waiters are not told", |m, s, n, e| {
            without(m, s, n, e, |a| matches!(a, Action::Answer(Answer::Failed { .. })))
        }),
        ("the gate stays open", |m, s, n, e| without(m, s, n, e, |a| *a == Action::CloseGate)),
        ("two launches", |m, s, n, e| {
            let (m, mut actions) = next(m, s, n, e);
            let again = actions.iter().find(|a| **a == Action::Launch).cloned();
            actions.extend(again);
            (m, actions)
        }),
        ("restarts are not counted", |mut m, s, n, e| {
            m.restarts.clear();
            next(m, s, n, e)
        }),
        ("a shell is left behind", |m, s, n, e| {
            let (mut m, mut actions) = next(m, s, n, e);
            if let State::Stopping { busy: false, .. } = m.state {
                m.state = State::Asleep;
                actions.retain(|a| !matches!(a, Action::Stop { .. }));
            }
            (m, actions)
        }),
    ];
    for (fault, machine) in broken {
        assert!(check(machine, 4_000).is_err(), "the model did not see that {fault}");
    }
}
