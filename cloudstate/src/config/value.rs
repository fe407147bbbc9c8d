//! The text forms of configuration values: `30s`, `12M`, `true`. Pure.

use std::time::Duration;

/// Reads a duration such as `250ms`, `30s`, `5m`, `1h`, `1d` or `1m30s`. A bare `0` is allowed, any other bare number is not:
/// a reader cannot tell seconds from milliseconds.
///
/// # Errors
/// A text that says what a duration looks like.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    const SHAPE: &str = "a duration with a unit, such as 250ms, 30s, 5m or 1h";
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(SHAPE.to_owned());
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest).ok_or(SHAPE)?;
        let number: u64 = number.parse().map_err(|_| SHAPE)?;
        let millis = match unit {
            "ms" | "millis" => 1,
            "s" | "seconds" | "second" => 1_000,
            "m" | "min" | "minutes" | "minute" => 60_000,
            "h" | "hours" | "hour" => 3_600_000,
            "d" | "days" | "day" => 86_400_000,
            _ => return Err(SHAPE.to_owned()),
        };
        let part = number.checked_mul(millis).map(Duration::from_millis).ok_or("a shorter duration")?;
        total = total.checked_add(part).ok_or("a shorter duration")?;
        rest = after.trim_start();
    }
    Ok(total)
}

/// Reads a size such as `4096`, `16K`, `12M`, `1G`; the units are powers of 1024, `KiB`, `MiB`, `GiB` and `B` are understood too.
///
/// # Errors
/// A text that says what a size looks like.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    const SHAPE: &str = "a size in bytes, such as 4096, 16K, 12M or 1G";
    let text = text.trim();
    let (number, unit, after) = number_and_unit(text).ok_or(SHAPE)?;
    if !after.is_empty() {
        return Err(SHAPE.to_owned());
    }
    let number: u64 = number.parse().map_err(|_| SHAPE)?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(SHAPE.to_owned()),
    };
    number.checked_mul(1 << shift).ok_or_else(|| "a smaller size".to_owned())
}

/// Reads `true` or `false`, and the forms HOCON knows: `on`, `off`, `yes`, `no`.
///
/// # Errors
/// A text that names the two values.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" => Ok(true),
        "false" | "off" | "no" => Ok(false),
        _ => Err("true or false".to_owned()),
    }
}

/// The shortest text that [`parse_duration`] reads back to the same value (whole milliseconds).
#[must_use]
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        _ => format!("{millis}ms"),
    }
}

/// The shortest text that [`parse_size`] reads back to the same value.
#[must_use]
pub(crate) fn show_size(bytes: u64) -> String {
    for (shift, unit) in [(30, "G"), (20, "M"), (10, "K")] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Splits `30s…` into its number, its unit and what follows; `None` without a leading number.
fn number_and_unit(text: &str) -> Option<(&str, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if digits == 0 {
        return None;
    }
    let (number, rest) = text.split_at(digits);
    let rest = rest.trim_start();
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at(letters);
    Some((number, unit, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration(" 5 minutes "), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        for wrong in ["", "30", "s", "-1s", "1.5s", "3 weeks", "18446744073709551615d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?} must not be a duration");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_size("12M"), Ok(12 << 20));
        assert_eq!(parse_size("16 KiB"), Ok(16 << 10));
        assert_eq!(parse_size("4096"), Ok(4096));
        for wrong in ["", "M", "12X", "1M2", "99999999999G"] {
            assert!(parse_size(wrong).is_err(), "{wrong:?} must not be a size");
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for millis in [0, 1, 250, 1_000, 90_000, 60_000, 7_200_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
        for bytes in [0, 1, 1023, 1024, 12 << 20, 3 << 30] {
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
    }
}
