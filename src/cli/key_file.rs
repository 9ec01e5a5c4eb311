//! Files of keys in SOSD format: a u64 count and that many sorted u64, each once, little-endian.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::failure::{Failure, InputError};
use super::input::Input;

const KEY_BYTES: u64 = 8;

pub struct KeyFile {
    path: PathBuf,
    reader: BufReader<Input>,
    count: u64,
    /// Keys that were given out, and the last of them.
    taken: u64,
    last_key: Option<u64>,
}

impl KeyFile {
    /// Refuses a file that is not as long as its count says.
    pub fn new(path: &Path, reader: BufReader<Input>, len: Option<u64>) -> Result<KeyFile, Failure> {
        let mut file = KeyFile { path: path.to_owned(), reader, count: 0, taken: 0, last_key: None };
        file.count = file.read_u64()?;
        let wanted = file.count.checked_add(1).and_then(|words| words.checked_mul(KEY_BYTES));
        match (wanted, len) {
            (_, None) => Ok(file),
            (Some(wanted), Some(len)) if wanted == len => Ok(file),
            (Some(wanted), Some(len)) if wanted < len => {
                Err(Failure::input(path, InputError::GoesOn { bytes: len - wanted }))
            }
            _ => Err(Failure::input(path, InputError::Truncated)),
        }
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn next_key(&mut self) -> Result<Option<u64>, Failure> {
        if self.taken == self.count {
            return Ok(None);
        }
        self.taken += 1;
        let key = self.read_u64()?;
        match self.last_key.replace(key) {
            Some(before) if before >= key => Err(Failure::Input {
                path: self.path.clone(),
                line: self.taken,
                what: InputError::NotSorted { before, key },
            }),
            _ => Ok(Some(key)),
        }
    }

    /// The key at this place. What comes next is unknown after it.
    pub fn key_at(&mut self, index: u64) -> Result<u64, Failure> {
        self.reader.seek(SeekFrom::Start((1 + index) * KEY_BYTES)).map_err(Failure::file(&self.path))?;
        self.read_u64()
    }

    fn read_u64(&mut self) -> Result<u64, Failure> {
        let mut bytes = [0; KEY_BYTES as usize];
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => Ok(u64::from_le_bytes(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Failure::input(&self.path, InputError::Truncated))
            }
            Err(error) => Err(Failure::file(&self.path)(error)),
        }
    }
}
