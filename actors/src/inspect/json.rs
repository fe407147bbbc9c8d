//! An [`ActorTree`] as JSON. Not recursive: a tree may be deeper than a stack.

use std::fmt::Write;
use std::time::Duration;

use super::tree::{ActorNode, ActorTree};

pub(super) fn write(tree: &ActorTree) -> String {
    let mut out = String::from("{\"system\":");
    string(&mut out, tree.system());
    let _ = write!(out, ",\"complete\":{},\"actors\":[", tree.is_complete());
    let mut open = 0; // objects whose `children` are being written
    for node in tree.actors() {
        if open > node.depth {
            while open > node.depth {
                out.push_str("]}");
                open -= 1;
            }
            out.push(',');
        }
        begin(&mut out, node);
        open += 1;
    }
    (0..open).for_each(|_| out.push_str("]}"));
    out.push_str("]}");
    out
}

/// All but the children and what closes the object.
fn begin(out: &mut String, node: &ActorNode) {
    out.push_str("{\"path\":");
    string(out, node.path.as_str());
    let _ = write!(out, ",\"uid\":{},\"actor_type\":", node.path.uid());
    string(out, node.actor_type);
    let _ = write!(out, ",\"state\":\"{}\",\"queued\":{},\"restarts\":", node.state, node.queued);
    optional(out, node.restarts.map(u128::from));
    out.push_str(",\"turn_age_us\":");
    optional(out, node.turn_age.as_ref().map(Duration::as_micros));
    out.push_str(",\"time_in_queue_us\":");
    optional(out, node.time_in_queue.as_ref().map(Duration::as_micros));
    let _ = write!(out, ",\"children_known\":{},\"left_out\":{},\"children\":[", node.children_known, node.left_out);
}

fn optional(out: &mut String, number: Option<u128>) {
    let _ = match number {
        Some(number) => write!(out, "{number}"),
        None => write!(out, "null"),
    };
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => {
                out.push('\\');
                out.push(char);
            }
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_out_of_its_string() {
        let mut out = String::new();
        string(&mut out, "a\"b\\c\nd\u{1}é");
        assert_eq!(out, r#""a\"b\\c\u000ad\u0001é""#);
    }
}
