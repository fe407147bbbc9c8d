//! Reads the configuration file: TOML, flattened to dotted keys with their lines. Pure.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Problem};

/// One value of the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The dotted key.
    pub(crate) key: String,
    /// The value as text; a list becomes its elements with commas.
    pub(crate) value: String,
    /// The line of the key, from 1.
    pub(crate) line: usize,
}

/// All values of the file `path` with the content `text`, in the order they were written.
///
/// # Errors
/// When the text is not TOML, or a value is of a kind no setting takes.
pub(crate) fn entries(path: &str, text: &str) -> Result<Vec<Entry>, ConfigError> {
    let problem = |reason: String| ConfigError::from(Problem::File { file: path.to_owned(), reason });
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        problem(format!("line {line}: {}", error.message().replace('\n', ", ")))
    })?;
    let mut entries = Vec::new();
    flatten("", table.get_ref(), text, &mut entries).map_err(problem)?;
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn flatten(prefix: &str, table: &DeTable<'_>, text: &str, entries: &mut Vec<Entry>) -> Result<(), String> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
        if let DeValue::Table(inner) = value.get_ref() {
            flatten(&key, inner, text, entries)?;
            continue;
        }
        let line = line_of(text, name.span().start);
        let value = scalar(value)
            .ok_or_else(|| format!("line {line}: `{key}` must be a text, a number, true, false or a list of texts"))?;
        entries.push(Entry { key, value, line });
    }
    Ok(())
}

fn scalar(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            texts.map(|texts| texts.join(","))
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_dotted_keys_are_the_same() {
        let text = "http-port = 9_001\n\n[eventsourced-entity]\npassivation-timeout = \"5s\"\n[cloudstate.proxy]\nbackoff.min = \"2s\"\n";
        let found = entries("c.toml", text).expect("valid");
        let expected = [
            ("http-port", "9001", 1),
            ("eventsourced-entity.passivation-timeout", "5s", 4),
            ("cloudstate.proxy.backoff.min", "2s", 6),
        ];
        let found: Vec<_> = found.iter().map(|e| (e.key.as_str(), e.value.as_str(), e.line)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_syntax_error_names_the_line() {
        let problem = entries("c.toml", "http-port = 9000\nrelay-timeout = 30s\n").expect_err("30s needs quotes");
        let text = problem.to_string();
        assert!(text.contains("c.toml") && text.contains("line 2"), "{text}");
    }

    #[test]
    fn a_date_is_no_setting() {
        let problem = entries("c.toml", "http-port = 2020-01-01\n").expect_err("a date is no port");
        assert!(problem.to_string().contains("`http-port` must be a text, a number"), "{problem}");
    }
}
