//! Sizes in bytes as people write them: `64MiB`, `2GiB`, `4096`.

use std::fmt;

use crate::limits::{GIB, KIB, MIB};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeError;

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size is a whole number of bytes, or one with KiB, MiB or GiB, as 64MiB")
    }
}

impl std::error::Error for SizeError {}

const UNITS: [(&str, u64); 5] =
    [("GiB", GIB as u64), ("MiB", MIB as u64), ("KiB", KIB as u64), ("B", 1), ("", 1)];

/// Bytes of `text`; the unit may be separated by a space and is not case-sensitive.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| SizeError)?;
    let unit = text[digits..].trim_start();
    let (_, factor) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or(SizeError)?;
    number.checked_mul(*factor).ok_or(SizeError)
}

/// The largest unit that gives a whole number.
pub fn format(bytes: u64) -> String {
    match UNITS.iter().find(|(_, factor)| *factor > 1 && bytes > 0 && bytes.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn takes_units_and_plain_bytes() {
        for (text, bytes) in [("0", 0), ("64MiB", 64 << 20), ("2 gib", 2 << 30), ("1KIB", 1024), ("7B", 7)] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for bad in ["", "MiB", "64MB", "-1", "1.5GiB", "18446744073709551615KiB", "1 2", "+1"] {
            assert_eq!(parse(bad), Err(SizeError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bytes in any::<u64>(), shift in 0u32..40) {
            let bytes = bytes >> shift << shift;
            prop_assert_eq!(parse(&format(bytes)), Ok(bytes));
        }
    }
}
