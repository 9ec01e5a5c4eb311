//! The server's configuration: defaults < TOML file < `KYRODB_*` environment < flags.
//!
//! Every value keeps its origin, so that `config dump` and every error can name it. An unknown name is
//! an error with a suggestion, in the file as in the environment.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::options::{self, OPTIONS, OptionSpec};
use super::size;
use super::tls_watch::TlsFiles;
use crate::io::world::World;
use crate::net::access::cors::Cors;
use crate::net::access::hosts::Hosts;
use crate::net::access::limiter::{Rate, Rates};
use crate::shard::record::Durability;

/// What the server runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub shards: usize,
    pub memory_bytes: u64,
    pub log_segment_bytes: usize,
    pub durability: Durability,
    pub sync_interval: Duration,
    pub drain: Duration,
    pub runtime: World,
    pub disable_http_log: bool,
    pub warm_on_start: bool,
    /// Keys beside those of the data directory.
    pub keys_file: Option<PathBuf>,
    /// Certificate and key, when the port speaks TLS.
    pub tls: Option<TlsFiles>,
    pub insecure_plaintext: bool,
    pub cors: Cors,
    pub hosts: Hosts,
    pub rates: Rates,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Environment(String),
    Flag,
}

/// One option's text in force, and where it comes from.
pub struct Setting {
    pub option: &'static OptionSpec,
    pub text: String,
    pub origin: Origin,
}

/// All options, in the order of [`OPTIONS`]. Invariant: every text is one that its option accepts.
pub struct Settings {
    settings: Vec<Setting>,
}

#[derive(Debug)]
pub enum ConfigError {
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    Syntax {
        path: PathBuf,
        source: Box<toml::de::Error>,
    },
    UnknownName {
        name: String,
        origin: Origin,
        suggestion: Option<String>,
    },
    /// A table, a list or a date where one value belongs.
    NotOneValue {
        name: String,
        origin: Origin,
    },
    /// An option that means nothing without another.
    Alone {
        name: &'static str,
        needs: &'static str,
    },
    OutOfBounds {
        name: &'static str,
        text: String,
        origin: Origin,
        wanted: options::Kind,
    },
}

const ENV_PREFIX: &str = "KYRODB_";
const ENV_CONFIG: &str = "KYRODB_CONFIG";
/// Which server the commands ask, and how; no options of the server itself.
const ENV_OF_CLIENTS: [&str; 5] =
    ["KYRODB_URL", "KYRODB_API_KEY_FILE", "KYRODB_CA_FILE", "KYRODB_CLIENT_CERTIFICATE", "KYRODB_CLIENT_KEY"];

