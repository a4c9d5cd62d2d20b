//! What an instance costs in memory.

use std::path::Path;
use std::sync::Arc;

use insula_isolation::Registry;
use insula_spec::{Config, InstanceName};
use insula_store::{Store, Wanted};

use super::{Keeper, inbox};
use crate::directory::Entry;
use crate::shared::{Shared, Site};
use crate::status::{Observed, Status};

#[tokio::test]
async fn a_sleeping_instance_is_one_small_entry_and_a_running_one_a_small_task() {
    let entry = size_of::<Entry>() + size_of::<InstanceName>();
    assert!(entry <= 512, "an entry takes {entry} bytes");
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("insula.db")).await.unwrap();
    let text = "[service.notes]\ncommand = \"app\"\n";
    let config = Arc::new(Config::parse(text, Path::new("/tmp/insula.toml")).unwrap());
    let shared = Shared::new(config, Registry::new(Vec::new()), store);
    let name: InstanceName = "notes:alice".parse().unwrap();
    let spec = shared.spec(&name.service).unwrap();
    let status = Status::now(Observed::Asleep, Wanted::Asleep, None);
    let (_sender, receiver) = inbox(spec.hold_queue);
    let seat = shared.census.count(&name.service);
    let task = size_of_val(&Keeper::new(Site { shared, spec, name }, receiver, seat, &status).run());
    assert!(task <= 4096, "a keeper takes {task} bytes");
}
