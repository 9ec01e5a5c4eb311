//! What a command reads: a file, or standard input as `-`.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Stdin};
use std::path::Path;

use super::failure::{Failure, InputError};

const BUFFER_BYTES: usize = 1 << 18;

pub enum Input {
    File(File),
    Stdin(Stdin),
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::File(file) => file.read(buf),
            Input::Stdin(stdin) => stdin.read(buf),
        }
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Input::File(file) => file.seek(to),
            Input::Stdin(_) => Err(io::ErrorKind::NotSeekable.into()),
        }
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// What is read once is gone: standard input and pipes.
pub fn is_stream(path: &Path) -> bool {
    is_stdin(path) || std::fs::metadata(path).is_ok_and(|about| !about.is_file() && !about.is_dir())
}

/// The input and its length; `None` for standard input, whose end is known when it comes, and for pipes.
pub fn open(path: &Path) -> Result<(BufReader<Input>, Option<u64>), Failure> {
    if is_stdin(path) {
        return Ok((BufReader::with_capacity(BUFFER_BYTES, Input::Stdin(io::stdin())), None));
    }
    let file = File::open(path).map_err(Failure::file(path))?;
    let about = file.metadata().map_err(Failure::file(path))?;
    if about.is_dir() {
        return Err(Failure::input(path, InputError::Directory));
    }
    let len = about.is_file().then_some(about.len());
    Ok((BufReader::with_capacity(BUFFER_BYTES, Input::File(file)), len))
}
