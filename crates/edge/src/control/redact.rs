//! What a tenant is told: everything about its instances, nothing about the host.

use insula_api::{Detail, DiskBound, Problem, Summary, Usages, Why, WhyEvent};

use super::caller::Caller;

/// An answer that says less to a tenant than to an admin.
pub(super) trait ForTenant: Sized {
    /// Without host paths, host ids and process ids.
    fn for_tenant(self) -> Self;

    /// As this caller may see it.
    fn seen_by(self, caller: &Caller) -> Self {
        if caller.is_admin() { self } else { self.for_tenant() }
    }
}

impl ForTenant for Summary {
    fn for_tenant(mut self) -> Self {
        self.status.why = scrub(&self.status.why);
        Self { app_pid: None, ..self }
    }
}

impl ForTenant for Usages {
    fn for_tenant(mut self) -> Self {
        for tenant in &mut self.tenants {
            tenant.disk.bound = tenant.disk.bound.take().map(ForTenant::for_tenant);
        }
        self
    }
}

impl ForTenant for DiskBound {
    fn for_tenant(self) -> Self {
        Self { why: String::new(), ..self }
    }
}

impl ForTenant for Detail {
    fn for_tenant(self) -> Self {
        Self {
            summary: self.summary.for_tenant(),
            command: Vec::new(),
            workdir: None,
            data_dir: None,
            disk_bound: self.disk_bound.map(ForTenant::for_tenant),
            in_force: None,
            notes: Vec::new(),
            mounts: Vec::new(),
            ids: None,
            placement: None,
            processes: None,
            cgroups: Vec::new(),
            ..self
        }
    }
}

impl ForTenant for Why {
    fn for_tenant(mut self) -> Self {
        self.status.why = scrub(&self.status.why);
        self.finding.cause = scrub(&self.finding.cause);
        self.finding.remediation = scrub(&self.finding.remediation);
        let event = |event: WhyEvent| WhyEvent { cause: scrub(&event.cause), ..event };
        self.events = self.events.into_iter().map(event).collect();
        self.text = scrub(&self.text);
        self
    }
}

impl ForTenant for Problem {
    fn for_tenant(self) -> Self {
        Self { cause: scrub(&self.cause), remediation: scrub(&self.remediation), ..self }
    }
}

/// Puts `…` in place of every absolute path, and of every number behind the word `pid`.
fn scrub(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(first) = rest.chars().next() {
        // Neither within a word (`a/b`) nor in a URL (`http://`).
        let begins = before.is_none_or(|b: char| !b.is_alphanumeric() && !matches!(b, ':' | '/' | '}' | '.'));
        let hidden = match first {
            '/' if begins => rest.find(ends_path).unwrap_or(rest.len()),
            '0'..='9' if out.ends_with("pid ") => {
                rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())
            }
            _ => 0,
        };
        if hidden > 0 {
            out.push('…');
            before = Some('…');
            rest = rest.get(hidden..).unwrap_or_default();
        } else {
            out.push(first);
            before = Some(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    out
}

fn ends_path(c: char) -> bool {
    c.is_whitespace() || matches!(c, '`' | '"' | '\'' | ',' | ';' | ':' | ')' | ']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_pids_go_and_words_stay() {
        for (text, told) in [
            ("cannot write to `/home/op/.insula/state.db`: no space", "cannot write to `…`: no space"),
            ("started, pid 4711, at /srv", "started, pid …, at …"),
            (
                "http://alice.notes.localhost:8080/ and 3/4 of a/b",
                "http://alice.notes.localhost:8080/ and 3/4 of a/b",
            ),
            ("fuser /a/b; ls \"/c d\"", "fuser …; ls \"… d\""),
            ("exit status 1, 300 ms", "exit status 1, 300 ms"),
            ("", ""),
        ] {
            assert_eq!(scrub(text), told);
        }
    }
    #[test]
    fn a_tenant_hears_nothing_of_the_kernel_and_the_configuration() {
        let detail = || -> Detail {
            serde_json::from_value(serde_json::json!({
                "name": "notes:alice",
                "status": {
                    "observed": "running", "wanted": "up", "since": "2026-01-01T00:00:00Z", "why": "", "health": null
                },
                "level": "namespace", "app_pid": 12, "restarts": 0, "wakes": 0,
                "usage": { "memory_bytes": null, "cpu_micros": null, "pids": null },
                "url": "http://alice.notes.localhost/", "command": ["app"], "network": "isolated", "limits": {},
                "workdir": "/w", "data_dir": "/d", "mounts": [], "cgroups": ["/sys/fs/cgroup/x"],
                "in_force": {
                    "program": "app", "capabilities": "0", "no_new_privs": true, "filters": 2, "id_map": "0 9 1",
                    "root": "overlay rw", "memory_max": null, "pids_max": null, "namespaces": ["pid"]
                },
                "notes": ["`service.notes.cpu_weight`: 20000 is too much"]
            }))
            .unwrap()
        };
        let (whole, told) = (detail(), detail().for_tenant());
        assert!(whole.in_force.is_some() && whole.notes.len() == 1 && whole.cgroups.len() == 1);
        assert!(told.in_force.is_none() && told.notes.is_empty() && told.cgroups.is_empty(), "{told:?}");
        assert!(told.workdir.is_none() && told.data_dir.is_none() && told.command.is_empty(), "{told:?}");
    }
}
