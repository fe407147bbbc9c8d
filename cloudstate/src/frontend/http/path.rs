//! Request paths: decoded once, segment by segment.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Why a path is refused, as a sentence for the client.
pub(super) type PathError = String;

/// Refuses paths that could mean something else to someone behind us: broken escapes, NUL, text
/// that is not UTF-8, and `.` or `..` as a segment.
pub(super) fn check(path: &str) -> Result<(), PathError> {
    if !path.contains(['%', '\0']) && !path.contains("/.") {
        return Ok(());
    }
    if let Some(at) = broken_escape(path.as_bytes()) {
        return Err(format!("the path has a broken percent escape at position {}", at + 1));
    }
    for segment in path.split('/') {
        match &*decode(segment)? {
            "." | ".." => return Err("the path has a segment '.' or '..'".to_owned()),
            text if text.contains('\0') => return Err("the path has a NUL character".to_owned()),
            _ => {}
        }
    }
    Ok(())
}

/// The text of one segment. An encoded slash becomes part of the text, never a separator.
pub(super) fn decode(segment: &str) -> Result<Cow<'_, str>, PathError> {
    percent_decode_str(segment).decode_utf8().map_err(|_| "the path is not UTF-8".to_owned())
}

/// The text of several segments. An encoded slash stays encoded, so that it cannot be taken for a
/// separator of the segments.
pub(super) fn decode_segments(segments: &[&str]) -> Result<String, PathError> {
    let mut text = String::new();
    for (index, segment) in segments.iter().enumerate() {
        if index > 0 {
            text.push('/');
        }
        let mut rest = *segment;
        while let Some(at) = find_encoded_slash(rest) {
            text.push_str(&decode(&rest[..at])?);
            text.push_str("%2F");
            rest = &rest[at + 3..];
        }
        text.push_str(&decode(rest)?);
    }
    Ok(text)
}

fn find_encoded_slash(text: &str) -> Option<usize> {
    text.find("%2F").into_iter().chain(text.find("%2f")).min()
}

fn broken_escape(path: &[u8]) -> Option<usize> {
    let broken = |at: &usize| {
        let digits = path.get(at + 1..at + 3);
        path[*at] == b'%' && !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    (0..path.len()).find(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tricks_are_refused_and_plain_paths_are_not() {
        for trick in ["/a/../b", "/a/%2e%2e/b", "/a/.%2E", "/a%00", "/a%zz", "/a%2", "/%ff"] {
            assert!(check(trick).is_err(), "{trick}");
        }
        for plain in ["/a/b", "/a%2Fb", "/a%252e", "/.well-known/x", "/%C3%A9"] {
            assert_eq!(check(plain), Ok(()), "{plain}");
        }
    }

    #[test]
    fn decoded_once_and_slashes_stay_apart() {
        assert_eq!(decode("a%2Fb%2525+c").as_deref(), Ok("a/b%25+c"));
        assert_eq!(decode_segments(&["a%2fb", "c%20d"]).as_deref(), Ok("a%2Fb/c d"));
    }
}
