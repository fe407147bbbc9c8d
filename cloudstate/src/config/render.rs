//! What `cloudstate config` prints: every setting with its effective value and where it comes from.

use std::fmt::Write;

use super::sources::{Origin, Resolved};

impl Resolved {
    /// A table for people: value, origin, and what the setting does. Valid TOML, so that it can be the start of a file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for value in self.values() {
            let line = format!("{} = {}", value.setting.key, toml_string(&value.shown()));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# {} [{}]", value.setting.help, value.setting.env);
            let _ = writeln!(text, "{line:<60} # {}", value.origin);
        }
        text
    }

    /// A list of objects `{"key", "value", "origin", "env", "default", "help"}` for machines.
    #[must_use]
    pub fn to_json(&self) -> String {
        let values: Vec<_> = self
            .values()
            .iter()
            .map(|value| {
                serde_json::json!({
                    "key": value.setting.key,
                    "value": value.shown(),
                    "origin": origin_json(&value.origin),
                    "env": value.setting.env,
                    "default": value.setting.default,
                    "help": value.setting.help,
                })
            })
            .collect();
        serde_json::Value::Array(values).to_string()
    }
}

fn origin_json(origin: &Origin) -> serde_json::Value {
    match origin {
        Origin::Default => serde_json::json!({ "kind": "default" }),
        Origin::File { path, line } => {
            serde_json::json!({ "kind": "file", "path": path, "line": line })
        }
        Origin::Env(name) => serde_json::json!({ "kind": "environment", "name": name }),
        Origin::Flag(name) => serde_json::json!({ "kind": "flag", "name": name }),
    }
}

/// All settings are read from texts, so a text is a valid form of each.
fn toml_string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
