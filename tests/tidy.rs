//! The rules of the house that a machine can check, each one function.
//!
//! A rule sees every source file as [`Source`]: its path, its text, and its code, which is the text
//! without comments and, where a rule says so, without its tests. Each rule is tried on a planted
//! violation as well, so that none of them can rot into accepting everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

struct Source {
    /// From the root of the repository, with `/`.
    path: String,
    text: String,
    /// Line by line without comments.
    code: Vec<String>,
    /// Lines before the tests at the end of the file.
    code_lines: usize,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let code: Vec<String> = text.lines().map(|line| without_comment(line).to_owned()).collect();
        let tests = code.iter().position(|line| line.trim() == "#[cfg(test)]").filter(|at| {
            code[at + 1..].iter().find(|line| !line.trim().is_empty()).is_some_and(|line| line.ends_with('{'))
        });
        let is_test = path.ends_with("tests.rs") || path.contains("/tests/") || path.ends_with("testing.rs");
        let code_lines = if is_test { 0 } else { tests.unwrap_or(code.len()) };
        Source { path: path.to_owned(), text: text.to_owned(), code, code_lines }
    }

    fn is_under(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }

    /// Places of any of these words in the code, tests left out.
    fn uses(&self, words: &[&str]) -> Vec<String> {
        self.find(words, self.code_lines)
    }

    /// As `uses`, with the tests.
    fn uses_anywhere(&self, words: &[&str]) -> Vec<String> {
        self.find(words, self.code.len())
    }

    fn find(&self, words: &[&str], lines: usize) -> Vec<String> {
        let lines = self.code[..lines].iter().enumerate();
        lines
            .flat_map(|(at, line)| {
                let found = words.iter().filter(move |word| has_word(line, word));
                found.map(move |word| format!("{}:{}: `{word}`", self.path, at + 1))
            })
            .collect()
    }
}

/// A URL has two slashes as well; a string with ` //` in it is cut short, which hides nothing here.
fn without_comment(line: &str) -> &str {
    let trimmed = line.trim_start();
    if trimmed.starts_with("//") {
        return "";
    }
    line.split_once(" //").map_or(line, |(code, _)| code)
}

/// `word` in `line`, not as a part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(is_name);
        let after = line[at + word.len()..].chars().next().is_some_and(is_name);
        !(before && word.starts_with(is_name) || after && word.ends_with(is_name))
    })
}

type Rule = fn(&[Source]) -> Vec<String>;

/// Each rule with what it says when it is broken.
const RULES: [(&str, Rule); 11] = [
    (
        "the runtime is one folder: only src/io/ names io_uring, only its adapter names glommio",
        runtime_in_one_folder,
    ),
    ("pure folders have no clock, randomness, thread-local or randomly seeded map", pure_folders_are_pure),
    ("files, sockets and threads are for the adapters in src/io and for src/cli", system_only_at_the_edge),
    ("layers know only what is below them (design: net -> shard -> io)", layers_point_down),
    ("sources are ASCII", ascii_only),
    ("every file is reachable from lib.rs or main.rs", reachable),
    ("every file begins with what it is: a //! doc", documented),
    ("a file has at most 700 lines", short_files),
    ("nothing is left for later: no macro or mark that stands for missing code", nothing_left_for_later),
    ("a limit that is a plain number has its unit last in the name", limits_have_units),
    ("unsafe code lives in buffers, kernels and the adapters", unsafe_where_needed),
];

fn runtime_in_one_folder(sources: &[Source]) -> Vec<String> {
    let outside =
        sources.iter().filter(|source| source.is_under(&["src/"]) && !source.is_under(&["src/io/"]));
    outside.flat_map(|source| source.uses_anywhere(&["io_uring", "glommio"])).collect()
}

fn pure_folders_are_pure(sources: &[Source]) -> Vec<String> {
    const FOLDERS: [&str; 7] = [
        "src/shard/",
        "src/rmi/",
        "src/vector/",
        "src/replication/",
        "src/io/log/",
        "src/io/manifest/",
        "src/io/sim/",
    ];
    const WORDS: [&str; 8] = [
        "Instant::now",
        "SystemTime",
        "rand",
        "getrandom",
        "thread_local!",
        "HashMap",
        "HashSet",
        "RandomState",
    ];
    let pure = sources.iter().filter(|source| source.is_under(&FOLDERS));
    pure.flat_map(|source| source.uses(&WORDS)).collect()
}

