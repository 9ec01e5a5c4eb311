//! The options of the server: names, defaults and bounds, in one table.
//!
//! An option is called the same in the file (`log_segment_bytes`), in the environment
//! (`KYRODB_LOG_SEGMENT_BYTES`) and as a flag (`--log-segment-bytes`). The bounds are those of
//! [`crate::limits`].

use std::fmt;
use std::net::SocketAddr;

use super::size;
use crate::io::buf::BLOCK_BYTES;
use crate::io::world::World;
use crate::limits;
use crate::net::access::cors::Cors;
use crate::net::access::hosts::Hosts;
use crate::shard::record::Durability;

/// What an option's text must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Path,
    Address,
    /// A whole number within bounds, both included.
    Number {
        min: u64,
        max: u64,
    },
    /// As `Number`, written with a unit; a whole multiple of `step`.
    Bytes {
        min: u64,
        max: u64,
        step: u64,
    },
    Switch,
    Durability,
    /// What the cores run on.
    World,
    /// A path, or nothing.
    OptionalPath,
    /// Origins with commas between, or nothing.
    Origins,
    /// Names of hosts with commas between, or nothing.
    Hosts,
}

pub struct OptionSpec {
    pub name: &'static str,
    pub kind: Kind,
    pub default: fn() -> String,
    /// False for a name that is accepted and has no effect in this release.
    pub is_used: bool,
}

const fn option(name: &'static str, kind: Kind, default: fn() -> String) -> OptionSpec {
    OptionSpec { name, kind, default, is_used: true }
}

/// A name kept from the first KyroDB whose feature comes later.
const fn later(name: &'static str, kind: Kind, default: fn() -> String) -> OptionSpec {
    OptionSpec { name, kind, default, is_used: false }
}

const RATE: Kind = Kind::Number { min: 0, max: limits::RATE_REQUESTS_PER_SECOND_MAX };
const BURST: Kind = Kind::Number { min: 0, max: u32::MAX as u64 };
const LOG_SEGMENT: Kind = Kind::Bytes {
    min: limits::LOG_SEGMENT_BYTES_MIN as u64,
    max: limits::LOG_SEGMENT_BYTES_MAX as u64,
    // The log is written past the page cache, in whole blocks of the device.
    step: BLOCK_BYTES as u64,
};

pub static OPTIONS: [OptionSpec; 22] = [
    option("data_dir", Kind::Path, || "./kyrodb-data".to_owned()),
    option("listen", Kind::Address, || "127.0.0.1:3030".to_owned()),
    option("shards", Kind::Number { min: 1, max: limits::SHARDS_MAX as u64 }, || cores().to_string()),
    option("memory", Kind::Bytes { min: limits::MEMORY_BYTES_MIN, max: u64::MAX, step: 1 }, || {
        size::format(limits::MEMORY_BYTES_DEFAULT)
    }),
    option("log_segment_bytes", LOG_SEGMENT, || size::format(limits::LOG_SEGMENT_BYTES_DEFAULT as u64)),
    option("durability", Kind::Durability, || Durability::default().name().to_owned()),
    // Every block is written synced at once, so nothing waits for an interval.
    later("sync_interval_ms", Kind::Number { min: 1, max: limits::SYNC_INTERVAL_MS_MAX }, || {
        limits::SYNC_INTERVAL_MS_DEFAULT.to_string()
    }),
    option("drain_seconds", Kind::Number { min: 0, max: limits::DRAIN_SECONDS_MAX }, || {
        limits::DRAIN_SECONDS_DEFAULT.to_string()
    }),
    option("runtime", Kind::World, || World::default().name().to_owned()),
    option("disable_http_log", Kind::Switch, || "false".to_owned()),
    option("warm_on_start", Kind::Switch, || "false".to_owned()),
    option("keys_file", Kind::OptionalPath, String::new),
    option("tls_certificate", Kind::OptionalPath, String::new),
    option("tls_key", Kind::OptionalPath, String::new),
    option("tls_client_ca", Kind::OptionalPath, String::new),
    option("insecure_plaintext", Kind::Switch, || "false".to_owned()),
    option("cors_origins", Kind::Origins, String::new),
    option("allowed_hosts", Kind::Hosts, String::new),
    option("rl_data_rps", RATE, || "0".to_owned()),
    option("rl_data_burst", BURST, || "0".to_owned()),
    option("rl_admin_rps", RATE, || "0".to_owned()),
    option("rl_admin_burst", BURST, || "0".to_owned()),
];

