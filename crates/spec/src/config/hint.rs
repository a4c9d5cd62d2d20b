//! What to do about everything that can be wrong with a configuration.

use super::kind::{KeyAdvice, ProblemKind};
use super::raw::is_old;
use super::template;

impl KeyAdvice {
    fn hint(&self) -> String {
        match self {
            Self::Similar(key) => format!("did you mean `{key}`?"),
            Self::BelongsIn(table) => format!("move it to {table}"),
            Self::Instead(what) => (*what).to_owned(),
            Self::Known(keys) => {
                let present: Vec<_> = keys.iter().copied().filter(|key| !is_old(key, keys)).collect();
                format!("the keys here are {}", present.join(", "))
            }
        }
    }
}

impl ProblemKind {
    /// What to type instead.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownKey(advice) => advice.hint(),
            Self::Name(e) => e.hint().to_owned(),
            Self::Unit(e) => e.hint().to_owned(),
            Self::Image(e) => e.hint().to_owned(),
            Self::Net(e) => e.hint().to_owned(),
            Self::Caller(e) => e.hint().to_owned(),
            Self::WrongType { example, .. } => format!("write it like this: {example}"),
            Self::OutOfRange { min, max, .. } => format!("use a value from {min} to {max}"),
            Self::UnknownWord { similar: Some(word), .. } => format!("did you mean `{word}`?"),
            Self::UnknownWord { known, .. } => format!("use one of {}", known.join(", ")),
            Self::UnknownService { similar: Some(name), .. } => format!("did you mean `{name}`?"),
            Self::UnknownService { name, .. } => format!("declare it with a table `[service.{name}]`"),
            Self::UndeclaredInstance { service, id } => {
                format!("add \"{id}\" to the list of `{service}` in `[instances]`")
            }
            Self::UnknownPlaceholder { similar: Some(name), .. } => format!("did you mean `{{{name}}}`?"),
            Self::UnknownPlaceholder { .. } => placeholders(),
            Self::UnsetVariable(name) => format!(
                "set `{name}` for whoever starts the server (in a unit of systemd: `EnvironmentFile=`), or write \
                 `${{{{{name}}}}}` for the text itself"
            ),
            Self::VariableNotText(name) => format!("give `{name}` another value, in UTF-8"),
            Self::StrayBrace(brace) => format!("write `{brace}{brace}` for the character itself"),
            Self::ReservedEnv(slot) => {
                format!("remove it; to pass the value under another name, use `{{{slot}}}` in that variable")
            }
            Self::UnknownExternal { similar: Some(name), .. } => format!("did you mean \"external:{name}\"?"),
            Self::UnknownExternal { name, .. } => {
                format!("declare it with a table `[levels.external.{name}]`")
            }
            Self::BelowFloor { floor, .. } => {
                format!("set `isolation = \"{floor}\"` or stronger, or lower `min_isolation`")
            }
            Self::RouteTenants(service) => {
                format!(
                    "name one of them, such as \"{service}:alice\", or set `versions = true` in `[service.{service}]`"
                )
            }
            Self::ReservedPath { .. } => {
                "choose another path, or a name of its own in `[routing.host]`".to_owned()
            }
            Self::CidrHostBits { block, single, .. } => format!("write `{block}` or `{single}`"),
            other => other.fixed_hint().to_owned(),
        }
    }

    /// The hints that do not depend on what was typed.
    fn fixed_hint(&self) -> &'static str {
        match self {
            Self::Syntax(_) => {
                "text stands in double quotes, tables in brackets, and a key only once in its table"
            }
            Self::MissingKey("command") => "add command = \"python3 app.py\"",
            Self::MissingKey("path") => "add path = \"/health\"",
            Self::MissingKey("name") => "add name = \"ops\"",
            Self::MissingKey("url") => "add url = \"https://example.org/alerts\"",
            Self::MissingKey("secret_file") => {
                "add secret_file = \"alerts.key\", a file that only its owner may read"
            }
            Self::MissingKey("events") => "add events = [\"failed\", \"unhealthy\"]",
            Self::NoEvents => "name at least one event, such as \"failed\"",
            Self::MissingKey("program") => "add program = \"/usr/local/bin/runner\"",
            Self::MissingKey("walls") => {
                "add walls = \"process\", or another level whose walls shall stand around it"
            }
            Self::MissingKey("source") => "add source = \"/on/host\"",
            Self::MissingKey("target") => "add target = \"/inside\"",
            Self::Quota(_) => "write a percentage of one CPU, \"150%\", or a number of CPUs, 1.5",
            Self::HealthOfH2c => "remove `health`; the instance is ready when it accepts connections",
            Self::BackoffOrder { .. } => "lower `restart_backoff` or raise `restart_backoff_max`",
            Self::RoutedRange(_) => "write one such as 10.213.0.0/16, within 10/8, 172.16/12 or 192.168/16",
            Self::NetOfRouted(_) => {
                "name public addresses or blocks, \"public\" or nothing, or set `network = \"isolated\"`"
            }
            Self::BandwidthOfHost => "remove `bandwidth_limit`, or set `network = \"isolated\"`",
            Self::NetOfHost => "remove `net`, or set `network = \"isolated\"`",
            Self::ListedTwice(_) | Self::SaidTwice(_) => "remove one of the two",
            Self::PortTaken { .. } => "choose another port",
            Self::EmptyCommand => "name the program first: command = \"python3 app.py\"",
            Self::OpenQuote => {
                "close it, or write the words as an array: command = [\"sh\", \"-c\", \"it's\"]"
            }
            Self::EnvName => "use a name that is not empty and has no `=`",
            Self::Nul => "remove the character `\\u0000`",
            Self::HomePath(_) => "write the whole path, such as /home/me/app, or one relative to this file",
            Self::ImageLevel(_) => "set `isolation = \"container\"` or stronger, or remove `image`",
            Self::KeptReadOnly => "remove one of the two",
            Self::SeccompLevel(_) => {
                "set `isolation` to \"namespace\", \"container\" or \"gvisor\", or remove `seccomp`"
            }
            Self::EmptyPath => "write a path, absolute or relative to this file",
            Self::MountForm(_) => {
                "write \"/on/host:/inside\", with `:rw` behind it to allow writes; \
                 for a path with a colon use { source = ..., target = ... }"
            }
            Self::MountTarget { .. } => "choose an absolute path of its own, such as /mnt/shared",
            Self::ShowsData { .. } => "name a directory beside `data_dir`, neither inside nor above it",
            Self::RootWorkdir => "set `workdir` to the folder of the program",
            Self::DataDir { .. } => "name a directory of its own, such as \"./data\"",
            Self::Domain(_) => "use a name such as `localhost` or `apps.example.org`, without port or scheme",
            Self::Cidr(_) => "write an address or a block: 10.0.0.1, 10.0.0.0/8, fd00::/8",
            Self::UrlPath(_) => "begin it with `/`, without spaces and without the host: /health",
            Self::RouteTarget(_) => "write \"service\" or \"service:id\"",
            Self::RoutePath { .. } => {
                "write it like \"/api\": no query, no `//`, no `.` or `..` between slashes"
            }
            Self::HostTaken { .. } => "remove it, or choose another name",
            Self::DeclaredTwice { .. } => "put everything into `[service.NAME]` and remove `[process.NAME]`",
            Self::Endpoint(_) => "write it like http://localhost:4317, without user name and password",
            Self::LogLevel(_) => {
                "use one of off, error, warn, info, debug, trace, or a list such as \"warn,insula_edge=debug\""
            }
            Self::Did(_) => "write it like did:plc:ewvi7nxzyoun6zhxrhs64oiz or did:web:example.org",
            _ => "correct it",
        }
    }
}

/// The placeholders, as a sentence.
fn placeholders() -> String {
    let known: Vec<_> = template::NAMES.iter().map(|name| format!("`{{{name}}}`")).collect();
    format!("use one of {}; write `{{{{` and `}}}}` for braces themselves", known.join(" "))
}
