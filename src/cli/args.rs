//! The command line as clap reads it: names, defaults and help of every command. No behaviour.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::bench::kv::KvArgs;
use super::bench::rmi::RmiArgs;
use super::bench::vector::{MetricArg, VectorArgs};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed or something wrong was found, 2 usage, 3 not found, \
                          4 conflict, 5 unavailable.";

/// What `--durability` takes.
pub const LEVELS: [&str; 3] = ["fsync", "interval", "memory"];
/// What `--role` takes.
const ROLES: [&str; 3] = ["read", "write", "admin"];
const VALUE_BYTES_MAX: i64 = crate::limits::VALUE_BYTES_MAX as i64;

/// A time to live, as the server takes it.
fn ttl(text: &str) -> Result<String, String> {
    let parsed = crate::net::ttl::expiry(text);
    parsed.map(|_| text.to_owned()).map_err(|what| format!("it {what}, as 30s or 5m"))
}

/// A durable thread-per-core key-value server on io_uring.
#[derive(Debug, Parser)]
#[command(name = "kyrodb", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Format of the data on stdout
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Without one: `serve`
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
    Ndjson,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Store a value under a key
    Put(PutArgs),
    /// Print the value of a key
    Get(KeyArgs),
    /// Delete a key
    Delete(DeleteArgs),
    /// Print a range of keys with their values
    Scan(ScanArgs),
    /// Load a file into a collection, or compare the two
    Import(ImportArgs),
    /// Print a whole collection as NDJSON, in key order
    Export(ExportArgs),
    /// Look into the log of a stopped data directory
    #[command(subcommand)]
    Wal(WalCommand),
    /// Read everything in a stopped data directory and its snapshots, or in backups, and name every damage
    Verify(DirArgs),
    /// Say what a repair of a stopped data directory would do and lose, or do it
    Repair(RepairArgs),
    /// Check or print the server's configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Measure
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Make a data directory of a snapshot or a backup
    Restore(RestoreArgs),
    /// Copy what changed since the last backup, from a running server on this machine
    Backup(BackupArgs),
    /// Examine the machine for what `serve` with the same options would meet
    Doctor(ServeArgs),
    /// Make, list and revoke API keys; a running server takes them up within seconds
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// TOML file with options
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the data is [default: ./kyrodb-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Address and port [default: 127.0.0.1:3030]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Shards, one a core [default: the cores available]
    #[arg(long, value_name = "N")]
    pub shards: Option<String>,
    /// Memory for data [default: 2GiB]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Size of a log segment [default: 8MiB]
    #[arg(long, value_name = "SIZE")]
    pub log_segment_bytes: Option<String>,
    /// When a write is acknowledged by default: fsync, interval or memory [default: fsync]
    #[arg(long, value_name = "LEVEL")]
    pub durability: Option<String>,
    /// At `interval`, at most this much is lost on a power cut [default: 50]
    #[arg(long, value_name = "MS")]
    pub sync_interval_ms: Option<String>,
    /// Time for requests under way when the server is told to stop [default: 5]
    #[arg(long, value_name = "SECONDS")]
    pub drain_seconds: Option<String>,
    /// Read values into memory at a start, the newest first, until the cache is nearly full
    #[arg(long)]
    pub warm_on_start: bool,
    /// What the cores run on: uring, or glommio in a build with that feature [default: uring]
    #[arg(long, value_name = "NAME")]
    pub runtime: Option<String>,
    /// No log line a request
    #[arg(long)]
    pub disable_http_log: bool,
    /// API keys beside those of the data directory
    #[arg(long, value_name = "FILE")]
    pub keys_file: Option<String>,
    /// Speak TLS: the certificate in PEM, with those that vouch for it; read anew when the file changes
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<String>,
    /// The key of the certificate, in PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Take only clients with a certificate of one of these authorities (mutual TLS)
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<String>,
    /// Listen beyond this machine although keys and data travel in plain text
    #[arg(long)]
    pub insecure_plaintext: bool,
    /// Origins whose pages may use the server, with commas between; * is every one
    #[arg(long, value_name = "ORIGINS")]
    pub cors_origins: Option<String>,
    /// Names under which a server without keys is read, beside localhost and addresses; * is every one
    #[arg(long, value_name = "NAMES")]
    pub allowed_hosts: Option<String>,
    /// Requests for data a second that a key, or an address without one, may send [default: 0, no limit]
    #[arg(long, value_name = "N")]
    pub rl_data_rps: Option<String>,
    /// So many of them at once [default: those of a second]
    #[arg(long, value_name = "N")]
    pub rl_data_burst: Option<String>,
    /// The same for requests that steer the server
    #[arg(long, value_name = "N")]
    pub rl_admin_rps: Option<String>,
    #[arg(long, value_name = "N")]
    pub rl_admin_burst: Option<String>,
}

