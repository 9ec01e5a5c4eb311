//! Points in time: RFC 3339 text to milliseconds since 1970 in UTC, as i64.
//!
//! Written here rather than taken from a crate of calendars and time zones: the grammar is fixed and small, an
//! offset needs no table of zones, and it must be total over any text.
//!
//! Accepted: `2024-02-29T23:59:60.123456Z`, with `t`, `z` or a space in their places as RFC 3339 allows, with an
//! offset `+hh:mm` in the place of `Z`. What is finer than a millisecond is cut off. A leap second counts as the
//! last millisecond of its minute's 59th second, as POSIX clocks have no place for it.

const MS_PER_DAY: i64 = 86_400_000;

/// `None` when the text is not RFC 3339 or no such day or time exists.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let mut rest = text.as_bytes();
    let (year, month, day) = date(&mut rest)?;
    let (t, time) = rest.split_first()?;
    rest = time;
    let of_day = match t {
        b'T' | b't' | b' ' => time_of_day(&mut rest)?,
        _ => return None,
    };
    let offset = offset(&mut rest)?;
    rest.is_empty().then(|| days_since_1970(year, month, day) * MS_PER_DAY + of_day - offset)
}

fn date(rest: &mut &[u8]) -> Option<(i64, i64, i64)> {
    let year = digits(rest, 4)?;
    take(rest, b'-')?;
    let month = digits(rest, 2)?;
    take(rest, b'-')?;
    let day = digits(rest, 2)?;
    let exists = (1..=12).contains(&month) && (1..=days_of_month(year, month)).contains(&day);
    exists.then_some((year, month, day))
}

/// In milliseconds.
fn time_of_day(rest: &mut &[u8]) -> Option<i64> {
    let hour = digits(rest, 2)?;
    take(rest, b':')?;
    let minute = digits(rest, 2)?;
    take(rest, b':')?;
    let second = digits(rest, 2)?;
    let ms = match rest.first() {
        Some(b'.') => fraction(rest)?,
        _ => 0,
    };
    let exists = hour < 24 && minute < 60 && second <= 60;
    let seconds = hour * 3600 + minute * 60;
    exists.then(|| seconds * 1000 + if second == 60 { 59_999 } else { second * 1000 + ms })
}

/// A point and at least one digit, in milliseconds.
fn fraction(rest: &mut &[u8]) -> Option<i64> {
    let digits = &rest[1..];
    let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    *rest = &digits[len..];
    let digit = |at: usize| digits[..len].get(at).map_or(0, |byte| i64::from(byte - b'0'));
    (len > 0).then(|| digit(0) * 100 + digit(1) * 10 + digit(2))
}

/// In milliseconds east of UTC.
fn offset(rest: &mut &[u8]) -> Option<i64> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    let sign = match first {
        b'Z' | b'z' => return Some(0),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = digits(rest, 2)?;
    take(rest, b':')?;
    let minutes = digits(rest, 2)?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000)
}

fn digits(rest: &mut &[u8], count: usize) -> Option<i64> {
    let (digits, after) = rest.split_at_checked(count)?;
    *rest = after;
    let all = digits.iter().all(u8::is_ascii_digit);
    all.then(|| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

fn take(rest: &mut &[u8], byte: u8) -> Option<()> {
    *rest = rest.strip_prefix(&[byte])?;
    Some(())
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Of the proleptic Gregorian calendar: years that begin in March put the leap day at their end.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_moments() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T12:34:56.789Z", 1_709_210_096_789),
            ("2024-02-29T12:34:56.7899999z", 1_709_210_096_789),
            ("2024-02-29 14:34:56.789+02:00", 1_709_210_096_789),
            ("2024-02-28t23:34:56.789-13:00", 1_709_210_096_789),
            ("1969-12-31T23:59:59.9Z", -100),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
            ("2016-12-31T23:59:60Z", 1_483_228_799_999),
        ] {
            assert_eq!(parse_rfc3339(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2024",
            "2024-02-29",
            "2024-02-29T12:34:56",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:61Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00+0100",
            "2024-01-01T00:00:00Zx",
            "2024-1-01T00:00:00Z",
            "+024-01-01T00:00:00Z",
            "2024-01-01X00:00:00Z",
            "\u{663}024-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    /// Four centuries day by day: the calendar repeats after that.
    #[test]
    fn every_day_follows_the_day_before() {
        let mut expected = parse_rfc3339("1800-01-01T00:00:00Z").unwrap();
        for year in 1800..2201 {
            for month in 1..=12 {
                for day in 1..=31 {
                    let text = format!("{year:04}-{month:02}-{day:02}T00:00:00Z");
                    let exists = day <= days_of_month(year, month);
                    assert_eq!(parse_rfc3339(&text), exists.then_some(expected), "{text}");
                    expected += if exists { MS_PER_DAY } else { 0 };
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}", near in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9][.Z+-][0-9:Z]{0,6}") {
            parse_rfc3339(&text);
            parse_rfc3339(&near);
        }
    }
}
