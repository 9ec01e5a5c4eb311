//! Times to live as people write them: a whole number and a unit, `30s`.

use crate::limits;
use crate::shard::record::Expiry;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The expiry that the text means, or what is wrong with it.
pub fn expiry(text: &str) -> Result<Expiry, &'static str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| *ms);
    let (Some(unit_ms), false) = (unit_ms, number.is_empty()) else {
        return Err("is not a number with one of the units ms, s, m, h, d");
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)) {
        Some(0) => Err("is zero"),
        Some(ms) if ms <= limits::TTL_MS_MAX => Ok(Expiry::In(ms)),
        _ => Err("is too long"),
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
            assert_eq!(expiry(text), Ok(Expiry::In(ms)), "{text}");
        }
        for bad in
            ["", "30", "s", "-1s", "+1s", "1.5s", "1 s", "1S", "1w", "0s", "1s1s", "99999999999999999999s"]
        {
            assert!(expiry(bad).is_err(), "{bad}");
        }
        let longest = limits::TTL_MS_MAX;
        assert_eq!(expiry(&format!("{longest}ms")), Ok(Expiry::In(longest)));
        assert_eq!(expiry(&format!("{}ms", longest + 1)), Err("is too long"));
        assert_eq!(expiry("18446744073709551615d"), Err("is too long"));
    }
}