impl ServeArgs {
    /// The options given, by their names in [`super::options::OPTIONS`].
    pub fn flags(&self) -> Vec<(&'static str, String)> {
        let texts = [
            ("data_dir", &self.data_dir),
            ("listen", &self.listen),
            ("shards", &self.shards),
            ("memory", &self.memory),
            ("log_segment_bytes", &self.log_segment_bytes),
            ("durability", &self.durability),
            ("sync_interval_ms", &self.sync_interval_ms),
            ("drain_seconds", &self.drain_seconds),
            ("runtime", &self.runtime),
            ("keys_file", &self.keys_file),
            ("tls_certificate", &self.tls_certificate),
            ("tls_key", &self.tls_key),
            ("tls_client_ca", &self.tls_client_ca),
            ("cors_origins", &self.cors_origins),
            ("allowed_hosts", &self.allowed_hosts),
            ("rl_data_rps", &self.rl_data_rps),
            ("rl_data_burst", &self.rl_data_burst),
            ("rl_admin_rps", &self.rl_admin_rps),
            ("rl_admin_burst", &self.rl_admin_burst),
        ];
        let given = texts.into_iter().filter_map(|(name, text)| text.clone().map(|text| (name, text)));
        let switches = [
            ("disable_http_log", self.disable_http_log),
            ("warm_on_start", self.warm_on_start),
            ("insecure_plaintext", self.insecure_plaintext),
        ];
        let on = switches.into_iter().filter(|(_, on)| *on).map(|(name, _)| (name, "true".to_owned()));
        given.chain(on).collect()
    }
}

/// A server, and what it gets to see.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// The server: http://host:port, or https://
    #[arg(long, env = "KYRODB_URL", default_value = "http://127.0.0.1:3030")]
    pub url: String,
    /// File with the API key to show
    #[arg(long, env = "KYRODB_API_KEY_FILE", value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Whose signatures are believed under https, in PEM; without it, what the machine believes
    #[arg(long, env = "KYRODB_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The certificate to show under https, in PEM, for a server with --tls-client-ca
    #[arg(long, env = "KYRODB_CLIENT_CERTIFICATE", value_name = "FILE", requires = "client_key")]
    pub client_certificate: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, env = "KYRODB_CLIENT_KEY", value_name = "FILE", requires = "client_certificate")]
    pub client_key: Option<PathBuf>,
}

/// Which collection of which server.
#[derive(Debug, Args)]
pub struct TargetArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    #[arg(long, short, default_value = "default")]
    pub collection: String,
}

#[derive(Debug, Args)]
pub struct KeyArgs {
    pub key: String,
    #[command(flatten)]
    pub target: TargetArgs,
}

#[derive(Debug, Args)]
pub struct PutArgs {
    pub key: String,
    /// The value; or give --file
    pub value: Option<String>,
    /// Take the value from a file; - is stdin
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// By default text/plain for an argument, application/octet-stream for a file
    #[arg(long)]
    pub content_type: Option<String>,
    /// Forget the record after this time: 30s, 5m, 1h
    #[arg(long, value_parser = ttl)]
    pub ttl: Option<String>,
    /// Only when the record is at this version
    #[arg(long, value_name = "SEQ", conflicts_with = "if_absent")]
    pub if_seq: Option<u64>,
    /// Only when there is no record
    #[arg(long)]
    pub if_absent: bool,
    /// When the write is acknowledged; the server's default without it
    #[arg(long, value_name = "LEVEL", value_parser = LEVELS)]
    pub durability: Option<String>,
    #[command(flatten)]
    pub target: TargetArgs,
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    pub key: String,
    /// Only when the record is at this version
    #[arg(long, value_name = "SEQ")]
    pub if_seq: Option<u64>,
    #[command(flatten)]
    pub target: TargetArgs,
}