fn system_only_at_the_edge(sources: &[Source]) -> Vec<String> {
    // `std::net` also names addresses, which are plain numbers.
    const WORDS: [&str; 6] =
        ["std::fs", "std::thread", "TcpStream", "TcpListener", "UdpSocket", "UnixStream"];
    let inside = sources.iter().filter(|source| source.is_under(&["src/"]));
    let inside = inside.filter(|source| !source.is_under(&["src/io/uring/", "src/io/glommio/", "src/cli/"]));
    inside.flat_map(|source| source.uses(&WORDS)).collect()
}

fn layers_point_down(sources: &[Source]) -> Vec<String> {
    /// A folder, and what it must not name.
    const FORBIDDEN: [(&str, &[&str]); 6] = [
        (
            "src/io/",
            &[
                "crate::shard",
                "crate::net",
                "crate::rmi",
                "crate::vector",
                "crate::replication",
                "crate::cli",
            ],
        ),
        (
            "src/rmi/",
            &["crate::io::runtime", "crate::io::executor", "crate::shard", "crate::net", "crate::cli"],
        ),
        (
            "src/vector/",
            &["crate::io::runtime", "crate::io::executor", "crate::shard", "crate::net", "crate::cli"],
        ),
        ("src/shard/", &["crate::net", "crate::cli", "crate::replication"]),
        ("src/replication/", &["crate::net", "crate::cli"]),
        ("src/net/", &["crate::io::log", "crate::io::manifest", "crate::shard::run", "crate::cli"]),
    ];
    let broken = |source: &Source| -> Vec<String> {
        let rules = FORBIDDEN.iter().filter(|(folder, _)| source.is_under(&[folder]));
        rules.flat_map(|(_, words)| source.uses(words)).collect()
    };
    sources.iter().flat_map(broken).collect()
}

fn ascii_only(sources: &[Source]) -> Vec<String> {
    let first_other = |source: &Source| {
        let at = source.text.lines().position(|line| !line.is_ascii())?;
        Some(format!("{}:{}", source.path, at + 1))
    };
    sources.iter().filter_map(first_other).collect()
}

fn reachable(sources: &[Source]) -> Vec<String> {
    let modules: BTreeMap<&str, &Source> =
        sources.iter().map(|source| (source.path.as_str(), source)).collect();
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<String> = ["src/lib.rs", "src/main.rs"]
        .iter()
        .filter(|path| modules.contains_key(*path))
        .map(|p| (*p).to_owned())
        .collect();
    while let Some(path) = waiting.pop() {
        if seen.insert(path.clone()) {
            let children = modules[path.as_str()].code.iter().filter_map(|line| declared_module(line));
            let files = children.flat_map(|child| module_files(&path, child));
            waiting.extend(files.filter(|file| modules.contains_key(file.as_str())));
        }
    }
    let inside = sources.iter().filter(|source| source.is_under(&["src/"]));
    inside.filter(|source| !seen.contains(&source.path)).map(|source| source.path.clone()).collect()
}

/// The name in `mod name;`, whatever its visibility.
fn declared_module(line: &str) -> Option<&str> {
    let (before, name) = line.trim().strip_suffix(';')?.rsplit_once("mod ")?;
    let is_declaration = before.is_empty() || before.starts_with("pub");
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (is_declaration && is_name).then_some(name)
}

fn module_files(parent: &str, child: &str) -> [String; 2] {
    let (folder, file) = parent.rsplit_once('/').expect("under src/");
    let folder = match file {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ => format!("{folder}/{}", file.trim_end_matches(".rs")),
    };
    [format!("{folder}/{child}.rs"), format!("{folder}/{child}/mod.rs")]
}

fn documented(sources: &[Source]) -> Vec<String> {
    let silent = sources.iter().filter(|source| !source.text.starts_with("//! "));
    silent.map(|source| source.path.clone()).collect()
}

fn short_files(sources: &[Source]) -> Vec<String> {
    const LINES_MAX: usize = 700;
    let long = sources.iter().filter(|source| source.code.len() > LINES_MAX);
    long.map(|source| format!("{}: {} lines", source.path, source.code.len())).collect()
}

