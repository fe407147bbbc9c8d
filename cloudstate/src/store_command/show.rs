//! Numbers, bytes, times and tables for people.

use std::fmt::Write;

/// 1234567 as `1,234,567`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of them, in words: `1 event`, `2 events`.
pub(super) fn count(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// Bytes in the largest unit of which there are some.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A moment, ms since 1970, in UTC: `2026-11-28T21:49:01.250Z`.
pub(super) fn time(ms: u64) -> String {
    let (days, ms) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

/// How long ago, in its largest unit.
pub(super) fn ago(then_ms: u64, now_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(then_ms) / 1_000;
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// Year, month and day of the day so many days after 1970-01-01. Counts in periods of 400 years, which begin on a 1 March so
/// that the day that is only sometimes there is a period's last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let (period, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // from March
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (period * 400 + year + later, month, day)
}

/// Where the text of a cell goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Lines with columns as wide as their widest cell.
pub(super) struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(header: &[(&str, Align)]) -> Self {
        let (names, align) = header.iter().map(|(name, align)| ((*name).to_owned(), *align)).unzip();
        Self { align, rows: vec![names] }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The lines, each after `indent`.
    pub(super) fn text(&self, indent: &str) -> String {
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| wide(cell)).max();
        let widths: Vec<usize> = (0..self.align.len()).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            line(&mut text, indent, row, &widths, &self.align);
        }
        text
    }
}

/// One line of a table.
pub(super) fn line(text: &mut String, indent: &str, row: &[String], widths: &[usize], align: &[Align]) {
    let start = text.len();
    text.push_str(indent);
    for (at, ((cell, width), align)) in row.iter().zip(widths).zip(align).enumerate() {
        let space = " ".repeat(width.saturating_sub(wide(cell)));
        let between = if at == 0 { "" } else { "  " };
        let _ = match align {
            Align::Left => write!(text, "{between}{cell}{space}"),
            Align::Right => write!(text, "{between}{space}{cell}"),
        };
    }
    let end = text.trim_end().len().max(start);
    text.truncate(end);
    text.push('\n');
}

/// Columns that a text takes, about.
pub(super) fn wide(text: &str) -> usize {
    text.chars().count()
}

/// Text on one line, and not longer than `limit` characters.
pub(super) fn short(text: &str, limit: usize) -> String {
    let mut short: String = text.chars().take(limit).map(|it| if it.is_control() { ' ' } else { it }).collect();
    if text.chars().nth(limit).is_some() {
        short.push_str(" ...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(time(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(time(4_107_542_400_000), "2100-03-01T00:00:00.000Z", "2100 has no 29 February");
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(365), (1971, 1, 1));
        assert_eq!(date(20_785), (2026, 11, 28));
    }

    #[test]
    fn numbers_are_grouped_and_bytes_have_units() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1_023, 1_024, 5 << 30].map(bytes), ["1023 B", "1.0 KiB", "5.0 GiB"]);
        assert_eq!(count(1, "event", "events"), "1 event");
    }

    #[test]
    fn a_table_has_straight_columns_and_no_trailing_space() {
        let mut table = Table::new(&[("name", Align::Left), ("n", Align::Right), ("why", Align::Left)]);
        table.row(vec!["a".into(), "1,000".into(), String::new()]);
        table.row(vec!["longer".into(), "1".into(), "x".into()]);
        assert_eq!(table.text(" "), " name        n  why\n a       1,000\n longer      1  x\n");
    }

    #[test]
    fn long_text_is_cut_and_kept_on_its_line() {
        assert_eq!(short("a\nb", 5), "a b");
        assert_eq!(short("grüße", 3), "grü ...");
    }
}
