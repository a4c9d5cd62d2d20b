//! Everything that can be wrong with a configuration. What to do about each stands in [`super::hint`].

use crate::{InvalidCaller, InvalidImage, InvalidName, InvalidNetRule, InvalidUnit, Level};

/// What is wrong at one place of the file.
///
/// Fields hold what the user typed, uncut; messages cut it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The file is not TOML; this includes a key that is given twice.
    #[error("not valid TOML: {0}")]
    Syntax(String),
    /// A key that does not exist here.
    #[error("there is no such key")]
    UnknownKey(KeyAdvice),
    /// A key that must be there.
    #[error("`{0}` is missing")]
    MissingKey(&'static str),
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What would do.
        expected: &'static str,
        /// What is there.
        found: String,
        /// How to write it.
        example: &'static str,
    },
    /// A word that is not among the possible ones.
    #[error("`{word}` is not one of its values")]
    UnknownWord {
        /// The word as typed.
        word: String,
        /// The words that exist.
        known: &'static [&'static str],
        /// The one that was probably meant.
        similar: Option<String>,
    },
    /// A name that cannot be a DNS label.
    #[error(transparent)]
    Name(InvalidName),
    /// Text that is neither a duration nor a size.
    #[error(transparent)]
    Unit(InvalidUnit),
    /// Neither a percentage nor a number of CPUs.
    #[error("`{0}` is not an amount of CPU time")]
    Quota(String),
    /// A value that is too small or too large.
    #[error("{value} is not between {min} and {max}")]
    OutOfRange {
        /// The value as typed.
        value: String,
        /// The smallest value that would do.
        min: String,
        /// The largest value that would do.
        max: String,
    },
    /// A service that is declared under both names of its table.
    #[error("the service `{name}` is declared already, as `[service.{name}]` in line {line}")]
    DeclaredTwice {
        /// The service.
        name: String,
        /// Line of its other table.
        line: usize,
    },
    /// Two keys that say the same thing.
    #[error("it says the same as `{0}`")]
    SaidTwice(&'static str),
    /// A health check of a service that does not speak HTTP/1.1.
    #[error("a health check asks in HTTP/1.1, which a service with `protocol = \"h2c\"` does not speak")]
    HealthOfH2c,
    /// A back-off that begins above its own end.
    #[error("{backoff} is longer than `restart_backoff_max`, which is {max}")]
    BackoffOrder {
        /// The first delay.
        backoff: String,
        /// The longest delay.
        max: String,
    },
    /// A level that is weaker than its floor.
    #[error("`{level}` is weaker than `min_isolation`, which is `{floor}`")]
    BelowFloor {
        /// The level asked for.
        level: Level,
        /// The weakest that would do.
        floor: Level,
    },
    /// Instances or ports of a service that is not declared.
    #[error("no service is called `{name}`")]
    UnknownService {
        /// The name as typed.
        name: String,
        /// The one that was probably meant.
        similar: Option<String>,
    },
    /// A TCP port for an instance that is not declared.
    #[error("instance `{service}:{id}` is not declared")]
    UndeclaredInstance {
        /// The service.
        service: String,
        /// The instance.
        id: String,
    },
    /// The same instance twice in one list.
    #[error("`{0}` is listed twice")]
    ListedTwice(String),
    /// A TCP port that something else in this file has.
    #[error("port {port} already belongs to `{owner}`")]
    PortTaken {
        /// The port.
        port: u16,
        /// Key of its first owner.
        owner: String,
    },
    /// A placeholder that does not exist.
    #[error("`{{{name}}}` is not a placeholder")]
    UnknownPlaceholder {
        /// What stands between the braces.
        name: String,
        /// The one that was probably meant.
        similar: Option<String>,
    },
    /// A variable that the environment does not have.
    #[error("`{0}` is not set in the environment of this program")]
    UnsetVariable(String),
    /// A variable of the environment that is not UTF-8.
    #[error("`{0}` in the environment of this program is not UTF-8")]
    VariableNotText(String),
    /// A brace without its partner.
    #[error("`{0}` stands alone")]
    StrayBrace(String),
    /// A command without a program.
    #[error("it names no program")]
    EmptyCommand,
    /// A command line with a quote that is never closed.
    #[error("a quote in it is never closed")]
    OpenQuote,
    /// A variable that Insula sets itself.
    #[error("Insula sets this variable itself")]
    ReservedEnv(&'static str),
    /// A name that no environment variable can have.
    #[error("an environment variable cannot have this name")]
    EnvName,
    /// A rule of `net` that is none.
    #[error(transparent)]
    Net(InvalidNetRule),
    /// A caller of `reachable_from` that is none.
    #[error(transparent)]
    Caller(InvalidCaller),
    /// Rules for a network that has none.
    #[error("`net` judges what leaves a network of one's own, and this service has the network of the host")]
    NetOfHost,
    /// A block from which no routed network can have an address.
    #[error("`{0}` is not a block of private addresses for routed networks")]
    RoutedRange(String),
    /// A rule that packets cannot be judged by.
    #[error("`{0}` needs a name or a connection, and a routed network has packets")]
    NetOfRouted(String),
    /// A bound for a network that nothing of Insula's carries.
    #[error("what leaves the network of the host is not carried by Insula, so it cannot be bounded")]
    BandwidthOfHost,
    /// A NUL character, which no path, argument or variable can hold.
    #[error("it holds a NUL character")]
    Nul,
    /// A path that only a shell would expand.
    #[error("`{0}` begins with `~`, which only a shell expands")]
    HomePath(String),
    /// Something that is neither the name of an image nor a path.
    #[error(transparent)]
    Image(InvalidImage),
    /// An image at a level that shows the files of the host.
    #[error("an image needs a level with files of its own, and `{0}` shows those of the host")]
    ImageLevel(Level),
    /// An external program that is not declared.
    #[error("no external program is called `{name}`")]
    UnknownExternal {
        /// The name as typed.
        name: String,
        /// The one that was probably meant.
        similar: Option<String>,
    },
    /// Changes that shall stay, to a root that refuses them.
    #[error("with `read_only_root` there is nothing that could stay")]
    KeptReadOnly,
    /// A system call filter at a level that has none.
    #[error("workloads at level `{0}` are behind no system call filter of Insula's")]
    SeccompLevel(Level),
    /// An empty path.
    #[error("the path is empty")]
    EmptyPath,
    /// A mount that is not `source:target`.
    #[error("`{0}` is not of the form `source:target`")]
    MountForm(String),
    /// A place where nothing can be mounted.
    #[error("nothing can be mounted on `{target}`: {why}")]
    MountTarget {
        /// The place.
        target: String,
        /// Why not.
        why: &'static str,
    },
    /// A path that would show tenants the data of each other.
    #[error("`{path}` would show every tenant the data of the others in `{data_dir}`")]
    ShowsData {
        /// The path.
        path: String,
        /// The root of all tenants' data.
        data_dir: String,
    },
    /// A working directory that would show the whole host.
    #[error("as a working directory, `/` would show every tenant the whole host")]
    RootWorkdir,
    /// A data directory that cannot be one.
    #[error("`{path}` cannot hold tenants' data: {why}")]
    DataDir {
        /// The path.
        path: String,
        /// Why not.
        why: &'static str,
    },
    /// A domain that is not a DNS name.
    #[error("`{0}` is not a domain name")]
    Domain(String),
    /// An address block that is not one.
    #[error("`{0}` is not a network address")]
    Cidr(String),
    /// An address with a prefix that does not cover it.
    #[error("`{text}` has bits set beyond its prefix")]
    CidrHostBits {
        /// The text.
        text: String,
        /// The block that the prefix describes.
        block: String,
        /// The block of this address alone.
        single: String,
    },
    /// A path that cannot stand in an HTTP request line.
    #[error("`{0}` is not the path of a URL")]
    UrlPath(String),
    /// Something that is neither a service nor an instance of one.
    #[error("`{0}` is neither a service nor an instance")]
    RouteTarget(String),
    /// An instance of a service that has none of this name.
    #[error("`{0}` is a service of tenants, so none of them answers for all")]
    RouteTenants(String),
    /// A path that belongs to the control side.
    #[error("`{path}` belongs to Insula itself, as everything below `{reserved}` does")]
    ReservedPath {
        /// The path as typed.
        path: String,
        /// What is reserved.
        reserved: &'static str,
    },
    /// A path that the comparison with a request could never meet.
    #[error("`{path}` can never be met: {why}")]
    RoutePath {
        /// The path as typed.
        path: String,
        /// Why not.
        why: &'static str,
    },
    /// A host that leads somewhere already.
    #[error("`{host}` leads to {owner} already")]
    HostTaken {
        /// The host as typed.
        host: String,
        /// Where it leads.
        owner: String,
    },
    /// Something that is not the address of a collector.
    #[error("`{0}` is not an address that data can be sent to")]
    Endpoint(String),
    /// A receiver of alerts that would never be told anything.
    #[error("it names nothing to be told about")]
    NoEvents,
    /// Something that is not a level of logging.
    #[error("`{0}` is not a level")]
    LogLevel(String),
    /// Something that is not a decentralized identifier.
    #[error("`{0}` is not a DID")]
    Did(String),
}

/// What to do about a key that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyAdvice {
    /// It is probably a typing error of this one.
    Similar(String),
    /// It exists in another table.
    BelongsIn(&'static str),
    /// What to do instead.
    Instead(&'static str),
    /// These exist here.
    Known(&'static [&'static str]),
}