fn nothing_left_for_later(sources: &[Source]) -> Vec<String> {
    // In pieces, or this file would be its own violation.
    let words =
        [concat!("to", "do!"), concat!("unimple", "mented!"), concat!("FIX", "ME"), concat!("XX", "X")];
    let places = |source: &Source| -> Vec<String> {
        let lines = source.text.lines().enumerate();
        let found = lines.filter(|(_, line)| words.iter().any(|word| has_word(line, word)));
        found.map(|(at, _)| format!("{}:{}", source.path, at + 1)).collect()
    };
    sources.iter().flat_map(places).collect()
}

fn limits_have_units(sources: &[Source]) -> Vec<String> {
    const UNITS: [&str; 31] = [
        "BYTES",
        "HITS",
        "DOCUMENTS",
        "VECTORS",
        "CODES",
        "KIB",
        "MIB",
        "GIB",
        "MS",
        "SECONDS",
        "FRAMES",
        "RECORDS",
        "KEYS",
        "LINES",
        "STEPS",
        "ENTRIES",
        "BUFFERS",
        "SHARDS",
        "COLLECTIONS",
        "TABLETS",
        "HEADERS",
        "CONNECTIONS",
        "REQUESTS",
        "WRITES",
        "CALLS",
        "ATTEMPTS",
        "SEGMENTS",
        "RUNS",
        "ROUNDS",
        "VISITS",
        "REFUSALS",
    ];
    let limits = sources.iter().filter(|source| source.path == "src/limits.rs");
    let constants = limits.flat_map(|source| source.code.iter().filter_map(|line| plain_constant(line)));
    let has_unit = |name: &str| {
        let bound =
            ["_MAX", "_MIN", "_DEFAULT"].iter().find_map(|bound| name.strip_suffix(bound)).unwrap_or(name);
        // "so many a shard", "so many in flight": the unit stands before.
        let counted = bound.split("_PER_").next().unwrap_or(bound);
        let counted = ["_IN_FLIGHT", "_AHEAD", "_SPARE"]
            .iter()
            .find_map(|place| counted.strip_suffix(place))
            .unwrap_or(counted);
        counted.rsplit('_').next().is_some_and(|unit| UNITS.contains(&unit))
    };
    constants.filter(|name| !has_unit(name)).map(|name| format!("src/limits.rs: {name}")).collect()
}

/// The name of a constant that is a number. A `Duration` carries its unit itself.
fn plain_constant(line: &str) -> Option<&str> {
    let (name, rest) = line.trim().strip_prefix("pub const ")?.split_once(':')?;
    let kind = rest.split('=').next()?.trim();
    ["u8", "u16", "u32", "u64", "usize"].contains(&kind).then_some(name)
}

fn unsafe_where_needed(sources: &[Source]) -> Vec<String> {
    const HOMES: [&str; 7] = [
        "src/io/uring/",
        "src/io/glommio/",
        "src/io/sim/",
        "src/io/buf.rs",
        "src/io/lease.rs",
        "src/rmi/",
        "src/vector/",
    ];
    let inside = sources.iter().filter(|source| source.is_under(&["src/"]) && !source.is_under(&HOMES));
    inside.flat_map(|source| source.uses(&["unsafe"])).collect()
}

fn broken_rules(sources: &[Source]) -> String {
    let mut report = String::new();
    for (says, rule) in RULES {
        let places = rule(sources);
        if !places.is_empty() {
            report += &format!("\n{says}\n  {}\n", places.join("\n  "));
        }
    }
    report
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a readable folder").path();
        // A package of its own keeps what it built beside its sources.
        if path.is_dir() && path.ends_with("target") {
            continue;
        }
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn repository() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    ["src", "tests", "benches"].iter().for_each(|folder| rust_files(&root.join(folder), &mut files));
    files.sort();
    assert!(files.len() > 20, "the sources were not found");
    let load = |file: &PathBuf| {
        let path = file.strip_prefix(root).expect("under the root").to_str().expect("an ASCII path");
        Source::new(path, &fs::read_to_string(file).expect("a readable source"))
    };
    files.iter().map(load).collect()
}

