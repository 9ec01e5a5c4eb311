//! Times to live as people write them: a whole number and a unit, `30s`.

use crate::types::WallMs;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The moment that lies `text` after `now`, or what is wrong with the text.
pub fn expiry(text: &str, now: WallMs) -> Result<WallMs, &'static str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| *ms);
    let (Some(unit_ms), false) = (unit_ms, number.is_empty()) else {
        return Err("is not a number with one of the units ms, s, m, h, d");
    };
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
    match ms.and_then(|ms| ms.checked_add(now.0).map(|at| (ms, at))) {
        Some((0, _)) => Err("is zero"),
        Some((_, at)) => Ok(WallMs(at)),
        None => Err("is too long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_bounds() {
        for (text, ms) in
            [("1ms", 1), ("30s", 30_000), ("2m", 120_000), ("1h", 3_600_000), ("1d", 86_400_000)]
        {
            assert_eq!(expiry(text, WallMs(5)), Ok(WallMs(5 + ms)), "{text}");
        }
        for bad in
            ["", "30", "s", "-1s", "+1s", "1.5s", "1 s", "1S", "1w", "0s", "1s1s", "99999999999999999999s"]
        {
            assert!(expiry(bad, WallMs(5)).is_err(), "{bad}");
        }
        assert_eq!(expiry("18446744073709551615ms", WallMs(5)), Err("is too long"));
        assert_eq!(expiry("18446744073709551615d", WallMs(0)), Err("is too long"));
    }
}
