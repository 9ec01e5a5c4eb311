//! Writes a set of keys in SOSD format: `cargo run --release --example make_keys -- uniform 10000000 FILE`.
//!
//! The same arguments make the same file. `osm_timezones` unpacks the real keys, if they are there.

use std::fs::File;
use std::io::BufWriter;
use std::process::ExitCode;

#[path = "../tests/support/keysets.rs"]
mod keysets;

use keysets::Shape;

const USAGE: &str = "make_keys SHAPE COUNT FILE [SEED=1], or make_keys osm_timezones FILE";

fn keys(arguments: &[&str]) -> Result<(Vec<u64>, String), String> {
    match arguments {
        ["osm_timezones", file] => {
            let keys = keysets::osm_timezones()?.ok_or("the real keys are not there")?;
            Ok((keys, (*file).to_owned()))
        }
        [shape, count, file, seed @ ..] if seed.len() <= 1 => {
            let names = Shape::ALL.map(Shape::name).join(", ");
            let shape = Shape::named(shape).ok_or(format!("no shape {shape}; there are {names}"))?;
            let count = count.replace('_', "").parse().map_err(|_| format!("{count} is no count"))?;
            let seed = seed.first().unwrap_or(&"1").parse().map_err(|_| "the seed is no number")?;
            Ok((shape.keys(count, seed), (*file).to_owned()))
        }
        _ => Err(USAGE.to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let written = keys(&arguments).and_then(|(keys, file)| {
        let mut to = BufWriter::new(File::create(&file).map_err(|error| format!("{file}: {error}"))?);
        keysets::write_sosd(&keys, &mut to).map_err(|error| format!("{file}: {error}"))
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::from(2)
        }
    }
}