#[derive(Debug, Args)]
pub struct ScanArgs {
    /// First key
    #[arg(long)]
    pub start: Option<String>,
    /// First key that is not wanted any more
    #[arg(long)]
    pub end: Option<String>,
    #[arg(long)]
    pub prefix: Option<String>,
    /// At most so many records
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    /// From the end towards the start
    #[arg(long)]
    pub reverse: bool,
    #[command(flatten)]
    pub target: TargetArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// A line a record: {"key":..,"value":..} or {"id":..,"text":..,"embedding":..,"metadata":..}, or a line of the
    /// bulk route, as the collection has values or documents
    Ndjson,
    /// u64 count, then that many u64, little-endian
    Sosd,
    /// NumPy's array of two dimensions (f4, f2, u1, little-endian): each row the embedding of a document
    Npy,
    /// The same, each row behind its dimension: f32
    Fvecs,
    /// The same with u8
    Bvecs,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The file: JSON lines, .npy, .fvecs, .bvecs or SOSD keys; - is stdin
    pub file: PathBuf,
    /// By default npy, fvecs, bvecs by their names, sosd for *.u64 and *.sosd, else ndjson
    #[arg(long, value_enum)]
    pub format: Option<FileFormat>,
    /// Bytes of the values made for the keys of a sosd file
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(..=VALUE_BYTES_MAX))]
    pub value_bytes: u32,
    /// Only the first N records of the file
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Create the collection when it does not exist, as the file needs it
    #[arg(long, conflicts_with = "verify")]
    pub create: bool,
    /// How embeddings of the collection that is created are compared
    #[arg(long, value_enum, requires = "create")]
    pub metric: Option<MetricArg>,
    /// Read all values back and compare, instead of writing
    #[arg(long)]
    pub verify: bool,
    /// Connections that write or read at a time
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub connections: u16,
    /// When the write is acknowledged; the server's default without it
    #[arg(long, value_name = "LEVEL", value_parser = LEVELS)]
    pub durability: Option<String>,
    #[command(flatten)]
    pub target: TargetArgs,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub target: TargetArgs,
}

#[derive(Debug, Args)]
pub struct DirArgs {
    #[arg(long, env = "KYRODB_DATA_DIR", default_value = "./kyrodb-data", value_name = "DIR")]
    pub data_dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct RepairArgs {
    /// The data directory
    #[arg(env = "KYRODB_DATA_DIR", default_value = "./kyrodb-data", value_name = "DIR")]
    pub dir: PathBuf,
    /// Do it; without, nothing is changed
    #[arg(long)]
    pub apply: bool,
    /// Where the log is damaged, give up what is behind the damage
    #[arg(long)]
    pub cut_log: bool,
    /// Serve older versions of keys whose newest version is lost, instead of hiding them
    #[arg(long)]
    pub keep_older: bool,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// A directory below `snapshots` in a data directory, or one that `backup` made
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: PathBuf,
    /// Where the data goes: an empty directory or a new one
    // Not that of the environment, which is the server's.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Where backups are kept, each in a directory of its own
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    // Its key is an admin's, for everything.
    #[command(flatten)]
    pub server: ServerArgs,
    /// The data directory of that server
    #[arg(long, env = "KYRODB_DATA_DIR", default_value = "./kyrodb-data", value_name = "DIR")]
    pub data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and print it, once
    Create(KeyCreateArgs),
    /// Print the keys that there are, without their secrets
    List(KeyPlaceArgs),
    /// Make a key worthless
    Revoke(KeyRevokeArgs),
}

/// Where keys are.
#[derive(Debug, Args)]
pub struct KeyPlaceArgs {
    /// The data directory of the server, which may be running
    #[arg(long, env = "KYRODB_DATA_DIR", default_value = "./kyrodb-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// A file of keys instead, for --keys-file of a server
    #[arg(long, value_name = "FILE")]
    pub keys_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct KeyCreateArgs {
    /// For people: letters, digits and - _ . @ + : /
    #[arg(long)]
    pub name: String,
    /// What the key may do; each includes those before it
    #[arg(long, value_parser = ROLES)]
    pub role: String,
    /// Only for this collection; may be given several times
    #[arg(long, short, value_name = "COLLECTION")]
    pub collection: Vec<String>,
    #[command(flatten)]
    pub place: KeyPlaceArgs,
}

#[derive(Debug, Args)]
pub struct KeyRevokeArgs {
    /// The id of the key, as `key list` has it
    pub id: String,
    #[command(flatten)]
    pub place: KeyPlaceArgs,
}

#[derive(Debug, Subcommand)]
pub enum WalCommand {
    /// Print every record of the log
    Dump(DirArgs),
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether the options are good; `doctor` looks at what they name
    Check(ServeArgs),
    /// Print every option with its value and where it comes from
    Dump(ServeArgs),
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// YCSB-style load on a running server
    Kv(KvArgs),
    /// Group commit on this disk, beside a bare write+sync loop
    Wal(BenchWalArgs),
    /// The learned index beside other structures, over the keys of a file
    Rmi(RmiArgs),
    /// The vector index over the vectors of a file, from low recall to high
    Vector(VectorArgs),
}

#[derive(Debug, Args)]
pub struct BenchWalArgs {
    /// An empty or new directory on the disk to measure
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub writers: u32,
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1048576))]
    pub record_bytes: u32,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
}

