//! Listeners that a service manager opened: socket activation, as sd_listen_fds(3) says.
//!
//! | `FileDescriptorName=` | what it is |
//! |---|---|
//! | `http`, the socket unit's own name, or none | the public proxy, any number of sockets |
//! | `SERVICE.ID` | the raw TCP port of that instance |
//!
//! What is given is used instead of `settings.port` and `listen_tcp`; what is not given is opened as usual.

use std::net::TcpListener;
use std::os::fd::OwnedFd;

use insula_linux::inherited;
use insula_spec::InstanceName;
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::plan::Plan;

/// Why a descriptor that was given is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActivationError {
    /// A variable does not say what it should.
    #[error("`{variable}={text}` is not a number of descriptors")]
    Count {
        /// Its name.
        variable: &'static str,
        /// What it says.
        text: String,
    },
    /// There are not as many names as descriptors.
    #[error("`LISTEN_FDNAMES` names {names} descriptors, `LISTEN_FDS` says {fds}")]
    Names {
        /// How many names.
        names: usize,
        /// How many descriptors.
        fds: usize,
    },
    /// It cannot be taken.
    #[error("cannot take descriptor {at} from the service manager")]
    Take {
        /// Its number.
        at: i32,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is of another kind.
    #[error("the socket `{name}` from the service manager is not a listening TCP socket")]
    Kind {
        /// Its name.
        name: String,
    },
    /// Nobody knows what it is for.
    #[error("the socket `{name}` from the service manager is for nothing in the configuration")]
    Unknown {
        /// Its name.
        name: String,
    },
}

impl ActivationError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Count { .. } | Self::Names { .. } | Self::Take { .. } => {
                "let the service manager set these variables, or unset them".to_owned()
            }
            Self::Kind { .. } => "use `ListenStream=` with a port in the socket unit".to_owned(),
            Self::Unknown { .. } => {
                "name it `http`, or `SERVICE.ID` of an instance with `listen_tcp` (`FileDescriptorName=`)"
                    .to_owned()
            }
        }
    }
}

/// What was given.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// For the public proxy.
    pub(crate) http: Vec<TcpListener>,
    /// For instances.
    pub(crate) tcp: Vec<(InstanceName, u16, TcpListener)>,
}

/// Takes what the environment of this process says was given. To be called once, before anything is opened.
pub(crate) fn take(plan: &Plan) -> Result<Given, ActivationError> {
    let variable = |name| std::env::var(name).ok();
    let mine = variable("LISTEN_PID").is_some_and(|pid| pid == std::process::id().to_string());
    let Some(text) = variable("LISTEN_FDS").filter(|_| mine) else { return Ok(Given::default()) };
    let count: i32 = match text.parse() {
        Ok(count @ 0..=1024) => count,
        _ => return Err(ActivationError::Count { variable: "LISTEN_FDS", text }),
    };
    let fds: Vec<_> = (0..count)
        .map(|n| {
            let at = inherited::FIRST + n;
            inherited::take(at).map_err(|source| ActivationError::Take { at, source })
        })
        .collect::<Result<_, _>>()?;
    let names = names(variable("LISTEN_FDNAMES").as_deref(), fds.len())?;
    sort(names.into_iter().zip(fds), plan)
}

fn names(text: Option<&str>, fds: usize) -> Result<Vec<String>, ActivationError> {
    let Some(text) = text else { return Ok(vec!["http".to_owned(); fds]) };
    let names: Vec<_> = text.split(':').map(str::to_owned).collect();
    if names.len() == fds { Ok(names) } else { Err(ActivationError::Names { names: names.len(), fds }) }
}

fn sort(fds: impl Iterator<Item = (String, OwnedFd)>, plan: &Plan) -> Result<Given, ActivationError> {
    let mut given = Given::default();
    for (name, fd) in fds {
        if !listens(&fd) {
            return Err(ActivationError::Kind { name });
        }
        let listener = TcpListener::from(fd);
        let is = |known: &InstanceName| name == format!("{}.{}", known.service, known.id);
        if matches!(name.as_str(), "http" | "unknown" | "stored") || name.ends_with(".socket") {
            given.http.push(listener);
        } else if let Some((known, _)) = plan.tcp.iter().find(|(known, _)| is(known)) {
            let port = listener.local_addr().map(|a| a.port());
            let port = port.map_err(|_| ActivationError::Kind { name: name.clone() })?;
            given.tcp.push((known.clone(), port, listener));
        } else {
            return Err(ActivationError::Unknown { name });
        }
    }
    Ok(given)
}

fn listens(fd: &OwnedFd) -> bool {
    let tcp = matches!(sockopt::socket_domain(fd), Ok(AddressFamily::INET | AddressFamily::INET6));
    tcp && sockopt::socket_type(fd) == Ok(SocketType::STREAM) && sockopt::socket_acceptconn(fd) == Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(tcp: &[(&str, u16)]) -> Plan {
        let tcp = tcp.iter().map(|(name, port)| (name.parse().unwrap(), *port)).collect();
        Plan {
            path: "/c".into(),
            above: crate::parent::plan::Above::default(),
            data_dir: "/d".into(),
            insecure_api: false,
            domain: "localhost".into(),
            port: 8080,
            tcp,
            stop_timeout_ms: 0,
        }
    }

    fn listener() -> (u16, OwnedFd) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (listener.local_addr().unwrap().port(), listener.into())
    }

    #[test]
    fn sockets_are_told_apart_by_name() {
        let ((port, cache), (_, web), (_, other)) = (listener(), listener(), listener());
        let fds = [("cache.alice", cache), ("http", web), ("insula.socket", other)];
        let fds = fds.map(|(name, fd)| (name.to_owned(), fd)).into_iter();
        let given = sort(fds, &plan(&[("cache:alice", 7000)])).unwrap();
        assert_eq!(given.http.len(), 2);
        assert_eq!((given.tcp[0].0.to_string(), given.tcp[0].1), ("cache:alice".to_owned(), port));
    }

    #[test]
    fn what_is_for_nothing_is_named() {
        let one = |name: &str, fd| sort([(name.to_owned(), fd)].into_iter(), &plan(&[])).unwrap_err();
        assert!(
            matches!(one("cache.alice", listener().1), ActivationError::Unknown { name } if name == "cache.alice")
        );
        let connected =
            std::net::TcpStream::connect(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        assert!(matches!(one("http", connected.unwrap().into()), ActivationError::Kind { .. }));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(one("http", file.into()), ActivationError::Kind { .. }));
        assert!(matches!(names(Some("a:b"), 1), Err(ActivationError::Names { names: 2, fds: 1 })));
    }
}
