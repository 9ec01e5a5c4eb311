//! `src/net/openapi/openapi.json` is what the code says, and the code has no code of a problem beside it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kyrodb::net::openapi::{self, codes};

const FILE: &str = "src/net/openapi/openapi.json";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn the_file_is_what_the_code_says() {
    let wanted = openapi::text();
    if std::env::var_os("WRITE_OPENAPI").is_some() {
        return fs::write(root().join(FILE), wanted).expect("the file is writable");
    }
    let found = fs::read_to_string(root().join(FILE)).expect("the file is there");
    let line = found.lines().zip(wanted.lines()).position(|(found, wanted)| found != wanted);
    assert!(
        found == wanted,
        "{FILE} is not what the code says (line {}): WRITE_OPENAPI=1 cargo test --test openapi",
        line.map_or(0, |at| at + 1)
    );
}

/// The sources of `net` without tests and without the description itself.
fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("openapi") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).expect("a source");
            found.push_str(text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default());
        }
    }
}

/// Statuses with codes in the sources: `(404, "no_such_record")` or `Problem::new(404, "no_such_record"`, over lines.
fn told(text: &str) -> BTreeSet<(u16, String)> {
    let words: Vec<&str> = text.split(['(', ',']).map(str::trim).collect();
    let code = |word: &str| {
        let name = word.strip_prefix('"')?.split('"').next()?;
        let is_code = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_code.then(|| name.to_owned())
    };
    let pairs = words.windows(2).filter_map(|pair| {
        let status: u16 = pair[0].parse().ok().filter(|status| (400..600).contains(status))?;
        Some((status, code(pair[1])?))
    });
    pairs.collect()
}

#[test]
fn every_code_of_the_sources_is_known_and_every_known_one_is_there() {
    let mut text = String::new();
    sources(&root().join("src/net"), &mut text);
    let told = told(&text);
    assert!(told.len() > 30, "the codes were not found");
    for (status, name) in &told {
        assert!(codes::is_known(*status, name), "openapi/codes.rs does not know {status} {name}");
    }
    for code in codes::CODES {
        assert!(text.contains(&format!("\"{}\"", code.name)), "no source has the code {}", code.name);
    }
}

#[test]
fn every_known_code_is_an_answer_of_an_operation() {
    let beside = ["no_such_route", "method_not_allowed", "line_too_long"];
    for code in codes::CODES.iter().filter(|code| !beside.contains(&code.name)) {
        assert!(openapi::TEXT.contains(&format!("- `{}`: ", code.name)), "{} is answered nowhere", code.name);
    }
}