/// An address for a URL's authority.
pub fn resolve(authority: &str) -> std::io::Result<SocketAddr> {
    use std::net::ToSocketAddrs;
    let mut addresses: Vec<SocketAddr> = authority.to_socket_addrs()?.collect();
    // `localhost` may name both families; the server listens on one, IPv4 by default.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.first().copied().ok_or_else(|| std::io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    fn with_all_below(command: &clap::Command) -> Vec<&clap::Command> {
        let below = command.get_subcommands().flat_map(with_all_below);
        std::iter::once(command).chain(below).collect()
    }

    #[test]
    fn the_data_directory_of_the_environment_is_that_of_every_command_with_a_default() {
        let root = Cli::command();
        let arguments = with_all_below(&root).into_iter().flat_map(clap::Command::get_arguments);
        let with_default = arguments.filter(|argument| argument.get_default_values() == ["./kyrodb-data"]);
        let of_environment: Vec<bool> = with_default
            .map(|argument| argument.get_env().is_some_and(|name| name == "KYRODB_DATA_DIR"))
            .collect();
        assert_eq!(of_environment, [true; 7]);
    }

    #[test]
    fn every_flag_of_serve_is_an_option_of_the_table() {
        let cli = Cli::parse_from([
            "kyrodb",
            "serve",
            "--data-dir=d",
            "--listen=l",
            "--shards=1",
            "--memory=m",
            "--log-segment-bytes=s",
            "--durability=f",
            "--sync-interval-ms=1",
            "--drain-seconds=2",
            "--disable-http-log",
            "--warm-on-start",
            "--keys-file=k",
            "--tls-certificate=c",
            "--tls-key=y",
            "--tls-client-ca=a",
            "--insecure-plaintext",
            "--cors-origins=*",
            "--allowed-hosts=*",
            "--rl-data-rps=1",
            "--rl-data-burst=2",
            "--rl-admin-rps=3",
            "--rl-admin-burst=4",
        ]);
        let Some(Command::Serve(serve)) = cli.command else { panic!("not serve") };
        let flags = serve.flags();
        assert_eq!(flags.len(), 21);
        assert!(flags.iter().all(|(name, _)| crate::cli::options::find(name).is_some()), "{flags:?}");
    }

    #[test]
    fn the_help_tells_the_defaults_in_force() {
        const IN_WORDS: [&str; 2] = ["shards", "rl_data_burst"];
        let root = Cli::command();
        let serve = root.find_subcommand("serve").unwrap();
        let told = |argument: &clap::Arg| {
            let help = argument.get_help()?.to_string();
            let (_, default) = help.split_once("[default: ")?;
            Some((argument.get_id().to_string(), default.split([',', ']']).next()?.to_owned()))
        };
        let told: Vec<_> = serve.get_arguments().filter_map(told).collect();
        assert!(told.len() > 8, "{told:?}");
        for (name, default) in told.iter().filter(|(name, _)| !IN_WORDS.contains(&name.as_str())) {
            let option = crate::cli::options::find(name).unwrap();
            assert_eq!(*default, (option.default)(), "{name}");
        }
    }

    #[test]
    fn doctor_takes_what_serve_takes() {
        for (line, wanted) in
            [("kyrodb doctor --data-dir d --shards 2", true), ("kyrodb doctor --scope x", false)]
        {
            assert_eq!(Cli::try_parse_from(line.split(' ')).is_ok(), wanted, "{line}");
        }
    }
}