/// Cores that this process may run on, as far as shards can use them.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(limits::SHARDS_MAX))
}

pub fn find(name: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|option| option.name == name)
}

/// The option that was probably meant.
pub fn suggest(name: &str) -> Option<&'static str> {
    const DISTANCE_MAX: usize = 3;
    OPTIONS
        .iter()
        .map(|option| (strsim::damerau_levenshtein(option.name, name), option.name))
        .filter(|(distance, _)| *distance <= DISTANCE_MAX)
        .min()
        .map(|(_, name)| name)
}

impl OptionSpec {
    pub fn env_name(&self) -> String {
        format!("KYRODB_{}", self.name.to_ascii_uppercase())
    }
}

impl Kind {
    /// Whether the file may have a list, beside a text with commas.
    pub fn takes_list(self) -> bool {
        matches!(self, Kind::Origins | Kind::Hosts)
    }

    pub fn accepts(self, text: &str) -> bool {
        match self {
            Kind::Path => !text.is_empty(),
            Kind::Address => text.parse::<SocketAddr>().is_ok(),
            Kind::Number { min, max } => text.parse().is_ok_and(|number| (min..=max).contains(&number)),
            Kind::Bytes { min, max, step } => {
                let fits = |bytes: u64| (min..=max).contains(&bytes) && bytes.is_multiple_of(step);
                size::parse(text).is_ok_and(fits)
            }
            Kind::Switch => switch(text).is_some(),
            Kind::Durability => Durability::parse(text).is_some(),
            Kind::World => World::parse(text).is_some(),
            Kind::OptionalPath => true,
            Kind::Origins => Cors::parse(text).is_some(),
            Kind::Hosts => Hosts::parse(text).is_some(),
        }
    }
}

pub fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" | "" => Some(false),
        _ => None,
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Path => f.write_str("a path"),
            Kind::Address => f.write_str("an IP address and a port, as 127.0.0.1:3030"),
            Kind::Number { min, max } => write!(f, "a whole number from {min} to {max}"),
            Kind::Bytes { min, max: u64::MAX, .. } => write!(f, "a size of at least {}", size::format(*min)),
            Kind::Bytes { min, max, step: 1 } => {
                write!(f, "a size from {} to {}", size::format(*min), size::format(*max))
            }
            Kind::Bytes { min, max, step } => {
                let [min, max, step] = [min, max, step].map(|bytes| size::format(*bytes));
                write!(f, "a size from {min} to {max}, a multiple of {step}")
            }
            Kind::Switch => f.write_str("true or false"),
            Kind::Durability => f.write_str("fsync, interval or memory"),
            Kind::World => f.write_str(World::WANTED),
            Kind::OptionalPath => f.write_str("a path, or nothing"),
            Kind::Origins => f.write_str("origins as https://example.com with commas between, or *"),
            Kind::Hosts => f.write_str("names of hosts as db.example with commas between, or *"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_accepted() {
        for option in &OPTIONS {
            let default = (option.default)();
            assert!(option.kind.accepts(&default), "{} {default}", option.name);
        }
    }

    #[test]
    fn bounds_hold_at_both_ends() {
        let shards = find("shards").unwrap().kind;
        for (text, wanted) in [("0", false), ("1", true), ("64", true), ("65", false), ("-1", false)] {
            assert_eq!(shards.accepts(text), wanted, "{text}");
        }
        let segment = find("log_segment_bytes").unwrap().kind;
        for (text, wanted) in [("1048575", false), ("1MiB", true), ("1GiB", true), ("1025MiB", false)] {
            assert_eq!(segment.accepts(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_segment_is_whole_blocks() {
        let segment = find("log_segment_bytes").unwrap().kind;
        assert!(segment.accepts("1052672") && !segment.accepts("1234567"));
        assert_eq!(segment.to_string(), "a size from 1MiB to 1GiB, a multiple of 4KiB");
    }

    #[test]
    fn a_near_miss_is_suggested_and_a_stranger_is_not() {
        assert_eq!(suggest("lisen"), Some("listen"));
        assert_eq!(suggest("log_segment_byte"), Some("log_segment_bytes"));
        assert_eq!(suggest("colour_scheme"), None);
    }
}