impl Settings {
    /// `file` is the one named by a flag; without it `KYRODB_CONFIG` may name one. `flags` are names
    /// of [`OPTIONS`] with the texts given.
    pub fn gather(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        flags: Vec<(&'static str, String)>,
    ) -> Result<Settings, ConfigError> {
        let env = kyrodb_variables(env);
        let named = env.iter().find(|(name, _)| name == ENV_CONFIG).map(|(_, text)| PathBuf::from(text));
        let file = file.map(Path::to_owned).or(named);
        let mut settings = Settings::defaults();
        if let Some(path) = &file {
            settings.apply_file(path)?;
        }
        settings.apply_env(&env)?;
        for (name, text) in flags {
            settings.set(name, text, Origin::Flag)?;
        }
        settings.check()
    }

    fn defaults() -> Settings {
        let setting = |option| Setting { option, text: (option.default)(), origin: Origin::Default };
        Settings { settings: OPTIONS.iter().map(setting).collect() }
    }

    fn apply_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let table: toml::Table = text
            .parse()
            .map_err(|source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) })?;
        for (name, value) in table {
            let origin = Origin::File(path.to_owned());
            let takes_list = options::find(&name).is_some_and(|option| option.kind.takes_list());
            let text = if takes_list { list_text(&value) } else { scalar_text(&value) };
            match text {
                Some(text) => self.set(&name, text, origin)?,
                None if options::find(&name).is_none() => return Err(unknown(&name, origin)),
                None => return Err(ConfigError::NotOneValue { name, origin }),
            }
        }
        Ok(())
    }

    fn apply_env(&mut self, env: &[(String, String)]) -> Result<(), ConfigError> {
        let is_other =
            |name: &str| name == ENV_CONFIG || ENV_OF_CLIENTS.contains(&name) || is_from_kubernetes(name);
        for (name, text) in env.iter().filter(|(name, _)| !is_other(name)) {
            let option = name[ENV_PREFIX.len()..].to_ascii_lowercase();
            self.set(&option, text.clone(), Origin::Environment(name.clone()))?;
        }
        Ok(())
    }

    fn set(&mut self, name: &str, text: String, origin: Origin) -> Result<(), ConfigError> {
        let Some(setting) = self.settings.iter_mut().find(|setting| setting.option.name == name) else {
            return Err(unknown(name, origin));
        };
        let OptionSpec { name, kind, .. } = *setting.option;
        if !kind.accepts(&text) {
            return Err(ConfigError::OutOfBounds { name, text, origin, wanted: kind });
        }
        (setting.text, setting.origin) = (text, origin);
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter()
    }

    /// Settings that somebody made and that have no effect in this release.
    pub fn without_effect(&self) -> impl Iterator<Item = &Setting> {
        self.iter().filter(|setting| !setting.option.is_used && setting.origin != Origin::Default)
    }

    fn text(&self, name: &str) -> &str {
        let setting = self.iter().find(|setting| setting.option.name == name);
        &setting.expect("a name of the table").text
    }

    fn number(&self, name: &str) -> u64 {
        size::parse(self.text(name)).expect("checked when it was set")
    }

    fn switch(&self, name: &str) -> bool {
        options::switch(self.text(name)).expect("checked when it was set")
    }

    pub fn config(&self) -> Config {
        Config {
            data_dir: self.text("data_dir").into(),
            listen: self.text("listen").parse().expect("checked when it was set"),
            shards: self.number("shards") as usize,
            memory_bytes: self.number("memory"),
            log_segment_bytes: self.number("log_segment_bytes") as usize,
            durability: Durability::parse(self.text("durability")).expect("checked when it was set"),
            sync_interval: Duration::from_millis(self.number("sync_interval_ms")),
            drain: Duration::from_secs(self.number("drain_seconds")),
            runtime: World::parse(self.text("runtime")).expect("checked when it was set"),
            disable_http_log: self.switch("disable_http_log"),
            warm_on_start: self.switch("warm_on_start"),
            keys_file: self.path("keys_file"),
            tls: self.tls(),
            insecure_plaintext: self.switch("insecure_plaintext"),
            cors: Cors::parse(self.text("cors_origins")).expect("checked when it was set"),
            hosts: Hosts::parse(self.text("allowed_hosts")).expect("checked when it was set"),
            rates: Rates {
                data: self.rate("rl_data_rps", "rl_data_burst"),
                admin: self.rate("rl_admin_rps", "rl_admin_burst"),
            },
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.text(name)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// `None` without a certificate; the rest means nothing then, and [`Settings::check`] says so.
    fn tls(&self) -> Option<TlsFiles> {
        let (certificate, key) = (self.path("tls_certificate")?, self.path("tls_key")?);
        Some(TlsFiles { certificate, key, client_ca: self.path("tls_client_ca") })
    }

    /// Options that need one another.
    fn check(self) -> Result<Settings, ConfigError> {
        let given = |name| self.path(name).is_some();
        for (name, needs) in [
            ("tls_certificate", "tls_key"),
            ("tls_key", "tls_certificate"),
            ("tls_client_ca", "tls_certificate"),
        ] {
            if given(name) && !given(needs) {
                return Err(ConfigError::Alone { name, needs });
            }
        }
        Ok(self)
    }

    fn rate(&self, per_second: &str, burst: &str) -> Option<Rate> {
        // Both are bounded below this.
        let number = |name| u32::try_from(self.number(name)).unwrap_or(u32::MAX);
        Rate::new(number(per_second), number(burst))
    }
}

fn kyrodb_variables(env: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<(String, String)> {
    env.into_iter()
        .map(|(name, text)| (name.to_string_lossy().into_owned(), text.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(ENV_PREFIX))
        .collect()
}

/// Kubernetes sets these in every pod beside a service that is called `kyrodb`.
fn is_from_kubernetes(name: &str) -> bool {
    name == "KYRODB_PORT" || name.starts_with("KYRODB_PORT_") || name.starts_with("KYRODB_SERVICE_")
}

fn scalar_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    }
}

/// Texts with commas between.
fn list_text(value: &toml::Value) -> Option<String> {
    let Some(list) = value.as_array() else { return scalar_text(value) };
    let texts: Option<Vec<&str>> = list.iter().map(toml::Value::as_str).collect();
    texts.map(|texts| texts.join(","))
}

fn unknown(name: &str, origin: Origin) -> ConfigError {
    let in_env = matches!(origin, Origin::Environment(_));
    let spell = |name: &str| {
        if in_env { format!("{ENV_PREFIX}{}", name.to_ascii_uppercase()) } else { name.to_owned() }
    };
    let suggestion = options::suggest(name).map(spell);
    ConfigError::UnknownName { name: spell(name), origin, suggestion }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => path.display().fmt(f),
            Origin::Environment(name) => f.write_str(name),
            Origin::Flag => f.write_str("flag"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { path, source } => write!(f, "{}: {source}", path.display()),
            ConfigError::Syntax { path, source } => write!(f, "{}: {source}", path.display()),
            ConfigError::UnknownName { name, origin, suggestion } => {
                match origin {
                    Origin::Environment(_) => write!(f, "{name} in the environment is no option")?,
                    _ => write!(f, "{origin}: `{name}` is no option")?,
                }
                match suggestion {
                    Some(suggestion) => write!(f, "; did you mean `{suggestion}`?"),
                    None => f.write_str("; `kyrodb config dump` lists them"),
                }
            }
            ConfigError::NotOneValue { name, origin } => write!(f, "{origin}: `{name}` takes one value"),
            ConfigError::Alone { name, needs } => write!(f, "`{name}` needs `{needs}`"),
            ConfigError::OutOfBounds { name, text, origin, wanted } => {
                write!(f, "{name} = {text:?} ({origin}): wanted is {wanted}")?;
                match (wanted, size::parse(text)) {
                    (options::Kind::Bytes { .. }, Err(error)) => write!(f, "; {error}"),
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(
        file: &str,
        env: &[(&str, &str)],
        flags: &[(&'static str, &str)],
    ) -> Result<Settings, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kyrodb.toml");
        fs::write(&path, file).unwrap();
        let env = env.iter().map(|(name, text)| (OsString::from(name), OsString::from(text)));
        let flags = flags.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        Settings::gather(Some(&path), env, flags)
    }

    fn error(file: &str, env: &[(&str, &str)], flags: &[(&'static str, &str)]) -> String {
        gather(file, env, flags).err().expect("an error").to_string()
    }

    #[test]
    fn the_later_layer_wins_and_every_value_tells_its_origin() {
        let file = "shards = 3\nmemory = \"1GiB\"\nlog_segment_bytes = 2097152\n";
        let env = [("KYRODB_MEMORY", "3GiB"), ("KYRODB_LISTEN", "127.0.0.1:1"), ("PATH", "/bin")];
        let settings = gather(file, &env, &[("listen", "127.0.0.1:2")]).unwrap();
        let config = settings.config();
        assert_eq!((config.shards, config.memory_bytes, config.log_segment_bytes), (3, 3 << 30, 2 << 20));
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.durability, Durability::Fsync);
        let origin = |name| &settings.iter().find(|setting| setting.option.name == name).unwrap().origin;
        assert!(matches!(origin("shards"), Origin::File(_)));
        assert_eq!(origin("memory"), &Origin::Environment("KYRODB_MEMORY".to_owned()));
        assert_eq!(origin("listen"), &Origin::Flag);
        assert_eq!(origin("data_dir"), &Origin::Default);
    }

    #[test]
    fn an_unknown_name_is_an_error_with_a_suggestion() {
        assert!(error("shard = 3", &[], &[]).ends_with("`shard` is no option; did you mean `shards`?"));
        assert!(error("[server]\nport = 3", &[], &[]).contains("`server` is no option"));
        let text = error("", &[("KYRODB_LISTNE", "x")], &[]);
        assert_eq!(text, "KYRODB_LISTNE in the environment is no option; did you mean `KYRODB_LISTEN`?");
    }

    #[test]
    fn a_bad_value_names_option_value_origin_and_bound() {
        let text = error("", &[], &[("shards", "65")]);
        assert_eq!(text, "shards = \"65\" (flag): wanted is a whole number from 1 to 64");
        assert!(error("", &[("KYRODB_DURABILITY", "sometimes")], &[]).contains("KYRODB_DURABILITY"));
        for no_size in ["1GB", "1.5GiB", "lots"] {
            let text = error(&format!("memory = '{no_size}'"), &[], &[]);
            assert!(
                text.contains("a size of at least 64MiB; a size is a whole number of bytes, or"),
                "{text}"
            );
        }
        assert!(error("memory = '1MiB'", &[], &[]).ends_with("a size of at least 64MiB"));
        assert!(error("shards = [1]", &[], &[]).contains("takes one value"));
        assert!(error("shards = ", &[], &[]).contains("kyrodb.toml"));
    }

    #[test]
    fn origins_and_hosts_are_a_text_or_a_list() {
        let wanted = Cors::parse("https://a,https://b");
        for file in ["cors_origins = 'https://a, https://b'", "cors_origins = ['https://a', 'https://b']"] {
            assert_eq!(Some(gather(file, &[], &[]).unwrap().config().cors), wanted, "{file}");
        }
        assert!(error("cors_origins = [1]", &[], &[]).contains("takes one value"));
        assert!(error("cors_origins = 'a.example'", &[], &[]).contains("wanted is origins as"));
        let hosts = gather("allowed_hosts = ['db.example', 'x']", &[], &[]).unwrap().config().hosts;
        assert_eq!(Some(hosts), Hosts::parse("db.example,x"));
        assert!(error("allowed_hosts = 'a:1'", &[], &[]).contains("wanted is names of hosts"));
        assert!(error("keys_file = ['a']", &[], &[]).contains("takes one value"));
    }

    #[test]
    fn a_certificate_goes_with_its_key() {
        let all = "tls_certificate = 'a.pem'\ntls_key = 'a.key'\ntls_client_ca = 'ca.pem'";
        let tls = gather(all, &[], &[]).unwrap().config().tls.expect("TLS");
        assert_eq!((tls.key, tls.client_ca), (PathBuf::from("a.key"), Some(PathBuf::from("ca.pem"))));
        assert_eq!(gather("", &[], &[]).unwrap().config().tls, None);
        assert_eq!(error("tls_certificate = 'a.pem'", &[], &[]), "`tls_certificate` needs `tls_key`");
        assert_eq!(error("", &[("KYRODB_TLS_KEY", "a")], &[]), "`tls_key` needs `tls_certificate`");
        assert_eq!(error("", &[], &[("tls_client_ca", "a")]), "`tls_client_ca` needs `tls_certificate`");
    }

    #[test]
    fn names_of_the_first_release_are_taken_and_reported_as_without_effect() {
        let env = [
            ("KYRODB_WARM_ON_START", "1"),
            ("KYRODB_RL_DATA_RPS", "100"),
            ("KYRODB_RL_ADMIN_RPS", "10"),
            ("KYRODB_RL_ADMIN_BURST", "25"),
            ("KYRODB_SYNC_INTERVAL_MS", "5"),
            ("KYRODB_DISABLE_HTTP_LOG", "1"),
            ("KYRODB_API_KEY_FILE", "key"),
            ("KYRODB_URL", "http://127.0.0.1:4040"),
            ("KYRODB_CA_FILE", "ca.pem"),
            ("KYRODB_CLIENT_CERTIFICATE", "client.pem"),
            ("KYRODB_CLIENT_KEY", "client.key"),
            ("KYRODB_SERVICE_HOST", "10.0.0.1"),
            ("KYRODB_PORT_3030_TCP", "tcp://10.0.0.1:3030"),
        ];
        let settings = gather("", &env, &[]).unwrap();
        let idle: Vec<_> = settings.without_effect().map(|setting| setting.option.name).collect();
        assert_eq!(idle, ["sync_interval_ms"]);
        let rates = Rates { data: Rate::new(100, 100), admin: Rate::new(10, 25) };
        assert_eq!(settings.config().rates, rates);
        assert!(settings.config().disable_http_log && settings.config().warm_on_start);
    }
}
