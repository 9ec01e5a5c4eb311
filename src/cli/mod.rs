//! The command line: what users and scripts see of KyroDB besides HTTP.
//!
//! Owns: the commands and their options ([`args`]), the layered configuration ([`config`],
//! [`options`]), the HTTP client of the data commands ([`client`], [`bulk`], [`wire`]), the benchmarks
//! ([`bench`]), output and exit codes ([`output`], [`failure`]).
//!
//! Data goes to stdout; progress, logs and errors to stderr. Runs on the main thread and on plain
//! threads of its own: a command waits for one server, not for thousands of clients. Only the load
//! generator and the raw disk loop of [`bench`] run on an executor.
//!
//! Must not know: how the engine does anything. Its doors are in [`engine`].

mod api_key;
mod args;
mod backup;
pub mod bench;
mod bulk;
mod client;
mod compare;
pub mod config;
mod data_dir;
mod described;
mod doctor;
mod document_line;
mod duplex;
mod engine;
mod every;
mod failure;
#[cfg(test)]
mod fake_server;
mod files;
mod freed_memory;
mod import;
mod input;
mod key_file;
mod key_store;
mod key_watch;
mod keys;
mod line_file;
mod logging;
mod options;
mod outline;
mod output;
mod ownership;
mod progress;
mod records;
mod repair;
mod restore;
mod serve;
mod service;
mod settings;
mod size;
mod source;
mod spread;
#[cfg(test)]
mod tests;
mod tls_watch;
mod trust;
mod value_line;
mod values;
mod vector_file;
mod vectors;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use args::{BenchCommand, Cli, Command, ServeArgs, WalCommand};
use failure::Failure;
use output::Output;

/// The whole program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = Output::stdout(cli.output);
    match run(cli.command, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                logging::complain(&failure);
            }
            failure.exit_code()
        }
    }
}

fn run(command: Option<Command>, out: &mut Output) -> Result<(), Failure> {
    match command.unwrap_or_else(|| Command::Serve(ServeArgs::default())) {
        Command::Serve(args) => serve::serve(&settings::of(&args)?.config()),
        Command::Put(args) => records::put(&args, out),
        Command::Get(args) => records::get(&args, out),
        Command::Delete(args) => records::delete(&args, out),
        Command::Scan(args) => records::scan(&args, out),
        Command::Import(args) => import::import(&args, out),
        Command::Export(args) => records::export(&args, out),
        Command::Wal(WalCommand::Dump(args)) => engine::dump_log(&args.data_dir, out),
        Command::Verify(args) => engine::verify(&args.data_dir, out),
        Command::Config(command) => settings::run(&command, out),
        Command::Bench(BenchCommand::Kv(args)) => bench::kv::run(&args, out),
        Command::Bench(BenchCommand::Wal(args)) => bench::wal::command(&args, out),
        Command::Bench(BenchCommand::Rmi(args)) => bench::rmi::run(&args, out),
        Command::Bench(BenchCommand::Vector(args)) => bench::vector::run(&args, out),
        Command::Repair(args) => repair::repair(&args, out),
        Command::Restore(args) => restore::restore(&args, out),
        Command::Backup(args) => backup::backup(&args, out),
        Command::Doctor(args) => doctor::run(&settings::of(&args)?.config(), out),
        Command::Key(command) => keys::run(&command, out),
    }
}
