//! `config check`, `config dump`, and the configuration of `serve`.

use serde_json::{Value, json};

use super::args::{ConfigCommand, ServeArgs};
use super::config::Settings;
use super::failure::Failure;
use super::output::Output;

/// The settings in force for these flags, with the file and the environment of this process.
pub fn of(args: &ServeArgs) -> Result<Settings, Failure> {
    Settings::gather(args.config.as_deref(), std::env::vars_os(), args.flags()).map_err(Failure::Config)
}

pub fn run(command: &ConfigCommand, out: &mut Output) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check(args) => check(&of(args)?, out),
        ConfigCommand::Dump(args) => dump(&of(args)?, out),
    }
}

fn check(settings: &Settings, out: &mut Output) -> Result<(), Failure> {
    let without_effect: Vec<&str> = settings.without_effect().map(|setting| setting.option.name).collect();
    for name in &without_effect {
        eprintln!("{name} is accepted and has no effect in this release");
    }
    out.object(&json!({ "ok": true, "without_effect": without_effect }))
}

fn dump(settings: &Settings, out: &mut Output) -> Result<(), Failure> {
    let row = |setting: &super::config::Setting| {
        json!({
            "name": setting.option.name,
            "value": setting.text,
            "origin": setting.origin.to_string(),
            "environment": setting.option.env_name(),
        })
    };
    let rows: Vec<Value> = settings.iter().map(row).collect();
    out.rows(&["name", "value", "origin", "environment"], &rows)
}