#[test]
fn the_house_is_in_order() {
    let report = broken_rules(&repository());
    assert!(report.is_empty(), "{report}");
}

#[test]
fn every_rule_catches_a_planted_violation() {
    let long = "//! Long.\n".repeat(701);
    let planted: [(&str, &str, &str); 19] = [
        ("src/net/mod.rs", "use io_uring::IoUring;", "only src/io/ names io_uring"),
        ("src/shard/mod.rs", "fn f() { glommio::spawn(); }", "only src/io/ names io_uring"),
        ("src/shard/mod.rs", "let now = Instant::now();", "pure folders"),
        ("src/rmi/mod.rs", "use std::collections::{BTreeMap, HashMap};", "pure folders"),
        ("src/io/log/mod.rs", "thread_local! {}", "pure folders"),
        ("src/io/sim/mod.rs", "let x: u64 = rand::random();", "pure folders"),
        ("src/shard/mod.rs", "use std::fs;", "files, sockets and threads"),
        ("src/net/mod.rs", "let s = TcpStream::connect(a);", "files, sockets and threads"),
        ("src/io/mod.rs", "use crate::shard::key::Key;", "layers"),
        ("src/net/mod.rs", "use crate::io::log::Record;", "layers"),
        ("src/shard/mod.rs", "use crate::net::Response;", "layers"),
        ("src/net/mod.rs", "let dash = \"\u{2014}\";", "ASCII"),
        ("src/net/stray.rs", "fn f() {}", "reachable"),
        ("src/net/mod.rs", "\u{0}fn undocumented() {}", "//! doc"),
        ("src/net/mod.rs", &long, "700 lines"),
        ("src/net/mod.rs", concat!("fn f() { to", "do!() }"), "left for later"),
        ("src/net/mod.rs", concat!("// FIX", "ME: wrong"), "left for later"),
        ("src/limits.rs", "pub const BODY_SIZE_MAX: usize = 1;", "unit last"),
        ("src/net/mod.rs", "let x = unsafe { *p };", "unsafe code"),
    ];
    for (path, line, wanted) in planted {
        let text = match line.strip_prefix('\u{0}') {
            Some(bare) => bare.to_owned(),
            None => format!("//! A file.\n{line}\n"),
        };
        let report = broken_rules(&house_with(path, &text));
        assert!(report.contains(wanted), "{path} {line:?} was not caught: {report:?}");
    }
}

/// A small house in order, with one file replaced or added.
fn house_with(path: &str, text: &str) -> Vec<Source> {
    let mut files = BTreeMap::from([
        (
            "src/lib.rs",
            "//! Root.\npub mod io;\npub mod limits;\npub mod net;\npub mod rmi;\npub mod shard;\n",
        ),
        ("src/io/mod.rs", "//! Seam.\npub(crate) mod log;\nmod sim;\n"),
        ("src/io/log/mod.rs", "//! Log.\n"),
        ("src/io/sim/mod.rs", "//! Simulator.\n"),
        (
            "src/limits.rs",
            "//! Limits.\npub const BODY_BYTES_MAX: usize = 1;\npub const IDLE: Duration = X;\n",
        ),
        ("src/net/mod.rs", "//! HTTP.\n"),
        ("src/rmi/mod.rs", "//! Index.\n"),
        ("src/shard/mod.rs", "//! Engine.\n"),
    ]);
    assert_eq!(
        broken_rules(&files.iter().map(|(path, text)| Source::new(path, text)).collect::<Vec<_>>()),
        ""
    );
    files.insert(path, text);
    files.iter().map(|(path, text)| Source::new(path, text)).collect()
}

#[test]
fn comments_tests_and_longer_names_are_no_violations() {
    for (path, text) in [
        ("src/shard/mod.rs", "//! As std::fs does, with a HashMap.\nfn f() {} // not Instant::now\n"),
        ("src/shard/mod.rs", "//! X.\nfn operand(rand_like: u64) {}\n"),
        ("src/shard/mod.rs", "//! X.\nfn f() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"),
        ("src/net/mod.rs", "//! X.\nuse std::net::SocketAddr;\n"),
    ] {
        assert_eq!(broken_rules(&house_with(path, text)), "", "{text}");
    }
}
