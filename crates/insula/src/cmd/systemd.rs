//! `insula systemd`: what the service manager needs to know.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use insula_spec::config::Overrides;

use super::config;
use crate::cli::PrintUnitArgs;
use crate::environment;
use crate::exit::Exit;
use crate::home::Home;
use crate::parent::Plan;
use crate::printer::Printer;

/// Home of the system's own installation.
const SYSTEM_HOME: &str = "/var/lib/insula";

/// What the manager adds to the time that a stop may take.
const STOP_MARGIN: Duration = Duration::from_secs(15);

/// Prints a unit for this program and this configuration.
pub(super) fn print_unit(home: Option<&Home>, args: PrintUnitArgs, printer: Printer) -> anyhow::Result<Exit> {
    let (loaded, _text) = config::read(args.config, &environment::file_alone())?;
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let path = std::path::absolute(&loaded.path).context("cannot tell the working directory")?;
    let stop = Plan::of(&loaded, &Overrides::default()).stop_timeout() + STOP_MARGIN;
    let paths = Paths { program: &program, config: &path, home: home.map(Home::path) };
    let unit = if args.user { user_unit(&paths, stop) } else { system_unit(&paths, stop) };
    printer.text(unit.trim_end())?;
    Ok(Exit::Ok)
}

struct Paths<'a> {
    program: &'a Path,
    config: &'a Path,
    /// `None` is the default one.
    home: Option<&'a Path>,
}

fn system_unit(paths: &Paths<'_>, stop: Duration) -> String {
    let home = paths.home.unwrap_or(Path::new(SYSTEM_HOME));
    let environment = format!("Environment={}\n", quoted(&format!("INSULA_HOME={}", home.display())));
    // StateDirectory makes the default home; another one is the operator's to make.
    let state =
        if home == Path::new(SYSTEM_HOME) { "StateDirectory=insula\nStateDirectoryMode=0700\n" } else { "" };
    let service = service(paths, stop, &format!("{environment}{state}{RUNTIME}{HARDENING}"));
    format!("{}{service}\n[Install]\nWantedBy=multi-user.target\n", unit("network-online.target"))
}

fn user_unit(paths: &Paths<'_>, stop: Duration) -> String {
    let environment = paths.home.map_or_else(String::new, |home| {
        format!("Environment={}\n", quoted(&format!("INSULA_HOME={}", home.display())))
    });
    // NoNewPrivileges= would keep newuidmap from giving instances ids of their own; the other walls of the
    // manager need rights that a user does not have.
    let service = service(paths, stop, &environment);
    format!("{}{service}\n[Install]\nWantedBy=default.target\n", unit("default.target"))
}

fn unit(after: &str) -> String {
    let wants =
        if after == "default.target" { String::new() } else { format!("Wants={after}\nAfter={after}\n") };
    format!("[Unit]\nDescription=Insula, a small cloud\n{wants}\n")
}

fn service(paths: &Paths<'_>, stop: Duration, further: &str) -> String {
    let program = quoted(&paths.program.display().to_string());
    let config = quoted(&paths.config.display().to_string());
    format!(
        "[Service]\n\
         Type=notify\n\
         NotifyAccess=main\n\
         ExecStart={program} serve --config {config}\n\
         # A new program or a new configuration, without losing a request.\n\
         ExecReload={program} serve --takeover --config {config}\n\
         Restart=on-failure\n\
         WatchdogSec=30s\n\
         TimeoutStopSec={}s\n\
         # Instances outlive a crash of the server, and `stop` ends them itself.\n\
         KillMode=process\n\
         # Limits of instances are control groups below the unit's own.\n\
         Delegate=yes\n\
         # An instance that passes its memory limit is the server's business.\n\
         OOMPolicy=continue\n\
         LimitNOFILE=1048576\n\
         {further}",
        stop.as_secs()
    )
}

/// Sockets of running instances live below /run/insula.
const RUNTIME: &str = "RuntimeDirectory=insula\nRuntimeDirectoryMode=0755\nRuntimeDirectoryPreserve=yes\n";

/// What the server does not need. Nothing here mounts over /proc: instances could not mount their own.
const HARDENING: &str = "\
# Not here, because instances could not be walled in: ProtectKernelTunables=, ProtectKernelLogs=, ProtectProc=,
# ProcSubset=, ProtectControlGroups=, RestrictNamespaces=, PrivateUsers=.
NoNewPrivileges=yes
ProtectSystem=full
ProtectKernelModules=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
CapabilityBoundingSet=~CAP_SYS_MODULE CAP_SYS_BOOT CAP_SYS_TIME CAP_SYSLOG CAP_WAKE_ALARM CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_LINUX_IMMUTABLE CAP_AUDIT_CONTROL
";

/// A word as systemd.syntax(7) reads it back: `%` and `$` mean something there.
fn quoted(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    if escaped == word && !word.contains(char::is_whitespace) { escaped } else { format!("\"{escaped}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> Paths<'static> {
        Paths { program: Path::new("/usr/bin/insula"), config: Path::new("/etc/insula.toml"), home: None }
    }

    #[test]
    fn both_units_keep_instances_and_neither_hides_proc() {
        let stop = Duration::from_secs(40);
        for unit in [system_unit(&paths(), stop), user_unit(&paths(), stop)] {
            for line in ["KillMode=process", "Delegate=yes", "Type=notify", "TimeoutStopSec=40s"] {
                assert!(unit.lines().any(|l| l == line), "{line} is not in:\n{unit}");
            }
            for key in ["ProtectKernelTunables=", "ProtectKernelLogs=", "ProtectProc=", "ProcSubset="] {
                assert!(!unit.lines().any(|l| l.starts_with(key)), "{key} is in:\n{unit}");
            }
        }
        let user = user_unit(&paths(), stop);
        assert!(!user.contains("\nNoNewPrivileges") && !user.contains("INSULA_HOME"), "{user}");
        assert!(system_unit(&paths(), stop).contains("\nRuntimeDirectoryPreserve=yes\n"));
    }

    #[test]
    fn words_survive_the_syntax() {
        for (word, expected) in [
            ("/usr/bin/insula", "/usr/bin/insula"),
            ("/a b", "\"/a b\""),
            ("/50%", "\"/50%%\""),
            ("/$x", "\"/$$x\""),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
