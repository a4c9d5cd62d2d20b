//! What goes between programs of two versions, as it was written once and for all.
//!
//! A test that fails here says that a program of another version would not understand this one. A new field
//! has a default, the golden of the old form goes to `earlier`, and a new one takes its place. Any other
//! change needs a new version number, and new goldens.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::State;
use crate::deed::{Act, Asker, Deed, Ending};
use crate::heritage::{self, FromHeir, ToHeir};
use crate::lifeline::{self, Boot, LevelLine, Report, Role, ToParent, ToWorker};
use crate::parent::door::{self, Outcome, Request};
use crate::parent::plan::{Above, Plan};
use crate::parent::reconfigure::Changes;

macro_rules! golden {
    ($file:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/handover/", $file))
    };
}

/// What was written is read as these values, and these values are still written so.
#[track_caller]
fn holds<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str, values: &[T]) {
    let read: Vec<T> = serde_json::from_str(text).unwrap();
    assert_eq!(read, values, "it is read as something else");
    let written = serde_json::to_value(values).unwrap();
    assert_eq!(written, serde_json::from_str::<Value>(text).unwrap(), "it is written in another way");
}

/// An object of a later version, which has a field more, is read as the same.
#[track_caller]
fn may_grow<T: DeserializeOwned + PartialEq + Debug>(text: &str, at: &str) {
    let mut grown: Value = serde_json::from_str(text).unwrap();
    let object = grown.pointer_mut(at).and_then(Value::as_object_mut).unwrap();
    object.insert("of_a_later_version".to_owned(), Value::Bool(true));
    let (read, grown): (Vec<T>, Vec<T>) =
        (serde_json::from_str(text).unwrap(), serde_json::from_value(grown).unwrap());
    assert_eq!(read, grown);
}

fn plan() -> Plan {
    Plan {
        path: "/srv/insula.toml".into(),
        above: Above { data_dir: Some("/srv/data".into()), domain: None, port: Some("8080".to_owned()) },
        data_dir: "/srv/data".into(),
        insecure_api: false,
        domain: "localhost".to_owned(),
        port: 8080,
        tcp: vec![("cache:a".parse().unwrap(), 6379)],
        stop_timeout_ms: 45_000,
    }
}

fn report() -> Report {
    let level = |level: &str, why: Option<&str>| LevelLine {
        level: level.to_owned(),
        unavailable: why.map(str::to_owned),
    };
    let levels = vec![level("process", None), level("namespace", Some("no user namespaces"))];
    Report { epoch: 7, levels, instances: 3, adopted: 2 }
}

fn changes() -> Changes {
    Changes {
        added: vec!["fresh".parse().unwrap()],
        restarted: vec!["app".parse().unwrap()],
        settings: true,
        ..Changes::default()
    }
}

fn boot() -> Boot {
    Boot {
        version: 2,
        home: "/srv/home".into(),
        config_path: "/srv/insula.toml".into(),
        data_dir: "/srv/data".into(),
        domain: "localhost".to_owned(),
        port: 8080,
        insecure_api: false,
        standby: true,
        restart: vec!["app".parse().unwrap()],
        deed: Some(deed(Asker::User(1000), Act::Apply)),
        fds: 9,
    }
}

fn deed(who: Asker, act: Act) -> Deed {
    Deed { who, act, config: "/srv/insula.toml".into() }
}

#[test]
fn the_version_numbers_are_those_of_the_goldens() {
    assert_eq!((door::VERSION, lifeline::VERSION, heritage::VERSION), (1, 2, 1));
}

#[test]
fn requests_to_the_parent_and_their_outcomes() {
    let requests = golden!("requests.json");
    holds(
        requests,
        &[Request::Takeover { version: 1, plan: plan() }, Request::Reload { version: 1, dry_run: true }],
    );
    may_grow::<Request>(requests, "/0/takeover/plan");
    may_grow::<Request>(requests, "/1/reload");
    let outcomes = golden!("outcomes.json");
    holds(
        outcomes,
        &[
            Outcome::Done { report: report(), pid: 41, port: 8080, changes: Some(changes()) },
            Outcome::Planned(changes()),
            Outcome::refused("it is busy", "try again"),
        ],
    );
    may_grow::<Outcome>(outcomes, "/0/done/report");
}

#[test]
fn the_state_that_a_parent_leaves() {
    let state = State {
        version: 1,
        home: "/srv/home".into(),
        plan: plan(),
        port: 8080,
        given: false,
        json: true,
        worker: 42,
        retired: vec![40],
        report: report(),
        fds: 9,
    };
    let text = golden!("state.json");
    holds(text, &[state]);
    may_grow::<State>(text, "/0");
    // The control: what lacks a field that always was there is not understood.
    assert!(serde_json::from_str::<Vec<State>>(&text.replace("\"worker\"", "\"warden\"")).is_err());
}

#[test]
fn the_lifeline_in_both_directions() {
    let roles = vec![
        Role::Lock,
        Role::Config,
        Role::Agent,
        Role::Control,
        Role::Heirs,
        Role::Door,
        Role::Lifeline,
        Role::Visitor,
        Role::Http,
        Role::Tcp("cache:a".parse().unwrap()),
    ];
    let record = ToWorker::Record(deed(Asker::Signal, Act::Takeover), Ending::refused("busy"));
    let text = golden!("to_worker.json");
    let plain = [ToWorker::Shutdown, ToWorker::Hurry, ToWorker::Retire, ToWorker::Go, ToWorker::Ping, record];
    let all: Vec<_> = [ToWorker::Boot(boot()), ToWorker::Fds(roles)].into_iter().chain(plain).collect();
    holds(text, &all);
    may_grow::<ToWorker>(text, "/0/boot");
    let told = [ToParent::Ready(report()), ToParent::Prepared, ToParent::Released, ToParent::Pong];
    holds(golden!("to_parent.json"), &told);
}

#[test]
fn a_boot_message_of_an_earlier_form_is_read() {
    let read: Vec<ToWorker> = serde_json::from_str(golden!("earlier/to_worker.json")).unwrap();
    assert_eq!(read, [ToWorker::Boot(Boot { deed: None, ..boot() })]);
}

#[test]
fn what_old_and_new_workers_say_to_each_other() {
    let name = || "app:a".parse().unwrap();
    holds(
        golden!("to_heir.json"),
        &[
            ToHeir::Hello { version: 1 },
            ToHeir::Hold(name()),
            ToHeir::Settled,
            ToHeir::Ended(name()),
            ToHeir::Lease { name: name(), timeout_ms: 5000 },
            ToHeir::Socket,
            ToHeir::Control,
        ],
    );
    holds(
        golden!("from_heir.json"),
        &[
            FromHeir::Leased { request_timeout_ms: 60_000, h2c: false },
            FromHeir::Refused(insula_services::LeaseError::Stopped),
            FromHeir::Socket,
            FromHeir::Unreachable("it does not accept".to_owned()),
        ],
    );
}
