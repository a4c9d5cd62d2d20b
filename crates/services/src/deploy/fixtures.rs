//! Versions and weights in few words, for tests.

use std::collections::BTreeMap;

use insula_spec::InstanceId;

pub(super) fn id(text: &str) -> InstanceId {
    text.parse().unwrap()
}

pub(super) fn weights(all: &[(&str, u8)]) -> BTreeMap<InstanceId, u8> {
    all.iter().map(|(text, weight)| (id(text), *weight)).collect()
}
